"""Samples of a symbol, and the certificate that none of them is larger than a bound."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace
from specaudit.norms.gram import U, gamma
from specaudit.norms.polynomial import GramPolynomial
from specaudit.norms.positive import factorise
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Boxes, Points, spares_middle
from specaudit.operators import Array

_CHUNK_BYTES = 1 << 25
# Samples that are evaluated at once: enough for a matrix product, few enough for the cache.
_AT_ONCE, _AT_ONCE_BYTES, _BUFFER_BYTES = 16, 1 << 23, 1 << 26
# Memory for Gram polynomials that are kept from one call to the next.
_KEPT_BYTES = 1 << 28
# From this many columns on, groups are taken one by one, and get a Gram polynomial.
_LARGE = 32


@dataclass(frozen=True, slots=True)
class Samples:
    """The symbol at single frequencies, held against bounds.

    Parameters
    ----------
    taps : Taps
    """

    taps: Taps
    _kept: dict[int, GramPolynomial] = field(default_factory=dict)

    def failures(self, boxes: Boxes, upper: float) -> NDArray[np.bool_]:
        """Return which boxes might hold a frequency where the symbol is larger than `upper`.

        A box that is not named has an inflated sample of norm at most `upper`, which is
        what `torus.inflation` asks for.
        """
        ratios = boxes.ratios(self.taps.degrees)
        failed = np.asarray(~np.isfinite(ratios).all(axis=1))
        todo = np.flatnonzero(~failed)
        limits = np.full(todo.size, upper)
        failed[todo] = self.larger(boxes.centres().take(todo), limits, ratios[todo])
        return failed

    def blur(self, upper: float) -> float:
        """Return how much of `upper`, relative, `larger` may need to see past its own rounding."""
        size = gamma(_roundings(self.taps)) * (float(self.taps.mass.max()) / upper) ** 2
        return size + (self.taps.columns + 1) * gamma(self.taps.columns, is_complex=True)

    def larger(
        self,
        points: Points,
        limits: NDArray[np.float64],
        ratios: NDArray[np.float64] | None = None,
    ) -> NDArray[np.bool_]:
        """Return at which points the symbol is not proved to be at most a limit.

        Parameters
        ----------
        limits : ndarray, shape (points,)
        ratios : ndarray, shape (points, axes), optional
            Inflation along each axis: of all taps, or of all but the middle ones.

        Notes
        -----
        With F the exact symbol at a point and G = fl(F* F), of order n, what proves it is
        that the Cholesky factorisation of ``fl(shift I - G)`` runs to its end:

            ``||F||**2 <= shift (1 + g (n + 1)) + u shift + ||G - F* F||``

        with g as in `cholesky.upper_end`; the trace of what is factorised is at most
        ``n shift``, up to the error of G. On the way to G, by either route, every product
        of two entries of the kernel meets at most `_roundings` roundings, so the error is
        at most gamma of that times ``|| sum_t r_t |K_t| ||_F ** 2``, r_t the factor of tap t.
        """
        taps = self.taps
        ratios = np.ones((len(points), taps.axes)) if ratios is None else ratios
        spared = np.array([spares_middle(degree) for degree in taps.degrees.tolist()], dtype=bool)
        limits = limits / np.prod(ratios[:, ~spared], axis=1) * (1.0 - 8 * U * (taps.axes + 1))
        ratios = ratios[:, spared]
        mass = taps.mass[points.group] * np.prod(ratios, axis=1)
        error = gamma(_roundings(taps)) * mass**2 * (1.0 + 16 * U * (taps.axes + 1))
        growth = gamma(taps.columns, is_complex=True)
        growth = (taps.columns + 1) * growth / (1.0 - 2.0 * growth)
        shift = (limits**2 * (1.0 - 4 * U) - error) / (1.0 + growth) * (1.0 - 16 * U)
        # Where rounding is no longer small beside the bound, the bound is not worth having.
        failed = np.asarray(~(shift > 4.0 * (taps.columns + 1) * error), dtype=np.bool_)
        diagonal = range(taps.columns)
        todo = np.flatnonzero(~failed & (mass * (1.0 + 16 * U * (taps.axes + 1)) > limits))
        for some, stack in self._stacks(points, todo, ratios):
            stack[:, diagonal, diagonal] += taps.like(shift[some])[:, None]
            failed[some] = ~factorise(stack)
        return failed

    def _stacks(
        self, points: Points, todo: NDArray[np.int64], ratios: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Yield some of the points, and ``-F* F`` there (the lower triangles are right)."""
        taps = self.taps
        outer = _outer(taps)
        if taps.groups > 1 and taps.columns < _LARGE:
            each = taps.rows * (len(outer) + 1) + 2 * taps.columns
            step = max(1, _CHUNK_BYTES // (16 * taps.columns * each))
            for start in range(0, todo.size, step):
                some = todo[start : start + step]
                values = taps.values[taps.like(points.group[some])]
                yield some, self._direct(values, points.take(some), ratios[some], outer)
            return
        for group in np.unique(points.group[todo]).tolist():
            mine = todo[points.group[todo] == group]
            values = taps.values[group]
            polynomial = self._polynomial(group, mine.size, outer)
            # Of a large kernel with few channels, the phases are what takes memory.
            each = 16 * taps.columns * (taps.rows + 2 * taps.columns) + 64 * len(outer)
            step = len(polynomial.buffer) if polynomial else max(1, _CHUNK_BYTES // each)
            for start in range(0, mine.size, step):
                some = mine[start : start + step]
                if polynomial:
                    yield some, polynomial.at(points.take(some), ratios[some])
                else:
                    yield some, self._direct(values, points.take(some), ratios[some], outer)

    def _polynomial(
        self, group: int, count: int, outer: NDArray[np.bool_]
    ) -> GramPolynomial | None:
        """Return the Gram polynomial of a group if forming it pays for `count` samples."""
        if group in self._kept:
            return self._kept[group]
        taps = self.taps
        if taps.columns < _LARGE or not taps.axes:
            return None
        terms = GramPolynomial.count_terms(taps.positions, outer)
        size = 10 * terms * taps.columns**2
        if size > _KEPT_BYTES:
            return None
        number, rows, columns = len(taps.positions), taps.rows, taps.columns
        forming = (4 if taps.is_complex else 1) * number * (number + 1) * rows * columns**2
        each = 4 * number * rows * columns + 8 * rows * columns**2
        if forming + count * 4 * terms * columns**2 > count * each:
            return None
        each = 16 * columns**2
        room = max(1, min(max(_AT_ONCE, _AT_ONCE_BYTES // each), _BUFFER_BYTES // each))
        polynomial = GramPolynomial.of(taps.values[group], taps.positions, outer, room)
        if (len(self._kept) + 1) * size <= _KEPT_BYTES:
            self._kept[group] = polynomial
        return polynomial

    def _direct(
        self, values: Array, points: Points, ratios: NDArray[np.float64], outer: NDArray[np.bool_]
    ) -> Array:
        taps = self.taps
        weights = np.ones((len(points), len(outer)))
        for axis in range(ratios.shape[1]):
            weights *= np.where(outer[:, axis], ratios[:, axis, None], 1.0)
        symbol = _symbol(values, taps.like(points.phases(taps.positions) * weights))
        library = namespace(symbol)
        adjoint = library.permute_dims(symbol, (0, 2, 1))
        return (-library.conj(adjoint) if "complex" in str(symbol.dtype) else -adjoint) @ symbol


def _outer(taps: Taps) -> NDArray[np.bool_]:
    """Return which taps are off the middle, shape (taps, axes that spare their middle)."""
    spared = [j for j, degree in enumerate(taps.degrees.tolist()) if spares_middle(degree)]
    return np.asarray(2 * taps.positions[:, spared] != taps.degrees[spared])


def _roundings(taps: Taps) -> int:
    count = len(taps.positions)
    terms = min(count * count, 4**taps.axes * int(np.prod(2 * taps.degrees + 1)))
    # A complex product over the rows; sums over taps, over lags; phases and factors of axes.
    return int(4 * (taps.rows + 2) + 8 * count + 8 * terms + 100 * (taps.axes + 1))


def _symbol(values: Array, coefficients: Array) -> Array:
    """Return ``sum_t coefficients[b, t] values[(b,) t]``, shape (points, rows, columns)."""
    library = namespace(values)
    *some, number, rows, columns = values.shape
    flat = library.reshape(values, (*some, number, rows * columns))
    count = coefficients.shape[0]
    if some:
        coefficients = coefficients[:, None, :]
    if "complex" in str(values.dtype):
        result = coefficients @ flat
    elif number == 1:
        # No frequency: the phases are all 1, and real arithmetic is enough.
        result = library.real(coefficients) @ flat
    else:
        result = library.real(coefficients) @ flat + 1j * (library.imag(coefficients) @ flat)
    return library.reshape(result, (count, rows, columns))
