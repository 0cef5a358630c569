"""Shapes of operations that act element by element, with NumPy's broadcasting."""

from collections.abc import Sequence
from functools import reduce

from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import Dimension, Shape, Site, Type, axis_of

# fmt: off
UNARY = [
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu",
    "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log",
    "MeanVarianceNormalization", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu",
    "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "LRN", "Trilu", "CumSum", "CumProd",
    "ReverseSequence", "ScatterElements", "Scatter", "ScatterND", "TensorScatter",
    "RotaryEmbedding", "SwiGLU",
]
# fmt: on


@shape_rule(*UNARY)
def like_input(site: Site) -> Sequence[Type]:
    """The first input's type."""
    return [site.type(0)]


@shape_rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
def along_axis(site: Site) -> Sequence[Type]:
    """The input's type, if it has the axis."""
    shape = site.shape(0)
    if shape is not None and site.opset >= 13:
        axis_of(site.integer("axis", -1), len(shape), site)
    return [site.type(0)]


@shape_rule("Add", "Sub", "Mul", "Div", "Mod", "PRelu", "BitShift", "Sum", "Mean", "Max", "Min",
            "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Pow")  # fmt: skip
def arithmetic(site: Site) -> Sequence[Type]:
    """The inputs broadcast together, in the first one's dtype."""
    return [Type(site.dtype(0), broadcast_inputs(site))]


@shape_rule("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor")
def comparison(site: Site) -> Sequence[Type]:
    """The inputs broadcast together, as bool."""
    return [Type("bool", broadcast_inputs(site))]


@shape_rule("StringConcat")
def text(site: Site) -> Sequence[Type]:
    """The inputs broadcast together, as text."""
    return [Type("string", broadcast_inputs(site))]


@shape_rule("IsNaN", "IsInf")
def question(site: Site) -> Sequence[Type]:
    """The input's shape, as bool."""
    return [Type("bool", site.shape(0))]


@shape_rule("Where")
def where(site: Site) -> Sequence[Type]:
    """All three broadcast; the dtype is the branches'."""
    return [Type(site.dtype(1) or site.dtype(2), broadcast_inputs(site))]


def broadcast_inputs(site: Site) -> Shape:
    """Shape of all inputs broadcast together."""
    shapes = [site.shape(index) for index in range(len(site.node.inputs))]
    return reduce(lambda a, b: broadcast(a, b, site), shapes)


def broadcast(a: Shape, b: Shape, site: Site) -> Shape:
    """Shape of two operands broadcast together; raise where they cannot be."""
    if a is None or b is None:
        return None
    rank = max(len(a), len(b))
    left: tuple[Dimension, ...] = (1,) * (rank - len(a)) + a
    right: tuple[Dimension, ...] = (1,) * (rank - len(b)) + b
    return tuple(_together(p, q, site) for p, q in zip(left, right, strict=True))


def _together(p: Dimension, q: Dimension, site: Site) -> Dimension:
    if p == q or q == 1:
        return p
    if p == 1:
        return q
    if isinstance(p, int) and isinstance(q, int):
        site.refuse(f"dimensions {p} and {q} do not broadcast")
    # the other one can only be equal or 1
    return p if isinstance(p, int) else q if isinstance(q, int) else None
