"""ONNX files, held against the onnx package: every model it ships, every type, every place."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from specaudit.formats import load
from specaudit.formats.onnx_tensors import TYPES, TypedTensor
from specaudit.formats.tensors import StoredTensor
from specaudit.model import AttributeReference, Graph, Node, Weight
from tests.formats.opening import read_all
from tests.graphs.backend import node_cases
from tests.hostile.onnx_files import (
    MATMUL,
    MATRIX,
    WEIGHT,
    branch,
    constant,
    field,
    function,
    model,
    sparse,
    write,
)
from tests.hostile.onnx_files import node as make_node

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
SHAPE = (3, 5)  # 15 elements: an odd count, so that packed types end inside a byte


def same_tensor(ours: object, theirs: onnx.TensorProto, folder: str = "") -> None:
    assert isinstance(ours, Weight)
    expected = numpy_helper.to_array(theirs, folder)
    values = ours.read()
    assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
    assert values.tobytes() == expected.tobytes()


def same_attribute(ours: object, theirs: onnx.AttributeProto) -> None:
    value = helper.get_attribute_value(theirs)
    if theirs.type in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPH):
        value, ours = [value], (ours,)
    if theirs.type in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.TENSORS):
        assert isinstance(ours, tuple)
        for mine, other in zip(ours, value, strict=True):
            same_tensor(mine, other)
    elif theirs.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        assert isinstance(ours, tuple)
        for mine, other in zip(ours, value, strict=True):
            same_graph(mine, other)
    elif isinstance(value, bytes):
        assert ours == value.decode()
    elif isinstance(value, list) and value and isinstance(value[0], bytes):
        assert ours == tuple(text.decode() for text in value)
    else:
        assert ours == (tuple(value) if isinstance(value, list) else value)


def same_node(ours: Node, theirs: onnx.NodeProto) -> None:
    assert ours.op == theirs.op_type
    assert ours.domain == theirs.domain.removeprefix(
        "ai.onnx" if theirs.domain == "ai.onnx" else ""
    )
    assert ours.inputs == tuple(theirs.input)
    assert ours.outputs == tuple(theirs.output)
    unread = {onnx.AttributeProto.TYPE_PROTO, onnx.AttributeProto.SPARSE_TENSOR}
    for attribute in theirs.attribute:
        value = ours.attributes.get(attribute.name)
        if attribute.ref_attr_name:
            assert value == AttributeReference(attribute.ref_attr_name)
        elif value is None:  # text in a tensor, or a type: not numbers
            assert attribute.type in unread or attribute.t.data_type == TensorProto.STRING
        elif attribute.type not in unread:
            same_attribute(value, attribute)


def same_graph(ours: object, theirs: onnx.GraphProto) -> None:
    assert isinstance(ours, Graph)
    given = {tensor.name: tensor for tensor in theirs.initializer}
    numbers = {n: t for n, t in given.items() if t.data_type != TensorProto.STRING}
    assert set(ours.constants) == set(numbers) | {s.values.name for s in theirs.sparse_initializer}
    for name, tensor in numbers.items():
        same_tensor(ours.constants[name], tensor)
    assert [i.name for i in ours.inputs] == [i.name for i in theirs.input if i.name not in given]
    assert [info.name for info in ours.outputs] == [info.name for info in theirs.output]
    for mine, other in zip(ours.nodes, theirs.node, strict=True):
        same_node(mine, other)


def same_model(path: Path, proto: onnx.ModelProto) -> None:
    ours = load(path)
    read_all(ours)
    assert ours.format == "onnx"
    assert ours.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    same_graph(ours.graph, proto.graph)
    assert ours.graph is not None
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
    assert ours.graph.opsets == versions
    assert len(ours.graph.functions) == len(proto.functions)
    for theirs in proto.functions:
        found = ours.graph.functions[theirs.domain, theirs.name]
        assert (found.inputs, found.outputs) == (tuple(theirs.input), tuple(theirs.output))
        for mine, other in zip(found.nodes, theirs.node, strict=True):
            same_node(mine, other)


def test_every_model_that_onnx_ships(tmp_path: Path) -> None:
    paths = list(Path(onnx.__file__).parent.glob("backend/test/data/**/*.onnx"))
    assert len(paths) > 100
    for path in paths:
        same_model(path, onnx.load(path))


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_model_of_the_node_tests(tmp_path: Path, step: int) -> None:
    assert len(node_cases()) > 1500
    for case in node_cases()[::step]:
        same_model(write(tmp_path, case.model), case.model)


@pytest.mark.models
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is not there")
def test_real_models() -> None:
    paths = list(MODELS.rglob("*.onnx"))
    assert paths
    for path in paths:
        same_model(path, onnx.load(path))


def stored(code: int, how: str, folder: Path) -> tuple[onnx.TensorProto, np.ndarray]:
    """A tensor of that type with every bit pattern likely, stored in one of three ways."""
    name, home = TYPES[code]
    dtype = helper.tensor_dtype_to_np_dtype(code)
    rng = np.random.default_rng(code)
    if dtype.kind == "c":
        values = (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)).astype(dtype)
    elif dtype.kind == "b":
        values = rng.integers(0, 2, SHAPE).astype(bool)
    elif name in ("float32", "float64") or dtype.kind in "iu":
        values = rng.integers(-(2**62), 2**62, SHAPE).astype(dtype)
    else:  # small floats, and integers under a byte: any pattern of their bits
        bits = {"float16": 16, "bfloat16": 16}.get(name, 8)
        low = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "float4_e2m1fn": 4}.get(name, bits)
        low = 6 if name.startswith("float6") else low
        values = rng.integers(0, 1 << low, SHAPE).astype(f"uint{bits}").view(dtype)
    if how == "typed":
        flat = values.reshape(-1)
        tensor = helper.make_tensor("w", code, SHAPE, list(flat) if dtype.kind != "V" else flat)
        assert getattr(tensor, home)
        return tensor, values
    tensor = numpy_helper.from_array(values, "w")
    assert tensor.data_type == code
    if how == "external":
        (folder / "w.bin").write_bytes(bytes(7) + tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        tensor.external_data.add(key="location", value="w.bin")
        tensor.external_data.add(key="offset", value="7")
    return tensor, values


@pytest.mark.parametrize("how", ["raw", "typed", "external"])
@pytest.mark.parametrize("code", TYPES)
def test_every_type_stored_every_way(code: int, how: str, tmp_path: Path) -> None:
    tensor, values = stored(code, how, tmp_path)
    nodes = [constant(tensor, "k"), make_node("x x", "y")]
    made = load(write(tmp_path, model(nodes, [tensor])))
    for weight in made.weights:
        read = weight.read()
        assert (weight.dtype, weight.shape) == (TYPES[code][0], SHAPE)
        assert read.dtype == values.dtype
        assert read.tobytes() == values.tobytes()
    assert [weight.name for weight in made.weights] == ["w", "k"]
    kind = TypedTensor if how == "typed" else StoredTensor
    assert all(isinstance(weight.source, kind) for weight in made.weights)


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (7, 1)])
def test_odd_shapes(code: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(code)
    values = np.ones(shape).astype(dtype)
    made = load(write(tmp_path, model(initializers=[numpy_helper.from_array(values, "w")])))
    np.testing.assert_array_equal(made.weights[0].read(), values)


def test_numbers_unpacked_and_in_parts(tmp_path: Path) -> None:
    """Legal in the wire format, though no writer does it."""
    tensor = TensorProto(name="w", data_type=3, dims=[5], int32_data=[1, -2, 3])
    parts = tensor.SerializeToString() + b"\x28\x04" + field(5, b"\xff" * 9 + b"\x01")  # 4, -1
    proto = model([make_node("x x", "y")], [])
    graph = proto.graph.SerializeToString() + field(5, parts)
    proto.ClearField("graph")
    (weight,) = load(write(tmp_path, proto.SerializeToString() + field(7, graph))).weights
    np.testing.assert_array_equal(weight.read(), np.array([1, -2, 3, 4, -1], dtype=np.int8))


def test_sparse_tensors_are_read_dense(tmp_path: Path) -> None:
    for places in ([0, 5, 10], [[0, 0], [1, 1], [2, 2]]):
        path = write(tmp_path, model(None, [], sparse_initializer=[sparse(places)]))
        (weight,) = load(path).weights
        np.testing.assert_array_equal(weight.read(), np.diag([3, 2, 1, 0]).astype(np.float32))


def test_names_tell_where_a_tensor_is_kept(tmp_path: Path) -> None:
    inner = make_node("x w", "b", "MatMul")
    held = branch([constant(WEIGHT), inner], "b")
    held.initializer.append(numpy_helper.from_array(MATRIX, "own"))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["c"], ["z"], "If_0", then_branch=held, else_branch=held),
        helper.make_node("F", ["x"], ["y"], domain="local"),
        helper.make_node("ConstantOfShape", ["s"], ["o"],
                         value=numpy_helper.from_array(np.array([2.0], dtype=np.float32))),
    ]  # fmt: skip
    shape = numpy_helper.from_array(np.array([4, 4]), "s")
    functions = [function("F", [constant(WEIGHT), MATMUL])]
    made = load(write(tmp_path, model(nodes, [shape], functions=functions)))
    assert sorted(weight.name for weight in made.weights) == sorted([
        "s", "c", "If_0.then_branch.own", "If_0.then_branch.w", "If_0.else_branch.own",
        "If_0.else_branch.w", "local.F.w", "<ConstantOfShape o>.value",
    ])  # fmt: skip
    assert made.graph is not None
    then = made.graph.nodes[1].attributes["then_branch"]
    assert isinstance(then, Graph)
    assert then.constants["own"].name == "If_0.then_branch.own"


def test_names_are_unique(tmp_path: Path) -> None:
    tensors = [numpy_helper.from_array(MATRIX, name) for name in ("w", "if.then_branch.w")]
    condition = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))
    )
    body = branch([constant(WEIGHT), make_node("x w", "b", "MatMul")], "b")
    nodes = [
        condition,
        helper.make_node("If", ["c"], ["y"], "if", then_branch=body),
        make_node("x", "p", "Relu", name="same"),
        make_node("x", "q", "Relu", name="same"),
        make_node("x", "r", "Relu"),
    ]
    made = load(write(tmp_path, model(nodes, tensors)))
    names = [weight.name for weight in made.weights]
    assert sorted(names) == ["c", "if.then_branch.w", "if.then_branch.w#2", "w"]
    assert made.graph is not None
    found = [node.name for node in made.graph.nodes]
    assert found == ["<Constant c>", "if", "same", "same#2", "<Relu r>"]


def test_an_unsorted_graph_is_sorted_and_keeps_its_order_otherwise(tmp_path: Path) -> None:
    nodes = [
        make_node("b", "y", "Relu"),
        make_node("x", "p", "Relu"),
        make_node("a", "b", "Relu"),
        make_node("x", "a", "Relu"),
        make_node("x", "q", "Relu"),
    ]
    made = load(write(tmp_path, model(nodes, [])))
    assert made.graph is not None
    assert [node.outputs[0] for node in made.graph.nodes] == ["p", "a", "b", "y", "q"]
    assert made.notes


def test_a_subgraph_waits_for_what_it_uses(tmp_path: Path) -> None:
    condition = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))
    )
    body = branch([make_node("late", "b", "Relu")], "b")
    uses = helper.make_node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)
    made = load(write(tmp_path, model([condition, uses, make_node("x", "late", "Relu")], [])))
    assert made.graph is not None
    assert [node.op for node in made.graph.nodes] == ["Constant", "Relu", "If"]


def test_initializers_that_share_bytes_are_tied(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(MATRIX.tobytes() * 2)
    tensors = []
    for name, offset in {"a": "0", "b": "0", "c": "64"}.items():
        tensor = TensorProto(name=name, data_type=1, dims=[4, 4], data_location=1)
        tensor.external_data.add(key="location", value="w.bin")
        tensor.external_data.add(key="offset", value=offset)
        tensors.append(tensor)
    made = load(write(tmp_path, model([make_node("x a", "y", "MatMul")], tensors)))
    a, b, c = made.weights
    assert (a.storage, a.extent) == (b.storage, b.extent)
    assert a.extent != c.extent


def test_function_defaults_and_references(tmp_path: Path) -> None:
    body = helper.make_node("LeakyRelu", ["x"], ["y"])
    reference = body.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT)
    reference.ref_attr_name = "slope"
    made = function("F", [body])
    made.attribute_proto.append(helper.make_attribute("slope", 0.5))
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    graph = load(write(tmp_path, model([call], [], functions=[made]))).graph
    assert graph is not None
    found = graph.functions["local", "F"]
    assert found.defaults == {"slope": 0.5}
    assert found.nodes[0].attributes["alpha"] == AttributeReference("slope")
    assert found.opsets == {"": 20, "local": 1}
