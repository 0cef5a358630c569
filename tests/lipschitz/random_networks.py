"""Random networks: small graphs that share, split, join and repeat values, over most rules."""

import math

import numpy as np
import onnx
from onnx import helper

from tests.lipschitz.growing import TEMPLATES, Grower, template
from tests.lipschitz.networks import model_of

OPSET = 22

_ELEMENTWISE = (
    *("Relu", "Abs", "Neg", "Tanh", "Atan", "Asinh", "Softsign", "Sin", "Cos", "Identity"),
    *(
        "Softplus",
        "Sigmoid",
        "HardSigmoid",
        "LeakyRelu",
        "HardSwish",
        "Mish",
        "Gelu",
        "Elu",
        "Selu",
    ),
)


@template
def _elementwise(g: Grower) -> None:
    x = g.pick()
    g.add(str(g.rng.choice(_ELEMENTWISE)), x, shape=g.shapes[x])


@template
def _clip(g: Grower) -> None:
    x = g.pick()
    g.add("Clip", x, g.const(-1.0), g.const(1.5), shape=g.shapes[x])


@template
def _combine(g: Grower) -> None:
    x = g.pick()
    y = g.like(g.shapes[x])
    if y is not None:
        g.add(
            str(g.rng.choice(["Add", "Sub", "Max", "Min", "Mean", "Sum"])), x, y, shape=g.shapes[x]
        )


@template
def _product(g: Grower) -> None:
    x = g.pick()
    y = g.like(g.shapes[x])
    if y is not None:
        squashed = g.add("Tanh", y, shape=g.shapes[y])
        other = g.add(str(g.rng.choice(["Sigmoid", "Sin"])), x, shape=g.shapes[x])
        g.add("Mul", squashed, other, shape=g.shapes[x])


@template
def _gate(g: Grower) -> None:
    x = g.pick()
    bounded = g.add("Tanh", x, shape=g.shapes[x])
    y = g.like(g.shapes[x])
    if y is not None:
        gate = g.add("Sigmoid", y, shape=g.shapes[y])
        g.add("Mul", bounded, gate, shape=g.shapes[x])


