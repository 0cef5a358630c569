"""What is known of the values of a tensor: an interval, norms along axes, a norm of the whole.

Every operation rounds outward. A `Facts` describes a convex set, so a segment between two
reachable values never leaves it, as the mean value theorem behind the constants asks.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from specaudit.bracket import round_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NO_FIBRES: Mapping[int, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Facts:
    """Bounds of the values of one tensor.

    Parameters
    ----------
    lo, hi : float
        Every element lies in ``[lo, hi]``.
    fibres : mapping of int to float
        Axis (counted from the end: -1 is the last) to a bound of the l2 norm of every
        vector along that axis.
    norm : float
        A bound of the l2 norm of all the elements.
    """

    lo: float = -math.inf
    hi: float = math.inf
    fibres: Mapping[int, float] = field(default_factory=lambda: _NO_FIBRES)
    norm: float = math.inf

    @property
    def magnitude(self) -> float:
        """A bound of the absolute value of every element."""
        return min(max(-self.lo, self.hi, 0.0), self.norm, *self.fibres.values(), math.inf)

    def fibre(self, axis: int, size: int | None = None) -> float:
        """A bound of the l2 norm of every vector along a (negative) axis of `size` elements."""
        known = min(self.fibres.get(axis, math.inf), self.norm)
        return known if size is None else min(known, times(root(size), self.magnitude))

    def total(self, count: int | None = None, shape: tuple[int, ...] | None = None) -> float:
        """A bound of the l2 norm of all `count` elements."""
        best = self.norm
        if count is not None:
            best = min(best, times(root(count), self.magnitude))
            for axis, bound in self.fibres.items():
                if shape is not None and -axis <= len(shape) and shape[axis] > 0:
                    best = min(best, times(root(count // shape[axis]), bound))
        return best

    @property
    def is_bounded(self) -> bool:
        """Whether anything is known of the size of the elements."""
        return self.magnitude < math.inf


UNKNOWN = Facts()


def interval(lo: float, hi: float) -> Facts:
    """Return the facts of ``[lo, hi]``; an end that is no number says nothing."""
    lo = -math.inf if math.isnan(lo) else lo
    hi = math.inf if math.isnan(hi) else hi
    return Facts(lo, hi) if lo <= hi else UNKNOWN


def times(*factors: float) -> float:
    """Product of upper bounds, rounded up; 0 times infinity is 0."""
    if any(factor == 0.0 for factor in factors):
        return 0.0
    product = 1.0
    for factor in factors:
        exact = product == 1.0 or factor == 1.0
        product = product * factor if exact else round_up(product * factor)
    return product


def plus(*terms: float) -> float:
    """Sum of upper bounds, rounded up."""
    total = 0.0
    for term in terms:
        total = total + term if 0.0 in (total, term) else round_up(total + term)
    return total


def quotient(dividend: float, divisor: float) -> float:
    """Upper bound over a positive lower bound, rounded up."""
    return 0.0 if dividend == 0.0 else round_up(dividend / divisor)


def root(value: float) -> float:
    """Square root, rounded up; exact for the square of an integer."""
    result = math.sqrt(value)
    return result if result.is_integer() and result * result == value else round_up(result)


def hypotenuse(terms: Iterable[float]) -> float:
    """Square root of a sum of squares, rounded up."""
    present = [term for term in terms if term != 0.0]
    if len(present) < 2:
        return present[0] if present else 0.0
    result = math.hypot(*present)
    return result if math.isinf(result) else result * (1.0 + 8 * 2.0**-53)


def outward(lo: float, hi: float, units: int = 4) -> Facts:
    """Widen an interval by `units` in the last place: what a library function may be off.

    C's exp, tanh and erf are within one or two units in every libm that is in use; the
    subnormal step covers results that underflow.
    """
    return interval(_lower(lo, units), _upper(hi, units))


def monotone(function: Callable[[float], float], facts: Facts, limit: Facts) -> Facts:
    """Image of the interval under an increasing function whose values lie in `limit`."""
    image = outward(_at(function, facts.lo, limit.lo), _at(function, facts.hi, limit.hi))
    return Facts(max(image.lo, limit.lo), min(image.hi, limit.hi))


def _at(function: Callable[[float], float], point: float, limit: float) -> float:
    if math.isinf(point):
        return limit
    try:
        return function(point)
    except OverflowError:
        return math.copysign(math.inf, point)


def _lower(value: float, units: int) -> float:
    return value if math.isinf(value) else value - abs(value) * units * 2.0**-52 - 2.0**-1000


def _upper(value: float, units: int) -> float:
    return value if math.isinf(value) else value + abs(value) * units * 2.0**-52 + 2.0**-1000


def add(first: Facts, second: Facts) -> Facts:
    """Facts of a sum of tensors of one shape."""
    lo, hi = first.lo + second.lo, first.hi + second.hi
    axes = first.fibres.keys() & second.fibres.keys()
    return Facts(
        -math.inf if math.isnan(lo) else math.nextafter(lo, -math.inf),
        math.inf if math.isnan(hi) else math.nextafter(hi, math.inf),
        {axis: plus(first.fibres[axis], second.fibres[axis]) for axis in axes},
        plus(first.norm, second.norm),
    )


def negate(facts: Facts) -> Facts:
    """Facts of the negative."""
    return Facts(-facts.hi, -facts.lo, facts.fibres, facts.norm)


def multiply(first: Facts, second: Facts) -> Facts:
    """Facts of an elementwise product of tensors of one shape."""
    ends = [_product(a, b) for a in (first.lo, first.hi) for b in (second.lo, second.hi)]
    box = outward(min(ends), max(ends), 1)
    one, two = first.magnitude, second.magnitude
    return Facts(
        box.lo,
        box.hi,
        {
            axis: min(times(first.fibre(axis), two), times(one, second.fibre(axis)))
            for axis in first.fibres.keys() | second.fibres.keys()
        },
        min(times(first.norm, two), times(one, second.norm)),
    )


def _product(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b


def scale(facts: Facts, factor: float) -> Facts:
    """Facts of a tensor times a non-negative bound of a linear map's norm, whatever its signs."""
    size = abs(factor)
    fibres = {axis: times(bound, size) for axis, bound in facts.fibres.items()}
    magnitude = times(facts.magnitude, size)
    return Facts(-magnitude, magnitude, fibres, times(facts.norm, size))


