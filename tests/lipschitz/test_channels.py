"""Intervals channel by channel: no value lies outside, and where all moves freely some reach."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from specaudit.graphs import resolve
from specaudit.lipschitz import patterns
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.trace import trace
from tests.lipschitz.networks import bound_of, graph_of, model_of, norm_of

make = helper.make_node
LO, HI = -0.5, 2.0
SHAPE = (2, 4, 6, 5)
Made = tuple[list[Any], dict[str, np.ndarray]]


def context_of(made: Made, shape: tuple[int | None, ...] = SHAPE) -> Context:
    nodes, constants = made
    resolved = resolve(graph_of(model_of(nodes, {"x": shape}, constants, ["y"])))
    context = Context(resolved, {}, norm_of, {})
    trace(context, patterns.ALL, {"x": Facts(LO, HI)})
    return context


def values_of(made: Made, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every value of the network, in single precision where onnxruntime has no other kernel."""
    nodes, constants = made
    names = [name for node in nodes for name in node.output]
    single = {k: v.astype(np.float32) if v.dtype == float else v for k, v in constants.items()}
    kind = TensorProto.FLOAT
    model = model_of(nodes, {"x": x.shape}, single, names, in_type=kind, out_type=kind)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(names, {"x": x.astype(np.float32)})
    return dict(zip(names, found, strict=True))


