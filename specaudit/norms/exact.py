"""All singular values at once, by LAPACK: for small matrices, for `svd`, for the spectrum."""

import dataclasses
import math
import sys

import numpy as np
from numpy.typing import NDArray

from specaudit.norms import lanczos
from specaudit.norms.blocks import Tall, on_cpu
from specaudit.norms.gram import Gram, U
from specaudit.norms.lanczos import Ritz
from specaudit.operators import Array
from specaudit.report import Spectrum

_LEADING = 16
_BINS = 24


def eigenpair(gram: Gram) -> Ritz:
    """Return the largest eigenvalue of a Gram matrix, by diagonalising it on the CPU."""
    values, vectors = np.linalg.eigh(on_cpu(gram.matrix))
    value = max(float(values[-1]), 0.0)
    return Ritz(value, vectors[:, -1], values, np.zeros(0), 0, 4.0 * gram.size * U, exhausted=True)


def svd(tall: Tall, start: Array, *, tolerance: float, steps: int = lanczos.STEPS) -> Ritz:
    """Return LAPACK's largest singular value, with a vector for the proved lower end.

    Notes
    -----
    LAPACK's values are backward stable with a constant that nobody states: a very good
    guess, not a proof. Its vectors would cost five times the values; Golub and Kahan's
    process gives the one vector that is needed.
    """
    sigma = singular_values(tall)
    ritz = lanczos.bidiagonalise(tall.operator(), start, tolerance=tolerance, steps=steps)
    return dataclasses.replace(
        ritz, value=float(sigma[0]) ** 2, values=np.zeros(0), accuracy=8.0 * tall.columns * U
    )


def singular_values(tall: Tall) -> NDArray[np.float64]:
    """Return LAPACK's singular values of the scaled matrix, descending."""
    return np.asarray(np.linalg.svd(tall.to_numpy(), compute_uv=False), dtype=np.float64)


def spectrum_of(sigma: NDArray[np.float64], exponent: int = 0) -> Spectrum:
    """Return the leading singular values, a histogram of all, the condition number.

    Parameters
    ----------
    sigma : ndarray, shape (k,), descending
    exponent : int
        They are these times ``2**exponent``.

    Notes
    -----
    LAPACK's values, not brackets: for looking at. What is below ``k u`` of the largest is
    rounding, counts as zero, and leaves the condition number open.
    """
    leading = tuple(_unscaled(value, exponent) for value in sigma[:_LEADING])
    regular = sigma[sigma > sigma.size * U * sigma[0]]
    if regular.size == 0:
        return Spectrum(leading, (), ())
    shift = exponent * math.log10(2.0)
    counts, edges = np.histogram(np.log10(regular) + shift, bins=_BINS)
    condition = float(sigma[0] / sigma[-1]) if regular.size == sigma.size else None
    return Spectrum(
        leading, tuple(float(edge) for edge in edges), tuple(int(n) for n in counts), condition
    )


def _unscaled(value: float, exponent: int) -> float:
    try:
        return math.ldexp(float(value), exponent)
    except OverflowError:
        return sys.float_info.max
