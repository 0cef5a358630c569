"""Kernels of very many taps and of very many groups: a cheaper bound that still holds."""

import time
import tracemalloc

import numpy as np
import pytest

from specaudit.norms import coarse, symbol
from specaudit.norms.convolution import Placed
from specaudit.report import Geometry


@pytest.fixture
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse, "_MOST_POSITIONS", 0)


def random_geometry(rng: np.random.Generator, rank: int, *, transposed: bool) -> Geometry:
    stride = tuple(int(s) for s in rng.integers(1, 3, rank))
    return Geometry(
        strides=stride,
        pads=tuple(int(p) for p in rng.integers(0, 3, 2 * rank)),
        dilations=tuple(int(d) for d in rng.integers(1, 3, rank)),
        group=int(rng.integers(1, 3)),
        input=tuple(int(n) for n in rng.integers(7, 10, rank)),
        output_padding=tuple(int(rng.integers(s)) for s in stride) if transposed else None,
    )


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.usefixtures("sooner")
def test_the_bracket_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    transposed, rank = seed % 3 == 0, 1 + seed % 2
    geometry = random_geometry(rng, rank, transposed=transposed)
    kernel = rng.standard_normal((2 * geometry.group, 3, *rng.integers(2, 4, rank)))
    placed = Placed.of(kernel, geometry, transposed=transposed)
    true = max(np.linalg.norm(placed.matrix(group), 2) for group in range(geometry.group))
    norm = symbol.operator_norm(kernel, geometry, transposed=transposed)
    assert norm.method == "sampled"
    assert norm.lower <= true * (1 + 1e-12)
    assert norm.upper >= true * (1 - 1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_a_stride_is_resolved(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one output channel the Frobenius norm is the norm; what a stride skips is not in it."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 2
    sizes = tuple(int(k) for k in rng.integers(2, 12, rank))
    stride, dilation = (tuple(int(x) for x in rng.integers(1, 5, rank)) for _ in range(2))
    geometry = Geometry(stride, (0,) * 2 * rank, dilation, group=1 + seed % 3)
    kernel = np.abs(rng.standard_normal((geometry.group, 2, *sizes)))
    if seed % 4 == 0:
        kernel = kernel * np.exp(2j * np.pi * rng.random(kernel.shape))
    plain = symbol.operator_norm(kernel, geometry, rtol=1e-6).bracket
    monkeypatch.setattr(coarse, "_MOST_POSITIONS", 0)
    sampled = symbol.operator_norm(kernel, geometry)
    assert sampled.method == "sampled"
    assert sampled.lower <= plain.upper
    assert plain.lower <= sampled.upper <= 1.09**rank * plain.upper
    assert sampled.lower * 1.09**rank >= plain.lower


@pytest.mark.parametrize("shape", [(1, 1, 3000), (1, 1, 61, 61), (64, 1, 47, 47)])
def test_the_bracket_of_single_channels_is_tight(shape: tuple[int, ...]) -> None:
    kernel = np.random.default_rng(0).standard_normal(shape)
    rank = len(shape) - 2
    geometry = Geometry((1,) * rank, (0,) * 2 * rank, (1,) * rank, group=shape[0])
    norm = symbol.operator_norm(kernel, geometry)
    assert norm.method == "sampled"
    assert norm.upper <= 1.09 ** (len(shape) - 2) * norm.lower


def test_a_million_taps_take_a_second_and_little_memory() -> None:
    kernel = np.ones((1, 1, 1 << 20), dtype=np.float32)
    start = time.process_time()
    tracemalloc.start()
    try:
        norm = symbol.operator_norm(kernel, None)
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5.0
    assert norm.lower <= 1 << 20 <= norm.upper <= 1.1 * (1 << 20)
    assert coarse.NOTE in (norm.reason or "")


def test_what_repeats_its_input_is_not_bounded() -> None:
    geometry = Geometry((1,), (1, 1), (1,), padding_mode="reflect")
    norm = symbol.operator_norm(np.ones((1, 1, 3000)), geometry)
    assert norm.status == "not_computed"
    assert norm.upper is None


@pytest.mark.parametrize("given", [None, (5, 5)])
def test_groups_in_parts_are_groups_at_once(
    given: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = np.random.default_rng(0).standard_normal((22, 2, 3, 3))
    geometry = Geometry((1, 1), (1, 1, 1, 1), (1, 1), group=11, input=given)
    whole = symbol.operator_norm(kernel, geometry, rtol=1e-6)
    monkeypatch.setattr(symbol, "_GROUPS_TOGETHER", 4)
    parts = symbol.operator_norm(kernel, geometry, rtol=1e-6)
    assert parts.lower == pytest.approx(whole.lower, rel=2e-6)
    assert parts.upper == pytest.approx(whole.upper, rel=2e-6)


def test_many_groups_take_little_memory() -> None:
    kernel = np.random.default_rng(0).standard_normal((20_000, 1, 3, 3))
    geometry = Geometry((1, 1), (1, 1, 1, 1), (1, 1), group=20_000)
    tracemalloc.start()
    try:
        norm = symbol.operator_norm(kernel, geometry)
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()
    assert norm.bracket.relative_width < 0.011
