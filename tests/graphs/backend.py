"""The node tests that come with the onnx package, as models in memory."""

import warnings
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper


@cache
def node_cases() -> tuple[Any, ...]:
    """All of them; made by running onnx's own scripts, which overflow on purpose."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def numbers(item: Any) -> np.ndarray | None:
    """The array of an input or output; None for text, sequences and what is left out."""
    if isinstance(item, TensorProto):
        return None if item.data_type == TensorProto.STRING else numpy_helper.to_array(item)
    array = np.asarray(item) if isinstance(item, np.ndarray | np.generic) else None
    return None if array is None or array.dtype.kind in "OSU" else array
