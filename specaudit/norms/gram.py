"""The Gram matrix of a weight, with a bound of every rounding that went into it."""

import math
from dataclasses import dataclass

import numpy as np

from specaudit.bracket import round_down, round_up
from specaudit.norms.blocks import Tall, namespace, on_cpu
from specaudit.norms.threads import blas_threads, spread
from specaudit.operators import Array

# Unit roundoff of binary64.
U = 2.0**-53
# Columns of a panel, in what goes through half of a symmetric matrix.
PANEL = 512
# Sides of a tile: GEMM on tiles of the lower triangle alone runs faster than SYRK on all of
# it, adds in an order that is known, and is the same call in every library. Large ones run
# at 95 % of GEMM's own rate; the small ones are for where there are not enough of them.
_TILES = (1024, 512)


def gamma(operations: int, *, is_complex: bool = False) -> float:
    """Return an upper bound of ``k u / (1 - k u)``, the error of `operations` roundings.

    Notes
    -----
    A complex inner product of length k is two real ones of length 2k for each part; the
    four together are within ``gamma(4 (k + 2))`` of the exact one (Higham 2002, section
    3.6, with room to spare), provided that no three-multiplication product is used.
    """
    count = 4 * (operations + 2) if is_complex else operations
    return round_up(count * U / round_down(1.0 - count * U))


@dataclass(frozen=True, slots=True)
class Gram:
    """``G = fl(A* A)`` of a matrix A with its long side first.

    Parameters
    ----------
    matrix : ndarray or tensor, shape (n, n)
        G in square blocks on the diagonal and below them; above them, zeros.
    square : float
        At least ``||A||_F ** 2``.
    error : float
        At least ``||G - A* A||``.
    is_complex : bool
    exponent, entry_error
        Of the `Tall` matrix, which need not be kept.

    Notes
    -----
    `of` sums m products in blocks of c rows. On its way into G, a product meets one
    rounding of its own, at most c - 1 inside its block and one for every further block,
    whatever order, blocking or fused multiply-add BLAS uses; an entry above the diagonal of
    a block may so differ from the one below it. With k = c + ceil(m / c) both satisfy
    ``|G - A* A| <= gamma_k |A|* |A|`` entry by entry, so that the norm of the difference is
    at most ``gamma_k ||A||_F ** 2`` (Higham 2002, section 3.5). The diagonal of G gives
    ``||A||_F ** 2 <= trace(G) / (1 - gamma_k)`` in turn.

    The product must be a conventional one in binary64: no Strassen, no emulation.

    Underflow: entries are scaled so that the largest, and with it ||A||, is above 2**-33.
    What underflows adds less than ``m n 2**-1074`` to the norm of G, which is under
    2**-900 of ||A||**2. One step of `round_up` or `round_down`, which everybody who takes
    numbers from here does after the last sum, covers 2**-53 of it.

    References
    ----------
    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002.
    """

    matrix: Array
    square: float
    error: float
    is_complex: bool
    exponent: int = 0
    entry_error: float = 0.0

    @classmethod
    def of(cls, tall: Tall) -> "Gram":
        """Form the Gram matrix: m n**2 flops, no more memory than it and one block."""
        n = tall.columns
        kind = np.complex128 if tall.is_complex else np.float64
        matrix = tall.like(np.zeros((n, n), dtype=kind))
        tiles = _tiles(n, blas_threads()) if isinstance(matrix, np.ndarray) else _panels(n)
        for _, block in tall.blocks():

            def add(tile: tuple[slice, slice], block: Array = block) -> None:
                rows, columns = tile
                # Times itself, which NumPy sees and does by SYRK, at half the price.
                matrix[rows, columns] += _adjoint(block[:, rows]) @ block[:, columns]

            spread(add, tiles)
        diagonal = on_cpu(matrix.diagonal()).real
        depth = tall.block_rows + -(-tall.rows // tall.block_rows)
        growth = gamma(depth, is_complex=tall.is_complex)
        square = round_up(round_up(math.fsum(diagonal)) / round_down(1.0 - growth))
        error = round_up(growth * square)
        return cls(matrix, square, error, tall.is_complex, tall.exponent, tall.entry_error)

    @property
    def size(self) -> int:
        """Order of the matrix."""
        return int(self.matrix.shape[0])

    def product(self, vector: Array) -> Array:
        """Return ``G v``; half of G is read, and each panel from the cache the second time."""
        if self.size <= PANEL:
            return self.matrix @ vector
        result = namespace(vector).zeros_like(vector)
        for j in range(0, self.size, PANEL):
            stop = j + PANEL
            below = self.matrix[stop:, j:stop]
            result[j:] += self.matrix[j:, j:stop] @ vector[j:stop]
            result[j:stop] += _adjoint(below) @ vector[stop:]
        return result

    def lower_end(self, vector: Array) -> float:
        """Return a number that ``||A|| ** 2`` is not below, from any vector.

        Notes
        -----
        ``||A||**2 >= v* A* A v / v* v >= v* G v / v* v - error``. Both products of
        ``q = fl(v* fl(G v))`` have length n: q is off by at most
        ``gamma_2n |v|* |G| |v| <= gamma_2n ||G||_F v* v``, and
        ``||G||_F <= square + error``. ``s = fl(v* v) >= v* v (1 - gamma_n)``.
        """
        n = self.size
        image = self.product(vector)
        quotient = float((vector.conj() @ image).real)
        length = float((vector.conj() @ vector).real)
        if not (quotient > 0.0 and math.isfinite(quotient) and length > 0.0):
            return 0.0
        once, twice = (gamma(k * n, is_complex=self.is_complex) for k in (1, 2))
        ratio = round_down(round_down(quotient * round_down(1.0 - once)) / length)
        loss = round_up(self.error + round_up(twice * round_up(self.square + self.error)))
        return round_down(ratio - loss)


def _tiles(n: int, threads: int) -> list[tuple[slice, slice]]:
    """Cut a lower triangle into squares, the whole ones first: the halves fill the gaps."""
    side = next((side for side in _TILES if n >= side * 2 * threads), _TILES[-1])
    cuts = [slice(first, min(first + side, n)) for first in range(0, n, side)]
    corners = [(rows, columns) for columns in cuts for rows in reversed(cuts)]
    lower = [(rows, columns) for rows, columns in corners if rows.start >= columns.start]
    return sorted(lower, key=lambda tile: tile[0] == tile[1])


def _panels(n: int) -> list[tuple[slice, slice]]:
    """Cut it into columns: a device fills itself."""
    return [(slice(first, n), slice(first, first + PANEL)) for first in range(0, n, PANEL)]


def _adjoint(block: Array) -> Array:
    return block.T.conj() if "complex" in str(block.dtype) else block.T
