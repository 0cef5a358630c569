"""Operators: products equal those of the matrix, adjoints are adjoint."""

import doctest

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit import operators
from specaudit.operators import LinearOperator, composed, dense, flattened, grouped, widen

RNG = np.random.default_rng(0)


def matrix_of(operator: LinearOperator) -> np.ndarray[tuple[int, int], np.dtype[np.generic]]:
    rows, columns = operator.shape
    by_columns = np.stack([operator.matvec(unit) for unit in np.eye(columns)], axis=1)
    by_rows = np.stack([operator.rmatvec(unit) for unit in np.eye(rows)], axis=0).conj()
    np.testing.assert_array_equal(by_columns, by_rows)
    return by_columns


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.int8, ml_dtypes.bfloat16])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_dense_is_its_matrix(dtype: type, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_BLOCK_BYTES", 100)  # several blocks
    entries = RNG.integers(-3, 4, (9, 5)).astype(dtype)
    if library == "torch":
        import torch

        if dtype is ml_dtypes.bfloat16:
            matrix = torch.from_numpy(entries.astype(np.float32)).to(torch.bfloat16)
        else:
            matrix = torch.from_numpy(entries)
        operator = dense(matrix)
        kind = torch.complex128 if dtype is np.complex64 else torch.float64
        image = operator.matvec(torch.ones(5, dtype=kind)).numpy()
    else:
        operator = dense(entries)
        image = operator.matvec(np.ones(5))
        np.testing.assert_array_equal(matrix_of(operator), widen(entries))
        assert operator.dense is not None
        assert operator.dense() is entries
    assert operator.dtype == np.dtype(dtype).name
    np.testing.assert_array_equal(image, widen(entries).sum(axis=1))


def test_blocks_of_columns_are_taken() -> None:
    entries = RNG.integers(-3, 4, (6, 4)).astype(np.float64)
    block = RNG.integers(-3, 4, (4, 2)).astype(np.float64)
    np.testing.assert_array_equal(dense(entries).matvec(block), entries @ block)
    np.testing.assert_array_equal(dense(entries.T).rmatvec(block), entries @ block)


@pytest.mark.parametrize("spatial", [(3,), (3, 2), (2, 2, 2)])
def test_flattened_is_torchs_reshape(spatial: tuple[int, ...]) -> None:
    kernel = RNG.standard_normal((6, 4, *spatial))
    assert np.array_equal(flattened(kernel).dense(), kernel.reshape(6, -1))  # type: ignore[misc]
    unfolded = np.moveaxis(kernel, 1, 0).reshape(4, -1)
    assert np.array_equal(flattened(kernel, transposed=True).dense(), unfolded)  # type: ignore[misc]
    assert flattened(np.ones((0, 4, *spatial))).shape == (0, 4 * np.prod(spatial))


@given(sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_grouped_is_block_diagonal(sizes: list[tuple[int, int]]) -> None:
    parts = [RNG.integers(-3, 4, size).astype(np.float64) for size in sizes]
    matrix = matrix_of(grouped([dense(part) for part in parts]))
    row = column = 0
    for part in parts:
        stop = row + part.shape[0], column + part.shape[1]
        np.testing.assert_array_equal(matrix[row : stop[0], column : stop[1]], part)
        matrix[row : stop[0], column : stop[1]] = 0.0
        row, column = stop
    assert not matrix.any()


def test_composed_is_the_product() -> None:
    first = RNG.integers(-3, 4, (5, 3)).astype(np.complex128)
    second = first[:3].T * 1j
    np.testing.assert_array_equal(matrix_of(composed(dense(first), dense(second))), first @ second)


def test_the_examples_run() -> None:
    import specaudit.norms
    import specaudit.norms.spectral

    for module in (operators, specaudit.norms, specaudit.norms.spectral):
        assert doctest.testmod(module).failed == 0
