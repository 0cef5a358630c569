"""Elementwise functions: a sample network for each rule."""

import numpy as np

from tests.lipschitz.samples.collection import F, sample


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


_activations()
