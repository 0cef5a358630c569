"""Operators whose norm has a closed form, to nine digits and inside the bracket."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from specaudit.norms import METHODS, spectral_norm
from specaudit.operators import Array, dense
from specaudit.report import Settings
from tests.norms.matrices import hadamard

N = 8


def star(leaves: int) -> Array:
    matrix = np.zeros((leaves + 1, leaves + 1))
    matrix[0, 1:] = matrix[1:, 0] = 1.0
    return matrix


def tridiagonal(order: int, diagonal: float, beside: float) -> Array:
    return diagonal * np.eye(order) + beside * (np.eye(order, k=1) + np.eye(order, k=-1))


def cycle(order: int) -> Array:
    return np.roll(np.eye(order), 1, axis=0) + np.roll(np.eye(order), -1, axis=0)


def clement(order: int) -> Array:
    off = np.sqrt(np.arange(1.0, order) * np.arange(order - 1.0, 0.0, -1.0))
    return np.diag(off, 1) + np.diag(off, -1)


def two_by_two(a: float, b: float, c: float, d: float) -> float:
    total, determinant = a * a + b * b + c * c + d * d, a * d - b * c
    return math.sqrt((total + math.sqrt(total**2 - 4 * determinant**2)) / 2)


def minus_first_column(order: int) -> Array:
    matrix = np.eye(order)
    matrix[:, 0] -= 1.0
    return matrix


def fourier(order: int) -> Array:
    powers = np.outer(np.arange(order), np.arange(order))
    return np.exp(-2j * math.pi * powers / order)


def hilbert(order: int) -> Array:
    return 1.0 / (np.arange(order)[:, None] + np.arange(order) + 1.0)


def orthogonal(order: int) -> Array:
    return np.linalg.qr(np.random.default_rng(0).standard_normal((order, order)))[0]


# (name, matrix, closed form); `n` is 8 unless it says otherwise.
CASES: list[tuple[str, Callable[[], Array], float]] = [
    ("ones 5x7", lambda: np.ones((5, 7)), math.sqrt(35)),
    ("rank one", lambda: np.outer([1.0, 2, 3], [3.0, 4]), math.sqrt(14) * 5),
    ("orthogonal", lambda: orthogonal(N), 1.0),
    ("permutation", lambda: np.eye(N)[np.random.default_rng(1).permutation(N)], 1.0),
    ("Haar", lambda: np.kron(np.eye(4), [[1.0, 1], [1, -1]]) / math.sqrt(2), 1.0),
    ("Hadamard 16", lambda: hadamard(16), 4.0),
    ("DFT 8", lambda: fourier(N), math.sqrt(8)),
    ("shear", lambda: np.array([[1.0, 1], [0, 1]]), (1 + math.sqrt(5)) / 2),
    ("1 2 3 4", lambda: np.array([[1.0, 2], [3, 4]]), math.sqrt(15 + math.sqrt(221))),
    ("2x2", lambda: np.array([[1.0, 2], [-3, 0.5]]), two_by_two(1, 2, -3, 0.5)),
    ("CumSum", lambda: np.tril(np.ones((N, N))), 0.5 / math.sin(math.pi / (4 * N + 2))),
    (
        "min(i, j)",
        lambda: np.minimum.outer(np.arange(1.0, N + 1), np.arange(1.0, N + 1)),
        0.25 / math.sin(math.pi / (4 * N + 2)) ** 2,
    ),
    ("I - 1 e1", lambda: minus_first_column(7), math.sqrt(7)),
    ("second difference", lambda: tridiagonal(N, 2, -1), 2 + 2 * math.cos(math.pi / (N + 1))),
    ("path", lambda: tridiagonal(N, 0, 1), 2 * math.cos(math.pi / (N + 1))),
    ("cycle", lambda: cycle(N), 2.0),
    ("complete graph", lambda: np.ones((7, 7)) - np.eye(7), 6.0),
    ("star", lambda: star(9), 3.0),
    ("Kac-Clement", lambda: clement(N), N - 1.0),
    ("Hilbert 3", lambda: hilbert(3), 1.4083189271236543),
    ("Hilbert 5", lambda: hilbert(5), 1.5670506910982308),
    ("Hilbert 10", lambda: hilbert(10), 1.7519196702651775),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "matrix", "truth"), CASES, ids=[case[0] for case in CASES])
def test_closed_forms(method: str, name: str, matrix: Callable[[], Array], truth: float) -> None:
    entries = matrix()
    norm = spectral_norm(dense(entries), Settings(method=method, rtol=1e-10))  # type: ignore[arg-type]
    assert norm.lower is not None
    assert norm.upper is not None
    # The entries of some are rounded, and the closed form is: a few units of each.
    slack = 4 * 2.0**-53 * (truth + np.linalg.norm(entries))
    assert norm.lower - slack <= truth <= norm.upper + slack
    assert norm.upper == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("order", [3, 5, 10])
def test_the_hilbert_values_are_mpmaths(order: int) -> None:
    """The literals above come from a table; forty digits of our own check them."""
    with mpmath.workdps(40):
        top = mpmath.svd_r(mpmath.hilbert(order), compute_uv=False)[0]
    literal = {3: 1.4083189271236543, 5: 1.5670506910982308, 10: 1.7519196702651775}[order]
    assert float(top) == pytest.approx(literal, rel=1e-15)
