"""ONNX files as nobody should write them: external data, structure, wire format, tensors."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import SECRET, Case, Collection

CASES = Collection()
MATRIX = np.diag([3.0, 2.0, 1.0, 0.5]).astype(np.float32)  # spectral norm 3
RAW = MATRIX.tobytes()
Edit = Callable[[onnx.ModelProto], None]


def value(name: str, shape: Iterable[object] = (1, 4)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model(
    nodes: list[onnx.NodeProto] | None = None,
    initializers: list[onnx.TensorProto] | None = None,
    *,
    functions: Iterable[onnx.FunctionProto] = (),
    opset: int = 20,
    **graph: object,
) -> onnx.ModelProto:
    """A model of one MatMul by `MATRIX`, unless told otherwise."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])] if nodes is None else nodes
    initializers = [numpy_helper.from_array(MATRIX, "w")] if initializers is None else initializers
    made = helper.make_graph(nodes, "g", [value("x")], [value("y")], initializers, **graph)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(made, opset_imports=imports, functions=functions, ir_version=10)


def edited(name: str, outcomes: str, sigma: float | None = None) -> Callable[[Edit], Edit]:
    """Register the plain model with one thing changed."""

    def register(edit: Edit) -> Edit:
        def make(folder: Path) -> Path:
            proto = model()
            edit(proto)
            return write(folder, proto)

        CASES.append(Case(name, outcomes, make, sigma))
        return edit

    return register


def whole(name: str, outcomes: str, build: Callable[[], onnx.ModelProto | bytes]) -> None:
    """Register what `build` returns."""
    CASES.append(Case(name, outcomes, lambda folder: write(folder, build())))


def write(folder: Path, proto: onnx.ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


# External data ------------------------------------------------------------------------------


def outside(*entries: tuple[str, str], **changes: object) -> onnx.TensorProto:
    """`w`, kept where the entries say."""
    tensor = TensorProto(name="w", data_type=1, dims=[4, 4], data_location=1, **changes)
    for key, text in entries:
        tensor.external_data.add(key=key, value=text)
    return tensor


def external(
    name: str, outcomes: str, *entries: tuple[str, str], data: bytes = RAW, **changes: object
) -> None:
    """Register a model whose weight is where `entries` say, beside a file ``w.bin``."""

    def make(folder: Path) -> Path:
        inner = folder / "inner"
        inner.mkdir()
        (folder / "secret.bin").write_bytes(SECRET)
        (inner / "w.bin").write_bytes(data)
        (inner / "sub").mkdir()
        (inner / "sub" / "w.bin").write_bytes(RAW)
        (inner / "out.bin").symlink_to(folder / "secret.bin")
        (inner / "parent").symlink_to(folder)
        (inner / "inside.bin").symlink_to("sub/w.bin")
        os.mkfifo(inner / "fifo")
        (folder / "elsewhere.bin").write_bytes(RAW)
        os.link(folder / "elsewhere.bin", inner / "hard.bin")
        return write(inner, model(initializers=[outside(*entries, **changes)]))

    CASES.append(Case(name, outcomes, make, 3.0 if outcomes == "O" else None))


def at(location: str, **keys: str) -> list[tuple[str, str]]:
    return [("location", location), *keys.items()]


SHA1 = hashlib.sha1(RAW).hexdigest()
for label, outcomes, entries in [
    ("ext_good", "O", at("w.bin")),
    ("ext_good_keys", "O", at("w.bin", offset="0", length="64", checksum=SHA1)),
    ("ext_subfolder", "O", at("sub/w.bin")),
    ("ext_dot_slash", "O", at("./w.bin")),
    ("ext_symlink_inside", "O", at("inside.bin")),
    ("ext_hardlink", "EW", at("hard.bin")),
    ("ext_dotdot", "E", at("../secret.bin")),
    ("ext_dotdot_hidden", "E", at("sub/../../secret.bin")),
    ("ext_etc_passwd", "E", at("../../../../../../etc/passwd")),
    ("ext_absolute", "E", at("/etc/passwd")),
    ("ext_devzero", "E", at("/dev/zero")),
    ("ext_backslash", "E", at("..\\secret.bin")),
    ("ext_symlink", "E", at("out.bin")),
    ("ext_symlink_parent", "E", at("parent/secret.bin")),
    ("ext_missing", "E", at("none.bin")),
    ("ext_offset_eof", "E", at("w.bin", offset="64")),
    ("ext_short", "E", at("w.bin", offset="1", length="64")),
    ("ext_overflow", "E", at("w.bin", offset="18446744073709551615")),
    ("ext_length_huge", "E", at("w.bin", length="1152921504606846976")),
    ("ext_neg_offset", "E", at("w.bin", offset="-64")),
    ("ext_neg_length", "E", at("w.bin", length="-1")),
    ("ext_nonnumeric", "E", at("w.bin", offset="zero")),
    ("ext_num_underscore", "E", at("w.bin", length="6_4")),
    ("ext_num_arabic", "E", at("w.bin", length="٦٤")),
    ("ext_num_space", "E", at("w.bin", length=" 64")),
    ("ext_num_empty", "E", at("w.bin", length="")),
    ("ext_len_lt_dims", "E", at("w.bin", length="63")),
    ("ext_len_gt_dims", "E", at("w.bin", length="65")),
    ("ext_empty_location", "E", at("")),
    ("ext_dot", "E", at(".")),
    ("ext_dir", "E", at("sub")),
    ("ext_self", "E", at("model.onnx")),
    ("ext_fifo", "E", at("fifo")),
    ("ext_nul", "E", at("w.bin\0.png")),
    ("ext_url", "E", at("https://example.org/w.bin")),
    ("ext_home", "E", at("~/w.bin")),
    ("ext_long_location", "E", at("n" * 100_000)),
    ("ext_unknown_keys", "W", at("w.bin", colour="red")),
    ("ext_prepacked", "O", at("w.bin", prepacked_0="1|2|3")),
    ("ext_dup_location", "E", [*at("w.bin"), *at("sub/w.bin")]),
    ("ext_no_entries", "E", []),
    ("ext_no_location", "E", [("offset", "0")]),
    ("ext_checksum_bad", "W", at("w.bin", checksum="0" * 40)),
]:
    external(label, outcomes, *entries)
external("ext_and_raw", "E", *at("w.bin"), raw_data=RAW)
external("ext_nolength_sparse_256M", "O", *at("w.bin"), data=RAW + bytes(1 << 20))


@CASES.add("O", 3.0)
def ext_hf_cache(folder: Path) -> Path:
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "2").write_bytes(RAW)
    write(blobs, model(initializers=[outside(*at("w.bin"))])).rename(blobs / "1")
    (snapshot / "model.onnx").symlink_to("../../blobs/1")
    (snapshot / "w.bin").symlink_to("../../blobs/2")
    return snapshot / "model.onnx"


