"""The map of a case as a matrix: the identity pushed through onnxruntime."""

import math

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.convolutions.cases import Case


def matrix(case: Case) -> NDArray[np.float64]:
    """Return the map, shape (outputs, inputs), exactly.

    Notes
    -----
    Each input of the batch is one column of the identity, so each entry that comes out is
    an entry of the kernel, or a sum of a few where padding repeats a place. The table's
    entries are small multiples of 1/8, which float32 adds without rounding.
    """
    assert case.input is not None
    channels = case.group * case.channels
    size = channels * math.prod(case.input)
    batch = np.eye(size, dtype=np.float32).reshape(size, channels, *case.input)
    session = onnxruntime.InferenceSession(_model(case), providers=["CPUExecutionProvider"])
    (images,) = session.run(None, {"x": batch})
    return images.reshape(size, -1).T.astype(np.float64)


def _model(case: Case) -> bytes:
    constants = [numpy_helper.from_array(case.values().astype(np.float32), "w")]
    attributes = {"strides": case.strides, "dilations": case.dilations, "group": case.group}
    nodes, data = [], "x"
    if case.mode == "constant":
        attributes["pads"] = case.pads
    else:
        rank = len(case.kernel)
        widths = (0, 0, *case.pads[:rank], 0, 0, *case.pads[rank:])
        constants.append(numpy_helper.from_array(np.array(widths, dtype=np.int64), "widths"))
        nodes.append(helper.make_node("Pad", ["x", "widths"], ["padded"], mode=case.mode))
        data = "padded"
    if case.output_padding:
        attributes["output_padding"] = case.output_padding
    kind = "ConvTranspose" if case.transposed else "Conv"
    nodes.append(helper.make_node(kind, [data, "w"], ["y"], **attributes))
    unknown = [None] * (len(case.kernel) + 2)
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, unknown)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, unknown)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
