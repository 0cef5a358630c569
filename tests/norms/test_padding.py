"""Index maps are those of NumPy's padding; factors are the norms of the maps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specaudit.norms.padding import (
    factor,
    index_map,
    is_circulant,
    multiplicity,
    worst_multiplicity,
)

MODES = ["constant", "reflect", "edge", "wrap"]


@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 9), st.sampled_from(MODES))
def test_index_map_is_numpys(size: int, before: int, after: int, mode: str) -> None:
    places = np.arange(1, size + 1)
    padded = np.pad(places, (before, after), mode=mode)  # type: ignore[call-overload]
    sources = index_map(size, before, after, mode)
    assert np.array_equal(np.where(sources >= 0, places[sources], 0), padded)


@given(st.integers(1, 6), st.integers(0, 9), st.integers(0, 9), st.sampled_from(MODES))
def test_multiplicity_is_the_squared_norm(size: int, before: int, after: int, mode: str) -> None:
    sources = index_map(size, before, after, mode)
    matrix = (sources[:, None] == np.arange(size)).astype(float)
    assert math.isclose(np.linalg.norm(matrix, 2) ** 2, multiplicity(sources), rel_tol=1e-12)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.sampled_from(MODES))
def test_no_size_is_worse_than_the_worst(before: int, after: int, smallest: int, mode: str) -> None:
    counts = [multiplicity(index_map(n, before, after, mode)) for n in range(smallest, 40)]
    assert worst_multiplicity(before, after, mode, smallest) == max(counts)


@pytest.mark.parametrize("count", [1, 2, 4, 6, 9, 3**40])
def test_factor_is_a_root_rounded_up(count: int) -> None:
    assert factor([count]) ** 2 >= count * (1 - 2e-16)
    assert factor([count]) <= math.sqrt(count) * (1 + 1e-15)


def test_a_circle_that_the_stride_does_not_divide_is_none() -> None:
    # Taps at 0 and 3, stride 2, windows at 0 and 2 of 5 places on a circle: the windows meet
    # in place 0, which on the line they never do.
    map_ = np.array([[1.0, 0, 0, 1, 0], [1, 0, 1, 0, 0]])
    assert np.linalg.norm(map_, 2) > math.sqrt(2) + 0.3
    assert not is_circulant(5, windows=2, stride=2)
    assert is_circulant(6, windows=3, stride=2)
    assert not is_circulant(6, windows=4, stride=2)