def shrunk(facts: Facts, lo: float, hi: float) -> Facts:
    """Facts of values that moved towards zero: norms still hold, the interval is new."""
    return Facts(lo, hi, facts.fibres, facts.norm)


def union(parts: Iterable[Facts]) -> Facts:
    """What holds of every one of several tensors."""
    parts = tuple(parts)
    if not parts:
        return UNKNOWN
    axes = set.intersection(*(set(part.fibres) for part in parts))
    return Facts(
        min(part.lo for part in parts),
        max(part.hi for part in parts),
        {axis: max(part.fibres[axis] for part in parts) for axis in axes},
        max(part.norm for part in parts),
    )


def meet(first: Facts, second: Facts) -> Facts:
    """Both hold; where they contradict each other, as rounding may make them, the first."""
    lo, hi = max(first.lo, second.lo), min(first.hi, second.hi)
    if lo > hi:
        lo, hi = first.lo, first.hi
    axes = first.fibres.keys() | second.fibres.keys()
    return Facts(
        lo,
        hi,
        {
            axis: min(first.fibres.get(axis, math.inf), second.fibres.get(axis, math.inf))
            for axis in axes
        },
        min(first.norm, second.norm),
    )


def of_array(values: "NDArray[np.generic]") -> Facts:
    """Facts of known values."""
    import numpy as np

    if values.size == 0:
        return Facts(0.0, 0.0, {}, 0.0)
    if values.dtype.kind not in "biufV":
        return UNKNOWN
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        return interval(float(array.min()), float(array.max()))
    # Pairwise or not, a sum of n squares is off by less than n units relatively.
    peak = float(np.abs(array).max())
    if peak == 0.0:
        return Facts(0.0, 0.0, dict.fromkeys(range(-array.ndim, 0), 0.0), 0.0)
    squares = (array / peak) ** 2
    slack = 1.0 + (array.size + 8) * 2.0**-52
    fibres = {
        axis: times(float(np.sqrt(squares.sum(axis=axis).max())) * slack, peak)
        for axis in range(-array.ndim, 0)
    }
    norm = times(float(np.sqrt(squares.sum())) * slack, peak)
    return Facts(float(array.min()), float(array.max()), fibres, norm)
