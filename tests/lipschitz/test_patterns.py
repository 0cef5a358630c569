"""Exported decompositions: known in each spelling, bounded soundly, near misses refused."""

import math
from typing import Any

import numpy as np
import onnx
import pytest

from specaudit.lipschitz import activations
from tests.lipschitz.networks import bound_of, runner, steepest

_TOP = '<ir_version: 10, opset_import: ["" : 18]>\n'


def network(body: str, *, shape: str = "2,4", out: str = "", inputs: str = "") -> onnx.ModelProto:
    """A model in onnx's text form; ``{0.5}`` stands for a scalar constant."""
    lines, count = [], 0
    for line in body.strip().splitlines():
        while "{" in line and "Constant <" not in line:
            begin, end = line.index("{"), line.index("}")
            lines.append(f"c{count} = Constant <value = double {line[begin : end + 1]}> ()")
            line = f"{line[:begin]}c{count}{line[end + 1 :]}"
            count += 1
        lines.append(line.strip())
    given = inputs or f"double[{shape}] x"
    text = f"{_TOP} g ({given}) => (double[{out or shape}] y) {{\n" + "\n".join(lines) + "\n}"
    return onnx.parser.parse_model(text)


LAYER_NORM = 1 / math.sqrt(0.25)
AXES = "a = Constant <value = int64[1] {-1}> ()\n"

