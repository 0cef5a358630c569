"""ONNX is saved wherever its numbers are kept, and runs as before but for the new numbers."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from specaudit.errors import UsageError
from specaudit.formats import load, save
from specaudit.formats.onnx_saving import padded, varints

RNG = np.random.default_rng(5)
# Types that a typed field keeps as varints; a negative bfloat16 takes three bytes, zero one.
VARINTS = {
    "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16,
    "float8_e4m3fn": TensorProto.FLOAT8E4M3FN, "float8_e5m2": TensorProto.FLOAT8E5M2,
    "int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "uint16": TensorProto.UINT16, "uint64": TensorProto.UINT64,
    "int4": TensorProto.INT4, "uint4": TensorProto.UINT4, "float4_e2m1fn": TensorProto.FLOAT4E2M1,
}  # fmt: skip
RAW = [*VARINTS, "float32", "float64", "int16", "uint32", "bool", "complex64", "float8_e8m0fnu"]


def values_for(dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Numbers that the type holds, their bit patterns of many lengths."""
    if dtype.startswith(("int", "uint", "bool")):
        few = {"int4": (-8, 8), "uint4": (0, 16), "bool": (0, 2)}.get(dtype)
        low, high = few or (0 if dtype[0] == "u" else -100, 100)
        return RNG.integers(low, high, shape).astype(np.int64)
    if dtype == "float8_e8m0fnu":
        return 2.0 ** RNG.integers(-5, 5, shape)
    if dtype == "float4_e2m1fn":
        return RNG.choice([0.0, 0.5, -1.5, 6.0], shape)
    values = RNG.choice([0.0, 1.0, -0.5, 3.0, -2.0], shape)
    return values * (1 + 2j) if dtype.startswith("complex") else values


def typed(name: str, kind: int, values: NDArray[np.generic]) -> TensorProto:
    return helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())


