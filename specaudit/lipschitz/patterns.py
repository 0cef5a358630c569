"""What exporters spell out, recognised before the rules of the single operations.

Taken one by one, ``x sigmoid(x)`` is a product of two activations and a layer norm divides
by one: the constants of the whole are finite where those of the parts are not.
"""

import math
from collections.abc import Callable, Iterator

from specaudit.bracket import ONE, Magnitude
from specaudit.lipschitz import activations, ranges
from specaudit.lipschitz.attention_pattern import attention
from specaudit.lipschitz.context import Context, single
from specaudit.lipschitz.normalization_pattern import normalization
from specaudit.lipschitz.reading import (
    affine,
    affine_step,
    plain,
    polynomial,
    producer,
    row_statistic,
    scalar,
    square_of,
    stands_beside,
)
from specaudit.lipschitz.rules import Effect, magnitude, unary
from specaudit.lipschitz.trace import Match, Pattern
from specaudit.model import Node

# What x^3 weighs against x in the tanh form of GELU, after scaling x: 0.044715 pi/2.
_GELU_CUBIC = 0.0702381577526338


def gate(node: Node, context: Context) -> Match | None:
    """``x g(x)``: SiLU, GELU in both forms, Mish, HardSwish."""
    if node.op != "Mul" or len(node.inputs) != 2:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        for reader in (_silu, _mish, _clipped, _gelu):
            found = reader(plain(one, context), other, context)
            if found is not None:
                return found
    return None


def _silu(x: str, gated: str, context: Context) -> Match | None:
    sigmoid = producer(gated, context, "Sigmoid")
    if sigmoid is None:
        return None
    base, alpha, shift = affine(sigmoid.inputs[0], context, x)
    if base != x or shift != 0.0:
        return None
    return Match("SiLU", (x,), lambda c: activations.swish_effect(c.facts(x), alpha))


def _mish(x: str, gated: str, context: Context) -> Match | None:
    tanh = producer(gated, context, "Tanh")
    inner = producer(tanh.inputs[0], context, "Softplus") if tanh else None
    if inner is None or plain(inner.inputs[0], context) != x:
        return None
    return Match("Mish", (x,), lambda c: activations.mish_effect(c.facts(x)))


def _clipped(x: str, gated: str, context: Context) -> Match | None:
    """``x (s clip(a x + b, lo, hi) + t)``: its slopes are linear between the two kinks."""
    base, scale, shift = affine(gated, context)
    clip = producer(base, context, "Clip", "HardSigmoid")
    if clip is None:
        return None
    if clip.op == "Clip":
        source, slope, offset = affine(clip.inputs[0], context, x)
        lo, hi = _clip_ends(clip, context)
    else:
        source, (lo, hi) = plain(clip.inputs[0], context), (0.0, 1.0)
        slope = _number(clip, "alpha", 0.2)
        offset = _number(clip, "beta", 0.5)
    if source != x or slope == 0.0 or not (math.isfinite(lo) and math.isfinite(hi) and lo <= hi):
        return None
    lost = 2.0**-48 * (abs(scale) * (2.0 * max(-lo, hi) + abs(offset)) + abs(shift))
    inside = [scale * (2.0 * u - offset) + shift for u in (lo, hi)]
    outside = [scale * u + shift for u in (lo, hi)]
    slopes = max(abs(value) for value in (*inside, *outside)) + lost
    factor = ranges.Facts(min(outside) - lost, max(outside) + lost)
    least = ranges.UNKNOWN
    if shift == lo == 0.0 and scale > 0.0 and slope > 0.0:
        # Where the clip is open its parabola's vertex, elsewhere above the parabola or 0.
        least = ranges.outward(-scale * offset * offset / (4.0 * slope), math.inf, 16)
    return Match(
        "HardSwish",
        (x,),
        lambda c: unary(magnitude(slopes), ranges.meet(ranges.multiply(c.facts(x), factor), least)),
    )


def _number(node: Node, name: str, default: float) -> float:
    value = node.attributes.get(name, default)
    return single(float(value)) if isinstance(value, int | float) else math.nan


def _clip_ends(clip: Node, context: Context) -> tuple[float, float]:
    ends = [_number(clip, "min", -math.inf), _number(clip, "max", math.inf)]
    for index in (1, 2):
        if len(clip.inputs) > index and clip.inputs[index]:
            value = scalar(clip.inputs[index], context)
            ends[index - 1] = math.nan if value is None else value
    return ends[0], ends[1]


