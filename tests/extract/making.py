"""Models made in memory, and the laws that every extraction keeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from specaudit.extract import Extraction, matrices
from specaudit.formats import load
from specaudit.model import Model, Weight
from specaudit.operators import Layer

Array = NDArray[np.generic]
MS = "com.microsoft"


def weight(name: str, values: Array, **fields: object) -> Weight:
    return Weight(name, values.shape, str(values.dtype), lambda: values.copy(), **fields)  # type: ignore[arg-type]


def checkpoint(
    tensors: Mapping[str, Array], attributes: Mapping[str, Mapping[str, object]] | None = None
) -> Model:
    weights = tuple(weight(name, values) for name, values in tensors.items())
    return Model("memory", "pytorch", str, weights, attributes=attributes or {})


def extracted(tensors: Mapping[str, Array], **classes: Mapping[str, object]) -> Extraction:
    model = checkpoint(tensors, {name.replace("__", "."): told for name, told in classes.items()})
    found = matrices(model)
    nothing_vanishes(model, found)
    return found


def nothing_vanishes(model: Model, found: Extraction) -> None:
    """Every tensor of a model is in a layer or skipped by name, and skipped once."""
    measured = {tensor.name for layer in found.layers for tensor in layer.tensors}
    names = [skipped.name for skipped in found.skipped]
    assert {tensor.name for tensor in model.weights} <= measured | set(names)
    assert len(names) == len(set(names))
    assert all(skipped.reason for skipped in found.skipped)


def kinds(found: Extraction) -> dict[str, str]:
    return {layer.name: layer.kind for layer in found.layers}


def reasons(found: Extraction) -> dict[str, tuple[str, bool]]:
    return {skipped.name: (skipped.reason, skipped.covered) for skipped in found.skipped}


def rewritten(tensors: Mapping[str, Array], layer: Layer, values: Array) -> dict[str, Array]:
    """Return a checkpoint with what `layer.write` gives, in float64."""
    assert layer.write is not None
    new = dict(tensors)
    for name, written in layer.write(values).items():
        assert written.shape == tensors[name].shape
        new[name] = written.astype(np.float64)
    return new


def graph_file(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...] | tuple[str | int, ...]],
    constants: Mapping[str, Array],
    outputs: Sequence[str] = ("y",),
    types: Mapping[str, int] | None = None,
    opset: int = 20,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), None)
            for name in outputs
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    path = folder / f"{len(list(folder.iterdir()))}.onnx"  # a file that is read may not change
    onnx.save(model, path)
    return path


def of_file(path: Path) -> tuple[Model, Extraction]:
    model = load(str(path))
    found = matrices(model)
    nothing_vanishes(model, found)
    return model, found


def run(path: Path, **inputs: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, inputs)[0]
    return result