def model_of(*tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    last = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([*(nodes or []), last], "g", [given], [made], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("dtype", VARINTS)
def test_numbers_of_other_lengths_move_what_is_behind_them(dtype: str, tmp_path: Path) -> None:
    """The official parser finds the same message, but for the new numbers."""
    shape = (40, 30)  # the runs are longer than 127 and 16383 bytes: their lengths grow too
    before = typed("w", VARINTS[dtype], np.zeros(shape))
    behind = numpy_helper.from_array(np.arange(7, dtype=np.float32), "behind")
    constant = helper.make_node("Constant", [], ["c"], value=before)
    branch = helper.make_graph([constant], "inner", [], [helper.make_empty_tensor_value_info("c")])
    nodes = [
        helper.make_node("Identity", ["behind"], ["unused"], name="n"),
        helper.make_node("Constant", [], ["flag"], value=helper.make_tensor("f", 9, [], [True])),
        helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch, name="if"),
    ]
    proto = model_of(before, behind, nodes=nodes)
    (tmp_path / "a.onnx").write_bytes(proto.SerializeToString())
    model = load(str(tmp_path / "a.onnx"))
    names = [weight.name for weight in model.weights if weight.shape == shape]
    assert len(names) == 3
    new = {name: values_for(dtype, shape) for name in names[:2]}
    save(model, new, tmp_path / "b.onnx")
    found = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(found)
    written = {weight.name: weight.read() for weight in load(str(tmp_path / "b.onnx")).weights}
    for name, wanted in new.items():
        assert np.array_equal(written[name].astype(np.float64), wanted)
    assert not np.count_nonzero(written[names[2]].astype(np.float64))
    read = numpy_helper.to_array(found.graph.initializer[0]).astype(np.float64)
    assert np.array_equal(read, written["w"].astype(np.float64))
    save(
        load(str(tmp_path / "b.onnx")), {name: np.zeros(shape) for name in new}, tmp_path / "c.onnx"
    )
    assert onnx.load(tmp_path / "c.onnx") == proto


@pytest.mark.parametrize("dtype", RAW)
def test_every_type_of_raw_numbers(dtype: str, tmp_path: Path) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    before = numpy_helper.from_array(np.zeros((5, 3)).astype(kind), "w")
    (tmp_path / "a.onnx").write_bytes(model_of(before).SerializeToString())
    wanted = values_for(dtype, (5, 3)).astype(kind)
    save(load(str(tmp_path / "a.onnx")), {"w": wanted}, tmp_path / "b.onnx")
    found = numpy_helper.to_array(onnx.load(tmp_path / "b.onnx").graph.initializer[0])
    assert np.array_equal(found, wanted)
    assert (tmp_path / "a.onnx").stat().st_size == (tmp_path / "b.onnx").stat().st_size


def test_numbers_one_by_one(tmp_path: Path) -> None:
    """Old writers give each number a tag of its own; so does the copy."""
    numbers = b"".join(b"\x28" + varints(np.array([n], dtype=np.uint64)) for n in (1, 300))
    tensor = b"\x08\x02\x10\x0a" + numbers + b"\x42\x01w"  # dims, data_type, int32_data, name
    proto = model_of()
    graph = proto.graph.SerializeToString() + b"\x2a" + bytes([len(tensor)]) + tensor
    rest = proto.SerializeToString()
    proto.ClearField("graph")
    head = proto.SerializeToString()
    assert rest != head
    (tmp_path / "a.onnx").write_bytes(head + b"\x3a" + padded(len(graph), 5) + graph)
    model = load(str(tmp_path / "a.onnx"))
    wanted = np.array([-2.0, 0.0], dtype=np.float16)
    save(model, {"w": wanted}, tmp_path / "b.onnx")
    found = onnx.load(tmp_path / "b.onnx").graph.initializer[0]
    assert np.array_equal(numpy_helper.to_array(found), wanted)
    # a length that its writer padded to five bytes stays so
    content = (tmp_path / "b.onnx").read_bytes()
    assert content[: len(head) + 1] == head + b"\x3a"
    assert content[len(head) + 1 : len(head) + 6] == padded(len(content) - len(head) - 6, 5)


def external(folder: Path, *, checksum: bool = False) -> tuple[Path, NDArray[np.float32]]:
    """A model whose two matrices are in two files, one of them with a checksum."""
    folder.mkdir(exist_ok=True)
    values = RNG.standard_normal((2, 2, 2)).astype(np.float32)
    tensors = []
    for index, matrix in enumerate(values):
        name = f"part{index}.bin"
        (folder / name).write_bytes(b"head" + matrix.tobytes() + b"tail")
        tensor = TensorProto(name=f"w{index}", data_type=1, dims=[2, 2], data_location=1)
        pairs = {"location": name, "offset": "4", "length": "16"}
        if checksum:
            pairs["checksum"] = hashlib.sha1((folder / name).read_bytes()).hexdigest()
        for key, value in pairs.items():
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("MatMul", ["h", "w1"], ["z"]),
        helper.make_node("Add", ["z", "x"], ["sum"]),
    ]
    proto = model_of(*tensors, nodes=nodes)
    proto.graph.node[-1].input[0] = "sum"
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path, values


def run(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    (y,) = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})
    return np.asarray(y)


def check_external(out: Path, values: NDArray[np.float32]) -> None:
    x = np.array([1, -2], np.float32)
    wanted = x @ (values[0] * 2) @ values[1] + x
    np.testing.assert_allclose(run(out, x), wanted, rtol=1e-5)


@pytest.mark.parametrize("checksum", [False, True])
def test_data_files_beside_the_output(tmp_path: Path, checksum: bool) -> None:
    """In the input's own folder the data get another name; the input's stay as they are."""
    path, values = external(tmp_path / "in", checksum=checksum)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    model = load(str(path))
    out = path.with_name("a much longer name " * 8 + ".onnx")
    files = save(model, {"w0": values[0] * 2}, out)
    assert len(files) == 3
    assert {file: (path.parent / file).read_bytes() for file in before} == before
    written = load(str(out))
    assert not written.missing  # the checksums hold
    check_external(out, values)
    for file, name in zip(files[:2], ("part0.bin", "part1.bin"), strict=True):
        content = Path(file).read_bytes()
        assert (content[:4], content[-4:]) == (b"head", b"tail")
        assert (content == before[name]) == (name == "part1.bin")


def test_data_files_in_another_folder_keep_their_names(tmp_path: Path) -> None:
    path, values = external(tmp_path / "in", checksum=True)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "m.onnx"
    files = save(load(str(path)), {"w0": values[0] * 2}, out)
    assert [Path(file).name for file in files] == ["part0.bin", "part1.bin", "m.onnx"]
    check_external(out, values)
    assert not load(str(out)).missing
    before, after = path.read_bytes(), out.read_bytes()
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 40  # the one checksum


