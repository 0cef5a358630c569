"""ONNX graphs that are sound but odd: unknown operations, folded weights, every type."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.cases import Case, Collection
from tests.hostile.onnx_files import MATMUL, MATRIX, WEIGHT, model, node, outside, value, write

CASES = Collection()
TYPES = {
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16, "int8": TensorProto.INT8, "int16": TensorProto.INT16,
    "int32": TensorProto.INT32, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16, "uint32": TensorProto.UINT32, "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL, "float8_e4m3fn": TensorProto.FLOAT8E4M3FN,
    "float8_e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ, "float8_e5m2": TensorProto.FLOAT8E5M2,
    "float8_e5m2fnuz": TensorProto.FLOAT8E5M2FNUZ, "float8_e8m0fnu": TensorProto.FLOAT8E8M0,
    "int4": TensorProto.INT4, "uint4": TensorProto.UINT4, "float4_e2m1fn": TensorProto.FLOAT4E2M1,
    "int2": TensorProto.INT2, "uint2": TensorProto.UINT2,
}  # fmt: skip
WIDTHS = {"int4": 2, "uint4": 2, "float4_e2m1fn": 2, "int2": 4, "uint2": 4}


def graph(
    name: str,
    outcomes: str,
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    sigma: float | None = None,
    *,
    shape: tuple[object, ...] | None = None,
    output: bool = True,
) -> None:
    def make(folder: Path) -> Path:
        proto = model(nodes, initializers)
        if shape is not None:
            del proto.graph.input[:], proto.graph.output[:]
            proto.graph.input.append(value("x", shape))
            rank_only = onnx.ValueInfoProto(name="y")
            rank_only.type.tensor_type.elem_type = TensorProto.FLOAT
            proto.graph.output.append(rank_only)
        if not output:
            del proto.graph.output[:]
        return write(folder, proto)

    CASES.append(Case(name, outcomes, make, sigma))


def array(values: object, name: str = "w", kind: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=kind), name)


HUNDREDFOLD = array(100.0, "k")
COUNT = array([1 << 20, 1 << 20], "n", np.int64)
KERNEL = array(np.ones((4, 2, 3, 3)))
IMAGE = (1, 4, 8, 8)

graph("g_unknown_domain", "W", [
    helper.make_node("Secret", ["x", "w"], ["y"], domain="com.example")], [WEIGHT])  # fmt: skip
graph("g_unknown_op", "EW", [node("x w", "y", "NoSuchOp")], [WEIGHT])
graph("g_unused_init", "W", [MATMUL], [WEIGHT, array(MATRIX * 10, "dead")])
graph("g_constantofshape_bomb", "WEO", [
    node("n", "b", "ConstantOfShape"), node("b", "s", "ReduceSum"), node("x w", "a", "MatMul"),
    node("a s", "y", "Add")], [WEIGHT, COUNT])  # fmt: skip
graph("g_expand_bomb", "WE", [
    node("k n", "b", "Expand"), node("x b", "y", "MatMul")], [HUNDREDFOLD, COUNT])  # fmt: skip
graph("g_weight_via_transpose", "OW", [
    node("w", "t", "Transpose"), node("x t", "y", "MatMul")], [array(np.triu(MATRIX + 1))],
    float(np.linalg.norm(np.triu(MATRIX + 1), 2)))  # fmt: skip
graph("g_gemm_alpha", "OW", [
    helper.make_node("Gemm", ["x", "w"], ["y"], alpha=100.0)], [WEIGHT], 300.0)  # fmt: skip
graph("g_weight_times_100", "OW", [
    node("w k", "b", "Mul"), node("x b", "y", "MatMul")], [WEIGHT, HUNDREDFOLD], 300.0)  # fmt: skip
graph("g_qdq", "OW", [
    node("w k", "b", "DequantizeLinear"), node("x b", "y", "MatMul")],
    [array(np.diag([3, 2, 1, 1]), kind=np.int8), HUNDREDFOLD], 300.0)  # fmt: skip
graph("g_matmul_left", "OW", [node("w x", "y", "MatMul")], [WEIGHT], 3.0, shape=(4, 5))
graph("g_two_inputs_data", "WG", [
    node("x w", "a", "MatMul"), node("a x", "y", "MatMul")], [WEIGHT], 3.0,
    shape=(4, 4))  # fmt: skip
graph("g_conv_group_bad", "EW", [helper.make_node("Conv", ["x", "w"], ["y"], group=3)],
      [KERNEL], shape=IMAGE)  # fmt: skip
graph("g_conv_group_huge", "EW", [helper.make_node("Conv", ["x", "w"], ["y"], group=2**40)],
      [KERNEL], shape=IMAGE)  # fmt: skip
for label, attributes in {
    "strides_zero": {"strides": [0, 0]},
    "strides_huge": {"strides": [2**62, 2**62]},
    "pads_huge": {"pads": [2**62] * 4},
    "pads_neg": {"pads": [-(2**40)] * 4},
    "dilations_huge": {"dilations": [2**40, 2**40]},
    "dilations_zero": {"dilations": [0, 0]},
    "pads_short": {"pads": [1]},
    "kernel_shape_lies": {"kernel_shape": [5, 5]},
    "auto_pad_junk": {"auto_pad": "SIDEWAYS"},
}.items():
    graph(f"g_conv_{label}", "EWO", [
        helper.make_node("Conv", ["x", "w"], ["y"], group=2, **attributes)],
        [KERNEL], shape=IMAGE)  # fmt: skip
graph("g_conv_image_huge", "OEW", [helper.make_node("Conv", ["x", "w"], ["y"], group=2)],
      [KERNEL], shape=(1, 4, 1 << 31, 1 << 31))  # fmt: skip
graph("g_conv_strides_vast", "OW", [  # what it reads is nearly nothing
    helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[3997, 3991])],
    [KERNEL], 6.0, shape=(1, 4, 4000, 4000))  # fmt: skip
graph("g_conv_taps_million", "O", [node("x w", "y", "Conv")],
      [array(np.ones((1, 1, 1 << 20)))], shape=(1, 1, 1 << 21))  # fmt: skip
graph("g_conv_groups_many", "O", [helper.make_node("Conv", ["x", "w"], ["y"], group=20_000)],
      [array(np.ones((20_000, 1, 3, 3)))], 9.0, shape=(1, 20_000, None, None))  # fmt: skip
graph("g_pool_window_huge", "OEW", [
    node("x w", "a", "MatMul"),
    helper.make_node("AveragePool", ["a"], ["y"], kernel_shape=[2**40, 2**40], pads=[2**40] * 4)],
    [WEIGHT], shape=(1, 1, 4, 4))  # fmt: skip
graph("g_resize_huge", "OEW", [
    node("x w", "a", "MatMul"), helper.make_node("Resize", ["a", "", "", "n"], ["y"])],
    [WEIGHT, array([1, 1, 2**40, 2**40], "n", np.int64)], shape=(1, 1, 4, 4))  # fmt: skip
graph("g_loop_endless", "OEW", [
    node("x w", "a", "MatMul"),
    helper.make_node("Loop", ["n", "", "a"], ["y"], body=helper.make_graph(
        [node("c", "d", "Identity"), node("v", "u", "Relu")], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("c", TensorProto.BOOL, []), value("v")],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []), value("u")]))],
    [WEIGHT, array(2**62, "n", np.int64)])  # fmt: skip
graph("g_pool_counted_huge", "OEW", [
    node("x w", "a", "MatMul"),
    helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2], pads=[2**40] * 4)],
    [WEIGHT], shape=(1, 1, 4, 4))  # fmt: skip
graph("g_affine_grid_huge", "OW", [node("x n", "y", "AffineGrid")],
      [WEIGHT, array([1, 1, 2**14, 2**14], "n", np.int64)], shape=(1, 2, 3))  # fmt: skip
graph("g_affine_grid_empty", "OEW", [node("x n", "y", "AffineGrid")],
      [WEIGHT, array([1, 1, 0, 4], "n", np.int64)], shape=(1, 2, 3))  # fmt: skip
graph("g_pad_huge", "OW", [
    helper.make_node("Pad", ["x", "n"], ["a"], mode="reflect"), node("a", "y", "Relu")],
    [WEIGHT, array([0, 2**40, 0, 2**40], "n", np.int64)], shape=(1, 4))  # fmt: skip
graph("g_stft_huge", "OW", [
    helper.make_node("STFT", ["x", "s", "", "n"], ["y"])],
    [WEIGHT, array(1, "s", np.int64), array(2**40, "n", np.int64)],
    shape=(1, 2**41, 1))  # fmt: skip
graph("g_col2im_huge", "OEW", [node("x m n", "y", "Col2Im")],
      [WEIGHT, array([2**15, 2**15], "m", np.int64), array([2**14, 2**14], "n", np.int64)],
      shape=(1, 2**28, 2**28))  # fmt: skip
graph("g_no_output", "W", [MATMUL], [WEIGHT], output=False)
graph("g_input_unread_huge", "OW", [node("w", "y", "Relu")], [WEIGHT],
      shape=(2**20, 2**20))  # fmt: skip
graph("g_batch_sliced", "OW", [node("x w", "a", "MatMul"), node("a s n", "y", "Slice")],
      [WEIGHT, array([0], "s", np.int64), array([2], "n", np.int64)],
      3.0, shape=("batch", 4))  # fmt: skip
# Operations without the operands that they must have, or with more: no runtime takes them.
graph("g_lacks_value", "E", [
    node("x w", "a", "MatMul"), node("a", "p", "Softmax"), node("p", "y", "MatMul")],
    [WEIGHT])  # fmt: skip
graph("g_lacks_kernel", "E", [node("x", "a", "Conv"), node("a w", "y", "MatMul")], [WEIGHT],
      shape=IMAGE)  # fmt: skip
graph(
    "g_lacks_all",
    "E",
    [node("", "b", "MatMul"), node("x w", "a", "MatMul"), node("a b", "y", "Add")],
    [WEIGHT],
)


graph("g_has_more", "E", [node("x k k", "a", "Mul"), node("a w", "y", "MatMul")],
      [WEIGHT, array(np.ones((8, 4)), "k")])  # fmt: skip


# Parameters that NumPy would broadcast, and that make the output larger than a runtime does.
for label, op, parameters, attributes, rank in [
    ("layer", "LayerNormalization", [(2, 1, 3, 1, 4)], {}, 2),
    ("rms", "RMSNormalization", [(2, 4)], {}, 2),
    ("batch", "BatchNormalization", [(4, 4)] * 4, {}, 2),
    ("instance", "InstanceNormalization", [(5,), (5,)], {}, 4),
    ("group", "GroupNormalization", [(1, 4), (1, 4)], {"num_groups": 2}, 4),
    ("bias", "Conv", [(4, 4, 3, 3), (4, 1, 1)], {}, 4),
    ("bias_transposed", "ConvTranspose", [(4, 4, 3, 3), (4, 1, 3, 3)], {}, 4),
]:
    names = [f"p{k}" for k in range(len(parameters))]
    graph(f"g_misfit_{label}", "E", [
        helper.make_node(op, ["x", *names], ["y"], **attributes)],
        [WEIGHT, *(array(np.ones(s), k) for s, k in zip(parameters, names, strict=True))],
        shape=IMAGE[:rank])  # fmt: skip
graph("g_misfit_scale", "EW", [
    helper.make_node("QLinearConv", ["q", "s", "z", "k", "s", "z", "s", "z"], ["y"])],
    [WEIGHT, array(np.ones((5, 1, 0, 5)), "s"), array(3, "z", np.uint8),
     array(np.ones((4, 4, 1, 1)), "k", np.uint8), array(np.ones(IMAGE), "q", np.uint8)],
    shape=IMAGE)  # fmt: skip
graph("g_misfit_zeros", "W", [helper.make_node(
    "MatMulNBits", ["x", "p", "s", "z"], ["y"], domain="com.microsoft", K=32, N=3, bits=4,
    block_size=16)],
    [WEIGHT, array(np.ones((3, 2, 8)), "p", np.uint8), array(np.ones(6), "s"),
     array(np.ones(4), "z", np.uint8)], shape=(1, 32))  # fmt: skip
graph("g_misfit_gates", "EW", [node("x k r b", "y", "GRU")], [
    WEIGHT, array(np.ones((1, 5, 4)), "k"), array(np.ones((1, 6, 2)), "r"),
    array(np.ones((1, 1)), "b")], shape=(3, 1, 4))  # fmt: skip
graph("g_misfit_table", "W", [helper.make_node(
    "EmbedLayerNormalization", ["n", "", "t", "t"], ["y"], domain="com.microsoft")],
    [WEIGHT, array(1.0, "t"), array([1, 1], "n", np.int64)], shape=(1, 4))  # fmt: skip
graph("g_misfit_grid", "EW", [node("x n", "y", "AffineGrid")],
      [WEIGHT, array(np.ones(35), "n", np.int64)], shape=(1, 2, 3))  # fmt: skip


@CASES.add("E")
def g_misfit_sample(folder: Path) -> Path:
    """Normalised element by element, as opset 7 could, by more numbers than there are."""
    batch = helper.make_node("BatchNormalization", ["x", "k", "k", "k", "k"], ["y"], spatial=0)
    return write(folder, model([batch], [WEIGHT, array(np.ones((3, 4)), "k")], opset=7))


@CASES.add("E")
def g_lacks_ends(folder: Path) -> Path:
    """A slice without ends whose result has a declared shape, in a run of linear nodes."""
    nodes = [node("x w", "a", "MatMul"), node("a", "b", "Slice"), node("b w", "y", "MatMul")]
    return write(folder, model(nodes, [WEIGHT], value_info=[value("b")]))


def typed(kind: str) -> onnx.TensorProto:
    """The diagonal (1, 1, 1, 1) as a tensor of this type, cast to float and applied."""
    name = kind if kind in np.sctypeDict else getattr(ml_dtypes, kind)
    values = np.eye(4).astype(name)
    raw = values.view(np.uint8).reshape(-1) if values.itemsize == 1 else values
    per_byte = WIDTHS.get(kind, 1)
    bits = 8 // per_byte
    if per_byte > 1:
        low = raw.reshape(-1, per_byte) & (1 << bits) - 1
        raw = np.bitwise_or.reduce(low << np.arange(per_byte, dtype=np.uint8) * bits, axis=1)
    content = raw.astype(np.uint8).tobytes() if per_byte > 1 else values.tobytes()
    return TensorProto(name="w", data_type=TYPES[kind], dims=[4, 4], raw_data=content)


for label in TYPES:
    graph(f"t_{label}", "OW" if "e8m0" in label else "O", [
        helper.make_node("Cast", ["w"], ["b"], to=TensorProto.FLOAT),
        node("x b", "y", "MatMul")], [typed(label)],
        None if "e8m0" in label else 1.0)  # fmt: skip


@CASES.add("O", 3.0)
def ext_amplify(folder: Path) -> Path:
    """A hundred tensors over the same bytes of a sparse file of 256 MiB."""
    with open(folder / "w.bin", "wb") as file:
        file.write(MATRIX.tobytes())
        file.truncate(256 << 20)
    tensors, nodes = [], []
    for i in range(100):
        tensor = outside(("location", "w.bin"))
        tensor.name = f"w{i}"
        tensors.append(tensor)
        nodes.append(node(f"{'x' if i == 0 else f'v{i}'} w{i}", f"v{i + 1}", "MatMul"))
    return write(folder, model([*nodes, node("v100", "y", "Relu")], tensors))


@CASES.add("E")
def ext_amplify_dims(folder: Path) -> Path:
    """A file of 64 bytes of which each of many tensors claims 64 MiB."""
    (folder / "w.bin").write_bytes(MATRIX.tobytes())
    tensors = []
    for i in range(100):
        tensor = outside(("location", "w.bin"))
        tensor.name = f"w{i}"
        tensor.dims[:] = [4096, 4096]
        tensors.append(tensor)
    return write(folder, model([node("x", "y", "Relu")], tensors))
