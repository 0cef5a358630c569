"""Outward rounding, against exact rational arithmetic."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specaudit.bracket import ONE, UNBOUNDED, ZERO, Bracket, Magnitude

finite = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, max_value=1e300)


@st.composite
def brackets(draw: st.DrawFn) -> Bracket:
    return Bracket(*sorted((draw(finite), draw(finite))))


def holds(bracket: Bracket, value: Fraction) -> bool:
    above = bracket.upper == math.inf or value <= Fraction(bracket.upper)
    return Fraction(bracket.lower) <= value and above


@given(brackets(), brackets())
def test_sums_and_products_hold_their_exact_ends(a: Bracket, b: Bracket) -> None:
    for x in (a.lower, a.upper):
        for y in (b.lower, b.upper):
            assert holds(a + b, Fraction(x) + Fraction(y))
            assert holds(a * b, Fraction(x) * Fraction(y))


@given(brackets(), brackets())
def test_hypot_holds_its_exact_square(a: Bracket, b: Bracket) -> None:
    result = a.hypot(b)
    exact = Fraction(a.upper) ** 2 + Fraction(b.upper) ** 2
    assert result.upper == math.inf or Fraction(result.upper) ** 2 >= exact
    assert Fraction(result.lower) ** 2 <= Fraction(a.lower) ** 2 + Fraction(b.lower) ** 2


@given(positive, positive)
def test_a_product_is_not_needlessly_wide(x: float, y: float) -> None:
    product = Bracket.exactly(x) * Bracket.exactly(y)
    if product.lower > 1e-300 and product.upper < math.inf:
        assert product.relative_width <= 4 * 2.0**-53


@pytest.mark.parametrize(
    "ends", [(1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan), (math.inf, math.inf)]
)
def test_what_is_no_interval_cannot_be_built(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a bracket"):
        Bracket(*ends)


def exactly(bound: Magnitude) -> Fraction:
    return Fraction(bound.mantissa) * Fraction(2) ** bound.exponent


@given(st.lists(positive, min_size=1, max_size=20), st.lists(positive, min_size=1, max_size=20))
def test_magnitudes_bound_products_and_sums(xs: list[float], ys: list[float]) -> None:
    total, truth = ZERO, Fraction(0)
    for factors in (xs, ys):
        product, exact = ONE, Fraction(1)
        for factor in factors:
            product, exact = product * Magnitude.of(factor), exact * Fraction(factor)
        assert exactly(product) >= exact
        total, truth = total + product, truth + exact
    assert truth <= exactly(total) <= truth * (1 + Fraction(50, 2**52))


@given(st.lists(finite, max_size=6))
def test_hypot_of_magnitudes_bounds_the_root_of_the_squares(values: list[float]) -> None:
    bound = ZERO.hypot(*map(Magnitude.of, values))
    exact = sum((Fraction(v) ** 2 for v in values), Fraction(0))
    assert exact <= exactly(bound) ** 2 <= exact * (1 + Fraction(60, 2**52))


@given(positive, st.integers(-5000, 5000))
def test_the_logarithm_is_rounded_up(mantissa: float, exponent: int) -> None:
    bound = Magnitude.of(mantissa)
    bound = Magnitude(bound.mantissa, bound.exponent + exponent)
    value = exactly(bound)
    # log10 of a ratio of integers, each good to well under the slack that is allowed for.
    digits = math.log10(value.numerator) - math.log10(value.denominator)
    slack = 1e-15 * (math.log10(value.numerator) + math.log10(value.denominator) + 2)
    assert digits - slack <= bound.log10_upper <= digits + slack + 1e-11


@given(finite)
def test_binary64_survives_a_round_trip(value: float) -> None:
    assert value <= Magnitude.of(value).upper <= math.nextafter(value, math.inf)


@given(positive, positive)
def test_order_is_that_of_the_numbers(x: float, y: float) -> None:
    a, b = Magnitude.of(x), Magnitude.of(y)
    assert (a < b) == (x < y)
    assert a.max(b).upper == max(x, y)
    assert a.min(b).upper == min(x, y)


def test_zero_annihilates_and_infinity_absorbs() -> None:
    assert ZERO * UNBOUNDED == ZERO
    assert ONE * UNBOUNDED == UNBOUNDED
    assert not (ONE + UNBOUNDED).is_finite
    assert ZERO < ONE < UNBOUNDED
    assert ONE * ONE == ONE  # a factor of one costs no rounding


def test_a_magnitude_outlives_binary64() -> None:
    bound = ONE
    for _ in range(264):
        bound = bound * Magnitude.of(10.0)
    assert bound.upper == pytest.approx(1e264, rel=1e-13)
    assert (bound * bound).upper == math.inf
    assert (bound * bound).log10_upper == pytest.approx(528, abs=1e-10)
