"""Factorisations say of every matrix in a stack whether it is positive definite."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from specaudit.norms.positive import factorise


def stack(n: int, lowest: list[float], seed: int) -> NDArray[np.complex128]:
    """Return Hermitian matrices with given smallest eigenvalues."""
    rng = np.random.default_rng(seed)
    matrices = []
    for value in lowest:
        basis, _ = np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))
        eigenvalues = np.concatenate([[value], rng.uniform(1.0, 2.0, n - 1)])
        matrices.append((basis * eigenvalues) @ basis.conj().T)
    return np.array(matrices)


@pytest.mark.parametrize("n", [1, 2, 12, 13, 40, 70, 256])
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_sign_of_the_smallest_eigenvalue_is_told(n: int, library: str, kind: str) -> None:
    # n**2 u is about what a factorisation can miss; these are well clear of it.
    lowest = [1e-8, -1e-8, 1.0, -1.0, 1e-9]
    matrices = stack(n, lowest, seed=n)
    if kind == "real":
        rng = np.random.default_rng(n)
        basis = [np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in lowest]
        diagonals = [np.concatenate([[v], rng.uniform(1.0, 2.0, n - 1)]) for v in lowest]
        matrices = np.array([(q * d) @ q.T for q, d in zip(basis, diagonals, strict=True)])
    given = matrices if library == "numpy" else torch.from_numpy(matrices)
    assert factorise(given).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize("n", [2, 13, 256])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(n: int, bad: float) -> None:
    matrices = np.array([np.eye(n)] * 4)
    matrices[0, n - 1, 0] = matrices[1, n - 1, n - 1] = matrices[2, 0, 0] = bad
    found = factorise(matrices.copy())
    assert found.tolist() == [False, False, False, True]


def test_upper_triangles_are_not_read() -> None:
    for n in (5, 30, 256):
        matrices = stack(n, [0.5, -0.5], seed=3)
        matrices[:, np.triu_indices(n, 1)[0], np.triu_indices(n, 1)[1]] = 1e6
        assert factorise(matrices).tolist() == [True, False]