def _gelu(one: str, other: str, context: Context) -> Match | None:
    """``x (1 + erf(a x))`` whatever a: scaling x and the value alike leaves slopes alone."""
    base, scale, shift = affine(other, context)
    curve = producer(base, context, "Erf", "Tanh")
    if curve is None or scale != shift or scale == 0.0:
        return None
    node = context.resolved.producer(one)
    step = affine_step(node, context) if node is not None and not node.domain else None
    scaled = [(plain(step[0], context), step[1])] if step and step[2] == 0.0 else []
    for x, outer in [(one, 1.0), *scaled]:
        slope = _curve_slope(curve, x, context)
        if slope is not None:
            factor = 2.0 * abs(outer * scale) * (1.0 + 2.0**-50)
            name = f"Gelu ({curve.op.lower()})"
            return Match(name, (x,), _scaled_gelu(x, slope, factor))
    return None


def _scaled_gelu(x: str, slope: float, factor: float) -> Callable[[Context], Effect]:
    gain = magnitude(slope) * magnitude(factor)
    return lambda context: Effect({0: gain}, facts=ranges.scale(context.facts(x), factor))


def _curve_slope(curve: Node, x: str, context: Context) -> float | None:
    """The largest slope of ``x (1 + curve) / 2``, if the curve has the argument it must have."""
    if curve.op == "Erf":
        inner, factor, constant = affine(curve.inputs[0], context, x)
        fits = inner == x and constant == 0.0 and factor != 0.0
        return activations.GELU_ERF if fits else None
    weight = _cubic_weight(curve.inputs[0], x, context)
    if weight is None or abs(weight - _GELU_CUBIC) > 1e-4:
        return None
    # The largest slope moves by less than 5 times what this weight moves.
    return activations.GELU_TANH + 5.0 * abs(weight - _GELU_CUBIC) + 1e-15


def _cubic_weight(name: str, x: str, context: Context) -> float | None:
    """k/s^2 where the value is ``s (x + k x^3)``, in any of the ways that is written."""
    terms = polynomial(name, x, context)
    if terms is None or not terms.get(1):
        return None
    if any(value for degree, value in terms.items() if degree not in (1, 3)):
        return None
    return terms.get(3, 0.0) / terms[1] ** 3


_BOTH = Effect({0: ONE, 1: ONE}, joint=True, facts=ranges.Facts(-1.0, 1.0))


def tanh_sigmoid(node: Node, context: Context) -> Match | None:
    """``tanh(a) sigmoid(b)``: the gradient in both is at most 1.

    With t = tanh a and s = sigmoid b its square is ``s^2 ((1 - t^2)^2 + t^2 (1 - s)^2)``,
    convex in t^2, and at most 1 where t^2 is 0 or 1.
    """
    if node.op != "Mul" or len(node.inputs) != 2:
        return None
    shapes = [context.resolved.shape(name) for name in node.inputs]
    if shapes[0] is None or shapes[0] != shapes[1] or None in shapes[0]:
        return None
    for one, other in (node.inputs, node.inputs[::-1]):
        tanh, sigmoid = producer(one, context, "Tanh"), producer(other, context, "Sigmoid")
        if tanh is not None and sigmoid is not None:
            inputs = (tanh.inputs[0], sigmoid.inputs[0])
            return Match("tanh x sigmoid", inputs, lambda c: _BOTH)
    return None


