"""ONNX models made in memory, read the way a user's file is, and written back from a Graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from specaudit.formats import onnx as reader
from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.model import Graph, Node, ValueInfo, Weight

NUMBERS = {name: number for number, name in ELEMENT_TYPES.items()}


def value(
    name: str, shape: Sequence[int | str | None] | None, dtype: int = TensorProto.FLOAT
) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def proto(
    nodes: Sequence[Any],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 21,
    functions: Sequence[Any] = (),
    domains: Mapping[str, int] | None = None,
    infos: Sequence[Any] = (),
) -> Any:
    """A model; outputs given by name alone have no type."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    typed = [onnx.ValueInfoProto(name=o) if isinstance(o, str) else o for o in outputs]
    graph = helper.make_graph(nodes, "g", list(inputs), typed, tensors, value_info=list(infos))
    imports = [helper.make_opsetid(d, v) for d, v in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


class Reading:
    """Reads models through a folder, since weights are read when they are asked for."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.count = 0

    def __call__(self, model: Any) -> Graph:
        self.count += 1
        path = self.folder / f"{self.count}.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        graph = reader.load(str(path)).graph
        assert graph is not None
        return graph


def weight(name: str, array: np.ndarray) -> Weight:
    return Weight(name, array.shape, str(array.dtype), lambda: array)


def written(graph: Graph) -> Any:
    """The ModelProto of a graph without functions, for onnxruntime."""
    imports = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
    return helper.make_model(_graph(graph), opset_imports=imports, ir_version=10)


def _graph(graph: Graph) -> Any:
    tensors = [numpy_helper.from_array(w.read(), name) for name, w in graph.constants.items()]
    nodes = [_node(node) for node in graph.nodes]
    inputs, outputs = map(_info, graph.inputs), map(_info, graph.outputs)
    return helper.make_graph(nodes, graph.name, list(inputs), list(outputs), tensors)


def _info(info: ValueInfo) -> Any:
    if info.dtype is None:
        return onnx.ValueInfoProto(name=info.name)
    return value(info.name, info.shape, NUMBERS[info.dtype])


def _node(node: Node) -> Any:
    made = helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=node.domain)
    for name, item in node.attributes.items():
        if isinstance(item, Weight):
            item = numpy_helper.from_array(item.read(), name)
        elif isinstance(item, Graph):
            item = _graph(item)
        made.attribute.append(helper.make_attribute(name, item))
    return made


def run(model: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs by onnxruntime, unoptimised."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    blob = model.SerializeToString()
    session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))
