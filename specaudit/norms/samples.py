"""Samples of a symbol, and the certificate that none of them is larger than a bound."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace
from specaudit.norms.gram import U, gamma
from specaudit.norms.positive import factorise
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Boxes, Points, inflation, spares_middle
from specaudit.operators import Array

_CHUNK_BYTES = 1 << 25
_BASIS_BYTES = 1 << 28
_PANEL = 128
# From this many columns on groups are taken one by one, and Gram matrices get taps of their own.
_LARGE = 32


def failures(taps: Taps, boxes: Boxes, upper: float) -> NDArray[np.bool_]:
    """Return which boxes might hold a frequency where the symbol is larger than `upper`.

    Notes
    -----
    A box that is not named here has an inflated sample of norm at most `upper`, which is
    what `torus.inflation` asks for.

    Boxes of several sizes share the inflated taps of the smallest, r_t, and have a factor
    for the rest. Along an axis which spares its middle tap this is right as well: with
    p, p_0 and M as in `inflation`, r for the small and s for the large box,
    ``(s / r) (p_0 + r (p - p_0))`` is at least ``p_0 + s (p - p_0)`` if p_0 >= 0, and at
    least s p if not; M is below both, for the s there is not below that of M. Riesz.
    """
    ratios = np.ones((len(boxes), taps.axes))
    for axis, degree in enumerate(taps.degrees.tolist()):
        ratios[:, axis] = inflation(degree, boxes.counts[:, axis])
    failed = np.asarray(~np.isfinite(ratios).all(axis=1))
    finest = ratios.min(axis=0, initial=1.0 / U)
    factors = np.prod(ratios / finest, axis=1) * (1.0 + 8 * U * (taps.axes + 1))
    todo = np.flatnonzero(~failed)
    points, limits = boxes.centres().take(todo), upper / factors[todo] * (1.0 - 2 * U)
    failed[todo] = larger(taps, points, limits, _weights(taps, finest))
    return failed


def larger(
    taps: Taps,
    points: Points,
    limits: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Return at which points the symbol is not proved to be at most a limit.

    Parameters
    ----------
    limits : ndarray, shape (points,)
    weights : ndarray, shape (taps,), optional
        Factors of the taps, not negative.

    Notes
    -----
    With F the exact symbol at a point and G = fl(F* F), of order n, what proves it is that
    the Cholesky factorisation of ``fl(shift I - G)`` runs to its end:

        ``||F||**2 <= shift (1 + g (n + 1)) + u shift + ||G - F* F||``

    with g as in `cholesky.upper_end`; the trace of what is factorised is at most
    ``n shift``, up to the error of G. On the way to G, by either route, every product of
    two entries of the kernel meets at most `_roundings` roundings, so the error is at most
    gamma of that times ``|| sum_t weights_t |K_t| ||_F ** 2``.
    """
    weights = np.ones(len(taps.positions)) if weights is None else weights
    mass = taps.mass(weights)[points.group]
    error = gamma(_roundings(taps)) * mass**2 * (1.0 + 8 * U)
    growth = gamma(taps.columns, is_complex=True)
    growth = (taps.columns + 1) * growth / (1.0 - 2.0 * growth)
    shift = (limits**2 * (1.0 - 4 * U) - error) / (1.0 + growth) * (1.0 - 16 * U)
    # Where rounding is no longer small beside the bound, the bound is not worth having.
    failed = ~(shift > 4.0 * (taps.columns + 1) * error)
    todo = np.flatnonzero(~failed & (mass > limits))
    diagonal = range(taps.columns)
    for some, stack in _stacks(taps, points, todo, weights):
        stack[:, diagonal, diagonal] += _like(taps, shift[some])[:, None]
        failed[some] = ~factorise(stack)
    return failed


