"""The constants of the activations, derived to 40 digits, and upper in their last place."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from specaudit.lipschitz import activations, patterns, ranges
from specaudit.lipschitz.attention import HALF_ROOT
from specaudit.lipschitz.reductions import triangle

mpmath.mp.dps = 40
X = mpmath.mpf


def gelu(x: X) -> X:
    return x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2


def gelu_tanh(x: X, weight: X | None = None) -> X:
    """With the cubic weight after scaling x to ``tanh(x + k x^3)``; the slope keeps its range."""
    k = mpmath.mpf("0.044715") * mpmath.pi / 2 if weight is None else weight
    return x * (1 + mpmath.tanh(x + k * x**3)) / 2


def silu(x: X) -> X:
    return x / (1 + mpmath.exp(-x))


def mish(x: X) -> X:
    return x * mpmath.tanh(mpmath.log1p(mpmath.exp(x)))


CASES: list[tuple[Callable[[X], X], float, float]] = [
    (gelu, activations.GELU_ERF, 1.4),
    (gelu_tanh, activations.GELU_TANH, 1.1),
    (silu, activations.SILU, 2.4),
    (mish, activations.MISH, 1.5),
]


@pytest.mark.parametrize(("function", "constant", "near"), CASES)
def test_largest_slope(function: Callable[[X], X], constant: float, near: float) -> None:
    peak = mpmath.findroot(lambda x: mpmath.diff(function, x, 2), near)
    slope = abs(mpmath.diff(function, peak))
    assert slope <= mpmath.mpf(constant)
    assert mpmath.mpf(math.nextafter(constant, 0.0)) < slope, "it is the next number above"
    # It is the global one: no slope on a grid whose step the curvature (below 1) covers is larger.
    grid = np.linspace(-12.0, 12.0, 2001)
    largest = max(abs(mpmath.diff(function, mpmath.mpf(float(x)))) for x in grid)
    assert largest <= slope <= largest + 0.012


@pytest.mark.parametrize("move", [1e-4, -1e-4, 1e-5])
def test_tanh_gelu_moves_slowly_with_its_weight(move: float) -> None:
    base = mpmath.mpf("0.044715") * mpmath.pi / 2
    assert abs(float(base) - patterns._GELU_CUBIC) < 1e-15
    moved = base + mpmath.mpf(move)
    peak = mpmath.findroot(lambda x: mpmath.diff(lambda t: gelu_tanh(t, moved), x, 2), 1.1)
    slope = mpmath.diff(lambda t: gelu_tanh(t, moved), peak)
    assert slope <= activations.GELU_TANH + 5 * abs(move)


def test_least_values_of_gates() -> None:
    for function, floor in (
        (gelu, -0.1701),
        (gelu_tanh, -0.1701),
        (mish, -0.30885),
        (silu, -0.27847),
    ):
        lowest = min(function(mpmath.mpf(float(x))) for x in np.linspace(-4, 0, 4001))
        assert floor < lowest < floor + 1e-3 * (1 if function is not gelu_tanh else 200)


def test_error_function_and_roots() -> None:
    assert mpmath.mpf(activations._ERF_SLOPE) >= 2 / mpmath.sqrt(mpmath.pi)
    assert mpmath.mpf(HALF_ROOT) >= mpmath.sqrt(mpmath.mpf(1) / 2)


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_triangle_of_ones(count: int) -> None:
    truth = 1 / (2 * mpmath.sin(mpmath.pi / (4 * count + 2)))
    truth *= 1 - 8 * mpmath.eps  # of 1, which is exact, it keeps a rounding of its own
    assert truth <= mpmath.mpf(triangle(count).upper) <= truth * (1 + mpmath.mpf(1e-14))


@pytest.mark.parametrize("seed", range(20))
def test_range_arithmetic_is_outward(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    for made, truth in (
        (ranges.add(ranges.of_array(one), ranges.of_array(two)), one + two),
        (ranges.multiply(ranges.of_array(one), ranges.of_array(two)), one * two),
        (ranges.negate(ranges.of_array(one)), -one),
        (ranges.scale(ranges.of_array(one), 1.7), -1.7 * one),
        (ranges.union([ranges.of_array(one), ranges.of_array(two)]), two),
    ):
        assert made.lo <= truth.min() <= truth.max() <= made.hi
        for axis in made.fibres:
            assert made.fibres[axis] >= np.linalg.norm(truth, axis=axis).max()
        assert made.total(12, (3, 4)) >= np.linalg.norm(truth)