RECOGNISED: list[tuple[str, str, str, float]] = [
    ("SiLU", "SiLU", "s = Sigmoid(x)\n y = Mul(x, s)", activations.SILU),
    ("SiLU turned", "SiLU", "s = Sigmoid(x)\n y = Mul(s, x)", activations.SILU),
    (
        "quick GELU",
        "SiLU",
        "t = Mul(x, {1.702})\n s = Sigmoid(t)\n y = Mul(x, s)",
        activations.SILU,
    ),
    ("Mish", "Mish", "p = Softplus(x)\n t = Tanh(p)\n y = Mul(x, t)", activations.MISH),
    (
        "HardSwish",
        "HardSwish",
        "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)\n y = Mul(x, h)",
        1.5,
    ),
    (
        "HardSwish by clip",
        "HardSwish",
        "p = Add(x, {3.0})\n q = Clip(p, {0.0}, {6.0})\n r = Div(q, {6.0})\n y = Mul(x, r)",
        1.5,
    ),
    (
        "HardSwish late",
        "HardSwish",
        "p = Add(x, {3.0})\n q = Clip(p, {0.0}, {6.0})\n r = Mul(x, q)\n y = Div(r, {6.0})",
        1.5,
    ),
    (
        "GELU",
        "Gelu (erf)",
        (
            "p = Div(x, {1.4142135623730951})\n q = Erf(p)\n r = Add(q, {1.0})\n"
            " s = Mul(x, r)\n y = Mul(s, {0.5})"
        ),
        activations.GELU_ERF,
    ),
    (
        "GELU half first",
        "Gelu (erf)",
        (
            "h = Mul(x, {0.5})\n p = Mul(x, {0.7071067811865476})\n q = Erf(p)\n"
            " r = Add({1.0}, q)\n y = Mul(h, r)"
        ),
        activations.GELU_ERF,
    ),
    (
        "tanh GELU",
        "Gelu (tanh)",
        (
            "p = Pow(x, {3.0})\n q = Mul(p, {0.044715})\n r = Add(x, q)\n"
            " s = Mul(r, {0.7978845608028654})\n t = Tanh(s)\n u = Add(t, {1.0})\n"
            " v = Mul(x, u)\n y = Mul(v, {0.5})"
        ),
        activations.GELU_TANH,
    ),
    (
        "tanh GELU by products",
        "Gelu (tanh)",
        (
            "p = Mul({0.044715}, x)\n q = Mul(x, p)\n r = Mul(x, q)\n s = Add(x, r)\n"
            " t = Mul({0.7978845608028654}, s)\n u = Tanh(t)\n v = Add({1.0}, u)\n"
            " w = Mul({0.5}, v)\n y = Mul(x, w)"
        ),
        activations.GELU_TANH,
    ),
    (
        "tanh GELU factored",
        "Gelu (tanh)",
        (
            "p = Mul(x, x)\n q = Mul(p, {0.035677408136300125})\n"
            " r = Add(q, {0.7978845608028654})\n s = Mul(x, r)\n t = Tanh(s)\n"
            " u = Add(t, {1.0})\n v = Mul({0.5}, u)\n y = Mul(x, v)"
        ),
        activations.GELU_TANH,
    ),
    ("leaky by max", "LeakyRelu", "p = Mul(x, {0.1})\n y = Max(x, p)", 1.0),
    (
        "leaky by where",
        "LeakyRelu",
        "c = Greater(x, {0.0})\n p = Mul(x, {-2.0})\n y = Where(c, x, p)",
        2.0,
    ),
    ("softplus", "Softplus", "p = Exp(x)\n q = Add(p, {1.0})\n y = Log(q)", 1.0),
    (
        "softmax",
        "Softmax",
        AXES
        + "m = ReduceMax(x, a)\n d = Sub(x, m)\n e = Exp(d)\n s = ReduceSum(e, a)\n y = Div(e, s)",
        0.5,
    ),
    ("softmax plain", "Softmax", AXES + "e = Exp(x)\n s = ReduceSum(e, a)\n y = Div(e, s)", 0.5),
    (
        "layer norm",
        "LayerNorm",
        AXES
        + (
            "m = ReduceMean(x, a)\n c = Sub(x, m)\n q = Pow(c, {2.0})\n"
            " v = ReduceMean(q, a)\n w = Add(v, {0.25})\n s = Sqrt(w)\n y = Div(c, s)"
        ),
        LAYER_NORM,
    ),
    (
        "layer norm twice centred",
        "LayerNorm",
        AXES
        + (
            "m = ReduceMean(x, a)\n c = Sub(x, m)\n n = ReduceMean(x, a)\n d = Sub(x, n)\n"
            " q = Mul(d, d)\n v = ReduceMean(q, a)\n w = Add(v, {0.25})\n s = Sqrt(w)\n"
            " y = Div(c, s)"
        ),
        LAYER_NORM,
    ),
    (
        "layer norm fast variance",
        "LayerNorm",
        AXES
        + (
            "m = ReduceMean(x, a)\n q = Mul(x, x)\n u = ReduceMean(q, a)\n p = Mul(m, m)\n"
            " v = Sub(u, p)\n k = Max(v, {0.0})\n w = Add(k, {0.25})\n s = Sqrt(w)\n"
            " r = Reciprocal(s)\n c = Sub(x, m)\n g = Mul(r, {3.0})\n y = Mul(c, g)"
        ),
        3 * LAYER_NORM,
    ),
    (
        "layer norm epsilon outside",
        "LayerNorm",
        AXES
        + (
            "m = ReduceMean(x, a)\n c = Sub(x, m)\n q = Pow(c, {2.0})\n"
            " v = ReduceMean(q, a)\n s = Sqrt(v)\n w = Add(s, {0.25})\n y = Div(c, w)"
        ),
        4.0,
    ),
    (
        "RMS norm",
        "RMSNorm",
        AXES
        + (
            "q = Pow(x, {2.0})\n v = ReduceMean(q, a)\n w = Add(v, {0.25})\n s = Sqrt(w)\n"
            " r = Reciprocal(s)\n y = Mul(x, r)"
        ),
        LAYER_NORM,
    ),
    (
        "RMS norm by power",
        "RMSNorm",
        AXES
        + (
            "q = Mul(x, x)\n v = ReduceMean(q, a)\n w = Add(v, {0.25})\n"
            " r = Pow(w, {-0.5})\n y = Mul(x, r)"
        ),
        LAYER_NORM,
    ),
    (
        "l2 normalisation",
        "L2 normalisation",
        AXES + "n = ReduceL2(x, a)\n k = Clip(n, {0.25})\n y = Div(x, k)",
        4.0,
    ),
    (
        "magnitude",
        "magnitude",
        "s = Sin(x)\n p = Pow(x, {2.0})\n q = Mul(s, s)\n t = Add(p, q)\n y = Sqrt(t)",
        math.sqrt(2.0),
    ),
]


@pytest.mark.parametrize(
    ("label", "rule", "body", "expected"), RECOGNISED, ids=[r[0] for r in RECOGNISED]
)
def test_recognised(label: str, rule: str, body: str, expected: float) -> None:
    model = network(body)
    found = bound_of(model)
    assert found.upper == pytest.approx(expected, rel=1e-6), found
    assert rule in {factor.rule for factor in found.factors}
    starts = [
        np.zeros(8),
        np.full(8, 1.41421),
        np.full(8, 2.39936),
        np.full(8, 2.99),
        np.full(8, 1.49),
        [0.0, 0.0, -40.0, -40.0] * 2,
    ]
    with np.errstate(all="ignore"):
        best = steepest(runner(model), starts=starts, seed=3)
    assert best <= found.upper
    assert best >= 0.97 * found.upper


def test_sums_of_squares_under_a_root_are_norms() -> None:
    model = network(AXES + "q = Mul(x, x)\n s = ReduceSum(q, a)\n y = Sqrt(s)", out="2,1")
    assert bound_of(model).upper == 1.0


def test_wave_net_gate() -> None:
    model = network(
        "t = Tanh(x)\n s = Sigmoid(z)\n y = Mul(t, s)", inputs="double[2,4] x, double[2,4] z"
    )
    found = bound_of(model)
    assert found.upper == 1.0
    assert steepest(runner(model), starts=[[0.0] * 8 + [30.0] * 8]) >= 0.999


