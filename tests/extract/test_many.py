"""Checkpoints of very many tensors: time in proportion to their number."""

import time

import numpy as np
import pytest

from specaudit.extract import matrices
from specaudit.model import Model, Weight


def checkpoint(names: list[str], dtype: str) -> Model:
    values = np.ones((2, 2), dtype=dtype)
    weights = tuple(Weight(name, (2, 2), dtype, lambda: values) for name in names)
    return Model("many", "safetensors", str, weights)


def seconds(count: int, dtype: str, leaf: str) -> float:
    model = checkpoint([f"layer{i}.{leaf}" for i in range(count)], dtype)
    started = time.process_time()
    found = matrices(model)
    assert len(found.layers) + len(found.skipped) >= count // 3
    return time.process_time() - started


@pytest.mark.parametrize(
    ("dtype", "leaf"),
    [("float32", "weight"), ("int8", "weight"), ("float32", "lora_A.weight"), ("int32", "qweight")],
)
def test_ten_times_the_tensors_take_about_ten_times_as_long(dtype: str, leaf: str) -> None:
    few = min(seconds(1_000, dtype, leaf) for _ in range(3))
    assert seconds(10_000, dtype, leaf) < 40 * few + 0.2  # 100 times, where pairs are looked at
