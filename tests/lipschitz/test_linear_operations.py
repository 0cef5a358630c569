"""Linear nodes with odd attributes: the bound against the matrix that onnxruntime applies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, helper

from specaudit import lipschitz, norms
from specaudit.extract import matrices
from specaudit.formats import load
from specaudit.operators import Layer
from specaudit.report import NetworkBound
from tests.extract.making import Array, graph_file

Case = tuple[list[NodeProto], dict[str, Array], tuple[int, ...]]
Draw = Callable[[np.random.Generator], Case]


def _bound(path: Path) -> NetworkBound:
    found = matrices(load(str(path)))
    assert found.resolved is not None
    layers: dict[str, tuple[Layer, ...]] = {}
    for layer in found.layers:
        layers[layer.node or ""] = (*layers.get(layer.node or "", ()), layer)
    return lipschitz.bound(found.resolved, layers, lambda layer: norms.measure(layer).norm)


def _applied(path: Path, shape: tuple[int, ...]) -> Array | None:
    """The Jacobian, a column for each element of the input; None where the node is refused."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    basis = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        zero = session.run(None, {"x": np.zeros_like(basis[0])})[0].astype(np.float64)
        columns = [session.run(None, {"x": one})[0].astype(np.float64) - zero for one in basis]
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            return None
        raise
    return np.stack([column.reshape(-1) for column in columns], axis=1)


def _ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def resize(rng: np.random.Generator) -> Case:
    mode = str(rng.choice(["nearest", "linear", "cubic"]))
    modes = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel",
             "half_pixel_symmetric"]  # fmt: skip
    told = {"mode": mode, "coordinate_transformation_mode": str(rng.choice(modes))}
    if mode == "nearest":
        told["nearest_mode"] = str(
            rng.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    shape = (1, 1, int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    if rng.random() < 0.6:  # a scale may be other than 1 and leave the size as it is
        scales = np.array([1, 1, rng.choice([0.5, 0.7, 1.5, 2, 3]), rng.choice([1, 1.3, 1.2, 2])])
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], **told)
        return [node], {"s": scales.astype(np.float32)}, shape
    node = helper.make_node("Resize", ["x", "", "", "z"], ["y"], **told)
    return [node], {"z": _ints(1, 1, *rng.integers(1, 12, 2))}, shape


def convolution(rng: np.random.Generator) -> Case:
    group, (inner, outer) = int(rng.choice([1, 2])), rng.integers(1, 3, 2)
    told: dict[str, object] = {"strides": rng.integers(1, 4, 2).tolist(), "group": group}
    if rng.random() < 0.5:
        told |= {
            "pads": rng.integers(0, 3, 4).tolist(),
            "dilations": rng.integers(1, 3, 2).tolist(),
        }
    else:
        told["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    kernel = rng.standard_normal((outer * group, inner, *rng.integers(1, 4, 2)))
    node = helper.make_node("Conv", ["x", "w"], ["y"], **told)
    return [node], {"w": kernel.astype(np.float32)}, (1, int(inner * group), *_sizes(rng, 3, 8))


def transposed_convolution(rng: np.random.Generator) -> Case:
    strides, kernel = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    sizes = _sizes(rng, 2, 5)
    told: dict[str, object] = {"strides": strides.tolist()}
    match int(rng.integers(3)):
        case 0:
            told["pads"] = rng.integers(0, 2, 4).tolist()
        case 1:  # with a kernel shorter than the stride, there is nothing to pad
            told["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        case _:
            reached = strides * (np.array(sizes) - 1) + kernel
            told["output_shape"] = np.maximum(reached + rng.integers(-2, 2, 2), 1).tolist()
    weight = rng.standard_normal((2, 2, *kernel)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **told)
    return [node], {"w": weight}, (1, 2, *sizes)


def padded_convolution(rng: np.random.Generator) -> Case:
    mode = str(rng.choice(["reflect", "edge", "wrap", "constant"]))
    pads = rng.integers(0, 3, 4)
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["a"], mode=mode),
        helper.make_node("Conv", ["a", "w"], ["y"], strides=rng.integers(1, 3, 2).tolist()),
    ]
    kernel = rng.standard_normal((2, 1, 3, 3)).astype(np.float32)
    constants = {"p": _ints(0, 0, *pads[:2], 0, 0, *pads[2:]), "w": kernel}
    return nodes, constants, (1, 1, *_sizes(rng, 3, 7))