def hidden(name: str, outcomes: str, build: Callable[[onnx.TensorProto], onnx.ModelProto]) -> None:
    """Register a model with a tensor outside its folder in an unusual place."""

    def make(folder: Path) -> Path:
        inner = folder / "inner"
        inner.mkdir()
        (folder / "secret.bin").write_bytes(SECRET)
        return write(inner, build(outside(*at("../secret.bin"))))

    CASES.append(Case(name, outcomes, make))


def constant(tensor: onnx.TensorProto, name: str = "w") -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=tensor)


def branch(nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [value(output)])


def conditional(nodes: list[onnx.NodeProto], output: str = "b") -> onnx.NodeProto:
    """An If whose two branches hold `nodes`."""
    body = branch(nodes, output)
    return helper.make_node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])
INNER = helper.make_node("MatMul", ["x", "w"], ["b"])
TRUE = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
CALL = helper.make_node("F", ["x"], ["y"], domain="local")


def function(name: str, nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["x"], ["y"], nodes, imports)


def sparse(places: object, *, dims: Iterable[int] = (4, 4)) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.array([3, 2, 1], dtype=np.float32), "w")
    indices = numpy_helper.from_array(np.array(places, dtype=np.int64), "places")
    return helper.make_sparse_tensor(values, indices, list(dims))


def sparse_outside(tensor: onnx.TensorProto) -> onnx.SparseTensorProto:
    del tensor.dims[:]
    tensor.dims.append(16)
    indices = numpy_helper.from_array(np.arange(16), "places")
    return helper.make_sparse_tensor(tensor, indices, [4, 4])


def trained(tensor: onnx.TensorProto) -> onnx.ModelProto:
    proto = model()
    proto.training_info.add().algorithm.CopyFrom(helper.make_graph([], "t", [], [], [tensor]))
    return proto


hidden("ext_in_constant_attr", "E", lambda t: model([constant(t), MATMUL], []))
hidden("ext_in_subgraph", "E", lambda t: model([TRUE, conditional([constant(t), INNER])], []))
hidden("ext_in_function", "E", lambda t: model([CALL], [], functions=[
    function("F", [constant(t), MATMUL])]))  # fmt: skip
hidden("ext_in_sparse", "E", lambda t: model(
    None, [], sparse_initializer=[sparse_outside(t)]))  # fmt: skip