MISSES = [
    # The statistics of other rows, or of another tensor.
    (
        "a = Constant <value = int64[1] {0}> ()\n"
        "b = Constant <value = int64[1] {-1}> ()\n m = ReduceMean(x, a)\n"
        " c = Sub(x, m)\n q = Pow(c, {2.0})\n v = ReduceMean(q, b)\n"
        " w = Add(v, {0.25})\n s = Sqrt(w)\n y = Div(c, s)"
    ),
    AXES
    + (
        "m = ReduceMean(x, a)\n c = Sub(x, m)\n q = Pow(x, {2.0})\n"
        " v = ReduceMean(q, a)\n w = Add(v, {0.25})\n s = Sqrt(w)\n y = Div(c, s)"
    ),
    # A gate of something else.
    "n = Neg(x)\n t = Add(n, {1.0})\n s = Sigmoid(t)\n y = Mul(x, s)",
    "p = Erf(x)\n q = Add(p, {0.9})\n y = Mul(x, q)",
    AXES + "e = Exp(x)\n s = ReduceSum(x, a)\n y = Div(e, s)",
]


@pytest.mark.parametrize("body", MISSES)
def test_near_misses_are_not_recognised(body: str) -> None:
    model = network(body)
    found = bound_of(model)
    assert not {f.rule for f in found.factors} & {"LayerNorm", "SiLU", "Gelu (erf)", "Softmax"}
    if found.upper is not None:
        assert steepest(runner(model), starts=[np.zeros(8)]) <= found.upper


def _attention(extra: str = "", scale: str = "0.5") -> str:
    return (
        "n = LayerNormalization <epsilon = 0.25> (x, g)\n"
        "q = MatMul(n, wq)\n k = MatMul(n, wk)\n v = MatMul(n, wv)\n"
        "t = Transpose <perm = [1, 0]> (k)\n l = MatMul(q, t)\n"
        f"r = Mul(l, {{{scale}}})\n{extra or ' p = Softmax <axis = -1> (r)'}\n y = MatMul(p, v)"
    )


def _with_weights(body: str, rng: Any) -> onnx.ModelProto:
    names = ("wq", "wk", "wv")
    weights = ""
    for name in names:
        entries = ",".join(f"{w:.6f}" for w in rng.standard_normal(16) * 0.4)
        weights += f"{name} = Constant <value = double[4,4] {{{entries}}}> ()\n"
    gamma = "g = Constant <value = double[4] {1.0, 1.0, 1.0, 1.0}> ()\n"
    plain = network(body, shape="3,4")
    extra = onnx.parser.parse_model(f"{_TOP} g () => () {{\n{weights}{gamma}}}")
    nodes = [*extra.graph.node, *plain.graph.node]
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    return plain


MASKED = [
    "p = Softmax <axis = -1> (r)",
    (
        "m = Constant <value = double[3] {0.0, -1.0, 0.5}> ()\n o = Add(r, m)\n"
        " p = Softmax <axis = -1> (o)"
    ),
    "o = Softmax <axis = -1> (r)\n i = IsNaN(o)\n p = Where(i, {0.0}, o)",
]


@pytest.mark.parametrize("extra", MASKED)
@pytest.mark.parametrize("seed", range(3))
def test_attention_after_a_norm_is_finite(extra: str, seed: int) -> None:
    model = _with_weights(_attention(extra), np.random.default_rng(seed))
    found = bound_of(model)
    assert found.status == "certified", found
    best = steepest(runner(model), starts=[np.zeros(12)], seed=seed)
    assert found.upper is not None
    assert 0.01 * found.upper <= best <= found.upper


def test_attention_without_a_norm_names_its_product() -> None:
    body = _attention().replace("n = LayerNormalization <epsilon = 0.25> (x, g)", "n = Identity(x)")
    model = _with_weights(body, np.random.default_rng(0))
    found = bound_of(model)
    assert {cause.code for cause in found.unbounded} == {"B"}
    boxed = bound_of(model, input_range=(-1.0, 1.0))
    assert boxed.status == "certified"
    best = steepest(runner(model), box=(-1.0, 1.0), seed=1)
    assert boxed.upper is not None
    assert 0.01 * boxed.upper <= best <= boxed.upper


def test_an_added_bias_may_move() -> None:
    extra = "b = Tanh(x)\n c = MatMul(b, t)\n o = Add(r, c)\n p = Softmax <axis = -1> (o)"
    model = _with_weights(_attention(extra), np.random.default_rng(2))
    found = bound_of(model)
    assert found.status == "certified", found
    assert found.upper is not None
    assert steepest(runner(model), starts=[np.zeros(12)], seed=4) <= found.upper
