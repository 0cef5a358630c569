"""Krylov methods with full reorthogonalisation: Lanczos on G, Golub-Kahan on A itself."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace
from specaudit.operators import Array, LinearOperator

# Steps where nobody says how many; a basis of them is what is kept in memory.
STEPS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Ritz:
    """What a Krylov space knows of the largest eigenvalue of ``A* A``.

    Parameters
    ----------
    value : float
        The largest Ritz value: in exact arithmetic at most ``||A|| ** 2``.
    vector : ndarray or tensor, shape (n,)
        Its unit vector, on the short side.
    values : ndarray, shape (k,)
        All Ritz values, ascending.
    couplings : ndarray, shape (k,)
        The off-diagonal entries beta_1 … beta_k of the tridiagonal matrix; the last one
        couples the space to what is outside it.
    matvecs : int
        Products with A and with its adjoint (with G, for Lanczos on it).
    accuracy : float
        Relative error of `value` that the method aimed at.
    exhausted : bool
        Whether the space is invariant: nothing more is reached from this start.
    """

    value: float
    vector: Array
    values: NDArray[np.float64]
    couplings: NDArray[np.float64]
    matvecs: int
    accuracy: float
    exhausted: bool = False


def tridiagonalise(
    product: Callable[[Array], Array], start: Array, *, tolerance: float, steps: int = STEPS
) -> Ritz:
    """Run Lanczos on a Hermitian positive semidefinite matrix.

    Parameters
    ----------
    product : callable, (n,) -> (n,)
    start : ndarray or tensor, shape (n,)
    tolerance : float
        Wanted relative error of the largest Ritz value. Met if the residual r and the gap
        g to the next Ritz value say ``min(r, r**2 / g) <= tolerance * value``: a good rule
        and no proof, as nothing here is.
    steps : int

    References
    ----------
    B. N. Parlett, The Symmetric Eigenvalue Problem, 1998, sections 11.7 and 13.
    """
    n = start.shape[0]
    steps = min(steps, n)
    basis = _basis(start, steps)
    alphas, betas = np.zeros(steps), np.zeros(steps)
    basis[0] = start / _length(start)
    k, check = 0, _FIRST_CHECK
    while True:
        image = product(basis[k])
        alphas[k] = _real(basis[k].conj() @ image)
        image -= alphas[k] * basis[k]
        if k:
            image -= betas[k - 1] * basis[k - 1]
        _orthogonalise(image, basis[: k + 1])
        betas[k] = _length(image)
        k += 1
        exhausted = bool(betas[k - 1] <= _NEGLIGIBLE * n * np.abs(alphas[:k]).max())
        if k == steps or exhausted or k >= check:
            values, vectors = np.linalg.eigh(_tridiagonal(alphas[:k], betas[: k - 1]))
            if k == steps or exhausted or _met(values, betas[k - 1] * vectors[-1, -1], tolerance):
                break
            check = k + _patience(k, n)
        basis[k] = image / betas[k - 1]
    vector = basis[:k].T @ _like(vectors[:, -1], basis)
    value = max(float(values[-1]), 0.0)
    return Ritz(value, vector, values, betas[:k], k, tolerance, exhausted)


def refined(product: Callable[[Array], Array], rough: Ritz) -> tuple[Ritz, bool]:
    """Return a Ritz pair found in single precision as double precision sees it.

    Parameters
    ----------
    product : callable, (n,) -> (n,)
        Of the matrix itself, in double precision.
    rough : Ritz
        From `tridiagonalise` on the rounded matrix.

    Returns
    -------
    Ritz, bool
        With the quotient of the vector on the matrix itself, and whether its residual meets
        the accuracy that `rough` aimed at, by the same rule. A vector that rounding moved by
        e lowers the quotient only by a multiple of e**2.
    """
    vector = np.asarray(rough.vector, dtype=np.float64)
    vector /= _length(vector)
    image = product(vector)
    value = max(_real(vector @ image), 0.0)
    residual = _length(image - value * vector)
    values = np.append(rough.values[:-1], value)
    found = dataclasses.replace(
        rough, value=value, vector=vector, values=values, matvecs=rough.matvecs + 1
    )
    return found, _met(values, residual, rough.accuracy)


def bidiagonalise(
    operator: LinearOperator,
    start: Array,
    *,
    tolerance: float,
    steps: int = STEPS,
    delta: float | None = None,
) -> Ritz:
    """Run Golub and Kahan's bidiagonalisation: two products a step, A itself, no Gram matrix.

    Parameters
    ----------
    operator : LinearOperator, shape (m, n)
    start : ndarray or tensor, shape (n,)
    tolerance, steps
        As for `tridiagonalise`, of which this is the same process on ``A* A`` in exact
        arithmetic; in floating point it keeps twice the digits of the small ones.
    delta : float, optional
        Go on until no eigenvalue outside the tolerance is left for which the start would have
        a component of this size: what `envelopes.probable` needs to be tight.

    References
    ----------
    G. Golub and W. Kahan, Calculating the singular values and pseudo-inverse of a matrix,
    SIAM J. Numer. Anal. B 2 (1965), 205-224.
    """
    steps = min(steps, *operator.shape)
    alphas, betas, right = np.zeros(steps), np.zeros(steps), _basis(start, steps)
    right[0] = start / _length(start)
    image = operator.matvec(right[0])
    left = _basis(image, steps)
    k, check, small = 0, _FIRST_CHECK, _NEGLIGIBLE * max(operator.shape)
    while True:
        alphas[k] = _length(image)
        # A vector of the null space leaves nothing to continue with: the step is the last.
        exhausted = bool(alphas[k] <= small * alphas.max())
        if not exhausted:
            left[k] = image / alphas[k]
            back = operator.rmatvec(left[k]) - alphas[k] * right[k]
            _orthogonalise(back, right[: k + 1])
            betas[k] = _length(back)
            exhausted = bool(betas[k] <= small * alphas.max())
        k += 1
        if k == steps or exhausted or k >= check:
            outer, sigma, inner = np.linalg.svd(np.diag(alphas[:k]) + np.diag(betas[: k - 1], 1))
            values, couplings = sigma[::-1] ** 2, alphas[:k] * betas[:k]
            if k == steps or exhausted:
                break
            if delta is not None:
                enough = _ruled_out(values, couplings, tolerance, delta)
            else:
                enough = _met(values, betas[k - 1] * outer[-1, 0] * sigma[0], tolerance)
            if enough:
                break
            check = k + _patience(k, right.shape[1])
        right[k] = back / betas[k - 1]
        image = operator.matvec(right[k]) - betas[k - 1] * left[k - 1]
        _orthogonalise(image, left[:k])
    vector = right[:k].T @ _like(inner[0], right)
    return Ritz(float(values[-1]), vector, values, couplings, 2 * k, tolerance, exhausted)


def _patience(k: int, n: int) -> int:
    # A check costs about as much as this many steps; a step too many costs one.
    return 4 if n >= 1024 else max(4, k // 3)


_FIRST_CHECK = 15
_NEGLIGIBLE = 2.0**-52


def _met(values: NDArray[np.float64], residual: float, tolerance: float) -> bool:
    residual = abs(residual)
    gap = float(values[-1] - values[-2]) if values.size > 1 else 0.0
    error = min(residual, residual**2 / gap) if gap > 0.0 else residual
    return bool(error <= tolerance * values[-1])


def _ruled_out(
    values: NDArray[np.float64], couplings: NDArray[np.float64], tolerance: float, delta: float
) -> bool:
    # prod(x - theta_i) = prod(beta_j) / delta, to first order in x - theta_1.
    gaps = np.maximum(values[-1] - values[:-1], tolerance * values[-1])
    logarithm = np.sum(np.log(couplings)) - np.sum(np.log(gaps)) - math.log(delta)
    return bool(logarithm <= math.log(tolerance * values[-1]))


def _orthogonalise(vector: Array, basis: Array) -> None:
    # Against all of the basis; the recurrence before it was the first of two passes.
    vector -= basis.T @ (basis.conj() @ vector)


def _tridiagonal(alphas: NDArray[np.float64], betas: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)


def _basis(vector: Array, steps: int) -> Array:
    library = namespace(vector)
    return library.empty((steps, vector.shape[0]), dtype=vector.dtype, device=vector.device)


def _like(coefficients: NDArray[np.float64], basis: Array) -> Array:
    library = namespace(basis)
    return library.asarray(coefficients, dtype=basis.dtype, device=basis.device)


def _length(vector: Array) -> float:
    # A scaled operator: no square overflows; and four times faster than the library's norm.
    return math.sqrt(_real(vector.conj() @ vector))


def _real(number: Array) -> float:
    return float(number.real)