def leaky(node: Node, context: Context) -> Match | None:
    """``max(x, a x)`` and ``where(x > 0, x, a x)``: slopes 1 and a."""
    if node.op == "Max" and len(node.inputs) == 2:
        return next(
            (_two_slopes(a, b, context) for a, b in _both(node) if _two_slopes(a, b, context)),
            None,
        )
    if node.op != "Where":
        return None
    test = producer(node.inputs[0], context, "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    if test is None or scalar(test.inputs[1], context) != 0.0:
        return None
    for a, b in (node.inputs[1:], node.inputs[:0:-1]):
        found = _two_slopes(a, b, context)
        if found is not None and found.inputs[0] == plain(test.inputs[0], context):
            return found
    return None


def _both(node: Node) -> Iterator[tuple[str, str]]:
    yield node.inputs[0], node.inputs[1]
    yield node.inputs[1], node.inputs[0]


def _two_slopes(one: str, other: str, context: Context) -> Match | None:
    """Two branches that are multiples of the same x, by scalars."""
    x = plain(one, context)
    base, slope, shift = affine(other, context, x)
    if base != x or shift != 0.0:
        return None
    size = max(1.0, abs(slope))
    return Match(
        "LeakyRelu", (x,), lambda c: unary(magnitude(size), ranges.scale(c.facts(x), size))
    )


def softplus(node: Node, context: Context) -> Match | None:
    """``log(1 + exp(x))``."""
    if node.op != "Log":
        return None
    total = producer(node.inputs[0], context, "Add")
    for one, other in _both(total) if total is not None else ():
        power = producer(other, context, "Exp")
        if power is not None and scalar(one, context) == 1.0:
            x = power.inputs[0]
            return Match("Softplus", (x,), lambda c: unary(ONE, ranges.Facts(0.0)))
    return None


def softmax(node: Node, context: Context) -> Match | None:
    """``exp(x - c) / sum``: whatever is taken off a whole row first changes nothing."""
    if node.op != "Div":
        return None
    power = producer(node.inputs[0], context, "Exp")
    total = row_statistic(node.inputs[1], context, "ReduceSum")
    if power is None or total is None or power.outputs[0] != plain(total.base, context):
        return None
    if total.factor != 1.0:
        return None
    x = plain(power.inputs[0], context)
    moved = producer(x, context, "Sub")
    if moved is not None:
        spread = producer(moved.inputs[1], context, "Expand")
        taken = spread.inputs[0] if spread is not None else moved.inputs[1]
        if stands_beside(taken, moved.inputs[0], total.axes, context):
            x = plain(moved.inputs[0], context)
    return Match("Softmax", (x,), lambda c: unary(Magnitude.of(0.5), ranges.Facts(0.0, 1.0)))


def magnitude_of_two(node: Node, context: Context) -> Match | None:
    """``sqrt(a^2 + b^2)``, as of the parts of a spectrum: a norm, so 1 in both together."""
    total = _under_root(node, context)
    add = producer(total, context, "Add") if total else None
    if add is None:
        return None
    a, b = (square_of(name, context) for name in add.inputs)
    if a is None or b is None:
        return None
    shapes = [context.resolved.shape(name) for name in (a, b)]
    if shapes[0] is None or shapes[0] != shapes[1] or None in shapes[0]:
        return None
    return Match("magnitude", (a, b), lambda c: Effect({0: ONE, 1: ONE}, joint=True))


def euclidean(node: Node, context: Context) -> Match | None:
    """``sqrt(sum(x^2) + eps)``: a norm, with or without the epsilon."""
    total = _under_root(node, context)
    if total is None:
        return None
    base, scale, shift = affine(total, context)
    reduce = producer(base, context, "ReduceSum", "ReduceSumSquare")
    if reduce is None or scale != 1.0 or shift < 0.0:
        return None
    if reduce.op == "ReduceSumSquare":
        x = plain(reduce.inputs[0], context)
    else:
        square = square_of(reduce.inputs[0], context)
        if square is None:
            return None
        x = square
    return Match("l2 norm", (x,), lambda c: unary(ONE, ranges.Facts(0.0)))


def _under_root(node: Node, context: Context) -> str | None:
    if node.op == "Sqrt":
        return node.inputs[0]
    half = node.op == "Pow" and scalar(node.inputs[1], context) == 0.5
    return node.inputs[0] if half else None


def padded(node: Node, context: Context) -> Match | None:
    """A convolution whose layer takes in the reflected, repeated or wrapped padding before it."""
    layer = context.layer(node, "convolution")
    if node.op != "Conv" or layer is None or layer.geometry is None:
        return None
    if layer.geometry.padding_mode == "constant":
        return None
    before = producer(node.inputs[0], context, "Pad")
    if before is None or before.attributes.get("mode") != layer.geometry.padding_mode:
        return None
    x = before.inputs[0]
    return Match("padded convolution", (x,), lambda c: unary(c.norm(layer)))


ALL: tuple[Pattern, ...] = (
    gate,
    tanh_sigmoid,
    leaky,
    softplus,
    softmax,
    normalization,
    magnitude_of_two,
    euclidean,
    padded,
    attention,
)
