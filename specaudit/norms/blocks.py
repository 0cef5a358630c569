"""A matrix as the norm algorithms read it: in float64, long side first, a block at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specaudit.operators import Array, LinearOperator, widen

# Rows of a block: many enough for GEMM's full rate, few enough for the cache of a narrow one.
_ROWS = 2048
_BLOCK_BYTES = 1 << 26
# Between these, squares and their sums stay clear of overflow and underflow unscaled.
_SMALL, _LARGE = 2.0**-32, 2.0**32


@dataclass(frozen=True, slots=True)
class Tall:
    """A matrix, transposed if it is wide, times ``2**-exponent``.

    Parameters
    ----------
    entries : ndarray or tensor, shape (rows, columns), rows >= columns
        As stored; a view where the matrix was wide.
    exponent : int
        Brings the largest entry near 1 where it is not between 2**-32 and 2**32.
    entry_error : float
        Relative rounding of the entries on their way into float64: 0 but for integers
        past 2**53.
    """

    entries: Array
    exponent: int = 0
    entry_error: float = 0.0

    @classmethod
    def of(cls, matrix: Array) -> "Tall":
        """Return an m x n matrix with its long side first, not scaled."""
        return cls(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)

    def scaled(self, peak: float) -> "Tall":
        """Return the same matrix, fit for squaring; `peak` is its largest entry."""
        kind = str(self.entries.dtype).removeprefix("torch.")
        error = 2.0**-53 if kind in ("int64", "uint64") and peak >= 2.0**53 else 0.0
        exponent = 0 if _SMALL <= peak <= _LARGE else math.frexp(peak)[1]
        return Tall(self.entries, exponent, error)

    @property
    def rows(self) -> int:
        """Length of the long side."""
        return int(self.entries.shape[0])

    @property
    def columns(self) -> int:
        """Length of the short side."""
        return int(self.entries.shape[1])

    @property
    def is_complex(self) -> bool:
        """Whether the entries are complex numbers."""
        return "complex" in str(self.entries.dtype)

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return max(1, min(self.rows, _ROWS, max(256, _BLOCK_BYTES // (8 * self.columns))))

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """Yield ``(first row, rows in float64)``; the next block overwrites the last.

        Notes
        -----
        Widening is exact, scaling by a power of two too, but for entries that underflow:
        those are off by at most 2**-1074, next to a largest entry of about 1.
        """
        step = self.block_rows
        buffer = self._buffer(step)
        for start in range(0, self.rows, step):
            block = buffer[: min(step, self.rows - start)]
            block[...] = self.entries[start : start + step]
            if self.exponent:  # in two factors: 2**1074 is not a number
                half = -self.exponent // 2
                block *= 2.0**half
                block *= 2.0 ** (-self.exponent - half)
            yield start, block

    def operator(self) -> LinearOperator:
        """Return the map from the short side to the long side."""

        def matvec(vector: Array) -> Array:
            result = self._vector(self.rows)
            for start, block in self.blocks():
                result[start : start + block.shape[0]] = block @ vector
            return result

        def rmatvec(vector: Array) -> Array:
            result = self._vector(self.columns)
            for start, block in self.blocks():
                result += block.T.conj() @ vector[start : start + block.shape[0]]
            return result

        kind = "complex128" if self.is_complex else "float64"
        return LinearOperator((self.rows, self.columns), kind, matvec, rmatvec)

    def to_numpy(self) -> NDArray[np.float64] | NDArray[np.complex128]:
        """Return all of it in float64: for LAPACK, which wants it whole."""
        shape = self.rows, self.columns
        whole = np.empty(shape, np.complex128) if self.is_complex else np.empty(shape, np.float64)
        for start, block in self.blocks():
            whole[start : start + block.shape[0]] = on_cpu(block)
        return whole

    def like(self, vector: Array) -> Array:
        """Return a NumPy array in the library and on the device of the entries."""
        if isinstance(self.entries, np.ndarray):
            return vector
        import torch  # the entries are torch's already

        return torch.from_numpy(vector).to(self.entries.device)

    def _vector(self, size: int) -> Array:
        return self.like(np.zeros(size, dtype=np.complex128 if self.is_complex else np.float64))

    def _buffer(self, rows: int) -> Array:
        # Laid out as the entries are: the copy of a transposed view would crawl otherwise.
        kind = np.complex128 if self.is_complex else np.float64
        strides = self.entries.stride() if hasattr(self.entries, "stride") else self.entries.strides
        if abs(strides[0]) < abs(strides[1]):
            return self.like(np.empty((self.columns, rows), dtype=kind)).T
        return self.like(np.empty((rows, self.columns), dtype=kind))


def on_cpu(array: Array) -> Array:
    """Return a NumPy array of any library's array."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def namespace(array: Array) -> Any:
    """Return the array API of an array: NumPy's, or torch's."""
    if isinstance(array, np.ndarray):
        return np
    from array_api_compat import array_namespace  # 40 ms that NumPy's arrays do not cost

    return array_namespace(array)


def peak_and_defects(tall: Tall) -> tuple[float, int, int]:
    """Return the largest absolute entry, and how many entries are NaN and infinite.

    Notes
    -----
    Of a complex entry, the larger of its two parts counts.
    """
    peak, nans, infinities = 0.0, 0, 0
    for part in _parts(tall):
        high, low = float(part.max()), float(part.min())
        if math.isfinite(high) and math.isfinite(low):
            peak = max(peak, abs(high), abs(low))
        else:
            whole = on_cpu(part)
            nans += int(np.count_nonzero(np.isnan(whole)))
            infinities += int(np.count_nonzero(np.isinf(whole)))
    return peak, nans, infinities


def _parts(tall: Tall) -> Iterator[Array]:
    if str(tall.entries.dtype).removeprefix("torch.") in ("float32", "float64"):
        yield tall.entries  # no copy: the usual case reads memory once
        return
    for _, block in Tall(tall.entries).blocks():
        if tall.is_complex:
            yield block.real
            yield block.imag
        else:
            yield block


def is_monomial(tall: Tall) -> bool:
    """Whether no row and no column has two entries: the norm is then the largest entry.

    Diagonal matrices, permutations, and a single number are such; their norm is exact.
    """
    if tall.is_complex or tall.entry_error:
        return False
    if np.count_nonzero(on_cpu(widen(tall.entries[0]))) > 1:
        return False  # one look at the first row spares nearly every matrix the rest
    taken = np.zeros(tall.columns, dtype=np.int64)
    for _, block in Tall(tall.entries).blocks():
        present = on_cpu(block) != 0.0
        if np.any(present.sum(axis=1) > 1):
            return False
        taken += present.sum(axis=0)
        if np.any(taken > 1):
            return False
    return True
