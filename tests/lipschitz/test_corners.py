"""Corners where a bound once was below the truth: ranges that lie, copies that were not counted."""

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import specaudit
from specaudit.errors import UnreadableModel
from specaudit.lipschitz import pooling
from tests.lipschitz.networks import bound_of, model_of, quotient, runner, steepest


def _grows(model: onnx.ModelProto, x: np.ndarray, y: np.ndarray, box: tuple[float, float]) -> float:
    """The bound, which a difference quotient inside the box must not exceed."""
    found = bound_of(model, input_range={"": box})
    assert found.upper is not None, found
    assert quotient(runner(model), x, y) <= found.upper * (1.0 + 1e-9)
    return found.upper


def test_values_of_many_batches_read_one_matrix_of_logits() -> None:
    """Q and K have one batch, V has four: what Q moves is written four times."""
    key, value = np.array([[[1.0, -1.0]]]), np.tile(np.array([[[1.0], [-1.0]]]), (4, 1, 1))
    nodes = [
        helper.make_node("MatMul", ["x", "k"], ["l"]),
        helper.make_node("Softmax", ["l"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, 1, 1)}, {"k": key, "v": value}, ["y"])
    x = np.zeros((1, 1, 1))
    # tanh(x) four times: 2 at 0, where both of Cauchy and Schwarz's inequalities are sharp.
    assert _grows(model, x, x + 1e-5, (-1.0, 1.0)) <= 2.0 * (1.0 + 1e-9)


