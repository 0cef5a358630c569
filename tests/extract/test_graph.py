"""Each layer of a graph is the matrix that onnxruntime applies there."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from specaudit.errors import UnreadableModel
from specaudit.extract import matrices
from specaudit.formats import load
from specaudit.operators import Layer
from specaudit.report import Geometry
from tests.extract.making import MS, Array, graph_file, kinds, of_file, reasons, run

RNG = np.random.default_rng(3)
FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def close(found: Array, expected: Array, terms: int) -> None:
    """Equal but for float32 sums of so many products."""
    slack = 2.0**-23 * terms * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=slack)


LINEAR: dict[str, tuple[str, dict[str, object], tuple[str, str], tuple[int, ...], tuple[int, ...]]]
LINEAR = {
    "MatMul": ("MatMul", {}, ("x", "w"), (3, 5), (5, 4)),
    "MatMul left": ("MatMul", {}, ("w", "x"), (5, 3), (4, 5)),
    "MatMul vector": ("MatMul", {}, ("x", "w"), (3, 5), (5,)),
    "Gemm": ("Gemm", {}, ("x", "w"), (3, 5), (5, 4)),
    "Gemm transB": ("Gemm", {"transB": 1}, ("x", "w"), (3, 5), (4, 5)),
    "Gemm alpha": ("Gemm", {"transB": 1, "alpha": -2.5}, ("x", "w"), (3, 5), (4, 5)),
    "Gemm left": ("Gemm", {}, ("w", "x"), (5, 3), (4, 5)),
    "Gemm left transA": ("Gemm", {"transA": 1, "alpha": 0.5}, ("w", "x"), (5, 3), (5, 4)),
    "Einsum": ("Einsum", {"equation": "bsi,io->bso"}, ("x", "w"), (2, 3, 5), (5, 4)),
    "Einsum heads": ("Einsum", {"equation": "bsi,hio->bsho"}, ("x", "w"), (1, 3, 5), (2, 5, 4)),
    "Einsum left": ("Einsum", {"equation": "oi,bi->bo"}, ("w", "x"), (3, 5), (4, 5)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_products(case: str, tmp_path: Path) -> None:
    op, attributes, names, x_shape, w_shape = LINEAR[case]
    x, w = normal(*x_shape), normal(*w_shape)
    node = helper.make_node(op, names, ["y"], "the_node", **attributes)
    path = graph_file(tmp_path, [node], {"x": x_shape}, {"w": w})
    _, found = of_file(path)
    (layer,) = found.layers
    assert (layer.name, layer.node, layer.kind, layer.shape) == ("w", "the_node", "linear", w_shape)
    y = run(path, x=x)
    left = names[0] == "w" and op != "Einsum"
    columns = x if left else x.reshape(-1, x.shape[-1]).T
    applied = layer.read() @ columns
    close(applied if left else applied.T.reshape(y.shape), y, 5)
    assert layer.write is not None
    again = {"w": layer.write(layer.read() / 2)["w"].astype(np.float32)}
    close(run(graph_file(tmp_path, [node], {"x": x_shape}, again), x=x), y / 2, 5)


def test_a_batch_of_matrices_is_as_many_layers(tmp_path: Path) -> None:
    x, w = normal(2, 3, 5), normal(2, 5, 4)
    path = graph_file(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"])],
                      {"x": (2, 3, 5)}, {"w": w})  # fmt: skip
    _, found = of_file(path)
    assert [layer.name for layer in found.layers] == ["w.0", "w.1"]
    for index, layer in enumerate(found.layers):
        close((layer.read() @ x[index].T).T, run(path, x=x)[index], 5)


def convolve(layer: Layer, x: Array) -> Array:
    """Apply a convolution layer by its geometry alone, through torch."""
    told = layer.geometry
    assert told is not None
    kernel, image = (torch.from_numpy(np.ascontiguousarray(a)).double() for a in (layer.read(), x))
    rank = kernel.dim() - 2
    pads = [told.pads[rank * side + axis] for axis in reversed(range(rank)) for side in (0, 1)]
    if layer.kind == "convolution":
        mode = {"edge": "replicate", "wrap": "circular"}.get(told.padding_mode, told.padding_mode)
        padded = functional.pad(image, pads, mode=mode)
        conv = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
        out = conv(padded, kernel, None, told.strides, 0, told.dilations, told.group)
        return np.asarray(out.numpy())
    turned = (
        functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d
    )[rank - 1]  # fmt: skip
    extra = told.output_padding or (0,) * rank
    # torch wants output padding below stride or dilation: pad by hand, then crop.
    out = turned(image, kernel, None, told.strides, 0, 0, told.group, told.dilations)
    grown = [(0, 0)[side] if side == 0 else extra[axis]
             for axis in reversed(range(rank)) for side in (0, 1)]  # fmt: skip
    out = functional.pad(out, grown)
    return np.asarray(functional.pad(out, [-pad for pad in pads]).numpy())


CONVOLUTIONS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, object]]] = {
    "plain": ("Conv", (1, 3, 9, 8), (4, 3, 3, 2), {}),
    "1-d": ("Conv", (1, 3, 9), (4, 3, 3), {"pads": [2, 1], "strides": [2]}),
    "3-d": ("Conv", (1, 2, 5, 6, 4), (4, 2, 3, 2, 2), {"pads": [1, 0, 1, 0, 1, 0]}),
    "asymmetric": ("Conv", (1, 3, 9, 8), (4, 3, 3, 3), {"pads": [0, 1, 2, 3], "strides": [2, 3]}),
    "dilated groups": ("Conv", (1, 4, 9, 8), (6, 2, 3, 3), {"dilations": [2, 1], "group": 2}),
    "SAME_UPPER": (
        "Conv", (1, 3, 9, 8), (4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "SAME_LOWER": (
        "Conv", (1, 3, 9, 8), (4, 3, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    "VALID": ("Conv", (1, 3, 9, 8), (4, 3, 4, 3), {"auto_pad": "VALID"}),
    "transposed": ("ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 2), {"strides": [2, 3]}),
    "transposed padded": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 3),
        {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]}),
    "transposed groups": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 3), {"group": 2, "dilations": [2, 1]}),
    "transposed shape": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "output_shape": [10, 11]}),
    "transposed SAME": (
        "ConvTranspose", (1, 4, 5, 6), (4, 3, 4, 3),
        {"strides": [2, 3], "auto_pad": "SAME_UPPER"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case: str, tmp_path: Path) -> None:
    op, x_shape, w_shape, attributes = CONVOLUTIONS[case]
    x, w = normal(*x_shape), normal(*w_shape)
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    path = graph_file(tmp_path, [node], {"x": x_shape}, {"w": w})
    _, found = of_file(path)
    (layer,) = found.layers
    assert layer.kind == {"Conv": "convolution"}.get(op, "convolution_transposed")
    assert layer.geometry is not None
    assert layer.geometry.input == x_shape[2:]
    close(convolve(layer, x), run(path, x=x), int(np.prod(w_shape)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_a_pad_before_a_convolution_is_its_own(mode: str, tmp_path: Path) -> None:
    x, w = normal(1, 3, 6, 7), normal(4, 3, 3, 3)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], "pad", mode=mode),
        helper.make_node("Conv", ["p", "w"], ["y"], "conv", strides=[2, 1]),
    ]
    pads = np.array([0, 0, 1, 2, 0, 0, 1, 2])
    path = graph_file(tmp_path, nodes, {"x": x.shape}, {"w": w, "pads": pads})
    _, found = of_file(path)
    (layer,) = found.layers
    assert layer.geometry == Geometry((2, 1), (1, 2, 1, 2), (1, 1), 1, (6, 7), None, mode)  # type: ignore[arg-type]
    assert "pad" in layer.notes[0]
    close(convolve(layer, x), run(path, x=x), 27)


@pytest.mark.parametrize(
    ("case", "pads", "extra", "attributes"),
    [
        ("channels", [0, 1, 1, 1, 0, 0, 1, 1], {}, {}),
        ("crops", [0, 0, -1, 1, 0, 0, 1, 1], {}, {}),
        ("ones", [0, 0, 1, 1, 0, 0, 1, 1], {"one": np.float32(1)}, {}),
        ("both", [0, 0, 1, 1, 0, 0, 1, 1], {}, {"mode": "reflect"}),
    ],
)
def test_a_pad_that_is_another_thing_stays_one(
    case: str, pads: list[int], extra: dict[str, Array], attributes: dict[str, str], tmp_path: Path
) -> None:
    channels = 4 if case == "channels" else 3
    nodes = [
        helper.make_node("Pad", ["x", "pads", *extra], ["p"], **attributes),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {"w": normal(4, channels, 3, 3), "pads": np.array(pads), **extra}
    _, found = of_file(graph_file(tmp_path, nodes, {"x": (1, 3, 6, 7)}, constants))
    geometry = found.layers[0].geometry
    assert geometry is not None
    assert (geometry.pads, geometry.padding_mode) == ((1, 1, 1, 1), "constant")
    assert geometry.input != (6, 7) or case == "crops"


def test_a_pad_with_two_readers_is_not_taken_in(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"], mode="reflect"),
        helper.make_node("Conv", ["p", "w"], ["a"]),
        helper.make_node("Conv", ["p", "w"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    constants = {"w": normal(4, 3, 3, 3), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    _, found = of_file(graph_file(tmp_path, nodes, {"x": (1, 3, 6, 7)}, constants))
    assert [layer.name for layer in found.layers] == ["w", "w"]
    assert len({layer.node for layer in found.layers}) == 2
    assert {layer.geometry.padding_mode for layer in found.layers if layer.geometry} == {"constant"}


@pytest.mark.parametrize(
    "attributes",
    [{"group": 3}, {"strides": [0, 1]}, {"pads": [1, 1]}, {"auto_pad": "ODD"}],
    ids=str,
)
def test_impossible_attributes_are_refused_or_a_hole(
    attributes: dict[str, object], tmp_path: Path
) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    path = graph_file(tmp_path, [node], {"x": ("n", "c", "h", "w0")}, {"w": normal(4, 3, 3, 3)})
    try:
        _, found = of_file(path)
    except UnreadableModel:  # the shapes of such a node contradict each other
        return
    assert not found.layers
    assert reasons(found)["w"][1] is False


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_weights_are_matrices_by_direction(
    op: str, directions: int, tmp_path: Path
) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    w, r = normal(directions, gates * 6, 5), normal(directions, gates * 6, 6)
    b = normal(directions, 2 * gates * 6)
    way = "bidirectional" if directions == 2 else "forward"
    node = helper.make_node(op, ["x", "W", "R", "B"], ["y"], hidden_size=6, direction=way)
    path = graph_file(tmp_path, [node], {"x": (3, 1, 5)}, {"W": w, "R": r, "B": b})
    _, found = of_file(path)
    suffixes = [".forward", ".reverse"] if directions == 2 else [""]
    expected = {f"W{s}": w[i] for i, s in enumerate(suffixes)}
    expected |= {f"R{s}": r[i] for i, s in enumerate(suffixes)}
    assert {layer.name: layer.kind for layer in found.layers} == dict.fromkeys(
        expected, "recurrent"
    )
    for layer in found.layers:
        np.testing.assert_array_equal(layer.read(), expected[layer.name])
    assert reasons(found) == {"B": ("bias", True)}


def test_a_table_that_is_also_the_output_is_two_layers(tmp_path: Path) -> None:
    table = normal(9, 4)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "look_up"),
        helper.make_node("Transpose", ["table"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["e", "t"], ["y"], "head"),
    ]
    path = graph_file(tmp_path, nodes, {"ids": (3,)}, {"table": table},
                      types={"ids": TensorProto.INT64})  # fmt: skip
    _, found = of_file(path)
    assert [(layer.node, layer.kind) for layer in found.layers] == [
        ("look_up", "embedding"),
        ("head", "linear"),
    ]
    np.testing.assert_array_equal(found.layers[1].read(), table)
    for layer in found.layers:
        assert layer.write is not None
        np.testing.assert_array_equal(layer.write(layer.read())["table"], table)


def test_batch_norm_is_gamma_over_the_deviation(tmp_path: Path) -> None:
    gamma, beta, mean = normal(3), normal(3), normal(3)
    variance = np.array([4.0, 0.25, 1e-4], np.float32)
    node = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], epsilon=1e-3)
    path = graph_file(tmp_path, [node], {"x": (1, 3, 2)},
                      {"g": gamma, "b": beta, "m": mean, "v": variance})  # fmt: skip
    _, found = of_file(path)
    (layer,) = found.layers
    assert (layer.kind, [t.name for t in layer.tensors]) == ("scale", ["g", "v"])
    x = normal(1, 3, 2)
    difference = run(path, x=x) - run(path, x=np.zeros_like(x))
    close(layer.read()[None, :, None] * x, difference, 8 * 100)
    assert reasons(found) == {"b": ("bias", True), "m": ("running statistics", True)}


def test_normalisation_scales(tmp_path: Path) -> None:
    for op, inputs in (("LayerNormalization", ["x", "g", "b"]),
                       ("InstanceNormalization", ["x", "g", "b"])):  # fmt: skip
        path = graph_file(tmp_path, [helper.make_node(op, inputs, ["y"])],
                          {"x": (1, 3, 3)}, {"g": normal(3), "b": normal(3)})  # fmt: skip
        assert kinds(of_file(path)[1]) == {"g": "scale"}


@pytest.mark.parametrize("how", ["transpose", "reshape", "cast", "dequantize", "scaled", "twice"])
def test_a_weight_on_its_way_is_what_arrives(how: str, tmp_path: Path) -> None:
    w = normal(4, 5)
    x = normal(3, 5)
    constants: dict[str, Array] = {"w": w}
    if how == "transpose":
        nodes = [helper.make_node("Transpose", ["w"], ["v"])]
    elif how == "reshape":
        constants = {"w": w.reshape(20), "s": np.array([5, 4])}
        nodes = [helper.make_node("Reshape", ["w", "s"], ["v"])]
    elif how == "cast":
        constants = {"w": w.astype(np.float16).T.copy()}
        nodes = [helper.make_node("Cast", ["w"], ["v"], to=FLOAT)]
    elif how == "dequantize":
        constants = {"w": RNG.integers(-9, 9, (5, 4)).astype(np.int8), "z": np.ones(4, np.int8)}
        constants = {"s": np.array([0.5, 1, 2, 3], np.float32), **constants}
        nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], axis=1)]
    elif how == "scaled":
        constants["c"] = np.float32(100)
        nodes = [helper.make_node("Mul", ["w", "c"], ["u"]),
                 helper.make_node("Transpose", ["u"], ["v"])]  # fmt: skip
    else:
        nodes = [helper.make_node("Identity", ["w"], ["u"]),
                 helper.make_node("Transpose", ["u"], ["t"]),
                 helper.make_node("Unsqueeze", ["t", "a"], ["o"]),
                 helper.make_node("Squeeze", ["o", "a"], ["v"])]  # fmt: skip
        constants["a"] = np.array([1])
    nodes.append(helper.make_node("MatMul", ["x", "v"], ["y"]))
    path = graph_file(tmp_path, nodes, {"x": (3, 5)}, constants)
    _, found = of_file(path)
    (layer,) = found.layers
    assert layer.name == "w"
    assert layer.notes
    close((layer.read() @ x.T).T, run(path, x=x), 5)
    if how == "scaled":
        assert layer.write is None
        return
    assert layer.write is not None
    for name, values in layer.write(layer.read() / 2).items():
        constants[name] = values.astype(constants[name].dtype)
    halved = graph_file(tmp_path, nodes, {"x": (3, 5)}, constants)
    close(run(halved, x=x), (layer.read() @ x.T).T / 2, 5 if how != "cast" else 5 * 2**13)


def test_integer_products(tmp_path: Path) -> None:
    q, z = RNG.integers(-128, 128, (5, 4)).astype(np.int8), np.int8(3)
    scale = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "q", "xz", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["xs", "s"], ["t"]),
        helper.make_node("Mul", ["f", "t"], ["y"]),
    ]
    constants = {"q": q, "z": z, "s": scale}
    path = graph_file(tmp_path, nodes, {"x": (3, 5)}, constants)
    _, found = of_file(path)
    (layer,) = found.layers
    x = RNG.integers(0, 256, (3, 5)).astype(np.float32)
    x[0, :2] = 0, 255  # so that the quantisation of x is exact
    close((layer.read() @ x.T).T, run(path, x=x), 8)
    bare = [nodes[0], nodes[1], helper.make_node("Cast", ["i"], ["y"], to=FLOAT)]
    path = graph_file(tmp_path, bare, {"x": (3, 5)}, constants)
    _, found = of_file(path)
    assert not found.layers
    assert reasons(found)["q"][1] is False


def test_static_integer_convolution(tmp_path: Path) -> None:
    q = RNG.integers(-128, 128, (4, 2, 3, 3)).astype(np.int8)
    constants = {
        "xs": np.float32(1), "xz": np.uint8(0), "w": q,
        "ws": np.array([1, 2, 3, 4], np.float32), "wz": np.zeros(4, np.int8),
        "ys": np.float32(50), "yz": np.uint8(128),
    }  # fmt: skip
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"],
                            pads=[1, 1, 1, 1])  # fmt: skip
    path = graph_file(tmp_path, [node], {"x": (1, 2, 4, 4)}, constants,
                      types={"x": UINT8, "y": UINT8})  # fmt: skip
    _, found = of_file(path)
    (layer,) = found.layers
    np.testing.assert_array_equal(layer.read(), q * np.arange(1.0, 5.0)[:, None, None, None])
    x = RNG.integers(0, 6, (1, 2, 4, 4)).astype(np.uint8)
    y = (run(path, x=x).astype(float) - 128) * 50
    inside = np.abs(y) < 50 * 126
    assert inside.mean() > 0.5
    assert np.abs(convolve(layer, x.astype(float)) - y)[inside].max() <= 25.0 + 1e-6


@pytest.mark.parametrize("with_zeros", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 16)])
def test_blocks_of_few_bits(bits: int, block: int, with_zeros: bool, tmp_path: Path) -> None:
    columns, rows = 3 * block - 8, 5
    packed = RNG.integers(0, 256, (rows, 3, block * bits // 8)).astype(np.uint8)
    constants = {"B": packed, "s": RNG.uniform(0.1, 1, rows * 3).astype(np.float32)}
    if with_zeros:
        constants["z"] = RNG.integers(0, 256, rows * -(-3 * bits // 8)).astype(np.uint8)
    node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain=MS,
                            K=columns, N=rows, bits=bits, block_size=block)  # fmt: skip
    path = graph_file(tmp_path, [node], {"x": (columns, columns)}, constants)
    _, found = of_file(path)
    (layer,) = found.layers
    assert layer.read().shape == (rows, columns)
    close(layer.read().T, run(path, x=np.eye(columns, dtype=np.float32)), 4)
    assert layer.write is not None
    constants["s"] = layer.write(layer.read() / 2)["s"].astype(np.float32)
    halved = graph_file(tmp_path, [node], {"x": (columns, columns)}, constants)
    close(layer.read().T / 2, run(halved, x=np.eye(columns, dtype=np.float32)), 4)


def test_weights_in_subgraphs(tmp_path: Path) -> None:
    outer, inner = normal(5, 4), normal(5, 4)
    value = numpy_helper.from_array(inner, "inner_value")
    then = helper.make_graph(
        [helper.make_node("MatMul", ["x", "outer"], ["a"], "then_product")],
        "then", [], [helper.make_tensor_value_info("a", FLOAT, None)])  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=value),
         helper.make_node("MatMul", ["x", "k"], ["b"], "else_product")],
        "else", [], [helper.make_tensor_value_info("b", FLOAT, None)])  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    path = graph_file(tmp_path, [node], {"c": (), "x": (3, 5)}, {"outer": outer},
                      types={"c": TensorProto.BOOL})  # fmt: skip
    _, found = of_file(path)
    layers = {layer.node: layer for layer in found.layers}
    np.testing.assert_array_equal(layers["then_product"].read(), outer.T)
    np.testing.assert_array_equal(layers["else_product"].read(), inner.T)
    assert not found.skipped


def test_what_no_rule_applies_is_a_hole_and_the_rest_is_not(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mystery", ["x", "m"], ["a"], domain="somewhere"),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Add", ["b", "mask"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["y"]),
    ]
    constants = {
        "m": normal(3, 3), "s": normal(3, 3), "mask": np.full((3, 3), -np.inf, np.float32),
        "shape": np.array([9]), "unused": normal(3, 3), "unused_vector": normal(3),
    }  # fmt: skip
    path = graph_file(tmp_path, nodes, {"x": (3, 3)}, constants)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("somewhere", 1))
    onnx.save(model, path)
    _, found = of_file(path)
    assert not found.layers
    covered = {name: told for name, (_, told) in reasons(found).items()}
    assert covered == {
        "m": False, "s": True, "mask": True, "shape": True, "unused": False, "unused_vector": True,
    }  # fmt: skip


def test_a_table_sliced_to_the_input_is_a_shift(tmp_path: Path) -> None:
    """As a transformer's positions are, whose slice is not constant."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Slice", ["table", "zero", "n", "zero"], ["part"]),
        helper.make_node("Add", ["x", "part"], ["a"]),
        helper.make_node("Slice", ["other", "zero", "n", "zero"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    constants = {"table": normal(9, 4), "other": normal(9, 4), "zero": np.array([0])}
    _, found = of_file(graph_file(tmp_path, nodes, {"x": ("n", 4)}, constants))
    assert {name: told for name, (_, told) in reasons(found).items()} == {
        "table": True, "other": False, "zero": True,
    }  # fmt: skip


def test_an_integer_table_is_dequantised_after_its_look_up(tmp_path: Path) -> None:
    table = RNG.integers(0, 256, (9, 4)).astype(np.uint8)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"table": table, "s": np.float32(0.5), "z": np.uint8(100)}
    path = graph_file(tmp_path, nodes, {"ids": (9,)}, constants, types={"ids": TensorProto.INT64})
    _, found = of_file(path)
    (layer,) = found.layers
    assert layer.kind == "embedding"
    np.testing.assert_array_equal(layer.read(), (table.astype(float) - 100) / 2)
    lonely = graph_file(tmp_path, [helper.make_node("Gather", ["table", "ids"], ["y"])],
                        {"ids": (9,)}, {"table": table},
                        types={"ids": TensorProto.INT64, "y": UINT8})  # fmt: skip
    assert reasons(of_file(lonely)[1])["table"][1] is False


def test_a_bias_that_is_not_a_number_is_a_hole(tmp_path: Path) -> None:
    bad = np.array([0, np.inf, 0, 0], np.float32)
    for nodes in (
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        [helper.make_node("MatMul", ["x", "w"], ["u"]), helper.make_node("Add", ["u", "b"], ["y"])],
    ):
        path = graph_file(tmp_path, nodes, {"x": (3, 5)}, {"w": normal(5, 4), "b": bad})
        assert reasons(of_file(path)[1])["b"][1] is False


def test_a_weight_that_a_caller_can_replace_is_measured_and_not_covered(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = graph_file(tmp_path, [node], {"x": (3, 5), "w": (5, 4)}, {"w": normal(5, 4)})
    _, found = of_file(path)
    assert [layer.name for layer in found.layers] == ["w"]
    assert reasons(found)["w"][1] is False


def test_the_input_shape_reaches_the_geometry(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])
    path = graph_file(tmp_path, [node], {"x": ("n", 3, "h", "w0")}, {"w": normal(4, 3, 3, 3)})
    model = load(str(path))
    (blind,) = matrices(model).layers
    (told,) = matrices(model, input_shapes={"x": (1, 3, 9, 8)}).layers
    assert blind.geometry is not None
    assert told.geometry is not None
    assert blind.geometry.input is None
    assert blind.notes
    assert (told.geometry.input, told.geometry.pads) == ((9, 8), (1, 0, 1, 1))
    assert not told.notes


def test_a_constant_too_large_to_fold_is_a_hole(tmp_path: Path) -> None:
    value = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    shape = {"s": np.array([1 << 20, 1 << 20])}
    _, found = of_file(graph_file(tmp_path, nodes, {"x": (3, 1 << 20)}, shape))
    assert not found.layers
    assert not all(skipped.covered for skipped in found.skipped)
    json.dumps([skipped.reason for skipped in found.skipped])
