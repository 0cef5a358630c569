"""Limits: shares of the memory that is allowed, and nothing measured past it."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from specaudit import limits, norms
from specaudit.cli import options
from specaudit.errors import UsageError
from specaudit.operators import Layer


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = limits._memory
    yield
    limits._memory = before


def layer(rows: int, columns: int) -> Layer:
    values = np.ones((rows, columns), dtype=np.float32)
    return Layer("w", "linear", values.shape, "float32", lambda: values)


def test_limits_are_shares_of_the_memory_allowed() -> None:
    assert limits.allowed() is None
    assert limits.scaled(limits.PICKLE_BYTES) == limits.PICKLE_BYTES
    limits.allow(limits.DEFAULT_MEMORY // 4)
    assert limits.scaled(limits.PICKLE_BYTES) == limits.PICKLE_BYTES // 4
    limits.allow(2 * limits.DEFAULT_MEMORY)
    assert limits.scaled(limits.PICKLE_BYTES) == limits.PICKLE_BYTES * 2


def test_a_layer_that_needs_more_is_not_measured_and_says_so() -> None:
    large, small = layer(1000, 2000), layer(10, 2000)
    limits._memory = norms.working_bytes(large) - 1  # below what `allow` takes
    norm = norms.measure(large).norm
    assert norm.status == "not_computed"
    assert norm.upper is None
    assert "--max-memory" in (norm.reason or "")
    assert norms.measure(small).norm.bracket.upper >= math.sqrt(20_000)
    limits._memory = norms.working_bytes(large)
    assert norms.measure(large).norm.status == "certified"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("17", 17), ("2K", 2048), ("512m", 512 << 20), ("8G", 8 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert options.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1", "1GB", "1e9", "٣G", "9" * 40])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="max-memory"):
        options.size_bytes(text)