def _weights(taps: Taps, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.ones(len(taps.positions))
    for axis, degree in enumerate(taps.degrees):
        middle = spares_middle(int(degree)) & (2 * taps.positions[:, axis] == degree)
        weights *= np.where(middle, 1.0, ratios[axis])
    return weights


def _roundings(taps: Taps) -> int:
    count = len(taps.positions)
    lags = min(count * count, int(np.prod(2 * taps.degrees + 1)))
    # A complex product over the rows; sums over taps, over lags; phases of every axis.
    return 4 * (taps.rows + 2) + 8 * count + 8 * lags + 80 * (taps.axes + 1)


def _stacks(
    taps: Taps, points: Points, todo: NDArray[np.int64], weights: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Yield some of the points, and ``-F* F`` of their samples (the lower triangle is right)."""
    alone = taps.groups == 1 or taps.columns >= _LARGE
    parts = [todo[points.group[todo] == group] for group in range(taps.groups)] if alone else [todo]
    for part in parts:
        if part.size == 0:
            continue
        if alone:
            values = taps.values[int(points.group[part[0]])]
            form = _GramTaps.of(taps, values, weights) if _pays(taps, part.size) else None
            each = (
                8 * taps.columns**2 if form else 16 * taps.columns * (taps.rows + 2 * taps.columns)
            )
        else:
            form, each = (
                None,
                16 * taps.columns * (taps.rows * (len(weights) + 1) + 2 * taps.columns),
            )
        step = max(1, _CHUNK_BYTES // each)
        for start in range(0, part.size, step):
            some = part[start : start + step]
            chosen = points.take(some)
            if form:
                yield some, form.at(chosen)
            else:
                chosen_values = values if alone else taps.values[_like(taps, chosen.group)]
                coefficients = -chosen.phases(taps.positions) * weights
                yield some, _gram(_symbol(chosen_values, _like(taps, coefficients)))


def _pays(taps: Taps, count: int) -> bool:
    """Whether the Gram matrix's own taps are worth forming for a number of samples."""
    number, rows, columns = len(taps.positions), taps.rows, taps.columns
    lags = int(np.prod(2 * taps.degrees + 1))
    if columns < _LARGE or 10 * lags * columns**2 > _BASIS_BYTES:
        return False
    forming = (4 if taps.is_complex else 1) * number * (number + 1) * rows * columns**2
    each = 4 * number * rows * columns + 8 * rows * columns**2
    return forming + count * 4 * lags * columns**2 < count * each


def _symbol(values: Array, coefficients: Array) -> Array:
    """Return ``sum_t coefficients[b, t] values[(b,) t]``, shape (points, rows, columns)."""
    library = namespace(values)
    *some, number, rows, columns = values.shape
    flat = library.reshape(values, (*some, number, rows * columns))
    if some:
        coefficients = coefficients[:, None, :]
    if number == 1 and not _is_complex(values):
        # One tap, no frequency: the phases are all 1, and real arithmetic is enough.
        result = library.real(coefficients) @ flat
    elif _is_complex(values):
        result = coefficients @ flat
    else:
        result = library.real(coefficients) @ flat + 1j * (library.imag(coefficients) @ flat)
    return library.reshape(result, (coefficients.shape[0], rows, columns))


def _gram(symbol: Array) -> Array:
    library = namespace(symbol)
    adjoint = library.permute_dims(symbol, (0, 2, 1))
    return -((library.conj(adjoint) if _is_complex(symbol) else adjoint) @ symbol)


def _is_complex(array: Array) -> bool:
    return "complex" in str(array.dtype)


def _like(taps: Taps, array: Array) -> Array:
    """Return a NumPy array in the library and on the device of the taps."""
    return namespace(taps.values).asarray(array, device=taps.values.device)


@dataclass(frozen=True, slots=True)
class _GramTaps:
    """``-F* F`` as a trigonometric polynomial of its own: ``sum_l`` over lags of positions.

    The lag -l has the adjoint of lag l, so in pairs the coefficients are real,
    ``cos (G + G*) + sin i (G - G*)``, and a sample is one real product: phases times basis.
    The basis is kept as pairs of real numbers, a panel of rows at a time up to the diagonal.
    """

    lags: NDArray[np.int64]
    panels: tuple[Array, ...]
    buffer: Array

    @classmethod
    def of(cls, taps: Taps, values: Array, weights: NDArray[np.float64]) -> "_GramTaps":
        library = namespace(values)
        number = len(weights)
        sums: dict[tuple[int, ...], Array] = {}
        adjoint = library.permute_dims(values, (0, 2, 1))
        adjoint = library.conj(adjoint) if taps.is_complex else adjoint
        for s in range(number):
            for t, block in zip(range(s, number), adjoint[s] @ values[s:], strict=True):
                lag = tuple((taps.positions[t] - taps.positions[s]).tolist())
                block = block * -float(weights[s] * weights[t])
                sums[lag] = sums[lag] + block if lag in sums else block
        lags = sorted(sums)  # the first is zero: t runs from s, in lexicographic order
        n = taps.columns
        panels = []
        for start in range(0, n, _PANEL):
            stop = min(start + _PANEL, n)
            rows = [_pairs(library, sums[lags[0]][start:stop, :stop])]
            for lag in lags[1:]:
                one = sums[lag][start:stop, :stop]
                other = library.permute_dims(sums[lag], (1, 0))[start:stop, :stop]
                other = library.conj(other) if taps.is_complex else other
                rows += [_pairs(library, one + other), _pairs(library, 1j * (one - other))]
            panels.append(library.stack(rows))
        room = max(1, _CHUNK_BYTES // (8 * n * n))
        buffer = library.zeros((room, n, n), dtype=library.complex128, device=values.device)
        return cls(np.array(lags, dtype=np.int64), tuple(panels), buffer)

    def at(self, points: Points) -> Array:
        """Return the samples, in place of the last ones; only the lower triangles are right."""
        first = self.panels[0]
        library = namespace(first)
        phases = points.phases(self.lags)
        coefficients = np.empty((len(points), first.shape[0]))
        coefficients[:, 0] = 1.0
        coefficients[:, 1::2], coefficients[:, 2::2] = phases[:, 1:].real, phases[:, 1:].imag
        coefficients = library.asarray(coefficients, device=first.device)
        result = self.buffer[: len(points)]
        for number, panel in enumerate(self.panels):
            start, stop = number * _PANEL, min((number + 1) * _PANEL, result.shape[1])
            block = _joined(coefficients @ panel)
            result[:, start:stop, :stop] = library.reshape(block, (-1, stop - start, stop))
        return result


def _joined(pairs: Array) -> Array:
    """Return complex numbers from rows of real and imaginary parts side by side."""
    if isinstance(pairs, np.ndarray):
        return pairs.view(np.complex128)
    return pairs[:, 0::2] + 1j * pairs[:, 1::2]


def _pairs(library: Any, block: Array) -> Array:
    """Return real and imaginary parts side by side, in one row."""
    if not _is_complex(block):
        return library.reshape(library.stack([block, library.zeros_like(block)], axis=-1), (-1,))
    return library.reshape(
        library.stack([library.real(block), library.imag(block)], axis=-1), (-1,)
    )
