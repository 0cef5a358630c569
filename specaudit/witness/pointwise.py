"""Entry by entry: activations, arithmetic, comparisons."""

import math
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import (
    Ball,
    elementwise,
    exponential,
    logarithm,
    root,
    scalar,
    selected,
)
from specaudit.witness.table import Uncovered, attribute, ball, computes, constant, fixed, optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specaudit.witness.balls import Array
    from specaudit.witness.table import Value, Values

# A function and a bound of its slope; what is not Lipschitz, or not to be trusted near 0, is below.
_SMOOTH: "dict[str, tuple[Callable[[Array], Array], float]]" = {
    "Sigmoid": (lambda x: _sigmoid(x), 0.25),
    "Tanh": (np.tanh, 1.0),
    "Softplus": (lambda x: _softplus(x), 1.0),
    "Softsign": (lambda x: np.asarray(x / (1.0 + np.abs(x))), 1.0),
    "Sin": (np.sin, 1.0),
    "Cos": (np.cos, 1.0),
    "Atan": (np.arctan, 1.0),
    "Asinh": (np.arcsinh, 1.0),
    "Mish": (lambda x: np.asarray(x * np.tanh(_softplus(x))), 1.0885),
    "Erf": (lambda x: _erf(x), 1.1284),
}
_EXACT: "dict[str, tuple[Callable[[Array], Array], float]]" = {
    "Relu": (lambda x: np.maximum(x, 0.0), 1.0),
    "Abs": (np.abs, 1.0),
    "Neg": (np.negative, 1.0),
}
_GROWING = {"Exp": exponential, "Log": logarithm, "Sqrt": root}


@computes(*_SMOOTH)
def _smooth(node: Node, args: "Values", opset: int) -> "list[Value]":
    function, slope = _SMOOTH[node.op]
    return [elementwise(function, ball(args), slope)]


@computes(*_EXACT)
def _exact(node: Node, args: "Values", opset: int) -> "list[Value]":
    if not isinstance(args[0], Ball):
        return [_EXACT[node.op][0](np.asarray(args[0]))]
    function, slope = _EXACT[node.op]
    return [elementwise(function, ball(args), slope, exact=True)]


