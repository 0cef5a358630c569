"""Intervals and upper bounds whose arithmetic rounds outward.

A `Bracket` is proved to hold a number; a `Magnitude` is an upper bound that
outlives binary64, as a product over the layers of a deep network must.
"""

import math
from dataclasses import dataclass
from typing import Self

_LOG10_2 = math.log10(2.0)


def round_up(value: float) -> float:
    """Return the next binary64 number above `value`, infinity staying infinite."""
    return math.nextafter(value, math.inf)


def round_down(value: float) -> float:
    """Return the next binary64 number below a non-negative `value`, but not below zero.

    An overflow to infinity comes back as the largest finite number, which a
    correctly rounded operation that overflowed is not below.
    """
    return math.nextafter(value, 0.0) if value > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Bracket:
    """An interval proved to hold a non-negative number.

    Parameters
    ----------
    lower, upper : float
        ``0 <= lower <= value <= upper``; `upper` may be infinite, neither may be NaN.

    Raises
    ------
    ValueError
        If the ends are not ordered, negative, or NaN.

    Examples
    --------
    >>> Bracket(1.0, 2.0) * Bracket.exactly(3.0)
    Bracket(lower=2.9999999999999996, upper=6.000000000000001)
    >>> Bracket(1.0, 2.0).max(Bracket(1.5, 1.75))
    Bracket(lower=1.5, upper=2.0)

    Notes
    -----
    ``+``, ``*`` and `hypot` move each end one binary64 number outwards (two for
    `hypot`, whose error CPython bounds by one unit in the last place), so the
    result holds every combination of numbers that the operands hold. `max` is exact.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        # Written so that a NaN in either place is refused as well.
        if not (0.0 <= self.lower <= self.upper and self.lower < math.inf):
            raise ValueError(f"not a bracket: [{self.lower}, {self.upper}]")

    @classmethod
    def exactly(cls, value: float) -> Self:
        """Return the bracket that holds `value` alone."""
        return cls(value, value)

    @property
    def relative_width(self) -> float:
        """``(upper - lower) / upper``; 0 for [0, 0] and 1 where there is no upper end."""
        if self.upper == math.inf:
            return 1.0
        return (self.upper - self.lower) / self.upper if self.upper > 0.0 else 0.0

    def __add__(self, other: "Bracket") -> "Bracket":
        return Bracket(round_down(self.lower + other.lower), round_up(self.upper + other.upper))

    def __mul__(self, other: "Bracket") -> "Bracket":
        if self.upper == 0.0 or other.upper == 0.0:
            return Bracket(0.0, 0.0)
        return Bracket(round_down(self.lower * other.lower), round_up(self.upper * other.upper))

    def max(self, other: "Bracket") -> "Bracket":
        """Return the bracket of the larger of two numbers."""
        return Bracket(max(self.lower, other.lower), max(self.upper, other.upper))

    def hypot(self, other: "Bracket") -> "Bracket":
        """Return the bracket of ``sqrt(a**2 + b**2)``."""
        lower, upper = math.hypot(self.lower, other.lower), math.hypot(self.upper, other.upper)
        return Bracket(round_down(round_down(lower)), round_up(round_up(upper)))

    def meet(self, other: "Bracket") -> "Bracket":
        """Return the intersection of two brackets of the *same* number."""
        return Bracket(max(self.lower, other.lower), min(self.upper, other.upper))


@dataclass(frozen=True, slots=True)
class Magnitude:
    """An upper bound ``mantissa * 2**exponent`` that cannot overflow.

    Parameters
    ----------
    mantissa : float
        0, infinity, or a number in [1/2, 1).
    exponent : int
        Of any size.

    Examples
    --------
    >>> bound = Magnitude.of(1e200) * Magnitude.of(1e200)
    >>> bound.upper, round(bound.log10_upper, 6)
    (inf, 400.0)

    Notes
    -----
    A mantissa and an exponent, and not a logarithm: products and sums of
    mantissas are rounded to nearest by IEEE 754, so that one step upwards bounds
    them, where the error of a library's ``log`` and ``exp`` is nobody's promise.
    """

    mantissa: float
    exponent: int

    @classmethod
    def of(cls, value: float) -> "Magnitude":
        """Return the magnitude of a non-negative binary64 number (infinity included)."""
        if not value >= 0.0:
            raise ValueError(f"not an upper bound of a magnitude: {value}")
        mantissa, exponent = math.frexp(value)
        return cls(mantissa, exponent)

    @property
    def is_finite(self) -> bool:
        """Whether this bounds anything."""
        return self.mantissa < math.inf

    @property
    def upper(self) -> float:
        """The bound in binary64, rounded up; infinity past the largest number."""
        try:
            # Exact unless the result is subnormal, where one step up covers the rounding.
            value = math.ldexp(self.mantissa, self.exponent)
        except OverflowError:
            return math.inf
        return value if self.exponent > -1021 or self.mantissa == 0.0 else round_up(value)

    @property
    def log10_upper(self) -> float:
        """The base-10 logarithm of the bound, rounded up; minus infinity for 0."""
        if self.mantissa == 0.0:
            return -math.inf
        if not self.is_finite:
            return math.inf
        # Two logarithms good to well under 4 units in the last place each, one product, one sum.
        parts = math.log10(self.mantissa), self.exponent * _LOG10_2
        return parts[0] + parts[1] + 8 * 2.0**-53 * (1.0 + abs(parts[0]) + abs(parts[1]))

    def __mul__(self, other: "Magnitude") -> "Magnitude":
        if self.mantissa == 0.0 or other.mantissa == 0.0:
            return ZERO  # 0 * inf is 0 here: a constant branch contributes nothing
        product = self.mantissa * other.mantissa
        # Powers of two (a factor of exactly 1 above all) multiply without a rounding.
        exact = self.mantissa == 0.5 or other.mantissa == 0.5
        return _normal(product if exact else round_up(product), self.exponent + other.exponent)

    def __add__(self, other: "Magnitude") -> "Magnitude":
        large, small = (self, other) if _key(self) >= _key(other) else (other, self)
        if small.mantissa == 0.0 or not large.is_finite:
            return large
        # A gap past 1100 underflows to 0; the step upwards still covers it.
        shifted = math.ldexp(small.mantissa, max(small.exponent - large.exponent, -1100))
        return _normal(round_up(large.mantissa + shifted), large.exponent)

    def max(self, other: "Magnitude") -> "Magnitude":
        """Return the larger bound."""
        return self if _key(self) >= _key(other) else other

    def min(self, other: "Magnitude") -> "Magnitude":
        """Return the smaller bound: of the same number, both hold."""
        return self if _key(self) <= _key(other) else other

    def hypot(self, *others: "Magnitude") -> "Magnitude":
        """Return a bound of the square root of the sum of squares."""
        present = [term for term in (self, *others) if term.mantissa > 0.0]
        if len(present) < 2:
            return present[0] if present else ZERO
        total = ZERO
        for term in present:
            total = total + term * term
        return total.sqrt()

    def sqrt(self) -> "Magnitude":
        """Return a bound of the square root."""
        if self.mantissa == 0.0 or not self.is_finite:
            return self
        odd = self.exponent % 2
        root = math.sqrt(self.mantissa * (2.0 if odd else 1.0))
        return _normal(round_up(root), (self.exponent - odd) // 2)

    def __lt__(self, other: "Magnitude") -> bool:
        return _key(self) < _key(other)

    def __le__(self, other: "Magnitude") -> bool:
        return _key(self) <= _key(other)


def _normal(mantissa: float, exponent: int) -> Magnitude:
    if mantissa == math.inf:
        return UNBOUNDED
    mantissa, shift = math.frexp(mantissa)
    return Magnitude(mantissa, exponent + shift)


def _key(bound: Magnitude) -> tuple[float, int, float]:
    if bound.mantissa == 0.0:
        return (-1.0, 0, 0.0)
    return (math.inf, 0, 0.0) if not bound.is_finite else (0.0, bound.exponent, bound.mantissa)


ZERO = Magnitude(0.0, 0)
ONE = Magnitude(0.5, 1)
UNBOUNDED = Magnitude(math.inf, 0)