@template
def _broadcast(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    column = g.add("ReduceMean", x, g.const(np.array([-1])), shape=(*shape[:-1], 1))
    op = str(g.rng.choice(["Add", "Sub", "Max"]))
    g.add(op, column, g.const(g.normal(*shape[-1:])), shape=shape)


@template
def _affine(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    scaled = g.add("Mul", x, g.const(g.normal(*shape[-1:])), shape=shape)
    g.add("Div", scaled, g.const(g.rng.uniform(0.5, 2.0, shape[-1:])), shape=shape)


@template
def _matmul(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    width = int(g.rng.integers(1, 5))
    g.add("MatMul", x, g.const(g.normal(shape[-1], width) * 0.7), shape=(*shape[:-1], width))


@template
def _gemm(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    weight, bias = g.const(g.normal(3, columns)), g.const(g.normal(3))
    g.add("Gemm", x, weight, bias, shape=(rows, 3), transB=1, alpha=0.5)


@template
def _from_left(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    g.add("MatMul", g.const(g.normal(2, rows)), x, shape=(2, columns))


@template
def _einsum(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    g.add("Einsum", x, g.const(g.normal(columns, 2)), shape=(2, rows), equation="ij,jk->ki")


@template
def _residual(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    hidden = g.add("MatMul", x, g.const(g.normal(shape[-1], 4) * 0.5), shape=(*shape[:-1], 4))
    active = g.add(str(g.rng.choice(["Relu", "Tanh", "Identity"])), hidden, shape=(*shape[:-1], 4))
    back = g.add("MatMul", active, g.const(g.normal(4, shape[-1]) * 0.5), shape=shape)
    g.add("Add", x, back, shape=shape)


@template
def _transpose(g: Grower) -> None:
    x = g.pick(2)
    g.add("Transpose", x, shape=g.shapes[x][::-1], perm=[1, 0])


@template
def _reshape(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    g.add("Reshape", x, g.const(np.array([columns, rows])), shape=(columns, rows))


@template
def _concat(g: Grower) -> None:
    x = g.pick(2)
    y = g.like(g.shapes[x])
    if y is not None and g.shapes[x][1] <= 4:
        g.add("Concat", x, y, shape=(g.shapes[x][0], 2 * g.shapes[x][1]), axis=1)


@template
def _split(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    if columns < 2:
        return
    cut = int(g.rng.integers(1, columns))
    names = [g.fresh(), g.fresh()]
    sizes = g.const(np.array([cut, columns - cut]))
    g.nodes.append(helper.make_node("Split", [x, sizes], names, axis=1))
    g.shapes[names[0]], g.shapes[names[1]] = (rows, cut), (rows, columns - cut)


@template
def _slices(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    if columns < 2:
        return
    for _ in range(2):
        begin = int(g.rng.integers(0, columns - 1))
        end = int(g.rng.integers(begin + 1, columns + 1))
        ends = (g.const(np.array([begin])), g.const(np.array([end])), g.const(np.array([1])))
        g.add("Slice", x, *ends, shape=(rows, end - begin))


@template
def _gather(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    index = g.rng.integers(-columns, columns, 3)
    g.add("Gather", x, g.const(index), shape=(rows, 3), axis=1)


@template
def _repeat(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    if rows * columns <= 6:
        g.add("Tile", x, g.const(np.array([1, 2])), shape=(rows, 2 * columns))


@template
def _expand(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    peak = g.add("ReduceMax", x, g.const(np.array([-1])), shape=(*shape[:-1], 1))
    g.add("Expand", peak, g.const(np.array(shape)), shape=shape)


@template
def _pad(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    if 2 <= columns <= 4:
        mode = str(g.rng.choice(["constant", "reflect", "edge", "wrap"]))
        g.add("Pad", x, g.const(np.array([0, 1, 0, 1])), shape=(rows, columns + 2), mode=mode)


@template
def _reduce(g: Grower) -> None:
    x = g.pick(2)
    rows, _ = g.shapes[x]
    op = str(
        g.rng.choice(
            [
                "ReduceSum",
                "ReduceMean",
                "ReduceMax",
                "ReduceMin",
                "ReduceL1",
                "ReduceL2",
                "ReduceLogSumExp",
            ]
        )
    )
    g.add(op, x, g.const(np.array([1])), shape=(rows, 1))


@template
def _softmax(g: Grower) -> None:
    x = g.pick()
    g.add(str(g.rng.choice(["Softmax", "LogSoftmax"])), x, shape=g.shapes[x], axis=-1)


@template
def _layer_norm(g: Grower) -> None:
    x = g.pick()
    width = g.shapes[x][-1]
    g.add(
        "LayerNormalization",
        x,
        g.const(g.normal(width)),
        g.const(g.normal(width)),
        shape=g.shapes[x],
        epsilon=0.3,
    )


@template
def _spelled_layer_norm(g: Grower) -> None:
    x = g.pick()
    shape, axes = g.shapes[x], g.const(np.array([-1]))
    one = (*shape[:-1], 1)
    centred = g.add("Sub", x, g.add("ReduceMean", x, axes, shape=one), shape=shape)
    square = g.add("Mul", centred, centred, shape=shape)
    spread = g.add("Add", g.add("ReduceMean", square, axes, shape=one), g.const(0.3), shape=one)
    g.add("Div", centred, g.add("Sqrt", spread, shape=one), shape=shape)


@template
def _spelled_silu(g: Grower) -> None:
    x = g.pick()
    g.add("Mul", x, g.add("Sigmoid", x, shape=g.shapes[x]), shape=g.shapes[x])


@template
def _spelled_hard_swish(g: Grower) -> None:
    x = g.pick()
    shape = g.shapes[x]
    moved = g.add("Add", x, g.const(3.0), shape=shape)
    cut = g.add("Clip", moved, g.const(0.0), g.const(6.0), shape=shape)
    g.add("Div", g.add("Mul", x, cut, shape=shape), g.const(6.0), shape=shape)


@template
def _attention(g: Grower) -> None:
    x = g.pick(2)
    rows, _ = g.shapes[x]
    normal = g.add(
        "LayerNormalization", x, g.const(np.ones(g.shapes[x][1])), shape=g.shapes[x], epsilon=0.3
    )
    width = g.shapes[x][1]
    q, k, v = (
        g.add("MatMul", normal, g.const(g.normal(width, 2) * 0.5), shape=(rows, 2))
        for _ in range(3)
    )
    turned = g.add("Transpose", k, shape=(2, rows), perm=[1, 0])
    logits = g.add("MatMul", q, turned, shape=(rows, rows))
    scaled = g.add("Mul", logits, g.const(0.7), shape=(rows, rows))
    g.add("MatMul", g.add("Softmax", scaled, shape=(rows, rows), axis=-1), v, shape=(rows, 2))


@template
def _cumsum(g: Grower) -> None:
    x = g.pick(2)
    g.add("CumSum", x, g.const(np.int64(1)), shape=g.shapes[x], exclusive=int(g.rng.integers(2)))


@template
def _topk(g: Grower) -> None:
    x = g.pick(2)
    rows, columns = g.shapes[x]
    values, indices = g.fresh(), g.fresh()
    g.nodes.append(helper.make_node("TopK", [x, g.const(np.array([columns]))], [values, indices]))
    g.shapes[values] = (rows, columns)


@template
def _where(g: Grower) -> None:
    x = g.pick()
    y = g.like(g.shapes[x])
    if y is not None:
        mask = g.const(g.rng.random(g.shapes[x]) > 0.5)
        g.add("Where", mask, x, y, shape=g.shapes[x])


@template
def _prelu(g: Grower) -> None:
    x = g.pick()
    g.add("PRelu", x, g.const(g.normal(*g.shapes[x][-1:])), shape=g.shapes[x])


@template
def _trilu(g: Grower) -> None:
    x = g.pick(2)
    g.add("Trilu", x, shape=g.shapes[x], upper=int(g.rng.integers(2)))


@template
def _scatter(g: Grower) -> None:
    x = g.pick(2)
    y = g.like(g.shapes[x])
    if y is not None:
        index = g.rng.integers(0, g.shapes[x][1], g.shapes[x])
        g.add("ScatterElements", x, g.const(index), y, shape=g.shapes[x], axis=1, reduction="add")


@template
def _steep(g: Grower) -> None:
    """Functions that need the range of what they are given."""
    x = g.pick()
    shape = g.shapes[x]
    bounded = g.add("Tanh", x, shape=shape)
    away = g.add("Add", bounded, g.const(1.5), shape=shape)
    op = str(g.rng.choice(["Exp", "Log", "Sqrt", "Reciprocal", "Sinh", "Cosh", "Square"]))
    if op == "Square":
        g.add("Pow", away, g.const(2.0), shape=shape)
    else:
        g.add(op, away, shape=shape)


@template
def _rms_norm(g: Grower) -> None:
    x = g.pick()
    shape, axes = g.shapes[x], g.const(np.array([-1]))
    one = (*shape[:-1], 1)
    square = g.add("Pow", x, g.const(2.0), shape=shape)
    spread = g.add("Add", g.add("ReduceMean", square, axes, shape=one), g.const(0.2), shape=one)
    inverse = g.add("Reciprocal", g.add("Sqrt", spread, shape=one), shape=one)
    g.add("Mul", x, inverse, shape=shape)


def random_network(seed: int) -> tuple[onnx.ModelProto, tuple[float, float] | None]:
    """A network, and the box its inputs come from (None for all of space)."""
    rng = np.random.default_rng(seed)
    g = Grower(rng)
    inputs = {"x": (int(rng.integers(1, 4)), int(rng.integers(1, 5)))}
    if rng.random() < 0.3:
        inputs["z"] = inputs["x"] if rng.random() < 0.5 else (2, 3)
    g.shapes.update(inputs)
    for _ in range(int(rng.integers(3, 12))):
        # A size limit, so that every network can be differentiated by differences.
        chosen = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
        chosen(g)
        if max(math.prod(s) for s in g.shapes.values()) > 40:
            break
    used = {name for node in g.nodes for name in node.input}
    leaves = [n for node in g.nodes for n in node.output if n not in used and n in g.shapes]
    outputs = leaves[-3:] or ["x"]
    if outputs == ["x"]:
        outputs = [g.add("Identity", "x", shape=inputs["x"])]
    used.update(outputs)
    read = {name: shape for name, shape in inputs.items() if name in used}
    model = model_of(g.nodes, read or inputs, g.constants, outputs, opset=OPSET)
    return model, (-1.5, 1.0) if rng.random() < 0.3 else None
