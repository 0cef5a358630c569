"""The node tests of onnx: shapes against its inference and the true outputs, and constants."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, shape_inference

from specaudit.graphs import resolve
from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.graphs.fold import FOLDS
from specaudit.graphs.shapes import RULES
from tests.graphs.backend import node_cases, numbers
from tests.graphs.building import Reading

# What onnx infers and this package does not, by the operation that gives the value.
KNOWN_GAPS = {
    # text, training and trees: no operation of a network that is bounded
    "LabelEncoder", "TreeEnsemble", "ArrayFeatureExtractor", "Binarizer", "Adam", "Adagrad",
    "Momentum", "FlexAttention",
    "Scan",  # of opset 8, with its sequence lengths
    "OptionalGetElement",  # optional inputs have no declared type here
}  # fmt: skip


def prepared(case: Any) -> Any:
    """The case's model with nothing declared of its outputs and inner values."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for output in model.graph.output:
        output.type.Clear()
    del model.graph.value_info[:]
    return model


def with_constants(model: Any, data: Any, most: int) -> Any:
    """The same model with inputs of at most `most` elements as initializers."""
    kept = []
    for info, item in zip(model.graph.input, data[0], strict=True):
        tensor = numbers(item)
        if tensor is None or tensor.size > most:
            kept.append(info)
        else:
            model.graph.initializer.append(numpy_helper.from_array(tensor, info.name))
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def inferred(model: Any) -> Any:
    """Shapes and dtypes that onnx infers, by value name."""
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except (shape_inference.InferenceError, RuntimeError):
        return {}
    found = {}
    for info in (*graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        if tensor.HasField("shape"):
            dims = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
            found[info.name] = ELEMENT_TYPES.get(tensor.elem_type), dims
    return found


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("most", [0, 64])
def test_no_shape_contradicts_onnx_or_the_output_and_little_is_missed(
    read: Reading, most, step
) -> None:
    wrong, missed = [], set()
    for case in node_cases()[::step]:
        model, data = prepared(case), case.data_sets[0] if case.data_sets else ([], [])
        if most and data[0]:
            model = with_constants(model, data, most)
        resolved = resolve(read(model))
        truth = {
            info.name: array.shape
            for info, item in zip(model.graph.output, data[1], strict=False)
            if (array := numbers(item)) is not None
        }
        theirs = inferred(model)
        for name in {*truth, *theirs}:
            mine = resolved.shape(name)
            dtype, shape = theirs.get(name, (None, None))
            expected = truth.get(name, shape)
            other = dtype is not None and resolved.dtype(name) not in {None, dtype}
            if contradicts(mine, expected) or other:
                wrong.append((case.name, name, mine, expected, resolved.dtype(name), dtype))
            node = resolved.producer(name)
            unclear = knows_less(mine, shape) or (dtype and resolved.dtype(name) is None)
            if node and unclear and 0 not in (shape or ()):
                missed.add(node.op)
    assert not wrong
    assert missed <= KNOWN_GAPS


def contradicts(mine, shape) -> bool:
    if mine is None or shape is None:
        return False
    pairs = zip(mine, shape, strict=False)
    return len(mine) != len(shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs
    )


def knows_less(mine, shape) -> bool:
    if shape is None:
        return False
    pairs = zip(mine or (), shape, strict=False)
    return mine is None or any(isinstance(b, int) and not isinstance(a, int) for a, b in pairs)


def test_every_operation_has_a_shape_rule() -> None:
    latest = {s.name for s in onnx.defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    assert latest - {name for domain, name in RULES if domain == ""} == set()


def test_folded_constants_are_the_expected_outputs(read: Reading) -> None:
    """Where all inputs are constants, so is the output; only float rounding may differ."""
    wrong, folded = [], set()
    for case in node_cases():
        data = case.data_sets[0] if case.data_sets else ([], [])
        if not data[0] or any(numbers(item) is None for item in data[0]):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        model = with_constants(model, data, 1 << 20)
        resolved = resolve(read(model))
        for info, item in zip(model.graph.output, data[1], strict=True):
            node, expected = resolved.producer(info.name), numbers(item)
            value = resolved.constant(info.name) if node else None
            if node is None or value is None or expected is None:
                continue
            folded.add(node.op)
            if not agrees(value, expected, tolerance(case.name)):
                wrong.append((case.name, value, expected))
            if value.dtype != expected.dtype and value.dtype != np.float64:
                wrong.append((case.name, value.dtype, expected.dtype))
    assert not wrong
    assert {name for domain, name in FOLDS if not domain} - folded == {"Constant"}  # no inputs


def tolerance(name: str) -> float:
    """A single operation is within an ulp or two; decomposed ones sum a few hundred terms."""
    return 2e-6 if "expanded" in name else 3e-7


def agrees(value: np.ndarray, expected: np.ndarray, relative: float) -> bool:
    if value.shape != expected.shape:
        return False
    if value.dtype == np.bool_:
        return bool((value == expected).all())
    a, b = value.astype(np.complex128), expected.astype(np.complex128)
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return bool(np.allclose(a, b, rtol=relative, atol=relative * scale, equal_nan=True))
