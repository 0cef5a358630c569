"""Boxes tile the torus however they are split, and inflation is never too small."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specaudit.norms.torus import PHASE_ERROR, Boxes, Points, inflation, spares_middle


def covered(boxes: Boxes) -> Fraction:
    """Return the part of the torus that the boxes cover, if they do not overlap."""
    return sum((Fraction(1, math.prod(row)) for row in boxes.counts.tolist()), Fraction(0))


@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_split_keeps_what_failed_covered(axes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = Boxes.uniform(np.arange(2), rng.integers(1, 4, axes), half=False)
    assert covered(boxes) == 2
    for _ in range(3):
        failed = rng.random(len(boxes)) < 0.3
        failed[rng.integers(len(boxes))] = True
        slabs = {tuple(row) for row in _slabs(boxes)[failed].tolist()}
        kept = np.array([tuple(row) in slabs for row in _slabs(boxes).tolist()])
        before = covered(boxes.take(kept))
        boxes, new = boxes.split(failed, rng.integers(0, axes, len(boxes)))
        assert covered(boxes) == before
        assert new.any()
        assert nested(boxes)


def _slabs(boxes: Boxes) -> np.ndarray:
    return np.column_stack([boxes.group, boxes.index[:, 0], boxes.counts[:, 0]])


def nested(boxes: Boxes) -> bool:
    """Whether the cells of an axis tile what lies over each cell of the axes before."""
    rows = list(zip(boxes.group.tolist(), boxes.index.tolist(), boxes.counts.tolist(), strict=True))
    for axis in range(1, boxes.counts.shape[1]):
        tilings: dict[object, set[tuple[int, int]]] = {}
        for group, index, counts in rows:
            prefix = (group, tuple(index[:axis]), tuple(counts[:axis]))
            tilings.setdefault(prefix, set()).add((index[axis], counts[axis]))
        for cells in tilings.values():
            if sum(Fraction(1, count) for _, count in cells) != 1:
                return False
    return True


def test_half_of_the_torus_is_enough_for_real_kernels() -> None:
    boxes = Boxes.uniform(np.arange(1), np.array([5, 4]), half=True)
    assert covered(boxes) == Fraction(1, 2)
    assert boxes.counts[0].tolist() == [6, 4]


@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.floats(0.3, 1.0))
def test_inflated_sample_is_not_below_the_supremum(degree: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    taps = rng.standard_normal(degree + 1) + 1j * rng.standard_normal(degree + 1)
    taps *= spread ** np.abs(np.arange(degree + 1) - degree / 2)
    fine = np.linspace(0.0, 2 * math.pi, 4001)
    symbol = np.exp(-1j * np.outer(fine, np.arange(degree + 1))) @ taps
    peak, height = fine[np.abs(symbol).argmax()], np.abs(symbol).max()
    count = int(rng.integers(2 * degree + 1, 12 * degree + 2))
    ratio = float(inflation(degree, np.array(count)))
    weights = np.full(degree + 1, ratio)
    if spares_middle(degree):
        weights[degree // 2] = 1.0
    for offset in np.linspace(-math.pi / count, math.pi / count, 9):
        waves = np.exp(-1j * (peak + offset) * np.arange(degree + 1))
        # The peak of the fine grid is itself up to (pi / 4000 * degree)**2 / 2 too low, or off.
        assert abs(waves @ (weights * taps)) >= height * (1.0 - 2.0 * (degree * math.pi / 4000))


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 6])
def test_inflation_is_attained(degree: int) -> None:
    # Two end taps alone: ||F(t)|| = 2 |cos(D t / 2)|, and no smaller factor would do.
    count = 16 * degree
    ratio = float(inflation(degree, np.array(count)))
    ends = ratio * 2.0 * math.cos(degree * math.pi / count / 2)
    assert 2.0 <= ends <= 2.0 * (1.0 + (1e-12 if degree != 4 else 1e-3))


def test_a_cell_that_is_too_wide_has_no_bound() -> None:
    assert inflation(2, np.array([2]))[0] == math.inf
    assert inflation(5, np.array([5, 1000]))[0] == math.inf


def test_phases_keep_their_accuracy_at_large_positions() -> None:
    rng = np.random.default_rng(0)
    turns = rng.integers(1, 10**6, (20, 2))
    points = Points(np.zeros(20, dtype=np.int64), rng.integers(0, 10**6, (20, 2)) % turns, turns)
    positions = rng.integers(0, 5000, (7, 2))
    with mpmath.workdps(40):
        for row, found in enumerate(points.phases(positions)):
            for position, phase in zip(positions.tolist(), found.tolist(), strict=True):
                parts = zip(position, points.steps[row].tolist(), turns[row].tolist(), strict=True)
                turn = sum(mpmath.mpf(p * s) / t for p, s, t in parts)
                exact = mpmath.expjpi(-2 * turn)
                assert abs(mpmath.mpc(phase) - exact) <= 2 * PHASE_ERROR + 2.0**-51
