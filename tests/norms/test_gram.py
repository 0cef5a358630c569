"""The Gram matrix is within its stated error, and its quotient never above the norm."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.norms import blocks
from specaudit.norms.blocks import Tall, is_monomial, peak_and_defects
from specaudit.norms.gram import Gram
from tests.norms.matrices import forty_digits


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), columns=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_error_and_square(seed: int, rows: int, columns: int) -> None:
    """Against the exact product, in rational numbers."""
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    tall = Tall.of(matrix)
    gram = Gram.of(tall)
    exact = [[Fraction(x) for x in row] for row in np.asarray(tall.entries).tolist()]
    square = sum(x * x for row in exact for x in row)
    assert square <= Fraction(gram.square) <= square * (1 + Fraction(1, 10**12))
    difference = Fraction(0)
    for i in range(gram.size):
        for j in range(gram.size):
            entry = sum(row[i] * row[j] for row in exact)
            difference += (Fraction(float(gram.matrix[i, j])) - entry) ** 2
    assert difference <= Fraction(gram.error) ** 2


@given(seed=st.integers(0, 10**6), is_complex=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_quotient_of_any_vector_is_below(seed: int, is_complex: bool) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((5, 3)) + (1j * rng.standard_normal((5, 3)) if is_complex else 0)
    truth = forty_digits(matrix) ** 2
    gram = Gram.of(Tall.of(matrix))
    _, _, adjoint = np.linalg.svd(matrix)
    top = adjoint[0].conj()
    for vector in (top, 1e-3 * top, top + 1e-9, rng.standard_normal(3) + 0 * top):
        assert Fraction(gram.lower_end(vector)) <= truth
    assert gram.lower_end(top) >= float(truth) * (1 - 1e-13)
    assert gram.lower_end(np.zeros_like(top)) == 0.0


@pytest.mark.parametrize("shape", [(700, 530), (530, 700), (1030, 1030)])
@pytest.mark.parametrize("is_complex", [False, True])
def test_panels_and_blocks_add_up(
    shape: tuple[int, int], is_complex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Integers: every sum is exact, in whatever blocks."""
    monkeypatch.setattr(blocks, "_ROWS", 300)
    rng = np.random.default_rng(0)
    matrix = rng.integers(-9, 9, shape) + (1j * rng.integers(-9, 9, shape) if is_complex else 0)
    tall = Tall.of(matrix)
    gram = Gram.of(tall)
    exact = tall.to_numpy().conj().T @ tall.to_numpy()
    assert np.array_equal(np.tril(gram.matrix), np.tril(exact))
    vector = rng.integers(-9, 9, gram.size).astype(exact.dtype)
    assert np.array_equal(gram.product(vector), exact @ vector)


def test_scaling_brings_the_peak_to_one() -> None:
    for peak in (5e-324, 1e-200, 1e200, 1.7e308):
        tall = Tall.of(np.array([[peak, 0.0], [0.0, peak / 2]])).scaled(peak)
        [(_, block)] = tall.blocks()
        assert 0.5 <= block.max() < 1.0
    assert Tall.of(np.eye(2)).scaled(1.0).exponent == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
def test_defects_are_counted(dtype: type) -> None:
    matrix = np.zeros((5000, 4), dtype=dtype)
    matrix[1, 1] = matrix[4000, 3] = np.nan
    matrix[2, 2], matrix[3, 0] = np.inf, -np.inf
    assert peak_and_defects(Tall.of(matrix))[1:] == (2, 2)
    assert peak_and_defects(Tall.of(np.full((3, 2), -2, dtype)))[0] == 2.0


def test_monomial_matrices() -> None:
    assert is_monomial(Tall.of(np.diag([1.0, 0.0, 3.0])))
    assert is_monomial(Tall.of(np.zeros((3, 5))))
    assert not is_monomial(Tall.of(np.array([[1.0, 0.0], [2.0, 0.0]])))
    assert not is_monomial(Tall.of(np.array([[1.0, 0.0], [1.0, 2.0]])))
    assert not is_monomial(Tall.of(np.ones((1, 2))))
