"""The Gram matrix of a symbol as a trigonometric polynomial of its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace
from specaudit.norms.torus import Points
from specaudit.operators import Array

_PANEL = 128


@dataclass(frozen=True, slots=True)
class GramPolynomial:
    """``-F* F = -sum_(s, t) r_s r_t K_s* K_t exp(-i <p_t - p_s, w>)``, summed by lags.

    Parameters
    ----------
    lags : ndarray, shape (terms, axes)
        Differences p_t - p_s. The lag -l has the adjoint of lag l, so of each pair one is
        kept, and the coefficients are real: ``cos (G + G*) + sin i (G - G*)``.
    powers : ndarray, shape (terms, inflated axes)
        How many of the two taps are off the middle: what is to be multiplied by a power of
        an axis' ratio is a term of its own, so that every sample may have other ratios.
    panels : tuple of ndarray
        The basis: for each panel of rows, up to the diagonal, real and imaginary parts side
        by side, so that samples are one real product, of coefficients and basis.
    buffer : ndarray, shape (room, n, n), complex128
    """

    lags: NDArray[np.int64]
    powers: NDArray[np.int64]
    panels: tuple[Array, ...]
    buffer: Array

    @classmethod
    def of(
        cls, values: Array, positions: NDArray[np.int64], outer: NDArray[np.bool_], room: int
    ) -> "GramPolynomial":
        """Return the polynomial of taps of shape (taps, m, n): taps**2 m n**2 flops."""
        library = namespace(values)
        is_complex = "complex" in str(values.dtype)
        adjoint = library.permute_dims(values, (0, 2, 1))
        adjoint = library.conj(adjoint) if is_complex else adjoint
        sums: dict[tuple[tuple[int, ...], tuple[int, ...]], Array] = {}
        for s in range(len(positions)):
            for t, block in enumerate(adjoint[s] @ values[s:], start=s):
                lag = tuple((positions[t] - positions[s]).tolist())
                key = lag, tuple((outer[s].astype(int) + outer[t]).tolist())
                sums[key] = sums[key] - block if key in sums else -block
        terms = sorted(sums)  # t runs from s, in lexicographic order: no lag is negative
        n = values.shape[2]
        panels = []
        for start in range(0, n, _PANEL):
            stop = min(start + _PANEL, n)
            rows = []
            for term in terms:
                one = sums[term][start:stop, :stop]
                if not any(term[0]):
                    rows.append(_pairs(library, one))
                    continue
                other = library.permute_dims(sums[term], (1, 0))[start:stop, :stop]
                other = library.conj(other) if is_complex else other
                rows += [_pairs(library, one + other), _pairs(library, 1j * (one - other))]
            panels.append(library.stack(rows))
        lags = np.array([lag for lag, _ in terms], dtype=np.int64)
        powers = np.array([power for _, power in terms], dtype=np.int64)
        buffer = library.zeros((room, n, n), dtype=library.complex128, device=values.device)
        return cls(lags, powers, tuple(panels), buffer)

    @staticmethod
    def count_terms(positions: NDArray[np.int64], outer: NDArray[np.bool_]) -> int:
        """Return the number of rows of the basis."""
        pairs = np.concatenate(
            [positions[None] - positions[:, None], outer[None] + 1 * outer[:, None]], axis=-1
        )
        return len(np.unique(pairs.reshape(-1, pairs.shape[-1]), axis=0))

    def at(self, points: Points, ratios: NDArray[np.float64]) -> Array:
        """Return samples, in place of the last ones; only the lower triangles are right."""
        phases = points.phases(self.lags)
        for axis in range(ratios.shape[1]):
            phases *= ratios[:, axis, None] ** self.powers[:, axis]
        still = ~self.lags.any(axis=1)
        real, imaginary = phases.real, phases.imag
        # In the order of the basis: one row for a lag of zero, two for any other.
        both = np.stack([real, imaginary], axis=-1).reshape(len(points), -1)
        kept = np.stack([np.ones_like(still), ~still], axis=-1).reshape(-1)
        first = self.panels[0]
        library = namespace(first)
        coefficients = library.asarray(both[:, kept], device=first.device)
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
    if "complex" in str(block.dtype):
        parts = [library.real(block), library.imag(block)]
    else:
        parts = [block, library.zeros_like(block)]
    return library.reshape(library.stack(parts, axis=-1), (-1,))
