"""Matrices whose spectral norm is known, exactly or to forty digits."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import mpmath
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def hadamard(order: int) -> Real:
    """Sylvester's matrix of order 2**k: entries ±1, H Hᵀ = order · I, all in integers."""
    matrix = np.ones((1, 1))
    while matrix.shape[0] < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def with_singular_values(values: list[int], rows: int) -> tuple[Real, int]:
    """Return an integer matrix, and the factor its singular values are `values` times.

    ``H_r [D; 0] H_c`` of Hadamard matrices has the singular values ``sqrt(r c) |d|``; with
    r / c a power of four the root is an integer, and every entry one below 2**53.
    """
    columns = len(values)
    middle = np.zeros((rows, columns))
    middle[range(columns), range(columns)] = values
    return hadamard(rows) @ middle @ hadamard(columns), math.isqrt(rows * columns)


@st.composite
def known(draw: st.DrawFn) -> tuple[Real, Fraction]:
    """Draw a matrix with ties, clusters, zeros and scales, and its exact norm."""
    columns = draw(st.sampled_from([1, 2, 4, 8, 16, 32]))
    rows = columns * draw(st.sampled_from([1, 4]))
    entry = st.one_of(
        st.integers(0, 3), st.integers(10**6 - 2, 10**6), st.integers(-(10**6), 10**6)
    )
    values = draw(st.lists(entry, min_size=columns, max_size=columns))
    matrix, factor = with_singular_values(values, rows)
    shift = draw(st.sampled_from([0, 0, 0, -40, 40, 900, -900, -1050]))
    matrix = np.ldexp(matrix, shift)
    scale = Fraction(2) ** shift
    if draw(st.booleans()):
        matrix = matrix.T
    return matrix, factor * max(abs(value) for value in values) * scale


def forty_digits(matrix: NDArray[np.generic]) -> Fraction:
    """Return the spectral norm from mpmath's SVD, good to far below binary64."""
    with mpmath.workdps(40):
        table = mpmath.matrix([[mpmath.mpmathify(x) for x in row] for row in matrix.tolist()])
        svd = mpmath.svd_c if np.iscomplexobj(matrix) else mpmath.svd_r
        top = max(svd(table, compute_uv=False))
        mantissa, exponent = mpmath.frexp(top)
        return Fraction(int(mantissa * 2**130)) * Fraction(2) ** (int(exponent) - 130)
