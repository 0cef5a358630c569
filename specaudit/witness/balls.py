"""Arrays with a proved radius: float64 arithmetic that knows how far it may be off.

A `Ball` holds, entry by entry, the number that exact arithmetic gives: within `rad` of `mid`.
Radii are sums and products of numbers that are not negative, so their own rounding is a
relative one, which `_padded` covers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

STEP = 2.0**-52  # twice the unit roundoff: k * STEP bounds gamma_k for every k that occurs
TINY = 2.0**-1000  # covers every product that underflows, 2**70 of them at once
# NumPy and SciPy compute elementary functions to a few units in the last place, which nobody
# promises: 32 of them are allowed for, sums of a few such functions included.
ELEMENTARY = 2.0**-47


@dataclass(frozen=True, slots=True)
class Ball:
    """An array and how far each entry may be off.

    Parameters
    ----------
    mid : ndarray, float64
    rad : ndarray, shape that broadcasts to `mid`'s, or None
        None where no radius is kept track of: a search needs none. It is catching.
    """

    mid: "Array"
    rad: "Array | None"

    @classmethod
    def exactly(cls, values: "NDArray[np.generic]") -> "Ball":
        """The ball of an array that is known exactly."""
        return cls(np.asarray(values, dtype=np.float64), np.zeros(()))

    def moved(self, function: "Callable[[Array], Array]") -> "Ball":
        """Entries put elsewhere, repeated or left out; no arithmetic."""
        if self.rad is None:
            return Ball(function(self.mid), None)
        return Ball(function(self.mid), function(np.broadcast_to(self.rad, self.mid.shape)))

    def __neg__(self) -> "Ball":
        return Ball(-self.mid, self.rad)

    def __add__(self, other: "Ball") -> "Ball":
        mid = self.mid + other.mid
        if self.rad is None or other.rad is None:
            return Ball(mid, None)
        return Ball(mid, _padded(self.rad + other.rad + STEP * np.abs(mid)))

    def __sub__(self, other: "Ball") -> "Ball":
        return self + (-other)

    def __mul__(self, other: "Ball") -> "Ball":
        return bilinear(np.multiply, self, other, 1)

    def __truediv__(self, other: "Ball") -> "Ball":
        with np.errstate(all="ignore"):
            mid = self.mid / other.mid
        if self.rad is None or other.rad is None:
            return Ball(mid, None)
        # |a/b - p/q| <= (|a - p| + |p/q| |b - q|) / |b|, and |b| is at least |q| less its radius.
        nearest = np.abs(other.mid) * (1.0 - STEP) - other.rad
        with np.errstate(all="ignore"):
            rad = (self.rad + np.abs(mid) * other.rad) / nearest + STEP * np.abs(mid)
        return Ball(mid, _padded(np.where(nearest > 0.0, rad, np.inf)))


def scalar(value: float) -> Ball:
    """A number that binary64 holds exactly, as a ball."""
    return Ball.exactly(np.asarray(value))


def bilinear(
    product: "Callable[[Array, Array], Array]", left: Ball, right: Ball, terms: int
) -> Ball:
    """A sum of at most `terms` products of an entry of one and an entry of the other.

    Notes
    -----
    In any order of summation, fused or not, ``|fl(p) - p| <= gamma_terms * P(|a|, |b|)``
    (Higham 2002, section 3.1); the radii of the operands add ``P(ra, |b| + rb) + P(|a|, rb)``.
    """
    mid = product(left.mid, right.mid)
    if left.rad is None or right.rad is None:
        return Ball(mid, None)
    size_left, size_right = np.abs(left.mid), np.abs(right.mid)
    around_right = right.rad + (terms + 2) * STEP * size_right
    rad = product(size_left, _full(around_right, right))
    if left.rad.any():
        rad = rad + product(_full(left.rad, left), size_right + right.rad)
    return Ball(mid, _padded(rad, terms))


def summed(x: Ball, axes: tuple[int, ...], *, keepdims: bool) -> Ball:
    """Sums over axes."""
    mid = x.mid.sum(axis=axes, keepdims=keepdims)
    if x.rad is None:
        return Ball(mid, None)
    terms = x.mid.size // max(mid.size, 1)
    rad = (_full(x.rad, x) + terms * STEP * np.abs(x.mid)).sum(axis=axes, keepdims=keepdims)
    return Ball(mid, _padded(rad, terms))


def selected(
    choose: "Callable[[Array], Array]", x: Ball, widest: "Callable[[Array], Array]"
) -> Ball:
    """Largest (or smallest) of several entries: no further off than the widest of them is."""
    mid = choose(x.mid)
    return Ball(mid, None if x.rad is None else widest(_full(x.rad, x)))


def elementwise(
    function: "Callable[[Array], Array]", x: Ball, slope: "float | Array", *, exact: bool = False
) -> Ball:
    """A function of each entry that is Lipschitz with constant `slope`.

    Unless it is `exact`, its own evaluation may be off by ``ELEMENTARY * (|x| + |f(x)|)``.
    """
    with np.errstate(all="ignore"):
        mid = function(x.mid)
    if x.rad is None:
        return Ball(mid, None)
    rad = slope * x.rad
    if not exact:
        rad = rad + ELEMENTARY * (np.abs(x.mid) + np.abs(mid))
    return Ball(mid, _padded(rad))


def root(x: Ball) -> Ball:
    """Square roots, of numbers that are taken not to be negative: else there is no value."""
    return _between(np.sqrt, x, lambda end: np.maximum(end, 0.0))


def exponential(x: Ball) -> Ball:
    """Exponentials."""
    return _between(np.exp, x, lambda end: end)


def logarithm(x: Ball) -> Ball:
    """Logarithms; nothing is known of that of a ball which reaches to zero."""
    return _between(np.log, x, lambda end: np.maximum(end, 0.0))


def _between(
    function: "Callable[[Array], Array]", x: Ball, clipped: "Callable[[Array], Array]"
) -> Ball:
    """A function that grows: it lies between its values at the ends."""
    with np.errstate(all="ignore"):
        mid = function(x.mid)
        if x.rad is None:
            return Ball(mid, None)
        reach = _padded(x.rad + STEP * np.abs(x.mid))
        below, above = function(clipped(x.mid - reach)), function(clipped(x.mid + reach))
        rad = np.maximum(np.abs(below - mid), np.abs(above - mid))
        rad = rad + ELEMENTARY * (np.abs(below) + np.abs(above) + np.abs(mid))
    return Ball(mid, _padded(rad))


def _full(rad: "Array", x: Ball) -> "Array":
    return np.broadcast_to(rad, x.mid.shape)


def _padded(rad: "Array", terms: int = 1) -> "Array":
    return np.asarray(rad * (1.0 + (terms + 16) * STEP) + TINY)
