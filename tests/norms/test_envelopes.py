"""Cheap bounds are bounds and not far off; probable ones fail as rarely as they say."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.norms import envelopes
from specaudit.norms.blocks import Tall
from specaudit.norms.lanczos import Ritz, tridiagonalise
from tests.norms.matrices import forty_digits


def matrix_of(
    seed: int, is_complex: bool = False
) -> "np.ndarray[tuple[int, int], np.dtype[np.generic]]":
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((7, 4)) * 10.0 ** rng.integers(-3, 3, (7, 4))
    return matrix + 1j * rng.standard_normal((7, 4)) if is_complex else matrix


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_frobenius_holds_the_exact_sum(seed: int) -> None:
    matrix = matrix_of(seed)
    square = sum(Fraction(x) ** 2 for x in matrix.ravel().tolist())
    bracket = envelopes.frobenius(Tall.of(matrix))
    assert Fraction(bracket.lower) ** 2 <= square <= Fraction(bracket.upper) ** 2
    assert bracket.relative_width < 1e-13


@given(seed=st.integers(0, 10**6), is_complex=st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_envelope_is_above_and_every_quotient_below(seed: int, is_complex: bool) -> None:
    tall = Tall.of(matrix_of(seed, is_complex))
    truth = forty_digits(tall.to_numpy())
    size = envelopes.frobenius(tall).upper
    assert truth <= Fraction(size)
    assert truth <= Fraction(envelopes.row_and_column_sums(tall))
    top = np.linalg.svd(tall.to_numpy())[2][0].conj()
    for vector in (top, 1e-5 * top, top + 0.1):
        assert Fraction(envelopes.quotient(tall, vector, size)) <= truth
    assert envelopes.quotient(tall, top, size) >= float(truth) * (1 - 1e-13)


def test_envelopes_that_are_met() -> None:
    ones, diagonal = Tall.of(np.ones((30, 20))), Tall.of(np.eye(9))
    assert envelopes.frobenius(ones).upper == pytest.approx(math.sqrt(600), rel=1e-12)
    assert envelopes.row_and_column_sums(ones) == pytest.approx(math.sqrt(600), rel=1e-12)
    assert envelopes.row_and_column_sums(diagonal) == pytest.approx(1.0, rel=1e-12)


def probable_after(steps: int, n: int, probability: float, seed: int) -> float:
    """Return the bound for the spectrum {1, (1 - eps) on an interval}, the worst there is."""
    values = np.linspace(0.0, 0.8, n)
    values[-1] = 1.0
    start = np.random.default_rng(seed).standard_normal(n)
    ritz = tridiagonalise(lambda v: values * v, start, tolerance=-1.0, steps=steps)
    return envelopes.probable(ritz, n, probability)


def test_a_probable_bound_fails_about_as_often_as_it_says() -> None:
    """P = 0.3, 400 starts: more than 160 failures have a probability below 1e-5."""
    failures = sum(probable_after(5, 100, 0.3, seed) < 1.0 for seed in range(400))
    assert 0 < failures <= 160


def test_a_rare_failure_is_not_seen() -> None:
    assert all(probable_after(8, 200, 1e-10, seed) >= 1.0 for seed in range(50))


def test_both_forms_are_there_and_the_smaller_counts() -> None:
    """The a-priori form alone, from the theorem: the result is never above it."""
    n, steps, probability = 200, 12, 1e-10
    start = np.random.default_rng(0).standard_normal(n)
    values = np.linspace(0.0, 1.0, n)
    ritz = tridiagonalise(lambda v: values * v, start, tolerance=-1.0, steps=steps)
    constant = 2 * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2)) / math.sqrt(math.pi)
    prior = math.sqrt(ritz.value) * math.cosh(math.acosh(constant / probability) / (2 * steps - 1))
    simple = math.sqrt(ritz.value) * math.cosh(
        math.log(1.596 * math.sqrt(n) / probability) / (2 * steps - 1)
    )
    found = envelopes.probable(ritz, n, probability)
    assert 1.0 <= found <= prior * (1 + 1e-12)
    assert prior <= simple


@pytest.mark.parametrize("steps", [40, 80])
def test_a_posteriori_is_the_root_of_its_polynomial(steps: int) -> None:
    n, probability = 400, 1e-10
    values = np.linspace(0.0, 1.0, n) ** 0.5
    start = np.random.default_rng(1).standard_normal(n)
    ritz = tridiagonalise(lambda v: values * v, start, tolerance=-1.0, steps=steps)
    root = envelopes.probable(ritz, n, probability) ** 2
    left = float(np.sum(np.log(root - ritz.values)))
    right = float(np.sum(np.log(ritz.couplings))) - envelopes.log_delta(n, probability)
    assert left == pytest.approx(right, abs=1e-6)


def test_delta_is_the_quantile_of_a_random_component() -> None:
    """At n = 3 a component of a point on the sphere is uniform: P(|b| < delta) = delta."""
    assert math.exp(envelopes.log_delta(3, 0.01)) == pytest.approx(0.01, rel=1e-12)


def test_too_small_for_the_theorem() -> None:
    ritz = Ritz(1.0, np.ones(2), np.ones(1), np.ones(1), 1, 1e-6)
    assert envelopes.probable(ritz, 2, 1e-10) == math.inf