def test_data_of_others_are_never_written_over(tmp_path: Path) -> None:
    """Not even with force: a file that is there is not known to be the output's."""
    path, values = external(tmp_path / "in")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "part0.bin").write_bytes(b"precious")
    (folder / "m.onnx").write_bytes(b"old")
    model = load(str(path))
    with pytest.raises(UsageError, match="exists"):
        save(model, {"w0": values[0] * 2}, folder / "m.onnx")
    for _ in range(2):
        save(model, {"w0": values[0] * 2}, folder / "m.onnx", force=True)
        check_external(folder / "m.onnx", values)
    assert (folder / "part0.bin").read_bytes() == b"precious"


def test_data_of_an_output_that_is_replaced_go_with_it(tmp_path: Path) -> None:
    path, values = external(tmp_path)
    out = tmp_path / "out.onnx"
    model = load(str(path))
    for _ in range(4):
        save(model, {"w0": values[0] * 2}, out, force=True)
        check_external(out, values)
    assert len(list(tmp_path.glob("out.onnx*.data"))) == 2


def test_data_of_the_input_are_kept_even_if_the_output_named_them(tmp_path: Path) -> None:
    """As after ``cp m.onnx old.onnx; clamp old.onnx -o m.onnx --force``."""
    first, values = external(tmp_path / "in")
    path = tmp_path / "m.onnx"
    save(load(str(first)), {}, path)
    for file, name in (("part0.bin", "m.onnx.data"), ("part1.bin", "m.onnx.1.data")):
        (tmp_path / file).rename(tmp_path / name)
    proto = onnx.load(path, load_external_data=False)
    for tensor, name in zip(proto.graph.initializer, ("m.onnx.data", "m.onnx.1.data"), strict=True):
        tensor.external_data[0].value = name
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "old.onnx").write_bytes(path.read_bytes())
    before = {file.name: file.read_bytes() for file in tmp_path.glob("*.data")}
    save(load(str(tmp_path / "old.onnx")), {"w0": values[0] * 2}, path, force=True)
    check_external(path, values)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_outputs_of_a_network_change_as_its_weight_does(tmp_path: Path) -> None:
    """A linear layer with twice the weight gives twice the output, in onnxruntime."""
    w = RNG.standard_normal((2, 2)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["h"])
    proto = model_of(numpy_helper.from_array(w, "w"), nodes=[node])
    proto.graph.node[-1].input[0] = "h"
    (tmp_path / "a.onnx").write_bytes(proto.SerializeToString())
    save(load(str(tmp_path / "a.onnx")), {"w": w * 2}, tmp_path / "b.onnx")
    x = np.array([0.5, -3], np.float32)
    assert np.array_equal(run(tmp_path / "b.onnx", x), 2 * run(tmp_path / "a.onnx", x))


def test_a_sparse_tensor_keeps_its_places(tmp_path: Path) -> None:
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [3.0, 4.0])
    indices = helper.make_tensor("w_i", TensorProto.INT64, [2], [1, 5])
    proto = model_of()
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    (tmp_path / "a.onnx").write_bytes(proto.SerializeToString())
    model = load(str(tmp_path / "a.onnx"))
    wanted = np.array([[0, 1.5, 0], [0, 0, 2]], np.float32)
    save(model, {"w": wanted}, tmp_path / "b.onnx")
    assert np.array_equal(load(str(tmp_path / "b.onnx")).weights[0].read(), wanted)
    from specaudit.errors import UnsupportedModel

    with pytest.raises(UnsupportedModel, match="sparse"):
        save(model, {"w": wanted + 1}, tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx").exists()


def test_varints_against_the_definition() -> None:
    numbers = [0, 1, 127, 128, 300, 2**32, 2**63 - 1, 2**63, 2**64 - 1]

    def coded(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + coded(n >> 7)

    assert varints(np.array(numbers, dtype=np.uint64)) == b"".join(map(coded, numbers))
    assert all(padded(n, 1) == coded(n) for n in numbers)
    assert padded(5, 3) == b"\x85\x80\x00"
