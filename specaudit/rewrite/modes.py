"""The ways to bring a weight under a limit: one row of `MODES` each."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from specaudit.operators import Array, Layer, widen
from specaudit.report import Of
from specaudit.rewrite.convolutions import project_kernel

ModeName = Literal["scale", "project"]
# Singular values over the limit by this much are too far from it for squares to show both.
_FAR = 2.0**10
_SMALL = 2.0**-400  # of which squares are exact enough
Mode = Callable[[Layer, Array, float, float, Of], Array]


def scale(layer: Layer, weight: Array, limit: float, upper: float, of: Of) -> Array:
    """Return the multiple of a weight whose norm is the limit.

    Parameters
    ----------
    layer : Layer
    weight : ndarray
        Its values, in float64 or complex128.
    limit : float
    upper : float
        A proved upper end of the weight's norm, over the limit.
    of : {"operator", "reshaped"}
        Which norm of a convolution is meant.
    """
    return weight * (limit / upper)


def project(layer: Layer, weight: Array, limit: float, upper: float, of: Of) -> Array:
    """Return the nearest weight in the Frobenius norm whose norm is at most the limit.

    Notes
    -----
    Singular values are clipped; entries, where the matrix is diagonal. The nearest
    convolution has no closed form: the result is then the nearer one of what alternating
    projections found, brought under the limit by a factor, and of the multiple of `scale`.

    References
    ----------
    J.-F. Cai, E. Candès, Z. Shen, SIAM J. Optim. 20 (2010), Theorem 2.1.
    """
    if layer.kind == "scale":
        size = np.abs(weight)
        return weight * np.minimum(1.0, limit / np.where(size > 0, size, 1.0))
    is_kernel = layer.kind in ("convolution", "convolution_transposed")
    if is_kernel and of == "operator":
        return project_kernel(layer, weight, limit)
    turned = weight.swapaxes(0, 1) if layer.kind == "convolution_transposed" else weight
    columns = math.prod(turned.shape[1:])
    clipped = clip(turned.reshape(turned.shape[0], columns), limit, upper).reshape(turned.shape)
    return clipped.swapaxes(0, 1) if layer.kind == "convolution_transposed" else clipped


def clip(matrix: Array, limit: float, upper: float) -> Array:
    """Return a matrix with its singular values clipped at a limit.

    Parameters
    ----------
    matrix : ndarray, shape (m, n)
    limit : float
    upper : float
        At least the norm.

    Notes
    -----
    What is over the limit is taken away, rather than the matrix put together again: what
    lies under it is then not touched by a rounding. Up to _FAR limits the Gram matrix will
    do, for a fourth of the time and less memory: of a norm r times the limit, it shows the
    singular values over the limit to within ``n r**2`` roundings, n the short side.
    """
    wide = widen(matrix)
    if not (upper <= _FAR * limit and _SMALL <= limit <= 1.0 / _SMALL):
        u, sigma, v = np.linalg.svd(wide, full_matrices=False)
        count = int(np.count_nonzero(sigma > limit))
        return wide - (u[:, :count] * (sigma[:count] - limit)) @ v[:count]
    is_tall = wide.shape[0] >= wide.shape[1]
    adjoint = wide.conj().T
    squares, vectors = np.linalg.eigh(adjoint @ wide if is_tall else wide @ adjoint)
    over = squares > limit**2
    part, vectors = 1.0 - limit / np.sqrt(squares[over]), vectors[:, over]
    taken = (vectors * part) @ vectors.conj().T
    result = wide @ taken if is_tall else taken @ wide
    return np.subtract(wide, result, out=result)


MODES: Mapping[ModeName, Mode] = {"scale": scale, "project": project}
