"""Cholesky factorisations of many small matrices at once: which of them run to their end."""

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace, on_cpu
from specaudit.norms.threads import one_thread
from specaudit.operators import Array

# Up to this order NumPy's matrices are eliminated side by side, past it one by one by LAPACK.
_SIDE_BY_SIDE = 12
# From this order on SciPy's in-place factorisation pays for its import (0.3 s).
_IN_PLACE = 256
_PANEL = 32


def factorise(stack: Array) -> NDArray[np.bool_]:
    """Return which Hermitian matrices have a Cholesky factor with finite, positive pivots.

    Parameters
    ----------
    stack : ndarray or tensor, shape (count, n, n), float64 or complex128
        Overwritten. The lower triangles decide.

    Notes
    -----
    Every route is the conventional algorithm: each entry of the factor is an entry of the
    matrix, less an inner product, over a pivot. That is what the error bound in
    `specaudit.norms.cholesky.upper_end` asks for; a library that inverts whole diagonal
    blocks, as those for GPUs do, is outside it, so tensors are eliminated here, on their
    device, with products of panels.
    """
    if isinstance(stack, np.ndarray) and stack.shape[1] > _SIDE_BY_SIDE:
        routine = _lapack
        if stack.shape[1] >= _IN_PLACE:
            import scipy.linalg.lapack  # noqa: F401  before its threads are counted

            routine = _lapack_in_place
        with one_thread():
            return np.array([routine(matrix) for matrix in stack], dtype=np.bool_)
    with np.errstate(all="ignore"):  # a matrix that has failed runs on, into NaN
        return _eliminate(stack)


def _lapack(matrix: Array) -> bool:
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return _sound(factor)


def _lapack_in_place(matrix: Array) -> bool:
    from scipy.linalg import lapack

    routine = lapack.zpotrf if np.iscomplexobj(matrix) else lapack.dpotrf
    # In Fortran's order the transpose: its upper triangle is our lower one.
    factor, info = routine(matrix.T, lower=0, clean=0, overwrite_a=1)
    return info == 0 and _sound(factor)


def _sound(factor: Array) -> bool:
    pivots = factor.diagonal().real
    return bool(np.all(np.isfinite(pivots)) and np.all(pivots > 0.0))


def _eliminate(stack: Array) -> NDArray[np.bool_]:
    library = namespace(stack)
    n = stack.shape[1]
    sound = library.ones(stack.shape[0], dtype=library.bool, device=stack.device)
    for start in range(0, n, _PANEL):
        width = min(_PANEL, n - start)
        panel = stack[:, start:, start : start + width]
        for j in range(width):
            pivot = library.real(panel[:, j, j])
            sound = sound & (pivot > 0.0) & library.isfinite(pivot)
            column = panel[:, j:, j] / library.sqrt(pivot)[:, None]
            panel[:, j:, j] = column
            across = library.conj(column[:, None, 1 : width - j])
            panel[:, j:, j + 1 :] -= column[:, :, None] * across
        below = panel[:, width:, :]
        stack[:, start + width :, start + width :] -= below @ library.conj(
            library.permute_dims(below, (0, 2, 1))
        )
    return np.asarray(on_cpu(sound), dtype=np.bool_)