def test_a_bias_before_the_softmax_is_read_by_every_batch() -> None:
    value = np.tile(np.array([[[1.0], [-1.0]]]), (9, 1, 1))
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["l"]),
        helper.make_node("Add", ["l", "x"], ["m"]),
        helper.make_node("Softmax", ["m"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    constants = {"q": np.zeros((1, 1, 1)), "k": np.zeros((1, 1, 2)), "v": value}
    model = model_of(nodes, {"x": (1, 1, 2)}, constants, ["y"])
    x, step = np.zeros((1, 1, 2)), np.array([[[1e-5, -1e-5]]])
    assert _grows(model, x, x + step, (-1.0, 1.0)) <= 3.0 * np.sqrt(0.5) * (1.0 + 1e-9)


def test_the_upper_end_of_a_clip_has_the_last_word() -> None:
    """Clip to [2, x]: below 2 it is x, and the slope of its inverse up to 4."""
    nodes = [
        helper.make_node("Clip", ["c", "two", "x"], ["a"]),
        helper.make_node("Reciprocal", ["a"], ["y"]),
    ]
    constants = {"c": np.array(3.0), "two": np.array(2.0)}
    model = model_of(nodes, {"x": ()}, constants, ["y"])
    x = np.array([0.5])
    assert _grows(model, x, x + 1e-6, (0.5, 10.0)) <= 4.0 * (1.0 + 1e-6)


def test_an_offset_that_cancels_keeps_its_rounding() -> None:
    """The sum beta - mean * scale is 0 once it is rounded, but not before: the output reaches 0."""
    mean, scale = 1.0e8 / 3.0, 3.1
    offset = Fraction(mean * scale) - Fraction(mean) * Fraction(scale)
    assert offset < -Fraction(1e-9)
    constants = {
        "s": np.array([scale]), "b": np.array([mean * scale]),
        "m": np.array([mean]), "v": np.array([1.0 - 2.0**-40]),
    }  # fmt: skip
    node = helper.make_node(
        "BatchNormalization", ["x", "s", "b", "m", "v"], ["a"], epsilon=float(2.0**-40)
    )
    last = helper.make_node("Reciprocal", ["a"], ["y"])
    model = model_of([node, last], {"x": (1, 1)}, constants, ["y"], in_type=TensorProto.DOUBLE)
    found = bound_of(model, input_range={"": (1e-10, 1.0)})
    assert Fraction(1e-10) * Fraction(scale) + offset < 0
    assert found.upper is None


def test_a_variance_with_a_ceiling_bounds_no_values() -> None:
    """Here x / sqrt(min(var, 1) + eps) grows with x, and its square has no slope that holds."""
    constants = {"two": np.array(2.0), "zero": np.array(0.0), "one": np.array(1.0),
                 "eps": np.array(0.25), "axes": np.array([-1])}  # fmt: skip
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["q"]),
        helper.make_node("ReduceMean", ["q", "axes"], ["mq"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["m"]),
        helper.make_node("Pow", ["m", "two"], ["m2"]),
        helper.make_node("Sub", ["mq", "m2"], ["d"]),
        helper.make_node("Clip", ["d", "zero", "one"], ["var"]),
        helper.make_node("Add", ["var", "eps"], ["e"]),
        helper.make_node("Sqrt", ["e"], ["s"]),
        helper.make_node("Sub", ["x", "m"], ["c"]),
        helper.make_node("Div", ["c", "s"], ["n"]),
        helper.make_node("Mul", ["n", "n"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, 4)}, constants, ["y"])
    assert bound_of(model).upper is None


def test_a_scale_that_is_not_finite_leaves_no_finite_bound() -> None:
    nodes = [helper.make_node("LayerNormalization", ["x", "s"], ["y"])]
    found = bound_of(model_of(nodes, {"x": (1, 3)}, {"s": np.array([np.inf, 1.0, 2.0])}, ["y"]))
    assert found.upper is None


def test_the_overlaps_of_windows_are_those_that_are_counted() -> None:
    for k in range(1, 12):
        for s in range(1, 14):
            counted = sum(max(0, k - s * abs(j)) for j in range(-k, k + 1))
            assert pooling._overlaps(k, s) == counted


@pytest.mark.parametrize(
    ("equation", "factor", "step", "exact"),
    [
        ("ij,ij->i", [[2.0], [1.0]], [[1.0] * 4, [0.0] * 4], 4.0),
        ("ij,ij->", [[2.0, 3.0, 6.0, 0.0]], [[2.0, 3.0, 6.0, 0.0]] * 2, 7.0 * 2.0**0.5),
    ],
)
def test_a_constant_of_size_one_meets_a_whole_axis(
    equation: str, factor: list[list[float]], step: list[list[float]], exact: float
) -> None:
    """``x[2, 4]`` summed over an axis along which Einsum repeats the constant: a row of ones."""
    node = helper.make_node("Einsum", ["x", "c"], ["y"], equation=equation)
    model = model_of([node], {"x": (2, 4)}, {"c": np.array(factor)}, ["y"])
    x = np.zeros((2, 4))
    assert _grows(model, x, x + step, (-9.0, 9.0)) <= exact * (1.0 + 1e-9)
    assert quotient(runner(model), x, x + step) >= exact * (1.0 - 1e-9)


def test_a_length_that_single_precision_rounds_up() -> None:
    """Five at 1.4 are seven for onnxruntime, and six in double precision: the larger counts."""
    scales = np.array([1.0, 1.4], dtype=np.float32)
    node = helper.make_node(
        "Resize",
        ["x", "", "s"],
        ["y"],
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )
    single = TensorProto.FLOAT
    model = model_of([node], {"x": (1, 5)}, {"s": scales}, ["y"], in_type=single, out_type=single)
    # The ends are shown by one output each, the rest by two whose weights are at most 1.
    places = np.arange(7) * 4 / 6
    exact = np.linalg.norm(np.maximum(0, 1 - abs(places[:, None] - np.arange(5))), 2)
    x = np.zeros((1, 5))
    assert runner(model)(x).size == 7
    assert _grows(model, x, x + 1.0, (-2.0, 2.0)) == pytest.approx(exact, rel=1e-6)
    assert steepest(runner(model), points=2) >= exact * (1 - 1e-4)


def test_a_dilated_window_padded_to_same_has_no_agreed_average() -> None:
    """One that onnxruntime pads by the undilated window: an element alone has norm 1."""
    told = {"kernel_shape": [3], "strides": [3], "dilations": [2], "auto_pad": "SAME_UPPER"}
    single = TensorProto.FLOAT

    def pool(op: str, **more: int) -> onnx.ModelProto:
        node = helper.make_node(op, ["x"], ["y"], **told, **more)
        return model_of([node], {"x": (1, 1, 7)}, {}, ["y"], in_type=single, out_type=single)

    average = pool("AveragePool", ceil_mode=1)
    assert steepest(runner(average), points=1) > 0.99
    found = bound_of(average)
    assert found.status == "not_computed"
    assert "dilated" in (found.reason or "")
    largest = bound_of(pool("MaxPool", ceil_mode=1))
    assert steepest(runner(pool("MaxPool", ceil_mode=1)), points=2) <= (largest.upper or 0.0)


def _not_below(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    dimensions: tuple[int | str, ...],
    step: np.ndarray,
    single: bool = False,
) -> None:
    """Where a bound is given it is no less than a slope, at a size that it does not know."""
    kind, dtype = (TensorProto.FLOAT, np.float32) if single else (TensorProto.DOUBLE, np.float64)
    types = {"in_type": kind, "out_type": kind}
    found = bound_of(
        model_of(nodes, {"x": dimensions}, constants, ["y"], **types), input_range={"": (-1.0, 1.0)}
    )
    known = model_of(nodes, {"x": step.shape}, constants, ["y"], **types)
    x = np.zeros(step.shape, dtype=dtype)
    slope = quotient(runner(known), x, x + step.astype(dtype))
    assert found.upper is None or slope <= found.upper * (1.0 + 1e-5)
    assert slope > 2.1  # what was reported once was 2.2 and less, or as much as there is


@pytest.mark.parametrize("gate", [["Sigmoid"], ["HardSigmoid"]])
def test_a_constant_of_more_axes_moves_the_channels(gate: list[str]) -> None:
    """Two samples of two channels: behind the gate axis 1 is the samples."""
    kernel = np.zeros((2, 2, 1, 1))
    kernel[0, 0] = kernel[1, 1] = 1.0
    pick = np.zeros((1, 2, 1, 1, 1))
    pick[0, 0] = 1.0
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["a"]),
        helper.make_node("Mul", ["a", "one"], ["t"]),
        helper.make_node(*gate, ["t"], ["u"]),
        helper.make_node("Mul", ["a", "u"], ["g"]),
        helper.make_node("Conv", ["g", "pick"], ["q"]),
        helper.make_node("Mul", ["q", "q"], ["y"]),
    ]
    constants = {
        "k": kernel,
        "b": np.array([0.0, 100.0]),
        "one": np.ones((1, 1, 1, 1, 1)),
        "pick": pick,
    }
    step = np.zeros((2, 2, 3, 3))
    step[0, 1] = 1e-3
    single = {name: value.astype(np.float32) for name, value in constants.items()}
    _not_below(nodes, single, (2, 2, "h", "w"), step, single=True)


