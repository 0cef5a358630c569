"""Corners where a bound once was below the truth: ranges that lie, copies that were not counted."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

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