hidden("ext_in_training_info", "EW", trained)


# Structure ----------------------------------------------------------------------------------


def node(inputs: str, outputs: str, op: str = "Add", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def nested(depth: int) -> onnx.ModelProto:
    """An If in an If …, `depth` of them, a weight in the innermost."""
    nodes, last = [constant(numpy_helper.from_array(MATRIX)), INNER], "b"
    for level in range(depth - 1):
        inner, last = branch(nodes, last), f"b{level}"
        nodes = [helper.make_node("If", ["c"], [last], then_branch=inner)]
    return model([TRUE, helper.make_node("If", ["c"], ["y"], then_branch=branch(nodes, last))], [])


def nested_bytes(depth: int) -> bytes:
    """As `nested`, without a library that stops at its own depth: the messages by hand."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(4, b"If") + field(5, attribute))
    return b"\x08\x0a" + field(8, b"\x10\x14") + field(7, graph)


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def exponential(levels: int) -> onnx.ModelProto:
    """Functions that call the next one twice: a kilobyte, and 2^levels nodes once expanded."""
    functions = [
        function(f"F{level}", [
            helper.make_node(f"F{level + 1}", ["x"], ["a"], domain="local"),
            helper.make_node(f"F{level + 1}", ["a"], ["y"], domain="local"),
        ])
        for level in range(levels)
    ]  # fmt: skip
    functions.append(function(f"F{levels}", [helper.make_node("Relu", ["x"], ["y"])]))
    return model([helper.make_node("F0", ["x"], ["y"], domain="local")], [], functions=functions)


def chain(length: int) -> onnx.ModelProto:
    """Functions in a long row, the last one first, so that none looks deep when it is met."""
    functions = [function("F0", [helper.make_node("Relu", ["x"], ["y"])])] + [
        function(f"F{i}", [helper.make_node(f"F{i - 1}", ["x"], ["y"], domain="local")])
        for i in range(1, length)
    ]
    calls = [
        helper.make_node(f"F{i}", ["x" if i == 0 else f"v{i}"], [f"v{i + 1}"], domain="local")
        for i in range(length)
    ]
    return model([*calls, node(f"v{length}", "y", "Relu")], [], functions=functions)


def long_row(length: int) -> onnx.ModelProto:
    nodes = [node("x", "v0", "Relu")]
    nodes += [node(f"v{i}", f"v{i + 1}", "Relu") for i in range(length)]
    return model([*nodes, helper.make_node("MatMul", [f"v{length}", "w"], ["y"])])


def many_paths() -> onnx.ModelProto:
    nodes = [node("x x", "v0")] + [node(f"v{i} v{i}", f"v{i + 1}") for i in range(60)]
    return model([*nodes, helper.make_node("MatMul", ["v60", "w"], ["y"])])


WEIGHT = numpy_helper.from_array(MATRIX, "w")
OTHER = numpy_helper.from_array(100 * MATRIX, "w")
RELU = node("x", "y", "Relu")

for label, outcomes, build in [
    ("g_good", "O", lambda: model()),
    ("g_cycle", "E", lambda: model([node("x b", "a"), node("a x", "b"), node("a b", "y")], [])),
    ("g_self_loop", "E", lambda: model([node("x y", "y")], [])),
    ("g_unsorted", "EO", lambda: model([node("a a", "y"), node("x w", "a", "MatMul")])),
    ("g_output_dup", "E", lambda: model([node("x x", "y"), node("x w", "y", "MatMul")])),
    ("g_undefined_input", "E", lambda: model([node("x nobody", "y")], [])),
    ("g_undefined_output", "E", lambda: model([node("x x", "z")], [])),
    ("g_dup_init", "E", lambda: model(None, [WEIGHT, OTHER])),
    ("g_init_and_constant", "E", lambda: model([constant(OTHER), MATMUL])),
    ("g_merge_graph_twice", "E", lambda: model().SerializeToString() + field(
        7, helper.make_graph([], "h", [], [], [OTHER]).SerializeToString())),
    ("g_opset_999", "EW", lambda: model(opset=999)),
    ("g_opset_neg", "E", lambda: model(opset=-1)),
    ("g_opset_zero", "E", lambda: model(opset=0)),
    ("g_deep_20", "O", lambda: nested(20)),
    ("g_deep_31", "O", lambda: nested(31)),
    ("g_deep_60", "E", lambda: nested_bytes(60)),
    ("g_deep_2000", "E", lambda: nested_bytes(2000)),
    ("g_fn_self", "E", lambda: model([CALL], [], functions=[function("F", [CALL])])),
    ("g_fn_mutual", "E", lambda: model([CALL], [], functions=[
        function("F", [helper.make_node("G", ["x"], ["y"], domain="local")]),
        function("G", [CALL])])),
    ("g_fn_uncalled_self", "E", lambda: model([RELU], [], functions=[function("F", [CALL])])),
    ("g_fn_twice", "E", lambda: model([CALL], [], functions=[function("F", [RELU])] * 2)),
    ("g_fn_exponential", "E", lambda: exponential(30)),
    ("g_fn_deep", "E", lambda: chain(5000)),
    ("g_fn_free_value", "E", lambda: model([CALL], functions=[function("F", [MATMUL])])),
    ("g_constant_node", "O", lambda: model([constant(WEIGHT), MATMUL], [])),
    ("g_fn_weight", "O", lambda: model([CALL], [], functions=[
        function("F", [constant(WEIGHT), MATMUL])])),
    ("g_weight_in_subgraph", "O", lambda: model([TRUE, conditional([constant(WEIGHT), INNER])],
                                                [])),
    ("g_name_injection", "O", lambda: model(
        [helper.make_node("MatMul", ["x", "\x1b[31m::error::<b>"], ["y"], "a\nb")],
        [numpy_helper.from_array(MATRIX, "\x1b[31m::error::<b>")])),
    ("g_name_nonutf8", "E", lambda: model().SerializeToString().replace(b"MatMul", b"Mat\xfful")),
    ("g_unnamed_init", "E", lambda: model(None, [WEIGHT, numpy_helper.from_array(MATRIX)])),
    ("g_empty_optype", "E", lambda: model([node("x", "y", "")], [])),
    ("g_attribute_twice", "E", lambda: attribute_twice()),
    ("g_attribute_contradicts", "E", lambda: attribute_contradicts()),
    ("g_reference_outside", "E", lambda: reference_outside()),
    ("g_nodes_20k", "O", lambda: long_row(20_000)),
    ("g_paths_2_60", "O", many_paths),
    ("g_fanout_attr_ints", "O", lambda: model([
        helper.make_node("Relu", ["x"], ["a"], ints=list(range(200_000))),
        helper.make_node("MatMul", ["a", "w"], ["y"])])),
    ("g_unknown_fields", "O", lambda: model().SerializeToString() + field(999, b"news")
        + varint(998 << 3) + b"\x01" + varint(997 << 3 | 5) + bytes(4)
        + varint(996 << 3 | 1) + bytes(8)),
    ("g_group_wire", "E", lambda: model().SerializeToString() + b"\xa3\x06\xa4\x06"),
    ("g_wire_6", "E", lambda: model().SerializeToString() + b"\x0e"),
    ("g_field_0", "E", lambda: model().SerializeToString() + b"\x00\x00"),
    ("g_len_lie", "E", lambda: model().SerializeToString() + b"\x3a\xff\xff\xff\xff\x0f"),
    ("g_varint_long", "E", lambda: b"\x08" + b"\x80" * 11 + b"\x01" + model()
        .SerializeToString()[2:]),
    ("g_varint_cut", "E", lambda: model().SerializeToString() + b"\x08\x80"),
    ("onnx_only_header_field", "E", lambda: b"\x08\x0a"),
    ("onnx_graph_empty", "EG", lambda: model([], [])),
    ("onnx_trunc_half", "E", lambda: model().SerializeToString()[:100]),
    ("onnx_trunc_minus1", "E", lambda: model().SerializeToString()[:-1]),
]:  # fmt: skip
    whole(label, outcomes, build)


@edited("g_opset_none", "E")
def no_opset(proto: onnx.ModelProto) -> None:
    del proto.opset_import[:]


@edited("g_opset_dup", "E")
def opset_twice(proto: onnx.ModelProto) -> None:
    proto.opset_import.add(domain="ai.onnx", version=9)


@edited("g_ir_999", "EW")
def ir_999(proto: onnx.ModelProto) -> None:
    proto.ir_version = 999


@edited("g_ir_none", "E")
def ir_none(proto: onnx.ModelProto) -> None:
    proto.ClearField("ir_version")


@edited("g_init_and_input", "W")
def input_too(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(value("w", (4, 4)))


@edited("g_input_dims_neg", "O")
def negative_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -5


@edited("g_input_huge", "OEW")
def huge_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**62


@edited("g_input_twice", "E")
def input_twice(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(value("x"))


def attribute_twice() -> onnx.ModelProto:
    proto = model([helper.make_node("Gemm", ["x", "w"], ["y"], alpha=1.0)])
    proto.graph.node[0].attribute.append(helper.make_attribute("alpha", 100.0))
    return proto


def attribute_contradicts() -> onnx.ModelProto:
    proto = model([helper.make_node("Gemm", ["x", "w"], ["y"], alpha=1.0)])
    proto.graph.node[0].attribute[0].i = 7
    return proto


def reference_outside() -> onnx.ModelProto:
    proto = model([helper.make_node("Gemm", ["x", "w"], ["y"], alpha=1.0)])
    proto.graph.node[0].attribute[0].ref_attr_name = "alpha"
    proto.graph.node[0].attribute[0].ClearField("f")
    return proto


# Tensors ------------------------------------------------------------------------------------


def tensor(name: str, outcomes: str, **fields: object) -> None:
    """Register a model whose weight is a TensorProto of these fields."""
    content = {"name": "w", "data_type": 1, "dims": [4, 4]} | fields
    whole(name, outcomes, lambda: model(None, [TensorProto(**content)]))


FLOATS = MATRIX.reshape(-1).tolist()
for label, outcomes, fields in [
    ("t_float_data", "O", {"float_data": FLOATS}),
    ("t_dims_huge", "E", {"dims": [2**40, 2**40], "raw_data": RAW}),
    ("t_dims_wrap_zero", "E", {"dims": [2**32, 2**32], "raw_data": RAW}),
    ("t_dims_wrap_16", "E", {"dims": [2**62 + 4, 4], "raw_data": RAW}),
    ("t_dims_neg", "E", {"dims": [-4, -4], "raw_data": RAW}),
    ("t_dims_10k", "E", {"dims": [1] * 10_000, "raw_data": RAW[:4]}),
    ("t_raw_short", "E", {"raw_data": RAW[:-4]}),
    ("t_raw_long", "E", {"raw_data": RAW + RAW[:4]}),
    ("t_raw_unaligned", "E", {"raw_data": RAW[:-1]}),
    ("t_no_data", "E", {}),
    ("t_no_data_scalar", "E", {"dims": []}),
    ("t_float_data_short", "E", {"float_data": FLOATS[:-1]}),
    ("t_float_data_long", "E", {"float_data": [*FLOATS, 1.0]}),
    ("t_wrong_field", "E", {"double_data": FLOATS}),
    ("t_wrong_field_int", "E", {"int64_data": [1] * 16}),
    ("t_raw_and_float", "E", {"raw_data": RAW, "float_data": FLOATS}),
    ("t_raw_empty_and_float", "E", {"raw_data": b"", "float_data": FLOATS}),
    ("t_dtype_0", "E", {"data_type": 0, "raw_data": RAW}),
    ("t_dtype_999", "E", {"data_type": 999, "raw_data": RAW}),
    ("t_string", "EW", {"data_type": 8, "string_data": [b"a"] * 16}),
    ("t_complex64", "EO", {"data_type": 14, "float_data": FLOATS * 2}),
    ("t_segment", "E", {"raw_data": RAW, "segment": TensorProto.Segment(begin=0, end=4)}),
    ("t_location_7", "E", {"raw_data": RAW, "data_location": 0, "external_data": [
        onnx.StringStringEntryProto(key="location", value="w.bin")]}),
    ("t_int32_cut", "E", {"data_type": 3, "int32_data": [1] * 15}),
    ("t_nan", "G", {"float_data": [float("nan"), *FLOATS[1:]]}),
]:  # fmt: skip
    tensor(label, outcomes, **fields)

for label, outcomes, places, dims in [
    ("t_sparse_ok", "O", [0, 5, 10], (4, 4)),
    ("t_sparse_2d", "O", [[0, 0], [1, 1], [2, 2]], (4, 4)),
    ("t_sparse_oob", "E", [0, 5, 16], (4, 4)),
    ("t_sparse_2d_oob", "E", [[0, 0], [1, 1], [2, 4]], (4, 4)),
    ("t_sparse_neg", "E", [-1, 5, 10], (4, 4)),
    ("t_sparse_dup", "E", [0, 5, 5], (4, 4)),
    ("t_sparse_count", "E", [0, 5], (4, 4)),
    ("t_sparse_huge", "E", [0, 5, 10], (1 << 20, 1 << 20)),
    ("t_sparse_wrap", "E", [0, 5, 10], (1 << 32, 1 << 32)),
]:

    def build_sparse(places: object = places, dims: tuple[int, int] = dims) -> onnx.ModelProto:
        return model(None, [], sparse_initializer=[sparse(places, dims=dims)])

    whole(label, outcomes, build_sparse)
