"""A small network for every rule of the table: what it must say, and how tight it must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.lipschitz.networks import model_of, single

RNG = np.random.default_rng(7)
D, F, I = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64  # noqa: E741


@dataclass(frozen=True)
class Sample:
    """One network; `ratio` is the least that the steepest slope found must be of its bound.

    `code` names the reason for which there must be no bound, "" where it must be finite.
    """

    op: str
    model: onnx.ModelProto
    ratio: float = 0.0
    code: str | None = ""
    box: tuple[float, float] | None = None
    starts: tuple[Any, ...] = ()
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    domain: str = ""
    label: str = ""
    exact: float | None = None
    runs: bool = True

    def __str__(self) -> str:
        return f"{self.domain}.{self.op}{self.label}".strip(".")


SAMPLES: list[Sample] = []


def sample(
    op: str,
    inputs: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Any] | None = None,
    *,
    ratio: float = 0.999,
    code: str | None = "",
    box: tuple[float, float] | None = None,
    starts: Sequence[Any] = (),
    fixed: Mapping[str, np.ndarray] | None = None,
    label: str = "",
    exact: float | None = None,
    domain: str = "",
    runs: bool = True,
    model: onnx.ModelProto | None = None,
    **rest: Any,
) -> None:
    if model is None:
        arrays = {k: np.asarray(v) for k, v in (constants or {}).items()}
        model = single(op, inputs or {"x": [2, 3]}, arrays, domain=domain, **rest)
    label = f" {label}" if label else f" {len(SAMPLES)}"
    SAMPLES.append(
        Sample(
            op,
            model,
            ratio if not code and code is not None else 0.0,
            code,
            box,
            tuple(starts),
            fixed or {},
            domain,
            label,
            exact,
            runs,
        )
    )


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def _activations() -> None:
    point = [[0.0, 1e-3, -1e-3, 1.0, -1.0, 3.0]]
    for op in ("Relu", "Abs", "Neg", "Tanh", "Atan", "Asinh", "Softsign", "Sin", "Cos", "Identity"):
        sample(op, {"x": [6]}, exact=1.0, starts=point, ratio=0.99)
    sample("Softplus", {"x": [3]}, exact=1.0, starts=[[20.0, 30.0, 40.0]], ratio=0.99)
    sample("Sigmoid", {"x": [2]}, exact=0.25, starts=[[0.0, 0.0]])
    sample("HardSigmoid", {"x": [2]}, alpha=0.3, exact=None, starts=[[0.0, 0.0]])
    sample("Erf", {"x": [2]}, starts=[[0.0, 0.0]], ratio=0.99)
    for alpha in (0.1, 2.5, -3.0):
        sample("LeakyRelu", {"x": [2]}, alpha=alpha, starts=[[-1.0, -1.0], [1.0, 1.0]])
    sample("PRelu", {"x": [2, 3]}, {"s": [0.5, -2.0, 0.1]}, starts=[[-1.0] * 6])
    sample(
        "PRelu",
        {"x": [2, 1]},
        {"s": [0.5, -0.2, 0.1]},
        code=None,
        opset=16,
        runs=False,
        label="spread",
    )
    sample("PRelu", {"x": [3], "s": [3]}, code="B", label="live")
    sample("PRelu", {"x": [3], "s": [3]}, box=(-1.0, 1.0), ratio=0.6, label="boxed")
    for alpha in (1.0, 0.3, 2.0, -1.5):
        sample(
            "Elu",
            {"x": [2]},
            alpha=alpha,
            starts=[[-1e-4, -1e-4], [1.0, 1.0]],
            in_type=F,
            out_type=F,
            ratio=0.95,
        )
    sample("Celu", {"x": [2]}, alpha=2.0, starts=[[1.0, 1.0]], in_type=F, out_type=F)
    sample("Celu", {"x": [2]}, alpha=-2.0, code="G", in_type=F, out_type=F, label="negative")
    sample("Selu", {"x": [1]}, in_type=F, out_type=F, starts=[[-1e-2]], ratio=0.97)
    sample("Gelu", {"x": [1]}, starts=[[1.41421356]], ratio=0.99)
    sample("Gelu", {"x": [2]}, approximate="tanh", starts=[[1.4185, 1.0]], label="tanh")
    for alpha in (1.0, 1.702, -1.0, 0.0):
        sample("Swish", {"x": [1]}, alpha=alpha, opset=24, starts=[[2.39935728 / (alpha or 1.0)]])
    sample("Mish", {"x": [1]}, opset=18, starts=[[1.49057]])
    sample("HardSwish", {"x": [1]}, exact=1.5, starts=[[2.9999]], ratio=0.99)
    sample(
        "Clip",
        {"x": [3]},
        {"lo": np.float64(-1.0), "hi": np.float64(2.0)},
        exact=1.0,
        starts=[[0.0] * 3],
    )
    sample(
        "Clip",
        {"x": [3]},
        {"lo": np.float64(2.0), "hi": np.float64(-1.0)},
        exact=0.0,
        ratio=0.0,
        label="crossed",
    )
    sample(
        "Clip", {"x": [3], "lo": []}, ratio=0.8, label="live end", starts=[[-1.0, -2.0, -3.0, 1.0]]
    )
    sample("ThresholdedRelu", {"x": [2]}, alpha=0.0, exact=1.0, in_type=F, out_type=F, ratio=0.98)
    sample("ThresholdedRelu", {"x": [2]}, code="D", label="jumps")
    sample("Shrink", {"x": [2]}, bias=0.5, lambd=0.5, exact=1.0, starts=[[2.0, 2.0]])
    sample("Shrink", {"x": [2]}, code="D", label="hard")
    for op in ("Hardmax", "Sign", "Floor", "Ceil", "Round"):
        sample(op, {"x": [2, 3]}, code="D")
    for op in (
        "Exp",
        "Sinh",
        "Cosh",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Acosh",
        "Asin",
        "Acos",
        "Atanh",
        "Tan",
    ):
        sample(op, {"x": [2]}, code="G")
    for op, lo, hi, worst in (
        ("Exp", -2.0, 1.5, 1.5),
        ("Sinh", -2.0, 1.0, -2.0),
        ("Cosh", -2.0, 1.0, -2.0),
        ("Log", 0.5, 3.0, 0.5),
        ("Sqrt", 0.25, 3.0, 0.25),
        ("Reciprocal", 0.5, 2.0, 0.5),
        ("Reciprocal", -3.0, -0.5, -0.5),
        ("Acosh", 1.5, 4.0, 1.5),
        ("Asin", -0.5, 0.9, 0.9),
        ("Acos", -0.9, 0.5, -0.9),
        ("Atanh", -0.5, 0.9, 0.9),
        ("Tan", -1.2, 1.0, -1.2),
    ):
        sample(
            op,
            {"x": [2]},
            box=(lo, hi),
            starts=[[worst, worst]],
            label=f"on [{lo}, {hi}]",
            ratio=0.99,
        )


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


def _linear() -> None:
    sample("MatMul", {"x": [2, 3]}, {"w": normal(3, 4)})
    sample("MatMul", {"x": [3, 2]}, {"w": normal(4, 3)}, order=["w", "x"], label="left")
    sample("MatMul", {"x": [3]}, {"w": normal(3)}, label="vectors")
    sample("MatMul", {"x": [2, 4, 3]}, {"w": normal(2, 3, 2)}, label="batched")
    sample("MatMul", {"x": [4, 3]}, {"w": normal(2, 3, 2)}, label="side by side")
    sample("MatMul", {"x": [3, 2]}, {"w": normal(2, 4, 3)}, order=["w", "x"], label="stacked")
    sample("MatMul", {"a": [2, 3], "b": [3, 2]}, code="B", label="live")
    sample(
        "MatMul",
        {"a": [2, 3], "b": [3, 2]},
        box=(-1.0, 1.0),
        ratio=0.5,
        label="boxed",
        starts=[np.ones(12)],
    )
    sample(
        "Gemm", {"x": [2, 3]}, {"w": normal(4, 3), "c": normal(4)}, transB=1, alpha=0.5, beta=2.0
    )
    sample("Gemm", {"x": [3, 2]}, {"w": normal(3, 4)}, transA=1, label="transposed")
    sample(
        "Gemm",
        {"x": [2, 3], "c": [1]},
        {"w": normal(3, 4)},
        order=["x", "w", "c"],
        label="bias live",
        ratio=0.6,
    )
    for label, kernel, attributes in (
        ("plain", normal(2, 2, 3), {"pads": [1, 1]}),
        ("strided", normal(3, 2, 3), {"strides": [2], "pads": [1, 0]}),
        ("dilated", normal(2, 2, 3), {"dilations": [2], "pads": [2, 2]}),
        ("grouped", normal(4, 1, 3), {"group": 2, "pads": [1, 1]}),
    ):
        sample(
            "Conv",
            {"x": [1, 2, 9]},
            {"w": kernel.astype(np.float32)},
            in_type=F,
            out_type=F,
            label=label,
            ratio=0.85,
            **attributes,
        )
    sample(
        "Conv",
        {"x": [1, 1, 5, 5]},
        {"w": normal(1, 1, 3, 3).astype(np.float32)},
        in_type=F,
        out_type=F,
        auto_pad="SAME_LOWER",
        label="2-D",
        ratio=0.8,
    )
    sample(
        "Conv",
        {"x": [1, 2, 5], "w": [2, 2, 3]},
        code="B",
        in_type=F,
        out_type=F,
        label="live kernel",
    )
    sample(
        "ConvTranspose",
        {"x": [1, 2, 5]},
        {"w": normal(2, 3, 3).astype(np.float32)},
        strides=[2],
        in_type=F,
        out_type=F,
        ratio=0.85,
    )
    sample(
        "ConvTranspose",
        {"x": [1, 4, 5]},
        {"w": normal(4, 1, 3).astype(np.float32)},
        group=2,
        in_type=F,
        out_type=F,
        ratio=0.85,
        label="grouped",
    )
    sample("Einsum", {"x": [2, 3]}, {"w": normal(3, 4)}, equation="ij,jk->ik")
    sample("Einsum", {"x": [2, 3]}, {"w": normal(2, 3, 4)}, equation="ij,ijk->ik", label="batch")
    sample(
        "Einsum",
        {"x": [2, 3, 2]},
        {"w": normal(4, 2)},
        equation="bij,kj->bk",
        order=["x", "w"],
        label="summed",
        ratio=0.99,
        code="",
    )
    sample("Einsum", {"x": [3, 3]}, equation="ii->i", label="diagonal")
    sample("Einsum", {"x": [2, 3]}, equation="ij->", label="sum")
    sample("Einsum", {"a": [2, 3], "b": [3, 2]}, equation="ij,jk->ik", code="B", label="live")
    sample(
        "Einsum",
        {"a": [2, 3], "b": [3, 2]},
        equation="ij,jk->ik",
        box=(-1.0, 1.0),
        ratio=0.5,
        label="boxed",
        starts=[np.ones(12)],
    )


def _normalizations() -> None:
    constant = [np.full(8, 0.7)]
    sample(
        "BatchNormalization",
        {"x": [2, 3, 2]},
        {"g": normal(3), "b": normal(3), "m": normal(3), "v": np.abs(normal(3)) + 0.1},
    )
    sample(
        "LayerNormalization",
        {"x": [2, 4]},
        {"g": np.array([3.0, -2.0, 0.5, 1.0]), "b": normal(4)},
        epsilon=1e-2,
        starts=constant,
        ratio=0.99,
    )
    sample(
        "LayerNormalization",
        {"x": [2, 2]},
        {"g": np.array([3.0, -2.0])},
        epsilon=1e-2,
        starts=[np.ones(4)],
        label="two",
        ratio=0.99,
    )
    sample(
        "LayerNormalization",
        {"x": [1, 4]},
        {"g": np.ones(4)},
        epsilon=1e-2,
        outputs=3,
        starts=[np.ones(4)],
        label="statistics",
        ratio=0.3,
        in_type=F,
        out_type=F,
    )
    sample(
        "LayerNormalization",
        {"x": [2, 4]},
        {"g": np.ones(4)},
        epsilon=0.0,
        code="G",
        label="no epsilon",
    )
    sample(
        "RMSNormalization",
        {"x": [2, 4]},
        {"g": normal(4)},
        epsilon=1e-2,
        opset=23,
        starts=[np.zeros(8)],
        ratio=0.99,
    )
    for domain in ("com.microsoft",):
        sample(
            "LayerNormalization",
            {"x": [2, 4]},
            {"g": normal(4).astype(np.float32), "b": normal(4).astype(np.float32)},
            domain=domain,
            epsilon=1e-2,
            ratio=0.0,
            in_type=F,
            out_type=F,
            runs=False,
        )
        sample(
            "SimplifiedLayerNormalization",
            {"x": [2, 4]},
            {"g": normal(4).astype(np.float32)},
            domain=domain,
            epsilon=1e-2,
            ratio=0.0,
            in_type=F,
            out_type=F,
            runs=False,
        )
    sample(
        "SimplifiedLayerNormalization",
        {"x": [2, 4]},
        {"g": normal(4).astype(np.float32)},
        epsilon=1e-1,
        in_type=F,
        out_type=F,
        starts=[np.zeros(8)],
        ratio=0.9,
    )
    sample(
        "GroupNormalization",
        {"x": [1, 4, 2]},
        {"g": normal(4), "b": normal(4)},
        num_groups=2,
        epsilon=1e-2,
        opset=21,
        starts=[np.ones(8)],
        ratio=0.6,
    )
    sample(
        "InstanceNormalization",
        {"x": [1, 2, 3]},
        {"g": normal(2).astype(np.float32), "b": normal(2).astype(np.float32)},
        epsilon=1e-1,
        in_type=F,
        out_type=F,
        starts=[np.ones(6)],
        ratio=0.9,
    )
    sample("MeanVarianceNormalization", {"x": [1, 2, 2, 2]}, ratio=0.0, in_type=F, out_type=F)
    sample("LpNormalization", {"x": [2, 3]}, code="G")
    sample(
        "LRN",
        {"x": [1, 4, 2, 1]},
        size=3,
        bias=2.0,
        in_type=F,
        out_type=F,
        ratio=0.3,
        starts=[np.zeros(8)],
    )
    sample(
        "LRN",
        {"x": [1, 4, 2, 1]},
        size=3,
        bias=-1.0,
        code="G",
        in_type=F,
        out_type=F,
        label="negative",
    )
    sample("Softmax", {"x": [2, 3]}, exact=0.5, starts=[[0.0, 0.0, -50.0] * 2])
    sample("Softmax", {"x": [2, 1]}, exact=0.0, ratio=0.0, label="one")
    sample(
        "Softmax", {"x": [2, 3]}, exact=0.5, starts=[[0.0, 0.0, -50.0] * 2], opset=11, label="old"
    )
    sample("LogSoftmax", {"x": [2, 4]}, exact=2.0, starts=[[50.0, 0, 0, 0, 0, 0, 0, 0]])
    sample(
        "LogSoftmax",
        {"x": [1, 2, 2]},
        exact=2.0,
        starts=[[50.0, 0, 0, 0]],
        opset=11,
        label="flattened",
    )


def _pooling() -> None:
    sample(
        "AveragePool",
        {"x": [1, 1, 9, 9]},
        kernel_shape=[3, 3],
        strides=[1, 1],
        pads=[1, 1, 1, 1],
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="uncounted",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 8]},
        kernel_shape=[2],
        strides=[2],
        in_type=F,
        out_type=F,
        exact=0.5**0.5,
        ratio=0.99,
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 6]},
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
        count_include_pad=1,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="counted",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 4]},
        kernel_shape=[3],
        strides=[2],
        ceil_mode=1,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="ceil",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 8]},
        kernel_shape=[2],
        dilations=[2],
        opset=19,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="dilated",
    )
    sample("MaxPool", {"x": [1, 1, 5, 5]}, kernel_shape=[3, 3], strides=[2, 2], exact=2.0)
    sample(
        "MaxPool",
        {"x": [1, 1, 5, 5]},
        kernel_shape=[3, 3],
        exact=3.0,
        label="dense",
        starts=[[5.0 * (i == 12) for i in range(25)]],
    )
    sample("MaxPool", {"x": [1, 1, 6]}, kernel_shape=[2], strides=[2], exact=1.0, label="apart")
    sample(
        "MaxPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        outputs=2,
        code="D",
        label="indices",
        types={"y1": I},
    )
    sample(
        "LpPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        p=2,
        in_type=F,
        out_type=F,
        ratio=0.9,
        opset=18,
    )
    sample(
        "LpPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        p=1,
        in_type=F,
        out_type=F,
        ratio=0.9,
        label="sum",
        opset=18,
        starts=[np.ones(6)],
    )
    for op, exact in (("GlobalAveragePool", 0.5), ("GlobalMaxPool", 1.0)):
        sample(op, {"x": [1, 2, 2, 2]}, exact=exact, in_type=F, out_type=F, ratio=0.98)
    sample("GlobalLpPool", {"x": [1, 2, 2, 2]}, exact=1.0, in_type=F, out_type=F, ratio=0.9)
    sample(
        "GlobalLpPool",
        {"x": [1, 2, 2, 2]},
        p=1,
        exact=2.0,
        in_type=F,
        out_type=F,
        ratio=0.9,
        label="sum",
        starts=[np.ones(8)],
    )
    nodes = [helper.make_node("MaxUnpool", ["x", "i"], ["y"], kernel_shape=[2], strides=[2])]
    sample(
        "MaxUnpool",
        model=model_of(
            nodes, {"x": [1, 1, 3]}, {"i": np.array([[[0, 3, 4]]])}, ["y"], in_type=F, out_type=F
        ),
        exact=1.0,
        ratio=0.98,
    )
    nodes = [helper.make_node("Col2Im", ["x", "s", "b"], ["y"])]
    sample(
        "Col2Im",
        model=model_of(
            nodes,
            {"x": [1, 4, 4]},
            {"s": np.array([3, 3]), "b": np.array([2, 2])},
            ["y"],
            in_type=F,
            out_type=F,
            opset=18,
        ),
        ratio=0.6,
    )


def _reductions() -> None:
    for op, exact in (
        ("ReduceSum", 3**0.5),
        ("ReduceMean", 3**-0.5),
        ("ReduceMax", 1.0),
        ("ReduceMin", 1.0),
        ("ReduceL2", 1.0),
        ("ReduceL1", 3**0.5),
        ("ReduceLogSumExp", 1.0),
    ):
        sample(
            op,
            {"x": [2, 3]},
            {"axes": np.array([1])},
            exact=exact,
            starts=[[1.0, 2.0, 3.0, 4.0, 50.0, 1.0]],
            opset=18,
        )
        if op != "ReduceSum":
            sample(
                op,
                {"x": [2, 3]},
                axes=[-1],
                keepdims=0,
                exact=exact,
                opset=11,
                label="attribute",
                ratio=0.9,
                starts=[[1.0, 2.0, 3.0, 4.0, 50.0, 1.0]],
            )
    for op, code in (("ReduceSumSquare", "B"), ("ReduceProd", "B"), ("ReduceLogSum", "G")):
        sample(op, {"x": [2, 3]}, code=code, opset=18)
    sample(
        "ReduceSumSquare",
        {"x": [3]},
        box=(-1.0, 2.0),
        starts=[[2.0] * 3],
        opset=18,
        label="boxed",
        ratio=0.99,
    )
    sample("Det", {"x": [2, 2]}, code="B")
    sample("CumProd", {"x": [3]}, {"axis": np.int64(0)}, code="B", opset=26, runs=False)
    for op in ("ArgMax", "ArgMin", "NonZero"):
        sample(op, {"x": [2, 3]}, code="D", out_type=I)
    sample("Unique", {"x": [3]}, code="D")
    nodes = [helper.make_node("NonMaxSuppression", ["b", "s"], ["y"])]
    sample(
        "NonMaxSuppression",
        model=model_of(nodes, {"b": [1, 2, 4], "s": [1, 1, 2]}, {}, ["y"], in_type=F, out_type=I),
        code="D",
    )
    k = {"k": np.array([2])}
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"])]
    sample("TopK", model=model_of(nodes, {"x": [2, 4]}, k, ["y"]), exact=1.0)
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"], sorted=0)]
    sample("TopK", model=model_of(nodes, {"x": [2, 4]}, k, ["y"]), code="D", label="unsorted")
    sample("CumSum", {"x": [5]}, {"axis": np.int64(0)})
    sample("CumSum", {"x": [5]}, {"axis": np.int64(0)}, exclusive=1, reverse=1, label="exclusive")
    for op in ("RandomNormalLike", "RandomUniformLike"):
        nodes = [helper.make_node(op, ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0, runs=False)
    for op in ("RandomNormal", "RandomUniform"):
        nodes = [
            helper.make_node(op, [], ["r"], shape=[3], dtype=D),
            helper.make_node("Add", ["x", "r"], ["y"]),
        ]
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0, runs=False)
    sample("Bernoulli", {"x": [3]}, code="R")
    sample("Multinomial", {"x": [1, 3]}, code="R", in_type=F, out_type=TensorProto.INT32)
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        nodes = [
            helper.make_node(op, ["n"], ["w"], output_datatype=D),
            helper.make_node("Mul", ["x", "w"], ["y"]),
        ]
        sample(
            op,
            model=model_of(nodes, {"x": [4]}, {"n": np.int64(4)}, ["y"]),
            code=None,
            label="window",
            runs=False,
        )


def _shapes() -> None:
    one = {"exact": 1.0}
    sample("Transpose", {"x": [2, 3]}, perm=[1, 0], **one)
    sample("Reshape", {"x": [2, 3]}, {"s": np.array([3, 2])}, **one)
    sample("Flatten", {"x": [2, 3]}, **one)
    sample("Squeeze", {"x": [1, 3]}, {"a": np.array([0])}, **one)
    sample("Unsqueeze", {"x": [3]}, {"a": np.array([0])}, **one)
    sample("DepthToSpace", {"x": [1, 4, 1, 2]}, blocksize=2, **one)
    sample("SpaceToDepth", {"x": [1, 1, 2, 2]}, blocksize=2, **one)
    sample("ReverseSequence", {"x": [3, 2]}, {"l": np.array([2, 3])}, **one)
    sample("CenterCropPad", {"x": [5, 2]}, {"s": np.array([3, 4])}, opset=18, **one)
    sample("Trilu", {"x": [3, 3]}, **one)
    sample(
        "Slice", {"x": [4, 2]}, {"b": np.array([1]), "e": np.array([3]), "a": np.array([0])}, **one
    )
    sample("Split", {"x": [4]}, {"s": np.array([1, 3])}, outputs=2, **one)
    sample("Concat", {"a": [2], "b": [3]}, axis=0, exact=1.0)
    sample("Concat", {"x": [2]}, order=["x", "x"], axis=0, exact=2**0.5, label="twice")
    sample("Expand", {"x": [2, 1]}, {"s": np.array([3, 2, 4])}, exact=12**0.5)
    sample("Tile", {"x": [2]}, {"r": np.array([3])}, exact=3**0.5)
    for mode, ratio in (("constant", 0.99), ("reflect", 0.99), ("edge", 0.99), ("wrap", 0.99)):
        sample(
            "Pad", {"x": [3]}, {"p": np.array([1, 1])}, mode=mode, opset=19, label=mode, ratio=ratio
        )
    sample("Gather", {"x": [3, 2]}, {"i": np.array([0, -1, 2, 2])}, exact=3**0.5)
    sample("GatherElements", {"x": [3, 2]}, {"i": np.array([[0, 1], [0, -1]])}, exact=2**0.5)
    sample("GatherND", {"x": [3, 2]}, {"i": np.array([[0, 1], [0, 1], [2, 0]])}, exact=2**0.5)
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=0),
        helper.make_node("Gather", ["t", "i"], ["y"]),
    ]
    sample(
        "Gather",
        model=model_of(nodes, {"x": [3, 1]}, {"t": normal(3)}, ["y"]),
        code="I",
        label="live index",
    )
    sample("Compress", {"x": [4]}, {"c": np.array([True, False, True, True])}, axis=0, **one)
    for op, attributes in (
        ("ScatterElements", {}),
        ("ScatterElements", {"reduction": "add"}),
        ("ScatterElements", {"reduction": "max"}),
        ("Scatter", {}),
    ):
        index = [[0, 1, 1]] if attributes else [[0, 1, 2]]
        sample(
            op,
            {"x": [1, 3], "u": [1, 3]},
            {"i": np.array(index)},
            order=["x", "i", "u"],
            axis=1,
            opset=18 if op != "Scatter" else 10,
            ratio=0.6,
            **attributes,
        )
    sample(
        "ScatterElements",
        {"x": [1, 3], "u": [1, 3]},
        {"i": np.array([[0, 1, 2]])},
        order=["x", "i", "u"],
        axis=1,
        reduction="mul",
        code="B",
        opset=18,
        label="mul",
    )
    sample(
        "ScatterND",
        {"x": [3], "u": [2]},
        {"i": np.array([[0], [0]])},
        order=["x", "i", "u"],
        reduction="add",
        opset=18,
        ratio=0.6,
    )
    sample(
        "TensorScatter",
        {"x": [1, 3, 2], "u": [1, 1, 2]},
        {"i": np.array([1])},
        order=["x", "u", "i"],
        opset=24,
        ratio=0.6,
    )
    sample("Cast", {"x": [3]}, to=D, in_type=F, ratio=0.9, **one)
    sample("Cast", {"x": [3]}, to=I, out_type=I, code="D", label="to integers")
    sample("CastLike", {"x": [3]}, {"t": np.float64(1.0)}, **one)
    sample("BitCast", {"x": [3]}, to=I, out_type=I, code="D", opset=26, runs=False)
    for op in ("Shape", "Size"):
        sample(op, {"x": [3]}, exact=0.0, ratio=0.0, out_type=I)
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "z"], ["s"]),
        helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
        helper.make_node("SequenceErase", ["t", "k"], ["u"]),
        helper.make_node("SequenceAt", ["u", "k"], ["y"]),
    ]
    chain = model_of(nodes, {"x": [3], "z": [3]}, {"k": np.int64(0)}, ["y"])
    for op in ("SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt"):
        sample(op, model=chain, ratio=0.3)
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["s"]),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0),
    ]
    for op in ("SplitToSequence", "ConcatFromSequence"):
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0)
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("SequenceLength", ["s"], ["y"]),
    ]
    sample(
        "SequenceLength",
        model=model_of(nodes, {"x": [3]}, {}, ["y"], out_type=I),
        exact=0.0,
        ratio=0.0,
    )
    nodes = [
        helper.make_node("Optional", ["x"], ["o"]),
        helper.make_node("OptionalHasElement", ["o"], ["y"]),
    ]
    sample(
        "OptionalHasElement",
        model=model_of(nodes, {"x": [3]}, {}, ["y"], out_type=TensorProto.BOOL),
        exact=0.0,
        ratio=0.0,
    )
    plain = {
        "EyeLike": [helper.make_node("EyeLike", ["x"], ["c"])],
        "ConstantOfShape": [
            helper.make_node("Shape", ["x"], ["n"]),
            helper.make_node("ConstantOfShape", ["n"], ["c0"]),
            helper.make_node("CastLike", ["c0", "x"], ["c"]),
        ],
        "Constant": [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float64(3.0)))
        ],
        "Range": [helper.make_node("Range", ["a", "b", "d"], ["c"])],
    }
    ends = {"a": np.float64(0.0), "b": np.float64(3.0), "d": np.float64(1.0)}
    for op, nodes in plain.items():
        sample(
            op,
            model=model_of(
                [*nodes, helper.make_node("Add", ["x", "c"], ["y"])], {"x": [3, 3]}, ends, ["y"]
            ),
            exact=1.0,
        )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["s"], dtype=D),
        helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
        helper.make_node("SequenceAt", ["t", "k"], ["y"]),
    ]
    sample("SequenceEmpty", model=model_of(nodes, {"x": [3]}, {"k": np.int64(0)}, ["y"]), exact=1.0)
    nodes = [
        helper.make_node("OneHot", ["i", "d", "v"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    sample(
        "OneHot",
        model=model_of(
            nodes,
            {"i": [3]},
            {"d": np.int64(4), "v": np.array([0.0, 1.0]), "w": normal(4, 2)},
            ["y"],
            types={"i": I},
        ),
        code="",
        ratio=0.0,
        runs=False,
    )


def _signals() -> None:
    sample("DFT", {"x": [1, 4, 1]}, {"n": np.int64(6)}, exact=6**0.5, opset=17, axis=1)
    sample("DFT", {"x": [1, 4, 2]}, inverse=1, exact=0.5, opset=17, axis=1, label="inverse")
    sample("DFT", {"x": [1, 4, 1]}, exact=2.0, opset=20, label="newer", ratio=0.99)
    nodes = [helper.make_node("STFT", ["x", "s", "w"], ["y"], onesided=0)]
    sample(
        "STFT",
        model=model_of(
            nodes, {"x": [1, 10, 1]}, {"s": np.int64(2), "w": np.abs(normal(4))}, ["y"], opset=17
        ),
        ratio=0.9,
    )
    for label, size, new, attributes in (
        ("nearest", 3, 6, {"mode": "nearest"}),
        ("nearest odd", 3, 5, {"mode": "nearest"}),
        ("floor", 3, 6, {"mode": "nearest", "nearest_mode": "floor"}),
        (
            "asymmetric",
            3,
            6,
            {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            },
        ),
        ("linear", 4, 8, {"mode": "linear"}),
        ("corners", 4, 7, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        (
            "linear asymmetric",
            4,
            8,
            {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        ),
        ("shrinking", 7, 3, {"mode": "linear"}),
        ("antialias", 8, 3, {"mode": "linear", "antialias": 1}),
        (
            "pytorch",
            4,
            1,
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        ),
    ):
        by_scale = {
            "r": np.array([], dtype=np.float32),
            "s": np.array([1.0, 1.0, new / size], dtype=np.float32),
        }
        by_size = {
            "r": np.array([], dtype=np.float32),
            "s": np.array([], dtype=np.float32),
            "z": np.array([1, 1, new]),
        }
        whole = new % size == 0
        sample(
            "Resize",
            {"x": [1, 1, size]},
            by_scale if whole else by_size,
            in_type=F,
            out_type=F,
            opset=19,
            label=label,
            ratio=0.9 if "antialias" in attributes else 0.98,
            **attributes,
        )
    for label, extra in (("cubic", {}), ("cubic outside", {"exclude_outside": 1})):
        sample(
            "Resize",
            {"x": [1, 1, 4, 4]},
            {"r": np.array([], np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
            mode="cubic",
            in_type=F,
            out_type=F,
            opset=19,
            label=label,
            ratio=0.98,
            **extra,
        )
    sample(
        "Upsample",
        {"x": [1, 1, 3, 2]},
        {"s": np.array([1, 1, 2, 3], np.float32)},
        mode="nearest",
        in_type=F,
        out_type=F,
        opset=9,
        ratio=0.98,
    )
    sample(
        "Upsample",
        {"x": [1, 1, 3, 2]},
        {"s": np.array([1, 1, 2, 2], np.float32)},
        mode="linear",
        in_type=F,
        out_type=F,
        opset=9,
        ratio=0.9,
        label="linear",
    )
    nodes = [helper.make_node("AffineGrid", ["x", "s"], ["y"])]
    sample(
        "AffineGrid",
        model=model_of(
            nodes,
            {"x": [1, 2, 3]},
            {"s": np.array([1, 1, 3, 4])},
            ["y"],
            in_type=F,
            out_type=F,
            opset=20,
        ),
        ratio=0.98,
    )
    grid = RNG.uniform(-1, 1, (1, 2, 2, 2)).astype(np.float32)
    sample(
        "GridSample", {"x": [1, 1, 3, 3]}, {"g": grid}, in_type=F, out_type=F, opset=20, ratio=0.2
    )
    sample(
        "GridSample",
        {"x": [1, 1, 3, 3]},
        {"g": np.zeros((1, 2, 2, 2), np.float32)},
        in_type=F,
        out_type=F,
        opset=20,
        ratio=0.98,
        label="one point",
        align_corners=1,
    )
    sample(
        "GridSample",
        {"x": [1, 1, 3, 3], "g": [1, 2, 2, 2]},
        in_type=F,
        out_type=F,
        opset=20,
        code="B",
        label="live grid",
    )
    rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    sample(
        "MaxRoiPool",
        {"x": [1, 1, 4, 4]},
        {"r": rois},
        pooled_shape=[2, 2],
        in_type=F,
        out_type=F,
        ratio=0.3,
    )
    nodes = [helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], output_height=2, output_width=2)]
    boxes = {"r": np.array([[0, 0, 3, 3]], np.float32), "b": np.array([0])}
    sample(
        "RoiAlign",
        model=model_of(nodes, {"x": [1, 1, 4, 4]}, boxes, ["y"], in_type=F, out_type=F, opset=16),
        ratio=0.1,
    )
    angle = RNG.uniform(0, 3, (1, 2, 2))
    sample(
        "RotaryEmbedding",
        {"x": [1, 1, 2, 4]},
        {"c": np.cos(angle), "s": np.sin(angle)},
        opset=23,
        ratio=0.99,
    )
    sample(
        "RotaryEmbedding",
        {"x": [1, 2, 4]},
        {
            "p": np.array([[0, 1]]),
            "c": np.cos(angle[0]).astype(np.float32),
            "s": np.sin(angle[0]).astype(np.float32),
        },
        domain="com.microsoft",
        in_type=F,
        out_type=F,
        ratio=0.9,
        num_heads=1,
    )


def _losses() -> None:
    labels = {"t": np.array([1, 0])}
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        labels,
        reduction="sum",
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
    )
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        labels,
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
        label="mean",
    )
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        {**labels, "w": np.array([1.0, 2.0, 0.5])},
        reduction="none",
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
        label="none",
    )
    sample("NegativeLogLikelihoodLoss", {"x": [2, 3]}, labels, ratio=0.99)
    sample(
        "NegativeLogLikelihoodLoss",
        {"x": [2, 3]},
        {**labels, "w": np.array([1.0, 2.0, 0.5])},
        reduction="sum",
        ratio=0.7,
        label="weighted",
    )


def _quantized() -> None:
    q = {"s": np.float32(0.1), "z": np.uint8(3)}
    sample("QuantizeLinear", {"x": [3]}, q, in_type=F, out_type=TensorProto.UINT8, code="D")
    sample(
        "DynamicQuantizeLinear",
        {"x": [3]},
        in_type=F,
        out_type=TensorProto.UINT8,
        code="D",
        outputs=3,
        types={"y1": F},
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    sample(
        "DequantizeLinear",
        model=model_of(nodes, {"x": [3]}, q, ["y"], in_type=F, out_type=F),
        code="D",
    )
    sample(
        "DequantizeLinear",
        {"x": [3]},
        q,
        in_type=TensorProto.UINT8,
        out_type=F,
        label="source",
        ratio=0.0,
        runs=False,
    )
    sample(
        "DequantizeLinear",
        {"x": [3]},
        q,
        in_type=TensorProto.UINT8,
        out_type=F,
        label="source",
        ratio=0.0,
        runs=False,
        domain="com.microsoft",
    )
    sample(
        "QuantizeLinear",
        {"x": [3]},
        q,
        in_type=F,
        out_type=TensorProto.UINT8,
        code="D",
        domain="com.microsoft",
    )
    ints = {"w": np.ones((3, 3), np.uint8)}
    pre = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    integer = {
        "MatMulInteger": [helper.make_node("MatMulInteger", ["q", "w"], ["y"])],
        "ConvInteger": [helper.make_node("ConvInteger", ["q4", "k"], ["y"])],
        "QLinearMatMul": [
            helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["y"])
        ],
        "QLinearConv": [
            helper.make_node("QLinearConv", ["q4", "s", "z", "k", "s", "z", "s", "z"], ["y"])
        ],
    }
    for op, nodes in integer.items():
        reshape = [helper.make_node("Reshape", ["q", "n"], ["q4"])] if "Conv" in op else []
        consts = {**q, **ints, "k": np.ones((1, 1, 2, 2), np.uint8), "n": np.array([1, 1, 3, 3])}
        sample(
            op,
            model=model_of(
                [*pre, *reshape, *nodes],
                {"x": [3, 3]},
                consts,
                ["y"],
                in_type=F,
                out_type=TensorProto.UINT8 if op.startswith("Q") else TensorProto.INT32,
            ),
            code="D",
        )


def _special() -> None:
    sample("SwiGLU", {"a": [2], "b": [2]}, code="B", opset=28, runs=False)
    sample(
        "SwiGLU",
        {"a": [2], "b": [2]},
        box=(-3.0, 3.0),
        ratio=0.0,
        opset=28,
        label="boxed",
        runs=False,
    )
    nodes = [helper.make_node("CausalConvWithState", ["x", "w", "", "s"], ["y", "t"])]
    sample(
        "CausalConvWithState",
        model=model_of(
            nodes, {"x": [1, 2, 4], "s": [1, 2, 2]}, {"w": normal(2, 1, 3)}, ["y", "t"], opset=27
        ),
        ratio=0.3,
        runs=False,
    )
    offset = np.zeros((1, 8, 2, 2), np.float32)
    sample(
        "DeformConv",
        {"x": [1, 1, 3, 3]},
        {"w": normal(1, 1, 2, 2).astype(np.float32), "o": offset},
        in_type=F,
        out_type=F,
        opset=22,
        ratio=0.2,
    )
    sample(
        "DeformConv",
        {"x": [1, 1, 3, 3], "o": [1, 8, 2, 2]},
        {"w": normal(1, 1, 2, 2).astype(np.float32)},
        order=["x", "w", "o"],
        in_type=F,
        out_type=F,
        opset=22,
        code="B",
        label="live offsets",
    )


def _control() -> None:
    def body(nodes: Any, inputs: Any, outputs: Any, constants: Any = None) -> Any:
        return helper.make_graph(
            nodes,
            "body",
            [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
            [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
        )

    w = normal(3, 3) * 0.4
    then = body([helper.make_node("MatMul", ["x", "w"], ["a"])], [], [("a", D, None)], {"w": w})
    other = body(
        [helper.make_node("Mul", ["x", "k"], ["b"])], [], [("b", D, None)], {"k": np.float64(3.0)}
    )
    make = helper.make_node
    for label, flag in (("taken", True), ("not taken", False)):
        nodes = [make("If", ["c"], ["y"], then_branch=then, else_branch=other)]
        sample("If", model=model_of(nodes, {"x": [3]}, {"c": np.array(flag)}, ["y"]), label=label)
    nodes = [make("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    sample(
        "If",
        model=model_of(nodes, {"x": [3], "c": []}, {}, ["y"], types={"c": TensorProto.BOOL}),
        label="held",
        exact=3.0,
        fixed={"c": np.array(False)},
    )
    nodes = [
        make("Greater", ["s", "z"], ["c"]),
        make("ReduceSum", ["x"], ["s"], keepdims=0),
        make("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    nodes = [nodes[1], nodes[0], nodes[2]]
    sample(
        "If",
        model=model_of(nodes, {"x": [3]}, {"z": np.float64(0.0)}, ["y"]),
        code="D",
        label="live",
    )
    turn = body(
        [
            make("MatMul", ["v", "w"], ["u"]),
            make("Tanh", ["u"], ["t"]),
            make("Add", ["t", "x"], ["n"]),
            make("Identity", ["c"], ["d"]),
            make("Identity", ["n"], ["o"]),
        ],
        [("i", I, []), ("c", TensorProto.BOOL, []), ("v", D, [3])],
        [("d", TensorProto.BOOL, []), ("n", D, [3]), ("o", D, [3])],
        {"w": w},
    )
    for count in (0, 3, 80):
        nodes = [make("Loop", ["m", "t", "z"], ["y", "s"], body=turn)]
        consts = {"m": np.int64(count), "t": np.array(True), "z": np.zeros(3)}
        sample(
            "Loop",
            model=model_of(nodes, {"x": [3]}, consts, ["y", "s"]),
            label=f"{count}",
            ratio=0.0 if count != 3 else 0.3,
            runs=count > 0,
        )
    nodes = [
        make("ReduceSum", ["x"], ["q"], keepdims=0),
        make("Cast", ["q"], ["m"], to=I),
        make("Loop", ["m", "t", "z"], ["y", "s"], body=turn),
    ]
    sample(
        "Loop",
        model=model_of(nodes, {"x": [3]}, {"t": np.array(True), "z": np.zeros(3)}, ["y", "s"]),
        code="D",
        label="live count",
    )
    step = body(
        [
            make("MatMul", ["h", "w"], ["u"]),
            make("Add", ["u", "e"], ["a"]),
            make("Tanh", ["a"], ["n"]),
            make("Identity", ["n"], ["o"]),
        ],
        [("h", D, [3]), ("e", D, [3])],
        [("n", D, [3]), ("o", D, [3])],
        {"w": w},
    )
    nodes = [make("Scan", ["z", "x"], ["y", "s"], body=step, num_scan_inputs=1)]
    sample("Scan", model=model_of(nodes, {"x": [4, 3], "z": [3]}, {}, ["y", "s"]), ratio=0.3)
    nodes = [make("Scan", ["z", "x"], ["y", "s"], body=step, num_scan_inputs=1)]
    sample(
        "Scan",
        model=model_of(nodes, {"x": [4, 3]}, {"z": np.zeros(3)}, ["s"]),
        ratio=0.4,
        label="sequence",
    )
    each = body([make("MatMul", ["e", "w"], ["f"])], [("e", D, [3])], [("f", D, [3])], {"w": w})
    nodes = [
        make("SplitToSequence", ["x"], ["q"], axis=0, keepdims=0),
        make("SequenceMap", ["q"], ["r"], body=each),
        make("ConcatFromSequence", ["r"], ["y"], axis=0),
    ]
    sample(
        "SequenceMap",
        model=model_of(nodes, {"x": [2, 3]}, {}, ["y"], opset=17),
        runs=True,
        ratio=0.99,
    )


def _recurrent() -> None:
    h, i, t = 2, 2, 4
    zero = [np.zeros(t * i)]
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for label, directions, extra in (
            ("forward", 1, {}),
            ("bidirectional", 2, {"direction": "bidirectional"}),
        ):
            f = np.float32
            consts = {
                "w": (normal(directions, gates * h, i) * 0.8).astype(f),
                "r": (normal(directions, gates * h, h) * 0.6).astype(f),
            }
            outs = ["y", "y1", "y2"][: 3 if op == "LSTM" else 2]
            nodes = [helper.make_node(op, ["x", "w", "r"], outs, hidden_size=h, **extra)]
            for out in outs:
                sample(
                    op,
                    model=model_of(nodes, {"x": [t, 1, i]}, consts, [out], in_type=F, out_type=F),
                    label=f"{label} {out}",
                    ratio=0.4 if op == "RNN" else 0.001,
                    starts=zero,
                )
    f = np.float32
    for reset in (0, 1):
        consts = {
            "w": normal(1, 6, 2).astype(f),
            "r": normal(1, 6, 2).astype(f),
            "b": normal(1, 12).astype(f),
        }
        nodes = [
            helper.make_node(
                "GRU", ["x", "w", "r", "b"], ["y"], hidden_size=2, linear_before_reset=reset
            )
        ]
        sample(
            "GRU",
            model=model_of(nodes, {"x": [3, 1, 2]}, consts, ["y"], in_type=F, out_type=F),
            label=f"reset {reset}",
            ratio=0.01,
        )
    consts = {
        "w": normal(1, 8, 2).astype(f),
        "r": normal(1, 8, 2).astype(f),
        "p": normal(1, 6).astype(f),
    }
    for forget in (0, 1):
        nodes = [
            helper.make_node(
                "LSTM",
                ["x", "w", "r", "", "", "", "", "p"],
                ["y"],
                hidden_size=2,
                input_forget=forget,
            )
        ]
        sample(
            "LSTM",
            model=model_of(nodes, {"x": [3, 1, 2]}, consts, ["y"], in_type=F, out_type=F),
            label=f"peepholes {forget}",
            ratio=0.001,
            runs=not forget,
        )
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y"], hidden_size=2)]
    states = {"x": [3, 1, 2], "h": [1, 1, 2], "c": [1, 1, 2]}
    sample(
        "LSTM",
        model=model_of(nodes, states, consts, ["y"], in_type=F, out_type=F),
        label="free cell",
        code="B",
    )
    sample(
        "LSTM",
        model=model_of(nodes, states, consts, ["y"], in_type=F, out_type=F),
        label="boxed cell",
        box=(-1.0, 1.0),
        ratio=0.001,
    )
    nodes = [helper.make_node("RNN", ["x", "w", "r", "", "", "h"], ["y", "z"], hidden_size=2)]
    consts = {"w": normal(1, 2, 2).astype(f), "r": normal(1, 2, 2).astype(f)}
    sample(
        "RNN",
        model=model_of(
            nodes, {"x": [3, 1, 2], "h": [1, 1, 2]}, consts, ["y", "z"], in_type=F, out_type=F
        ),
        label="states",
        ratio=0.2,
        starts=[np.zeros(8)],
    )


def _attention() -> None:
    three = {"q": [1, 2, 2], "k": [1, 3, 2], "v": [1, 3, 2]}
    extra = {"opset": 23, "in_type": F, "out_type": F}
    sample(
        "Attention",
        three,
        q_num_heads=1,
        kv_num_heads=1,
        code="B",
        label="free",
        runs=False,
        **extra,
    )
    sample(
        "Attention",
        three,
        q_num_heads=1,
        kv_num_heads=1,
        box=(-2.0, 2.0),
        ratio=0.05,
        label="boxed",
        **extra,
    )
    four = {"q": [1, 2, 2, 2], "k": [1, 1, 3, 2], "v": [1, 1, 3, 2]}
    sample("Attention", four, box=(-2.0, 2.0), ratio=0.02, label="grouped", **extra)
    sample(
        "Attention",
        {"q": [1, 1, 2, 2]},
        {"k": normal(1, 1, 3, 2).astype(np.float32), "v": normal(1, 1, 3, 2).astype(np.float32)},
        ratio=0.1,
        label="fixed keys",
        **extra,
    )
    masked = {"q": [1, 1, 2, 2], "k": [1, 1, 3, 2], "v": [1, 1, 3, 2], "m": [2, 3]}
    sample("Attention", masked, box=(-1.0, 1.0), ratio=0.02, label="live mask", **extra)
    for op, domain in (("LinearAttention", ""),):
        sample(
            op,
            {"q": [1, 2, 2], "k": [1, 2, 2], "v": [1, 2, 2]},
            code="B",
            runs=False,
            opset=28,
            domain=domain,
        )
    sample(
        "FlexAttention",
        {"q": [1, 1, 2, 2], "k": [1, 1, 2, 2], "v": [1, 1, 2, 2]},
        code="B",
        runs=False,
        domain="ai.onnx.preview",
    )
    ms = {"domain": "com.microsoft", "in_type": F, "out_type": F}
    sample(
        "MultiHeadAttention",
        {"q": [1, 2, 4], "k": [1, 3, 4], "v": [1, 3, 4]},
        num_heads=2,
        box=(-1.0, 1.0),
        ratio=0.05,
        **ms,
    )
    sample(
        "MultiHeadAttention",
        {"q": [1, 2, 4], "k": [1, 3, 4], "v": [1, 3, 4]},
        num_heads=2,
        code="B",
        label="free",
        **ms,
    )
    gqa = {"n": np.array([1], np.int32), "t": np.int32(2)}
    nodes = [
        helper.make_node(
            "GroupQueryAttention",
            ["q", "k", "v", "", "", "n", "t"],
            ["y", "pk", "pv"],
            domain="com.microsoft",
            num_heads=2,
            kv_num_heads=1,
        )
    ]
    sample(
        "GroupQueryAttention",
        model=model_of(
            nodes,
            {"q": [1, 2, 16], "k": [1, 2, 8], "v": [1, 2, 8]},
            gqa,
            ["y"],
            in_type=F,
            out_type=F,
        ),
        domain="com.microsoft",
        box=(-1.0, 1.0),
        ratio=0.01,
    )
    packed = {"w": normal(4, 12).astype(np.float32), "b": normal(12).astype(np.float32)}
    sample(
        "Attention",
        {"x": [1, 2, 4]},
        packed,
        num_heads=2,
        box=(-1.0, 1.0),
        ratio=0.001,
        label="packed",
        **ms,
    )


def _microsoft() -> None:
    f = np.float32
    ms = {"domain": "com.microsoft", "in_type": F, "out_type": F}
    sample(
        "FusedConv",
        {"x": [1, 1, 6]},
        {"w": normal(2, 1, 3).astype(f), "b": normal(2).astype(f)},
        activation="Relu",
        pads=[1, 1],
        ratio=0.6,
        **ms,
    )
    sample(
        "FusedGemm",
        {"x": [2, 3]},
        {"w": normal(3, 4).astype(f), "b": normal(4).astype(f)},
        activation="Tanh",
        ratio=0.2,
        **ms,
    )
    for op in ("FusedMatMul", "TransposeMatMul"):
        sample(
            op,
            {"x": [2, 3]},
            {"w": normal(4, 3).astype(f)},
            transB=1,
            alpha=0.5,
            runs=op == "FusedMatMul",
            ratio=0.99,
            **ms,
        )
    sample("Gelu", {"x": [1]}, starts=[[1.4142]], ratio=0.98, **ms)
    sample("BiasGelu", {"x": [2]}, {"b": normal(2).astype(f)}, ratio=0.95, **ms)
    sample("FastGelu", {"x": [2]}, {"b": normal(2).astype(f)}, ratio=0.95, **ms)
    sample("QuickGelu", {"x": [1]}, starts=[[1.41]], ratio=0.98, **ms)
    gb = {"g": normal(4).astype(f), "b": normal(4).astype(f)}
    nodes = [
        helper.make_node(
            "SkipLayerNormalization",
            ["x", "z", "g", "b"],
            ["y"],
            domain="com.microsoft",
            epsilon=0.1,
        )
    ]
    sample(
        "SkipLayerNormalization",
        model=model_of(nodes, {"x": [1, 2, 4], "z": [1, 2, 4]}, gb, ["y"], in_type=F, out_type=F),
        domain="com.microsoft",
        ratio=0.5,
        starts=[np.zeros(16)],
    )
    nodes = [
        helper.make_node(
            "SkipSimplifiedLayerNormalization",
            ["x", "z", "g"],
            ["y", "", "", "s"],
            domain="com.microsoft",
            epsilon=0.1,
        )
    ]
    sample(
        "SkipSimplifiedLayerNormalization",
        model=model_of(
            nodes, {"x": [1, 2, 4], "z": [1, 2, 4]}, gb, ["y", "s"], in_type=F, out_type=F
        ),
        domain="com.microsoft",
        ratio=0.4,
        starts=[np.zeros(16)],
    )
    tables = {
        "wt": normal(5, 4).astype(f),
        "pt": normal(6, 4).astype(f),
        "st": normal(2, 4).astype(f),
        **gb,
    }
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization",
            ["i", "s", "wt", "pt", "st", "g", "b"],
            ["e", "m"],
            domain="com.microsoft",
        ),
        helper.make_node("Relu", ["e"], ["y"]),
    ]
    ids = {"i": TensorProto.INT32, "s": TensorProto.INT32}
    sample(
        "EmbedLayerNormalization",
        model=model_of(nodes, {"i": [1, 3], "s": [1, 3]}, tables, ["y"], types=ids, out_type=F),
        domain="com.microsoft",
        exact=1.0,
        runs=False,
    )
    packed = {
        "w": RNG.integers(0, 255, (3, 2, 8), dtype=np.uint8),
        "s": np.abs(normal(6)).astype(f),
    }
    sample(
        "MatMulNBits", {"x": [2, 32]}, packed, N=3, K=32, bits=4, block_size=16, ratio=0.98, **ms
    )
    zero = {**packed, "z": RNG.integers(0, 255, (3,), dtype=np.uint8)}
    sample(
        "MatMulNBits",
        {"x": [2, 32]},
        zero,
        N=3,
        K=32,
        bits=4,
        block_size=16,
        ratio=0.98,
        label="zero points",
        **ms,
    )
    from specaudit.lipschitz.rules import TABLE

    done = {(s.domain, s.op) for s in SAMPLES}
    for domain, op in sorted(TABLE.keys()):
        if domain and (domain, op) not in done and op.startswith(("Q", "Dynamic", "MatMulInteger")):
            sample(op, {"x": [2, 3, 3]}, domain=domain, code="D", runs=False)


def _text() -> None:
    # Text and images: made of no real numbers, so they stand beside the path of the input.
    strings = {"t": TensorProto.STRING}
    texts = {
        "StringConcat": helper.make_node("StringConcat", ["t", "t"], ["u"]),
        "StringSplit": helper.make_node("StringSplit", ["t"], ["u", "n"]),
        "StringNormalizer": helper.make_node("StringNormalizer", ["t"], ["u"]),
        "RegexFullMatch": helper.make_node("RegexFullMatch", ["t"], ["u"], pattern="a"),
        "TfIdfVectorizer": helper.make_node(
            "TfIdfVectorizer",
            ["t"],
            ["u"],
            max_gram_length=1,
            max_skip_count=0,
            min_gram_length=1,
            mode="TF",
            ngram_counts=[0],
            ngram_indexes=[0],
            pool_strings=["a"],
        ),
        "ImageDecoder": helper.make_node("ImageDecoder", ["t"], ["u"]),
        "MelWeightMatrix": helper.make_node("MelWeightMatrix", ["a", "b", "b", "c", "d"], ["u"]),
    }
    numbers = {"a": np.int64(2), "b": np.int64(8), "c": np.float32(1.0), "d": np.float32(3.0)}
    for op, node in texts.items():
        nodes = [node, helper.make_node("Relu", ["x"], ["y"])]
        sample(
            op,
            model=model_of(nodes, {"x": [2], "t": [2]}, numbers, ["y", "u"], types=strings),
            exact=1.0,
            runs=False,
        )


for build in (
    _activations,
    _arithmetic,
    _linear,
    _normalizations,
    _pooling,
    _reductions,
    _shapes,
    _signals,
    _losses,
    _quantized,
    _special,
    _control,
    _recurrent,
    _attention,
    _microsoft,
    _text,
):
    build()
