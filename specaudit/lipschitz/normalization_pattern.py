"""Layer norms, RMS norms and l2 normalisation as exporters spell them out."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.normalization import inverse_root
from specaudit.lipschitz.ranges import Facts, outward
from specaudit.lipschitz.reading import operands, plain, producer, scalar
from specaudit.lipschitz.rules import Effect, magnitude, unary
from specaudit.lipschitz.trace import Match
from specaudit.model import Node


@dataclass(frozen=True, slots=True)
class _Divisor:
    """``sqrt(mean(x^2) + inside) + outside``, or ``max(|x|, floor)``."""

    base: str
    axes: tuple[int, ...]
    slope: float
    mean: bool


def normalization(node: Node, context: Context) -> Match | None:
    """``x / sqrt(mean(x^2) + eps)``, ``x`` centred or not; ``x / max(|x|, eps)``.

    Notes
    -----
    With s the root mean square, the Jacobian is ``(I - x x^T/(n (s^2 + eps)))/sqrt(s^2 + eps)``,
    between 0 and ``1/sqrt(eps)``; it commutes with the centring, whose norm is 1. With epsilon
    added to s itself the same holds with ``1/eps``.
    """
    for top, divisor in _quotients(node, context):
        if divisor is None or divisor.slope == math.inf:
            continue
        source = _same_values(divisor.base, top, context)
        if source is None:
            continue
        centred = _centred(source, divisor.axes, context) if divisor.mean else None
        x = centred or source
        name = "LayerNorm" if centred else "RMSNorm" if divisor.mean else "L2 normalisation"
        return Match(name, (x,), _effect(x, divisor))
    return None


def _effect(x: str, divisor: _Divisor) -> Callable[[Context], Effect]:
    return lambda context: unary(magnitude(divisor.slope), _values(context, x, divisor))


def _quotients(node: Node, context: Context) -> list[tuple[str, _Divisor | None]]:
    """The numerator and the divisor of a division, or of a product with an inverse."""
    if node.op == "Div":
        return [(node.inputs[0], _divisor(node.inputs[1], context))]
    if node.op != "Mul" or len(node.inputs) != 2:
        return []
    found = []
    for top, other in (node.inputs, node.inputs[::-1]):
        inverse = producer(other, context, "Reciprocal", "Pow", "Div")
        if inverse is None:
            continue
        if inverse.op == "Reciprocal":
            found.append((top, _divisor(inverse.inputs[0], context)))
        elif inverse.op == "Div" and scalar(inverse.inputs[0], context) == 1.0:
            found.append((top, _divisor(inverse.inputs[1], context)))
        elif inverse.op == "Pow" and scalar(inverse.inputs[1], context) == -0.5:
            found.append((top, _root(inverse.inputs[0], 0.0, context)))
    return found


def _divisor(name: str, context: Context) -> _Divisor | None:
    spread = producer(name, context, "Expand")
    name = spread.inputs[0] if spread is not None else name
    root = producer(name, context, "Sqrt")
    if root is not None:
        return _root(root.inputs[0], 0.0, context)
    power = producer(name, context, "Pow")
    if power is not None and scalar(power.inputs[1], context) == 0.5:
        return _root(power.inputs[0], 0.0, context)
    total = producer(name, context, "Add")
    if total is not None:
        for one, other in (total.inputs, total.inputs[::-1]):
            epsilon, inner = scalar(other, context), producer(one, context, "Sqrt")
            if epsilon is not None and epsilon > 0.0 and inner is not None:
                return _root(inner.inputs[0], epsilon, context)
        return None
    return _floored(name, context)


def _root(name: str, outside: float, context: Context) -> _Divisor | None:
    """What is under the root: the mean of squares, and an epsilon that may be there."""
    epsilon = 0.0
    total = producer(name, context, "Add")
    if total is not None:
        for one, other in (total.inputs, total.inputs[::-1]):
            value = scalar(other, context)
            if value is not None and value > 0.0:
                name, epsilon = one, value
                break
    mean = producer(name, context, "ReduceMean")
    if mean is None or mean.attributes.get("keepdims", 1) != 1:
        return None
    square = producer(mean.inputs[0], context, "Pow", "Mul")
    if square is None:
        return None
    if square.op == "Pow" and scalar(square.inputs[1], context) != 2.0:
        return None
    if square.op == "Mul" and square.inputs[0] != square.inputs[1]:
        return None
    axes = operands(mean, context)
    if axes is None:
        return None
    inside = inverse_root(epsilon)
    beside = outward(0.0, 1.0 / outside).hi if outside > 0.0 else math.inf
    return _Divisor(square.inputs[0], axes, min(inside, beside), True)


def _floored(name: str, context: Context) -> _Divisor | None:
    floor = producer(name, context, "Clip", "Max")
    if floor is None or len(floor.inputs) < 2:
        return None
    least = scalar(floor.inputs[1], context)
    length = producer(floor.inputs[0], context, "ReduceL2")
    if least is None or not least > 0.0 or length is None:
        return None
    if length.attributes.get("keepdims", 1) != 1 or any(floor.inputs[2:]):
        return None
    axes = operands(length, context)
    if axes is None:
        return None
    return _Divisor(length.inputs[0], axes, outward(0.0, 1.0 / least).hi, False)


def _same_values(one: str, other: str, context: Context) -> str | None:
    """The name, if both are the same value; a centring may have been computed twice."""
    one, other = plain(one, context), plain(other, context)
    if one == other:
        return one
    first, second = producer(one, context, "Sub"), producer(other, context, "Sub")
    if first is None or second is None:
        return None
    if plain(first.inputs[0], context) != plain(second.inputs[0], context):
        return None
    means = [producer(sub.inputs[1], context, "ReduceMean") for sub in (first, second)]
    if means[0] is None or means[1] is None:
        return None
    same = plain(means[0].inputs[0], context) == plain(means[1].inputs[0], context)
    return one if same and operands(means[0], context) == operands(means[1], context) else None


def _centred(name: str, axes: tuple[int, ...], context: Context) -> str | None:
    """The x of ``x - mean(x)`` over the same axes."""
    minus = producer(name, context, "Sub")
    if minus is None:
        return None
    mean = producer(minus.inputs[1], context, "ReduceMean")
    x = plain(minus.inputs[0], context)
    if mean is None or mean.attributes.get("keepdims", 1) != 1:
        return None
    same = plain(mean.inputs[0], context) == x and operands(mean, context) == axes
    return x if same else None


def _values(context: Context, x: str, divisor: _Divisor) -> Facts:
    shape = context.resolved.shape(x)
    if shape is None:
        return Facts()
    sizes = [shape[axis] for axis in divisor.axes]
    count = 1
    for size in sizes:
        if not isinstance(size, int):
            return Facts()
        count *= size
    length = ranges.root(count) if divisor.mean else 1.0
    last = divisor.axes == (len(shape) - 1,)
    return Facts(-length, length, {-1: length} if last else {})