@computes(*_GROWING)
def _growing(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [_GROWING[node.op](ball(args))]


@computes("Gelu")
def _gelu(node: Node, args: "Values", opset: int) -> "list[Value]":
    if attribute(node, "approximate", "none") == "tanh":
        return [elementwise(_gelu_tanh, ball(args), 1.12900)]
    return [elementwise(_gelu_erf, ball(args), 1.12891)]


@computes("Swish", "QuickGelu")
def _swish(node: Node, args: "Values", opset: int) -> "list[Value]":
    alpha = attribute(node, "alpha", 1.0 if node.op == "Swish" else 1.702)
    return [elementwise(lambda x: x * _sigmoid(alpha * x), ball(args), 1.09984)]


@computes("LeakyRelu")
def _leaky(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [_two_sided(ball(args), scalar(attribute(node, "alpha", 0.01)))]


@computes("PRelu")
def _prelu(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [_two_sided(ball(args), ball(args, 1))]


def _two_sided(x: Ball, slope: Ball) -> Ball:
    """max(x, 0) + slope * min(x, 0)."""
    positive = elementwise(lambda t: np.maximum(t, 0.0), x, 1.0, exact=True)
    negative = elementwise(lambda t: np.minimum(t, 0.0), x, 1.0, exact=True)
    return positive + slope * negative


@computes("Elu", "Celu", "Selu")
def _elu(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    default = 1.67326319217681884765625 if node.op == "Selu" else 1.0
    alpha = attribute(node, "alpha", default)
    gamma = attribute(node, "gamma", 1.05070102214813232421875) if node.op == "Selu" else 1.0
    positive = elementwise(lambda t: np.maximum(t, 0.0), x, 1.0, exact=True)
    negative = elementwise(lambda t: np.minimum(t, 0.0), x, 1.0, exact=True)
    if node.op == "Celu":
        negative = negative / scalar(alpha)
    curve = elementwise(np.expm1, negative, 1.0)
    return [scalar(gamma) * (positive + scalar(alpha) * curve)]


@computes("HardSigmoid", "HardSwish")
def _hard(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    if node.op == "HardSwish":
        return [x * _clipped(x / scalar(6.0) + scalar(0.5), 0.0, 1.0)]
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    return [_clipped(scalar(alpha) * x + scalar(beta), 0.0, 1.0)]


@computes("Clip")
def _clip(node: Node, args: "Values", opset: int) -> "list[Value]":
    low, high = attribute(node, "min", -math.inf), attribute(node, "max", math.inf)
    if optional(args, 1) is not None:
        low = constant(args, 1)
    if optional(args, 2) is not None:
        high = constant(args, 2)
    return [_clipped(ball(args), low, high)]


def _clipped(x: Ball, low: float, high: float) -> Ball:
    return elementwise(lambda t: np.minimum(np.maximum(t, low), high), x, 1.0, exact=True)


@computes("Reciprocal")
def _reciprocal(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [scalar(1.0) / ball(args)]


@computes("Pow")
def _power(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    exponent = args[1]
    power = constant(args, 1) if isinstance(exponent, Ball) else float(np.asarray(exponent))
    if power == 0.5:
        return [root(x)]
    if power not in (1.0, 2.0, 3.0, 4.0):
        raise Uncovered(f"Pow to the {power:g}")
    return [reduce(Ball.__mul__, [x] * int(power))]


_ARITHMETIC: "dict[str, Callable[[Ball, Ball], Ball]]" = {
    "Add": Ball.__add__,
    "Sub": Ball.__sub__,
    "Mul": Ball.__mul__,
    "Div": Ball.__truediv__,
    "Sum": Ball.__add__,
    "Mean": Ball.__add__,
}
_WHOLE: "dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]]" = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": lambda a, b: np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)),
    "Max": np.maximum,
    "Min": np.minimum,
}


@computes(*_ARITHMETIC)
def _arithmetic(node: Node, args: "Values", opset: int) -> "list[Value]":
    if node.attributes.get("axis") is not None:
        raise Uncovered(f"{node.op} with the broadcasting of the first opsets")
    if not any(isinstance(value, Ball) for value in args):
        return _on_whole_numbers(node, args)
    balls = [ball(args, index) for index in range(len(args))]
    total = reduce(_ARITHMETIC[node.op], balls)
    return [total / scalar(float(len(balls))) if node.op == "Mean" else total]


def _on_whole_numbers(node: Node, args: "Values") -> "list[Value]":
    if node.op not in _WHOLE:
        raise Uncovered(f"{node.op} of whole numbers")
    return [reduce(_WHOLE[node.op], [np.asarray(value) for value in args])]


@computes("Max", "Min")
def _extreme(node: Node, args: "Values", opset: int) -> "list[Value]":
    if not any(isinstance(value, Ball) for value in args):
        return _on_whole_numbers(node, args)
    choose = np.max if node.op == "Max" else np.min
    balls = [ball(args, index) for index in range(len(args))]
    shape = np.broadcast_shapes(*(one.mid.shape for one in balls))
    mids = np.stack([np.broadcast_to(one.mid, shape) for one in balls])
    if any(one.rad is None for one in balls):
        return [Ball(choose(mids, axis=0), None)]
    rads = [np.broadcast_to(one.rad, shape) for one in balls if one.rad is not None]
    both = Ball(mids, np.stack(rads))
    return [selected(lambda t: choose(t, axis=0), both, lambda t: t.max(axis=0))]


_COMPARISONS: "dict[str, Callable[..., NDArray[Any]]]" = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
}


@computes(*_COMPARISONS)
def _compare(node: Node, args: "Values", opset: int) -> "list[Value]":
    """Of whole numbers only: shapes and masks are computed so."""
    return [_COMPARISONS[node.op](*(fixed(args, index) for index in range(len(args))))]


@computes("Where")
def _where(node: Node, args: "Values", opset: int) -> "list[Value]":
    condition = args[0]
    if condition is None or isinstance(condition, Ball):
        raise Uncovered("Where on a condition that is computed")
    if not isinstance(args[1], Ball):
        return [np.where(condition, np.asarray(args[1]), np.asarray(args[2]))]
    yes, no = ball(args, 1), ball(args, 2)
    mid = np.where(condition, yes.mid, no.mid)
    if yes.rad is None or no.rad is None:
        return [Ball(mid, None)]
    return [Ball(mid, np.where(condition, yes.rad, no.rad))]


@computes("Identity", "Dropout")
def _same(node: Node, args: "Values", opset: int) -> "list[Value]":
    training = optional(args, 2)
    if node.op == "Dropout" and training is not None and np.asarray(training).any():
        raise Uncovered("Dropout in training mode")
    first = args[0]
    if first is None:
        raise Uncovered("Identity of nothing")
    return [first]


@computes("Cast", "CastLike")
def _cast(node: Node, args: "Values", opset: int) -> "list[Value]":
    """Between real types nothing changes: the network is the one in exact arithmetic."""
    real = {1, 10, 11, 16}
    if node.op == "CastLike":
        to_real = isinstance(args[1], Ball)
    else:
        to_real = attribute(node, "to", 0) in real
    if isinstance(args[0], Ball):
        if not to_real:
            raise Uncovered("Cast of real numbers to whole ones")
        return [args[0]]
    values = np.asarray(args[0])
    if to_real:
        return [Ball.exactly(values)]
    if node.op == "Cast" and attribute(node, "to", 0) not in (6, 7):
        raise Uncovered("Cast to a type that is not evaluated")
    return [values.astype(np.int64)]


def _sigmoid(x: "Array") -> "Array":
    # exp of a number that is not positive neither overflows nor cancels.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0.0, 1.0, small) / (1.0 + small))


def _softplus(x: "Array") -> "Array":
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


def _erf(x: "Array") -> "Array":
    from scipy.special import erf  # 0.1 s, for those networks that have one

    return np.asarray(erf(x))


def _gelu_erf(x: "Array") -> "Array":
    return np.asarray(0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))))


def _gelu_tanh(x: "Array") -> "Array":
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1.0 + np.tanh(inner)))


sigmoid = _SMOOTH["Sigmoid"][0]
# Their operands are broadcast against one another.
BROADCASTING = {*_ARITHMETIC, *_COMPARISONS, "Max", "Min", "Where", "PRelu", "Pow"}