def average(rng: np.random.Generator) -> Case:
    kernel = rng.integers(1, 4, 2)
    told = {
        "kernel_shape": kernel.tolist(), "strides": rng.integers(1, 4, 2).tolist(),
        "count_include_pad": int(rng.integers(2)), "ceil_mode": int(rng.integers(2)),
        "pads": rng.integers(0, kernel.min(), 4).tolist(),
    }  # fmt: skip
    return [helper.make_node("AveragePool", ["x"], ["y"], **told)], {}, (1, 1, *_sizes(rng, 3, 9))


def overlapping_slices(rng: np.random.Generator) -> Case:
    """Parts of one vector, which may overlap or run backwards, each into a layer; added."""
    size = int(rng.integers(4, 9))
    nodes: list[NodeProto] = []
    constants: dict[str, Array] = {"axis": _ints(1)}
    for k in range(3):
        first, length = int(rng.integers(0, size - 1)), int(rng.integers(1, 5))
        taken = slice(first, first + length)
        ends, step = (first, first + length), 1
        if rng.random() < 0.3:
            taken, ends, step = slice(first, None, -1), (first, -size - 1), -1
        count = len(range(size)[taken])
        weight = rng.standard_normal((count, 3)).astype(np.float32)
        constants |= {f"a{k}": _ints(ends[0]), f"b{k}": _ints(ends[1]), f"s{k}": _ints(step)}
        constants[f"w{k}"] = weight
        nodes += [
            helper.make_node("Slice", ["x", f"a{k}", f"b{k}", "axis", f"s{k}"], [f"o{k}"]),
            helper.make_node("MatMul", [f"o{k}", f"w{k}"], [f"m{k}"]),
        ]
    nodes.append(helper.make_node("Sum", ["m0", "m1", "m2"], ["y"]))
    return nodes, constants, (1, size)


def batched_product(rng: np.random.Generator) -> Case:
    shapes = [((2, 3, 4), (5, 3)), ((2, 3, 4), (1, 5, 3)), ((3, 2, 3, 4), (2, 5, 3)),
              ((3, 1, 3, 4), (1, 2, 5, 3)), ((3,), (2, 5, 3)), ((3, 4), (3,))]  # fmt: skip
    weight, shape = shapes[int(rng.integers(len(shapes)))]
    constant = rng.standard_normal(weight).astype(np.float32)
    if rng.random() < 0.5:
        return [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": constant}, shape
    constant = constant.reshape(-1) if len(weight) == 1 else constant.swapaxes(-1, -2)
    turned = shape if len(shape) == 1 else (*shape[:-2], shape[-1], shape[-2])
    return [helper.make_node("MatMul", ["w", "x"], ["y"])], {"w": constant}, turned


def gathered(rng: np.random.Generator) -> Case:
    axis, shape = int(rng.integers(2)), _sizes(rng, 2, 6)
    where = rng.integers(-shape[axis], shape[axis], (2, 3))
    node = helper.make_node("Gather", ["x", "i"], ["y"], axis=axis)
    return [node], {"i": where.astype(np.int64)}, shape


def _sizes(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    first, second = rng.integers(low, high, 2)
    return int(first), int(second)


# Each with how far the bound may be above the norm: products over axes are exact, nearest
# neighbours count ties twice, and a convolution's norm at a size is known to 1e-9.
LOOSEST: dict[Draw, float] = {
    resize: 1.6, convolution: 1.001, transposed_convolution: 1.001, padded_convolution: 1.001,
    average: 1.001, overlapping_slices: 1.001, batched_product: 1.001, gathered: 1.001,
}  # fmt: skip


@pytest.mark.parametrize("draw", LOOSEST, ids=lambda draw: draw.__name__)
def test_the_bound_holds_the_matrix_and_little_more(draw: Draw, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    tried, worst = 0, 1.0
    for _ in range(150):
        nodes, constants, shape = draw(rng)
        path = graph_file(tmp_path, nodes, {"x": shape}, constants)
        applied = _applied(path, shape)
        if applied is None:
            continue
        truth = float(np.linalg.norm(applied, 2))
        found = _bound(path)
        assert found.upper is not None, (found, nodes)
        # A column is off by a few float32 roundings of its entries.
        noise = 1e-6 * float(np.linalg.norm(applied))
        assert truth <= found.upper + noise, (truth, found.upper, nodes, shape)
        worst = max(worst, found.upper / truth if truth > 1e-3 else 1.0)
        tried += 1
    assert tried >= 100
    assert worst <= LOOSEST[draw]
