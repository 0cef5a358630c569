"""The power method: the simplest of all, and the slowest; kept because people know it."""

import numpy as np

from specaudit.norms.blocks import namespace
from specaudit.norms.lanczos import Ritz
from specaudit.operators import Array, LinearOperator

STEPS = 300


def iterate(
    operator: LinearOperator, start: Array, *, tolerance: float, steps: int = STEPS
) -> Ritz:
    """Multiply by ``A* A`` until the residual is small, or `steps` times.

    Parameters
    ----------
    operator : LinearOperator, shape (m, n)
    start : ndarray or tensor, shape (n,)
    tolerance : float
        Of the residual, relative to the value; a small one proves *some* singular value
        near, not the largest.
    steps : int

    References
    ----------
    G. Golub and C. Van Loan, Matrix Computations, 4th ed., 2013, section 7.3.
    """
    library = namespace(start)
    vector = start / library.linalg.vector_norm(start)
    value, done = 0.0, 0
    for done in range(1, steps + 1):  # noqa: B007
        image = operator.rmatvec(operator.matvec(vector))
        value = float((vector.conj() @ image).real)
        residual = float(library.linalg.vector_norm(image - value * vector))
        if residual <= tolerance * value:
            break
        length = float(library.linalg.vector_norm(image))
        if length == 0.0:
            break
        vector = image / length
    return Ritz(value, vector, _NONE, _NONE, 2 * done, tolerance)


_NONE = np.zeros(0)
