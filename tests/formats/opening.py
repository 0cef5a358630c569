"""What every reader owes to every file: a model whose tensors can be read, or a clean refusal."""

from pathlib import Path

import numpy as np
import pytest

from specaudit.errors import ModelError, UsageError
from specaudit.formats import load
from specaudit.model import Model
from tests.hostile.cases import Case


def expect(case: Case, folder: Path) -> Model | None:
    """Make the file, read it, and hold the outcome against what is right."""
    path = case.make(folder)
    before = sorted(folder.rglob("*"))
    model = None
    if set(case.outcomes) <= set("EU"):
        with pytest.raises((ModelError, UsageError)) as caught:
            read_all(load(path))
        assert {2: "U", 3: "E"}[caught.value.exit_code] in case.outcomes
        assert caught.value.where
        assert len(caught.value.message) < 1000
    elif "E" not in case.outcomes:
        model = load(path)
        read_all(model)
    else:
        try:
            model = load(path)
            read_all(model)
        except ModelError:
            pass
    assert sorted(folder.rglob("*")) == before  # nothing was written
    return model


def read_all(model: Model) -> None:
    """Read every tensor and hold it against what was said of it."""
    for weight in model.weights:
        values = weight.read()
        assert values.shape == weight.shape
        assert str(values.dtype) == weight.dtype
    assert len({weight.name for weight in model.weights}) == len(model.weights)


def largest(model: Model) -> float:
    """The largest singular value among the matrices."""
    return max(
        float(np.linalg.norm(weight.read().astype(np.float64), 2))
        for weight in model.weights
        if len(weight.shape) == 2
    )
