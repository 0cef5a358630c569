"""The certificate: sound where it is given, refused where the shift is below, and tight."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.norms import cholesky
from specaudit.norms.blocks import Tall
from specaudit.norms.gram import Gram, gamma
from tests.norms.matrices import forty_digits, hadamard, with_singular_values


@given(seed=st.integers(0, 10**6), slack=st.sampled_from([-1e-3, -1e-12, 0.0, 1e-15, 1e-13, 1e-3]))
@settings(max_examples=80, deadline=None)
def test_a_bound_is_never_below_the_norm(seed: int, slack: float) -> None:
    """Around the largest eigenvalue itself, where rounding decides what is returned."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((6, 4)) * 10.0 ** rng.integers(-6, 6, (6, 4))
    truth = forty_digits(matrix) ** 2
    found = cholesky.upper_end(Gram.of(Tall.of(matrix)), float(truth) * (1.0 + slack))
    assert found is None or Fraction(found) >= truth
    if slack <= -1e-12:
        assert found is None
    if slack >= 1e-13:
        assert found is not None
        assert found <= float(truth) * (1.0 + slack) * (1 + 1e-13)


def test_shifts_that_are_no_bounds() -> None:
    gram = Gram.of(Tall.of(np.eye(3)))
    for shift in (0.0, -1.0, float("inf"), float("nan"), 0.5):
        assert cholesky.upper_end(gram, shift) is None


@pytest.mark.parametrize("order", [256, 1024])
def test_tight_to_n_squared_u(order: int) -> None:
    """The loss over the shift is g trace(B) + the Gram matrix's error, and no more."""
    values = [1] * order
    values[0] = 3
    matrix, factor = with_singular_values(values, order)
    top = (3.0 * factor) ** 2
    found = cholesky.upper_end(Gram.of(Tall.of(matrix)), top * (1 + 1e-9))
    assert found is not None
    # trace(B) <= n top, ||A||_F² = top / 9 * (n + 8); both in units of u, n + c of them.
    growth = (order + 2) * 2.0**-53 * order + (order + 2) * 2.0**-53 * (order + 8) / 9
    assert found / top - 1.0 <= 1e-9 + 1.01 * growth


@pytest.mark.parametrize("order", [8, 2100])
@pytest.mark.parametrize("is_complex", [False, True])
def test_a_factor_with_nan_is_refused(order: int, is_complex: bool) -> None:
    """OpenBLAS runs to the end on a NaN and says that all is well."""
    if order == 2100 and is_complex:
        order = 2048
    matrix = np.eye(order, dtype=complex if is_complex else float) * 4.0
    matrix[order // 2, order // 3] = np.nan
    assert not cholesky.factorises(matrix)
    assert cholesky.factorises(np.eye(order, dtype=matrix.dtype))


def test_only_the_lower_triangle_decides() -> None:
    for order in (16, 2048):
        matrix = np.eye(order) * 4.0
        matrix[0, order - 1] = np.nan
        assert cholesky.factorises(matrix)


@pytest.mark.parametrize("operations", [1, 4096, 10**8])
def test_gamma_is_rounded_up(operations: int) -> None:
    u = Fraction(1, 2**53)
    for is_complex, count in ((False, operations), (True, 4 * (operations + 2))):
        exact = count * u / (1 - count * u)
        assert exact <= Fraction(gamma(operations, is_complex=is_complex)) <= exact * (1 + 8 * u)


def test_complex_hermitian_shift_is_real_on_the_diagonal() -> None:
    matrix = hadamard(4) + 1j * np.tril(np.ones((4, 4)))
    result = cholesky.shifted(matrix, 100.0)
    assert np.all(result.diagonal().imag == 0.0)
    assert np.array_equal(
        result - np.diag(result.diagonal()), -(matrix - np.diag(matrix.diagonal()))
    )
