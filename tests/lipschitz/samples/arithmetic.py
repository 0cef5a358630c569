"""Operations of several operands: a sample network for each rule."""

import numpy as np
from onnx import TensorProto, helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import normal, sample


def _arithmetic() -> None:
    sample("Add", {"a": [2, 3], "b": [3]}, ratio=0.9, label="broadcast", order=["a", "b"])
    sample("Add", {"x": [3]}, order=["x", "x"], exact=2.0, label="twice")
    sample("Add", {"x": [1]}, {"c": normal(9)}, label="spread", ratio=0.999)
    sample("Sub", {"x": [2, 1], "z": [1, 2]}, ratio=0.9)
    sample("Sum", {"a": [2], "b": [2], "c": [1]}, ratio=0.5)
    sample("Mean", {"a": [2], "b": [2]}, ratio=0.7)
    sample("Mul", {"x": [2, 3]}, {"c": normal(3)})
    sample("Mul", {"x": [2, 1]}, {"c": normal(2, 3)}, label="spread")
    sample("Mul", {"x": [1]}, {"c": normal(4, 3)}, label="spread all")
    sample("Mul", {"a": [3], "b": [3]}, code="B", label="live")
    sample("Mul", {"a": [3], "b": [3]}, box=(-2.0, 1.0), ratio=0.6, label="boxed")
    sample(
        "Mul", {"x": [3]}, order=["x", "x"], box=(-2.0, 1.0), label="square", starts=[[-2.0] * 3]
    )
    sample("Div", {"x": [2, 3]}, {"c": normal(3)})
    sample("Div", {"x": [2, 1]}, {"c": normal(2, 3)}, label="spread")
    sample("Div", {"x": [2]}, {"c": normal(2)}, order=["c", "x"], code="G", label="below")
    sample(
        "Div",
        {"x": [2]},
        {"c": normal(2)},
        order=["c", "x"],
        box=(0.5, 2.0),
        label="below, boxed",
        starts=[[0.5, 0.5]],
        ratio=0.98,
    )
    sample("Div", {"a": [2], "b": [2]}, box=(0.5, 2.0), label="boxed", ratio=0.5)
    for op in ("Max", "Min"):
        sample(
            op,
            {"x": [1]},
            {"c": np.zeros(9) - (5 if op == "Max" else -5)},
            exact=3.0,
            label="spread",
        )
        sample(op, {"a": [3], "b": [3]}, exact=1.0, label="live")
    sample(
        "Where",
        {"a": [3], "b": [3]},
        {"c": np.array([True, False, True])},
        order=["c", "a", "b"],
        exact=1.0,
    )
    sample(
        "Where",
        {"a": [1]},
        {"c": np.array([True, False, True]), "z": np.zeros(3)},
        order=["c", "a", "z"],
        ratio=0.8,
        label="spread",
    )
    nodes = [
        helper.make_node("Greater", ["x", "k"], ["c"]),
        helper.make_node("Where", ["c", "x", "k"], ["y"]),
    ]
    sample(
        "Where",
        model=model_of(nodes, {"x": [3]}, {"k": np.float64(1.0)}, ["y"]),
        code="D",
        label="live condition",
    )
    for p, box, code in (
        (1.0, None, ""),
        (0.0, None, ""),
        (2.0, None, "G"),
        (2.0, (-2.0, 1.0), ""),
        (3.0, (-1.0, 2.0), ""),
        (0.5, (0.25, 4.0), ""),
        (-1.0, (0.5, 3.0), ""),
        (2.5, (0.0, 2.0), ""),
        (0.5, None, "G"),
    ):
        worst = {2.0: -2.0, 3.0: 2.0, 0.5: 0.25, -1.0: 0.5, 2.5: 2.0}.get(p, 1.0)
        sample(
            "Pow",
            {"x": [2]},
            {"p": np.float64(p)},
            box=box,
            code=code,
            label=f"{p} {box}",
            starts=[[worst, worst]],
            ratio=0.0 if p == 0.0 else 0.98,
        )
    sample(
        "Pow",
        {"x": [2]},
        {"c": np.float64(3.0)},
        order=["c", "x"],
        box=(-1.0, 1.0),
        starts=[[1.0, 1.0]],
        label="exponent",
        ratio=0.9,
    )
    sample(
        "Pow",
        {"x": [2]},
        {"c": np.float64(3.0)},
        order=["c", "x"],
        code="G",
        label="exponent unbounded",
    )
    sample("Mod", {"x": [2]}, {"c": np.float64(2.0)}, fmod=1, code="D")
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        sample(op, {"x": [2]}, {"c": np.float64(2.0)}, code="D", out_type=TensorProto.BOOL)
    for op in ("And", "Or", "Xor"):
        nodes = [
            helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BOOL),
            helper.make_node(op, ["b", "b"], ["y"]),
        ]
        sample(
            op, model=model_of(nodes, {"x": [2]}, {}, ["y"], out_type=TensorProto.BOOL), code="D"
        )
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"):
        nodes = [
            helper.make_node("Cast", ["x"], ["b"], to=TensorProto.UINT8),
            helper.make_node(
                op, ["b", "b"], ["y"], **({"direction": "LEFT"} if op == "BitShift" else {})
            ),
        ]
        sample(
            op, model=model_of(nodes, {"x": [2]}, {}, ["y"], out_type=TensorProto.UINT8), code="D"
        )
    for op, to in (("Not", TensorProto.BOOL), ("BitwiseNot", TensorProto.UINT8)):
        nodes = [helper.make_node("Cast", ["x"], ["b"], to=to), helper.make_node(op, ["b"], ["y"])]
        sample(op, model=model_of(nodes, {"x": [2]}, {}, ["y"], out_type=to), code="D")
    for op in ("IsNaN", "IsInf"):
        sample(op, {"x": [2]}, code="D", out_type=TensorProto.BOOL)
    sample("Dropout", {"x": [3]}, exact=1.0)
    nodes = [helper.make_node("Dropout", ["x", "r", "t"], ["y"])]
    sample(
        "Dropout",
        model=model_of(nodes, {"x": [3]}, {"r": np.float64(0.5), "t": np.array(True)}, ["y"]),
        code="R",
        label="training",
    )
    nodes = [
        helper.make_node("Optional", ["x"], ["o"]),
        helper.make_node("OptionalGetElement", ["o"], ["y"]),
    ]
    sample("Optional", model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0)
    sample("OptionalGetElement", model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0)


_arithmetic()
