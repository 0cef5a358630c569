"""Krylov methods: what they find, when they stop, and that they agree with each other."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.norms import lanczos, power
from specaudit.norms.lanczos import Ritz, bidiagonalise, tridiagonalise
from specaudit.operators import Array, LinearOperator, dense


def on_gram(operator: LinearOperator, start: Array, **options: float) -> Ritz:
    return tridiagonalise(
        lambda vector: operator.rmatvec(operator.matvec(vector)),
        start,
        **options,  # type: ignore[arg-type]
    )


KRYLOV: list[Callable[..., Ritz]] = [on_gram, bidiagonalise]


@pytest.mark.parametrize("run", KRYLOV)
@given(seed=st.integers(0, 10**6), is_complex=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_ritz_pair_is_the_top_pair(
    run: Callable[..., Ritz], seed: int, is_complex: bool
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((40, 30)) + (
        1j * rng.standard_normal((40, 30)) if is_complex else 0
    )
    start = rng.standard_normal(30) + 0 * matrix[0]
    ritz = run(dense(matrix), start, tolerance=1e-12)
    top = np.linalg.norm(matrix, 2) ** 2
    assert ritz.value == pytest.approx(top, rel=1e-10)
    assert np.linalg.norm(ritz.vector) == pytest.approx(1.0, rel=1e-12)
    assert np.linalg.norm(matrix @ ritz.vector) ** 2 == pytest.approx(top, rel=1e-10)


def test_both_build_the_same_tridiagonal_matrix() -> None:
    """In exact arithmetic they are one process; nine steps on they still agree."""
    rng = np.random.default_rng(0)
    matrix, start = rng.standard_normal((60, 50)), rng.standard_normal(50)
    one, two = (run(dense(matrix), start, tolerance=0.0, steps=9) for run in KRYLOV)
    np.testing.assert_allclose(one.values, two.values, rtol=1e-10)
    np.testing.assert_allclose(one.couplings, two.couplings, rtol=1e-10)


@pytest.mark.parametrize("run", KRYLOV)
def test_an_invariant_space_is_noticed(run: Callable[..., Ritz]) -> None:
    matrix = np.diag([3.0, 3.0, 3.0, 1.0, 1.0, 0.0])
    ritz = run(dense(matrix), np.ones(6), tolerance=0.0)
    assert ritz.exhausted
    assert ritz.value == pytest.approx(9.0)
    assert len(ritz.values) <= 4


@pytest.mark.parametrize("run", KRYLOV)
def test_a_start_in_the_null_space(run: Callable[..., Ritz]) -> None:
    ritz = run(dense(np.diag([1.0, 0.0])), np.array([0.0, 1.0]), tolerance=1e-6)
    assert ritz.value == 0.0
    assert ritz.exhausted


@pytest.mark.parametrize("run", KRYLOV)
def test_steps_are_a_limit(run: Callable[..., Ritz]) -> None:
    matrix = np.random.default_rng(1).standard_normal((100, 100))
    ritz = run(dense(matrix), np.ones(100), tolerance=0.0, steps=3)
    assert len(ritz.values) == 3
    assert not ritz.exhausted


def test_the_basis_stays_orthogonal() -> None:
    """Without reorthogonalisation the top value returns as a ghost well before 150 steps."""
    values = np.geomspace(1e-6, 1.0, 300)
    values[-1] = 10.0
    ritz = tridiagonalise(lambda v: values * v, np.ones(300), tolerance=-1.0, steps=150)
    assert np.count_nonzero(ritz.values > 5.0) == 1


def test_power_stops_at_its_tolerance_and_at_its_steps() -> None:
    matrix = np.diag([2.0, 1.0])
    close = power.iterate(dense(matrix), np.ones(2), tolerance=1e-9)
    assert close.value == pytest.approx(4.0, rel=1e-9)
    assert close.matvecs < 2 * power.STEPS
    assert power.iterate(dense(matrix), np.ones(2), tolerance=0.0, steps=3).matvecs == 6
    nothing = power.iterate(dense(np.zeros((2, 2))), np.ones(2), tolerance=0.0)
    assert nothing.value == 0.0


def test_fewer_steps_than_the_default_for_an_ordinary_matrix() -> None:
    matrix = np.random.default_rng(2).standard_normal((400, 300))
    ritz = bidiagonalise(dense(matrix), np.ones(300), tolerance=2e-7)
    assert len(ritz.values) < 100 < lanczos.STEPS


@pytest.mark.parametrize("tilt", [1e-2, 1e-4])
def test_a_single_precision_pair_is_seen_anew_in_double(tilt: float) -> None:
    """``diag(3, 2)`` and a vector off its top by `tilt`: quotient and residual by hand."""
    vector = np.array([5.0, 5.0 * tilt], dtype=np.float32)  # not a unit vector either
    rough = lanczos.Ritz(3.5, vector, np.array([2.0, 3.5]), np.zeros(2), 7, 1e-6)
    found, is_met = lanczos.refined(lambda v: np.array([3.0, 2.0]) * v, rough)
    x, y = (float(part) for part in vector)
    value = (3 * x * x + 2 * y * y) / (x * x + y * y)
    assert found.value == pytest.approx(value, rel=1e-14)
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, rel=1e-14)
    assert found.values.tolist() == [2.0, found.value]
    assert (found.matvecs, found.accuracy) == (8, 1e-6)
    # r = |x y| / (x² + y²), gap 1: r² / gap is 1e-4 and 1e-8, asked are 3e-6.
    assert is_met == (tilt == 1e-4)
