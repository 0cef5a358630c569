"""The certificate: one Cholesky factorisation that proves an upper bound of a spectral norm."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import round_up
from specaudit.norms.blocks import on_cpu
from specaudit.norms.gram import PANEL, Gram, U, gamma

Matrix: TypeAlias = NDArray[np.float64] | NDArray[np.complex128]

# From this order on, factorising in place pays for the import of scipy.linalg (0.3 s).
IN_PLACE = 2048


def upper_end(gram: Gram, shift: float, *, overwrite: bool = False) -> float | None:
    """Return a number that ``||A|| ** 2`` does not exceed, or None where `shift` is too low.

    Parameters
    ----------
    gram : Gram, shape (n, n)
        ``G = fl(A* A)``.
    shift : float
        A little more than the largest eigenvalue; the nearer, the tighter the bound.
    overwrite : bool
        Whether G's memory may serve for the factor. G is lost then.

    Notes
    -----
    B = fl(shift I - G) is factorised as R* R in binary64. Off the diagonal B is exactly -G;
    a diagonal entry is within ``u |b_ii|`` of the exact one. If the factorisation runs to
    its end with finite numbers, R* R = B + E is positive semidefinite with
    ``|E| <= gamma_{n+1} |R|* |R|`` (Higham 2002, theorem 10.3), whose diagonal gives
    ``(R* R)_ii <= b_ii / (1 - gamma_{n+1})``, so that by Cauchy and Schwarz
    ``||E|| <= g trace(B)`` with ``g = gamma_{n+1} / (1 - gamma_{n+1})``. Therefore

        ``||A||**2 <= shift + g trace(B) + u max b_ii + ||G - A* A||``.

    Theorem 10.3 holds for sums in any order, hence for any blocking. It holds where a
    triangular solve multiplies by the reciprocal of a pivot, as OpenBLAS does, too: that is
    one rounding more on entries off the diagonal, which the theorem charges one less than
    those on it. A library that inverts whole diagonal blocks, as those for GPUs do, is
    outside it; so the factorisation is LAPACK's on the CPU wherever G was formed. For
    complex matrices gamma_{n+1} becomes ``gamma_{4 (n + 2)}``.

    A factor is accepted if its diagonal is finite and positive: OpenBLAS runs on after a
    NaN, but whatever is not finite in row i of R* makes entry i of the diagonal so. Underflow
    is dealt with in `Gram`; Rump (2006) has the full count.

    References
    ----------
    S. M. Rump, Verification of positive definiteness, BIT 46 (2006), 433-452.
    """
    if not 0.0 < shift < math.inf:
        return None
    matrix = shifted(on_cpu(gram.matrix), shift, overwrite=overwrite)
    diagonal = matrix.diagonal().real.copy()
    if not diagonal.min() > 0.0:
        return None
    if not factorises(matrix):
        return None
    return round_up(round_up(shift + slack(diagonal, gram.is_complex)) + gram.error)


def slack(diagonal: NDArray[np.float64], is_complex: bool) -> float:
    """Return what the rounding of a completed factorisation can hide below zero.

    Parameters
    ----------
    diagonal : ndarray, shape (n,)
        Of the matrix that was factorised, positive.
    """
    growth = gamma(diagonal.size if is_complex else diagonal.size + 1, is_complex=is_complex)
    growth = round_up(growth / (1.0 - 2.0 * growth))
    trace = round_up(math.fsum(diagonal))
    return round_up(round_up(growth * trace) + U * float(diagonal.max()))


def shifted(matrix: Matrix, shift: float, *, overwrite: bool = False) -> Matrix:
    """Return ``shift I - matrix`` on the diagonal and below; above it, anything."""
    result = matrix if overwrite else np.empty_like(matrix)
    for j in range(0, matrix.shape[0], PANEL):  # what is not written takes no memory either
        np.negative(matrix[j:, j : j + PANEL], out=result[j:, j : j + PANEL])
    diagonal = result.reshape(-1)[:: matrix.shape[0] + 1]
    diagonal[...] = diagonal.real + shift  # what is imaginary there is rounding
    return result


def factorises(matrix: Matrix) -> bool:
    """Whether LAPACK's Cholesky factorisation completes with finite numbers.

    The lower triangle decides; a large matrix is overwritten.
    """
    n = matrix.shape[0]
    if n < IN_PLACE:
        try:
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return False
    else:
        from scipy.linalg import lapack

        # In Fortran's order the transpose: its upper triangle is our lower one.
        routine = lapack.zpotrf if np.iscomplexobj(matrix) else lapack.dpotrf
        factor, info = routine(matrix.T, lower=0, clean=0, overwrite_a=1)
        if info != 0:
            return False
    pivots = factor.diagonal().real
    return bool(np.all(np.isfinite(pivots)) and np.all(pivots > 0.0))