@pytest.mark.parametrize("kind", [TensorProto.BOOL, TensorProto.INT8, TensorProto.FLOAT16])
def test_a_size_that_a_cast_changes_is_not_that_size(kind: int) -> None:
    """The mean of the first element, not of all; or of all but one."""
    n = {TensorProto.BOOL: 30, TensorProto.INT8: 257, TensorProto.FLOAT16: 2049}[kind]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=2, end=3),
        helper.make_node("Cast", ["s"], ["c"], to=kind),
        helper.make_node("Cast", ["c"], ["n"], to=TensorProto.INT64),
        helper.make_node("Slice", ["x", "zero", "n", "two"], ["first"]),
        helper.make_node("ReduceMean", ["first", "two"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "two": np.array([2])}
    model = model_of(nodes, {"x": (1, 1, "n")}, constants, ["y"])
    step = np.zeros((1, 1, n))
    step[..., 0] = 1.0
    known = model_of(nodes, {"x": (1, 1, n)}, constants, ["y"])
    slope = quotient(runner(known), np.zeros_like(step), step)
    found = bound_of(model, input_range={"": (-1.0, 1.0)})
    assert found.upper is None or slope <= found.upper
    assert kind == TensorProto.FLOAT16 or slope > 5.0


def test_a_dilated_window_is_not_padded_to_the_same_size() -> None:
    """The runtime pads as if not dilated: one window of 17, so a mean of one element."""
    nodes = [
        helper.make_node(
            "MaxPool", ["x"], ["a"], kernel_shape=[2], dilations=[16], auto_pad="SAME_UPPER"
        ),
        helper.make_node("ReduceMean", ["a", "two"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    step = np.zeros((1, 1, 17))
    step[..., 0] = 1.0
    _not_below(nodes, {"two": np.array([2])}, (1, 1, "n"), step)


def test_an_axis_named_twice_is_averaged_over_once() -> None:
    """2/3 for nine elements; nine times nine would make it 2/9."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"]),
        helper.make_node("Add", ["m", "m"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, 1, 9)}, {"axes": np.array([2, -1])}, ["y"])
    found = bound_of(model)
    step = np.ones((1, 1, 9))
    slope = quotient(runner(model), np.zeros_like(step), step)
    assert found.upper is not None
    assert slope <= found.upper * (1.0 + 1e-9) <= slope * (1.0 + 1e-6)


def test_a_size_that_is_only_declared_is_an_assumption(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, "n")}, {"c": np.array(2.0)}, ["y"])

    def assumptions() -> str:
        onnx.save(model, tmp_path / "m.onnx")
        return " ".join(specaudit.audit(tmp_path / "m.onnx").network.assumptions)

    assert "declared" not in assumptions()
    declared = helper.make_tensor_value_info("i", TensorProto.INT64, [2, "n"])
    model.graph.value_info.append(declared)
    assert "declared shape of i" in assumptions()


@pytest.mark.parametrize("slices", [0, -1, 3, 1 << 40, -(1 << 40)])
def test_a_scan_of_more_slices_than_inputs_takes_no_memory(slices: int) -> None:
    state, item, after = (helper.make_tensor_value_info(n, TensorProto.DOUBLE, [3]) for n in "hes")
    body = helper.make_graph(
        [helper.make_node("Add", ["h", "e"], ["s"])], "b", [state, item], [after]
    )
    node = helper.make_node("Scan", ["z", "x"], ["y"], body=body, num_scan_inputs=slices)
    found = bound_of(model_of([node], {"x": (4, 3)}, {"z": np.zeros(3)}, ["y"]))
    assert found.upper is None


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool", "Col2Im"])
@pytest.mark.parametrize("size", [0, -1, -(1 << 63)])
def test_a_window_of_negative_size_is_not_gone_through(op: str, size: int) -> None:
    """It made the count of taps negative, which is below the limit of those that are."""
    if op == "Col2Im":
        shapes = {"s": np.array([3, 3]), "b": np.array([2, size])}
        model = model_of(
            [helper.make_node(op, ["x", "s", "b"], ["y"])], {"x": (1, 4, 4)}, shapes, ["y"]
        )
    else:
        node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3, size])
        model = model_of([node], {"x": (1, 1, 5, 5)}, {}, ["y"])
    with contextlib.suppress(UnreadableModel):  # or there is no such shape
        assert bound_of(model).upper is None


@pytest.mark.parametrize("p", [0, -1, 9, 1 << 40, -(1 << 31)])
def test_a_power_that_is_no_norm_has_no_bound(p: int) -> None:
    pools = [
        helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2], p=p),
        helper.make_node("GlobalLpPool", ["x"], ["y"], p=p),
    ]
    for node in pools:
        assert bound_of(model_of([node], {"x": (1, 1, 6)}, {}, ["y"])).upper is None


@pytest.mark.parametrize(
    ("op", "constant", "flag"),
    [
        ("TopK", [4], {"sorted": 7}),
        ("CumSum", 1, {"exclusive": 2}),
        ("CumSum", 1, {"exclusive": 9}),
    ],
)
def test_a_flag_that_is_neither_0_nor_1_gives_no_bound(
    op: str, constant: object, flag: dict[str, int]
) -> None:
    """For onnxruntime a TopK that is sorted=7 is in no order; nine columns are not left out."""
    node = helper.make_node(op, ["x", "c"], ["y", "i"][: 1 + (op == "TopK")], **flag)
    model = model_of([node], {"x": (2, 4)}, {"c": np.array(constant)}, ["y"])
    assert bound_of(model).upper is None
