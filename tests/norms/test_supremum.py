"""The supremum of a symbol is bracketed, as tightly as asked, at little cost."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from specaudit.norms import supremum as module
from specaudit.norms.climb import Climb, climb, explore, heights, summit
from specaudit.norms.samples import Samples
from specaudit.norms.supremum import supremum
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Boxes, Points


def taps_of(kernel: NDArray[np.generic], group: int = 1) -> Taps:
    ones = (1,) * (kernel.ndim - 2)
    return Taps.of(kernel, strides=ones, dilations=ones, group=group)


def brute(taps: Taps, count: int) -> float:
    """Return the largest singular value on a grid: a lower bound of the supremum."""
    axes = [np.arange(count)] * taps.axes
    angles = 2 * np.pi * np.stack(np.meshgrid(*axes), -1).reshape(-1, taps.axes) / count
    waves = np.exp(-1j * angles @ taps.positions.T)
    symbols = np.einsum("bt,gtij->gbij", waves, taps.values)
    return float(np.linalg.norm(symbols, 2, axis=(-2, -1)).max())


kernels = st.builds(
    lambda rank, size, group, seed, kind: (
        np.random.default_rng(seed)
        .standard_normal(
            (
                2 * group,
                2,
                *np.random.default_rng(seed).integers(1, size, rank) + (np.arange(rank) == 0),
            )
        )
        .astype(kind),
        group,
    ),
    st.integers(1, 3),
    st.integers(2, 5),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float64, np.complex128]),
)


@settings(deadline=None, max_examples=60)
@given(kernels, st.sampled_from([1e-1, 1e-2, 1e-3]))
def test_bracket_holds_the_supremum(case: tuple[NDArray[np.generic], int], rtol: float) -> None:
    kernel, group = case
    taps = taps_of(kernel, group)
    found = supremum(taps, explore(taps, rtol=rtol, seed=0), rtol=rtol, seed=0)
    count = {0: 1, 1: 512, 2: 48, 3: 14}[taps.axes]
    grid = brute(taps, count)
    assert grid <= found.upper * (1.0 + 1e-12)
    assert found.relative_width <= rtol
    # Riesz, the other way round: no supremum is further above a grid than this.
    loss = np.prod(1.0 / np.cos(np.pi * taps.degrees / (2 * count)))
    assert found.lower <= grid * loss * (1.0 + 1e-12)


def test_finer_brackets_lie_in_coarser_ones() -> None:
    taps = taps_of(np.random.default_rng(5).standard_normal((12, 10, 3, 3)))
    brackets = [
        supremum(taps, explore(taps, rtol=rtol, seed=0), rtol=rtol, seed=0)
        for rtol in (1e-1, 1e-2, 1e-4, 1e-6)
    ]
    for coarse, fine in itertools.pairwise(brackets):
        assert coarse.lower <= fine.upper
        assert fine.lower <= coarse.upper
    assert brackets[-1].relative_width <= 1e-6


def test_a_peaked_symbol_is_refined_at_its_peak_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    original = Samples.failures

    def counting(self: Samples, boxes: Boxes, upper: float) -> NDArray[np.bool_]:
        looked_at[-1] += len(boxes)
        return original(self, boxes, upper)

    monkeypatch.setattr(Samples, "failures", counting)
    blur = np.einsum("i,j->ij", [1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
    mixing = np.random.default_rng(2).standard_normal((6, 6))
    taps = taps_of(np.einsum("oi,xy->oixy", mixing, blur))
    for rtol in (1e-2, 1e-4):
        looked_at.append(0)
        found = supremum(taps, explore(taps, rtol=rtol, seed=0), rtol=rtol, seed=0)
        truth = float(np.linalg.norm(mixing, 2))
        assert found.lower <= truth * (1 + 1e-12)
        assert truth <= found.upper * (1 + 1e-12)
    uniform = 32 * 32 / 2
    assert looked_at[0] < uniform / 2  # what a grid without refinement takes for 1e-2
    assert looked_at[1] < uniform  # for 1e-4 it would be a hundred times as many


def test_an_isometry_is_bracketed_although_all_of_it_is_a_peak() -> None:
    # Shifts of orthogonal pieces: F is unitary at every frequency.
    rng = np.random.default_rng(3)
    basis, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    kernel = np.zeros((8, 8, 2, 2))
    kernel[:, :, 0, 0], kernel[:, :, 1, 1] = (
        basis[:, :4] @ basis[:, :4].T,
        basis[:, 4:] @ basis[:, 4:].T,
    )
    taps = taps_of(kernel)
    found = supremum(taps, explore(taps, rtol=1e-2, seed=0), rtol=1e-2, seed=0)
    assert found.lower <= 1.0 <= found.upper
    assert found.relative_width <= 1e-2


def test_peaks_are_never_above_the_symbol() -> None:
    for seed in range(10):
        taps = taps_of(np.random.default_rng(seed).standard_normal((9, 7, 3, 2)))
        first = explore(taps, rtol=1e-2, seed=seed)
        for peak in first.peaks:
            waves = np.exp(-2j * np.pi * taps.positions @ peak.frequency)
            truth = np.linalg.norm(np.tensordot(waves, taps.values[peak.group], 1), 2)
            assert peak.lower <= truth * (1 + 1e-14)
            assert abs(peak.shares.sum() - peak.lower) <= 1e-9 * peak.lower
        assert first.peaks[0].lower >= 0.97 * brute(taps, 40)


def test_heights_estimate_from_below() -> None:
    taps = taps_of(np.random.default_rng(0).standard_normal((3, 20, 3)), group=3)
    steps = np.arange(12, dtype=np.int64).reshape(-1, 1)
    points = Points(steps[:, 0] % 3, steps, np.full_like(steps, 24))
    found = heights(taps, points, seed=0)
    for row in range(12):
        waves = np.exp(-2j * np.pi * taps.positions[:, 0] * row / 24)
        truth = np.linalg.norm(np.tensordot(waves, taps.values[row % 3], 1), 2)
        assert truth * 0.99 <= found[row] <= truth * (1 + 1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_digits_past_rounding_are_not_asked_for_in_vain(rank: int) -> None:
    """The width is what was asked, or what rounding leaves: never that of the crude bound."""
    kernel = np.random.default_rng(rank).standard_normal((3, 2, *(3,) * rank))
    taps = taps_of(kernel)
    first = explore(taps, rtol=1e-2, seed=0)
    for rtol in (1e-6, 1e-9, 1e-15):
        found = supremum(taps, explore(taps, rtol=rtol, seed=0), rtol=rtol, seed=0)
        blur = 3.0 * Samples(taps).blur(first.peaks[0].lower)
        assert found.relative_width <= max(rtol, blur)
        assert found.upper >= brute(taps, 24)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.float64, np.complex128])
def test_a_summit_is_a_top(rank: int, kind: type) -> None:
    """Around it nothing is higher, by more than second order leaves of a tiny step."""
    rng = np.random.default_rng(rank)
    parts = rng.standard_normal((2, 6, 5, *(3,) * rank))
    kernel = (parts[0] + 1j * parts[1]) if kind is np.complex128 else parts[0]
    taps = taps_of(kernel)
    top = summit(taps, explore(taps, rtol=1e-2, seed=0).peaks[0])
    moves = np.concatenate([np.eye(rank), -np.eye(rank)])
    for reach in (1e-2, 1e-3, 1e-4):
        waves = np.exp(-2j * np.pi * (top.frequency + reach * moves) @ taps.positions.T)
        around = np.linalg.norm(np.einsum("bt,tij->bij", waves, taps.values[0]), 2, axis=(1, 2))
        assert around.max() <= top.lower * (1 + 1e-11)


def test_a_low_hill_does_not_hide_a_higher_one_beside_it() -> None:
    """Climbs are rationed where digits count; what they would have found is found still."""
    rng = np.random.default_rng(3)
    taps = taps_of(rng.standard_normal((4, 4, 9, 9)))
    first = explore(taps, rtol=1e-2, seed=0)
    best = supremum(taps, first, rtol=1e-6, seed=0)
    climbed = [explore(taps, rtol=1e-2, seed=seed).peaks for seed in range(6)]
    hills = [peak for peaks in climbed for peak in peaks if peak.lower < 0.99 * best.lower]
    assert hills, "the symbol has one hill only: no test"
    for hill in hills:
        found = supremum(taps, replace(first, peaks=(hill,)), rtol=1e-6, seed=0)
        assert found.upper <= best.upper * (1 + 1e-9)
        assert found.lower >= best.lower * (1 - 1e-9)


def test_few_climbs_are_made_where_digits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a symbol with one clear peak, halving its boxes a dozen times takes no climb each."""
    calls: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Climb:
        calls.append(1)
        return climb(*arguments, **named)

    monkeypatch.setattr(module, "climb", counted)
    rng = np.random.default_rng(0)
    few = 0
    for _ in range(5):
        taps = taps_of(rng.standard_normal((16, 12, 3, 3)))
        found = supremum(taps, explore(taps, rtol=1e-2, seed=0), rtol=1e-8, seed=0)
        assert found.relative_width <= 1e-8
        few += len(calls)
        calls.clear()
    assert few <= 25  # five a kernel; one a pass would be twenty
