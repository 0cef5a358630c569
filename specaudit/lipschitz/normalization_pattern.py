"""Layer norms, RMS norms and l2 normalisation as exporters spell them out."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.normalization import inverse_root
from specaudit.lipschitz.ranges import Facts, outward
from specaudit.lipschitz.reading import (
    operands,
    plain,
    producer,
    row_statistic,
    scalar,
    square_of,
    stands_beside,
)
from specaudit.lipschitz.rules import Effect, magnitude, unary
from specaudit.lipschitz.trace import Match
from specaudit.model import Node


@dataclass(frozen=True, slots=True)
class _Divisor:
    """``sqrt(mean(x^2) + inside) + outside``, or ``max(|x|, floor)``; `centred` for a variance."""

    base: str
    axes: tuple[int, ...]
    slope: float
    mean: bool
    centred: bool = False


def normalization(node: Node, context: Context) -> Match | None:
    """``x / sqrt(mean(x^2) + eps)``, ``x`` centred or not; ``x / max(|x|, eps)``.

    Notes
    -----
    With s the root mean square, the Jacobian is ``(I - x x^T/(n (s^2 + eps)))/sqrt(s^2 + eps)``,
    between 0 and ``1/sqrt(eps)``; it commutes with the centring, whose norm is 1. With epsilon
    added to s itself the same holds with ``1/eps``. A constant factor multiplies that.
    """
    for top, divisor, factor in _quotients(node, context):
        if divisor is None or divisor.slope == math.inf:
            continue
        x, centred = _numerator(top, divisor, context)
        if x is None:
            continue
        name = "LayerNorm" if centred else "RMSNorm" if divisor.mean else "L2 normalisation"
        return Match(name, (x,), _effect(x, divisor, factor))
    return None


def _effect(x: str, divisor: _Divisor, factor: float) -> Callable[[Context], Effect]:
    gain = magnitude(ranges.times(divisor.slope, factor))
    return lambda context: unary(gain, ranges.scale(_values(context, x, divisor), factor))


def _numerator(top: str, divisor: _Divisor, context: Context) -> tuple[str | None, bool]:
    """What is normalised, if the numerator is what the divisor was computed from."""
    top = plain(top, context)
    if divisor.centred:
        x = _centred(top, divisor.axes, context)
        return (x, True) if x == plain(divisor.base, context) else (None, False)
    base = plain(divisor.base, context)
    x = _centred(top, divisor.axes, context) if divisor.mean else None
    if top != base and (x is None or x != _centred(base, divisor.axes, context)):
        return None, False
    return (x, True) if x is not None else (top, False)


_Quotient = tuple[str, _Divisor | None, float]


def _quotients(node: Node, context: Context) -> list[_Quotient]:
    """The numerator and the divisor of a division, or of a product with an inverse."""
    if node.op == "Div":
        return [(node.inputs[0], _divisor(node.inputs[1], context), 1.0)]
    if node.op != "Mul" or len(node.inputs) != 2:
        return []
    found: list[_Quotient] = []
    for top, other in (node.inputs, node.inputs[::-1]):
        found += [(top, divisor, factor) for divisor, factor in _inverses(other, context)]
    return found


def _inverses(name: str, context: Context) -> list[tuple[_Divisor | None, float]]:
    """One over a divisor, times a constant scale where one has been multiplied in before."""
    inverse = producer(name, context, "Reciprocal", "Pow", "Div", "Mul", "Expand")
    if inverse is None:
        return []
    match inverse.op:
        case "Expand":
            return _inverses(inverse.inputs[0], context)
        case "Reciprocal":
            return [(_divisor(inverse.inputs[0], context), 1.0)]
        case "Div" if scalar(inverse.inputs[0], context) == 1.0:
            return [(_divisor(inverse.inputs[1], context), 1.0)]
        case "Pow" if scalar(inverse.inputs[1], context) == -0.5:
            return [(_root(inverse.inputs[0], 0.0, context), 1.0)]
        case "Mul":
            for one, other in (inverse.inputs, inverse.inputs[::-1]):
                if context.resolved.is_constant(other):
                    size = context.facts(other).magnitude
                    pairs = _inverses(one, context)
                    return [(divisor, ranges.times(factor, size)) for divisor, factor in pairs]
    return []


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
    """What is under the root: the mean of squares or a variance, and perhaps an epsilon."""
    epsilon = 0.0
    total = producer(name, context, "Add")
    if total is not None:
        for one, other in (total.inputs, total.inputs[::-1]):
            value = scalar(other, context)
            if value is not None and value > 0.0:
                name, epsilon = one, value
                break
    inside = inverse_root(epsilon)
    beside = outward(0.0, 1.0 / outside).hi if outside > 0.0 else math.inf
    slope = min(inside, beside)
    mean = _mean_square(name, context)
    if mean is not None:
        return _Divisor(mean[0], mean[1], slope, True)
    variance = _variance(name, context)
    return None if variance is None else _Divisor(variance[0], variance[1], slope, True, True)


def _mean_square(
    name: str, context: Context, aligned: bool = True
) -> tuple[str, tuple[int, ...]] | None:
    """The x and the axes of ``mean(x^2)``."""
    mean = _mean(name, context, aligned)
    x = square_of(mean[0], context) if mean is not None else None
    return None if mean is None or x is None else (x, mean[1])


def _mean(name: str, context: Context, aligned: bool = True) -> tuple[str, tuple[int, ...]] | None:
    """The operand and the axes of a mean, or of a sum times exactly one over their size."""
    found = row_statistic(name, context, "ReduceMean", aligned=aligned)
    if found is not None and found.factor == 1.0:
        return plain(found.base, context), found.axes
    found = row_statistic(name, context, "ReduceSum", aligned=aligned)
    shape = context.resolved.shape(found.base) if found is not None else None
    if found is None or shape is None:
        return None
    sizes = [shape[axis] for axis in found.axes]
    count = math.prod(size if isinstance(size, int) else 0 for size in sizes)
    return (plain(found.base, context), found.axes) if count * found.factor == 1.0 else None


def _variance(name: str, context: Context) -> tuple[str, tuple[int, ...]] | None:
    """``mean(x^2) - mean(x)^2``, perhaps kept from falling below 0 by a maximum or a clip."""
    if (spread := producer(name, context, "Expand")) is not None:
        name = spread.inputs[0]
    beside = plain(name, context)
    if (moved := producer(name, context, "Reshape", "Unsqueeze")) is not None:
        name = moved.inputs[0]
    floor = producer(name, context, "Max", "Clip", "Relu")
    if floor is not None:
        below = [other for other in floor.inputs if scalar(other, context) == 0.0]
        moving = [other for other in floor.inputs if other and scalar(other, context) is None]
        if len(moving) != 1 or (floor.op == "Max" and not below):
            return None
        if floor.op == "Clip" and (any(floor.inputs[2:]) or "max" in floor.attributes):
            return None  # a variance with a ceiling leaves the values unbounded
        name = moving[0]
    minus = producer(name, context, "Sub")
    inner = square_of(minus.inputs[1], context) if minus is not None else None
    if minus is None or inner is None:
        return None
    first, second = _mean_square(minus.inputs[0], context, False), _mean(inner, context, False)
    if first is None or first != second:
        return None
    return first if stands_beside(beside, first[0], first[1], context) else None


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


def _centred(name: str, axes: tuple[int, ...], context: Context) -> str | None:
    """The x of ``x - mean(x)`` over the same axes."""
    minus = producer(name, context, "Sub")
    if minus is None:
        return None
    mean, x = _mean(minus.inputs[1], context), plain(minus.inputs[0], context)
    return x if mean == (x, axes) else None


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