def linear(seed: int, op: str = "Conv", pads: int = 0, group: int = 1, kernel: int = 1) -> Made:
    rng = np.random.default_rng(seed)
    shape = (6, 4 // group) if op == "Conv" else (4, 6 // group)
    weight = rng.standard_normal((*shape, kernel, kernel)).astype(np.float32).astype(float)
    node = make(op, ["x", "w", "b"], ["y"], group=group, pads=[pads] * 4)
    return [node], {"w": weight, "b": rng.standard_normal(6)}


def normalised(seed: int) -> Made:
    rng = np.random.default_rng(seed)
    parts = {name: rng.standard_normal(4) for name in "gbm"} | {"v": rng.uniform(0.1, 2.0, 4)}
    return [make("BatchNormalization", ["x", *"gbmv"], ["y"])], parts


def block(seed: int) -> Made:
    """Of everything that has a rule, in an order that the seed draws."""
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {"three": np.array(3.0), "six": np.array(6.0)}
    constants["zero"] = np.array(0.0)
    value = "x"

    def put(op: str, *more: str, **attributes: Any) -> str:
        out = f"v{len(nodes)}"
        nodes.append(make(op, [*more], [out], **attributes))
        return out

    def weight(*shape: int) -> str:
        name = f"w{len(constants)}"
        constants[name] = rng.standard_normal(shape)
        return name

    for kind in rng.permutation(12).tolist() + rng.integers(12, size=3).tolist():
        match kind:
            case 0:
                value = put("Conv", value, weight(4, 4, 3, 3), weight(4), pads=[1, 1, 1, 1])
            case 1:
                value = put("Conv", value, weight(4, 1, 1, 1), group=4)
            case 2:
                value = put("Relu", value)
            case 3:
                ends = [put("Add", value, "three"), "zero", "six"]
                gate = put("Clip", *ends)
                value = put("Div", put("Mul", value, gate), "six")
            case 4:
                value = put("Mul", value, put("Sigmoid", value))
            case 5:
                value = put("Add", value, put("Conv", value, weight(4, 2, 1, 1), group=2))
            case 6:
                value = put("MaxPool", value, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
            case 7:
                value = put("AveragePool", value, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
            case 8:
                value = put("Mul", value, put("Sigmoid", put("GlobalAveragePool", value)))
            case 9:
                value = put("Sub", weight(1, 4, 1, 1), value)
            case 10:
                value = put("LeakyRelu", value, alpha=float(rng.uniform(-1.5, 1.5)))
            case 11:
                value = put("ConvTranspose", value, weight(4, 2, 2, 2), group=2, pads=[1, 0, 0, 1])
    nodes.append(make("Mul", [value, weight(4, 1, 1)], ["y"]))
    return nodes, constants


@pytest.mark.parametrize("seed", range(40))
def test_no_value_leaves_its_channel(seed: int) -> None:
    made = block(seed)
    context = context_of(made)
    assert len(context.channels["y"]) == 4
    rng = np.random.default_rng(seed)
    for draw in range(12):
        x = rng.uniform(LO, HI, SHAPE) if draw % 2 else rng.choice([LO, HI], SHAPE)
        for name, value in values_of(made, x).items():
            for k, part in enumerate(context.channels.get(name, ())):
                slack = 1e-5 * (1.0 + max(abs(part.lo), abs(part.hi)))
                assert part.lo - slack <= value[:, k].min(), (name, k)
                assert value[:, k].max() <= part.hi + slack, (name, k)


@pytest.mark.parametrize(
    "made",
    [
        linear(1),
        linear(2, group=2),
        linear(3, kernel=3),
        linear(4, kernel=3, pads=1),
        linear(5, kernel=3, group=2),
        linear(6, "ConvTranspose", kernel=2, group=2, pads=1),
        normalised(7),
    ],
    ids=lambda made: f"{made[0][0].op_type}-{made[1].get('w', made[1].get('g')).shape}",
)
def test_the_ends_of_linear_channels_are_reached(made: Made) -> None:
    """Each by the corner of the box that its signs name: found coordinate by coordinate."""
    context = context_of(made)
    for k, part in enumerate(context.channels["y"]):
        for sign, end in ((1.0, part.hi), (-1.0, part.lo)):
            place = (0, k, 2, 2)
            zero = values_of(made, np.zeros(SHAPE))["y"][place]
            x = np.full(SHAPE, LO)
            for index in np.ndindex(1, 4, 6, 5):
                unit = np.zeros(SHAPE)
                unit[index] = 1.0
                if sign * (values_of(made, unit)["y"][place] - zero) > 0.0:
                    x[index] = HI
            reached = values_of(made, x)["y"][place]
            assert reached == pytest.approx(end, rel=1e-4, abs=1e-4)


def test_a_gate_counts_by_the_channel_that_is_largest() -> None:
    """One wide channel into a narrow weight: 10, and not 10 times 10."""
    nodes = [
        make("Conv", ["x", "a"], ["h"], group=2),
        make("Conv", ["h", "b"], ["u"], group=2),
        make("Sigmoid", ["z"], ["g"]),
        make("Mul", ["u", "g"], ["y"]),
    ]
    weights = {name: np.array(w).reshape(2, 1, 1, 1) for name, w in
               (("a", [10.0, 1.0]), ("b", [1.0, 10.0]))}  # fmt: skip
    shapes = {"x": [1, 2, 3, 3], "z": [1, 2, 3, 3]}
    found = bound_of(model_of(nodes, shapes, weights, ["y"]), input_range=(-1.0, 1.0))
    by_input = {bound.name: bound.upper for bound in found.inputs}
    assert by_input["z"] == pytest.approx(10.0 / 4.0, rel=1e-9)


def test_channels_are_lost_where_axis_one_is_another() -> None:
    """A slice, a transpose and a reshape move what is along axis 1: nothing is said of it."""
    weight = np.array([10.0, 1.0, 0.1, 0.01]).reshape(4, 1, 1, 1)
    for node in (
        make("Slice", ["h", "one", "four", "one"], ["y"]),
        make("Transpose", ["h"], ["y"], perm=[0, 2, 1, 3]),
        make("Reshape", ["h", "flat"], ["y"]),
        make("Gather", ["h", "one"], ["y"], axis=1),
    ):
        nodes = [make("Conv", ["x", "w"], ["h"], group=4), node]
        indices = {"one": np.array([1]), "four": np.array([4]), "flat": np.array([0, 2, -1])}
        context = context_of((nodes, {"w": weight, **indices}))
        assert context.channels["h"][0].hi == pytest.approx(20.0)
        assert "y" not in context.channels
        assert context.facts("y").hi >= 20.0


def test_the_values_of_a_hard_swish_have_a_floor() -> None:
    """``x clip(x + 3, 0, 6) / 6`` is -3/8 at -3/2, and no less anywhere."""
    nodes = [
        make("Add", ["x", "three"], ["a"]),
        make("Clip", ["a", "zero", "six"], ["c"]),
        make("Mul", ["x", "c"], ["m"]),
        make("Div", ["m", "six"], ["y"]),
    ]
    ends = {"three": np.array(3.0), "zero": np.array(0.0), "six": np.array(6.0)}
    resolved = resolve(graph_of(model_of(nodes, {"x": [1, 4]}, ends, ["y"])))
    context = Context(resolved, {}, norm_of, {})
    trace(context, patterns.ALL, {"x": Facts(-9.0, 9.0)})
    assert context.facts("y").lo == pytest.approx(-0.375, rel=1e-12)
    assert context.facts("y").hi == pytest.approx(9.0, rel=1e-12)
