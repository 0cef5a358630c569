"""Elementwise functions of one variable: the constant is the largest slope, exactly."""

import math
from collections.abc import Callable

from specaudit.bracket import ONE, ZERO, Magnitude, round_up
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, gated
from specaudit.lipschitz.ranges import Facts, monotone, outward, shrunk
from specaudit.lipschitz.rules import (
    DISCONTINUOUS,
    Effect,
    Gain,
    Infinite,
    Missing,
    magnitude,
    root,
    rule,
    unary,
)
from specaudit.model import Node

# Largest slopes, each the next binary64 number above the real one; the tests derive them to
# 40 digits. The slopes of GELU and SiLU peak at sqrt(2) and at the root of 2 = x tanh(x/2).
GELU_ERF = 1.128904145185155
GELU_TANH = 1.128993068658772
SILU = 1.099839320128867
MISH = 1.088498161251728
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
_ERF_SLOPE = 1.1283791670955128

_REALS = Facts()
_POSITIVE = Facts(0.0, math.inf)
_SIGNED_UNIT = Facts(-1.0, 1.0)
_UNIT = Facts(0.0, 1.0)


@rule("Relu")
def relu(node: Node, context: Context) -> Effect:
    """1; exact."""
    known = context.facts(node.inputs[0])
    return unary(ONE, shrunk(known, max(known.lo, 0.0), max(known.hi, 0.0)))


@rule("Abs")
def absolute(node: Node, context: Context) -> Effect:
    """1; exact."""
    known = context.facts(node.inputs[0])
    lo = max(known.lo, -known.hi, 0.0)
    return unary(ONE, shrunk(known, lo, max(known.hi, -known.lo)))


@rule("Neg")
def negative(node: Node, context: Context) -> Effect:
    """1; exact."""
    return unary(ONE, ranges.negate(context.facts(node.inputs[0])))


_UNIT_SLOPE: dict[str, tuple[Callable[[float], float], Facts]] = {
    "Tanh": (math.tanh, _SIGNED_UNIT),
    "Atan": (math.atan, Facts(-1.5707963267948968, 1.5707963267948968)),
    "Asinh": (math.asinh, _REALS),
    "Softsign": (lambda x: x / (1.0 + abs(x)), _SIGNED_UNIT),
}


@rule(*_UNIT_SLOPE)
def unit_slope(node: Node, context: Context) -> Effect:
    """1, the slope at 0; odd functions that nowhere exceed the identity."""
    function, limit = _UNIT_SLOPE[node.op]
    known = context.facts(node.inputs[0])
    image = monotone(function, known, limit)
    return unary(ONE, shrunk(known, image.lo, image.hi))


@rule("Softplus")
def softplus(node: Node, context: Context) -> Effect:
    """1, the slope at infinity."""
    known = context.facts(node.inputs[0])
    return unary(ONE, monotone(_softplus, known, _POSITIVE))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@rule("Sin", "Cos")
def wave(node: Node, context: Context) -> Effect:
    """1; exact."""
    return unary(ONE, _SIGNED_UNIT)


@rule("Sigmoid")
def sigmoid(node: Node, context: Context) -> Effect:
    """1/4, the slope at 0."""
    return unary(Magnitude.of(0.25), monotone(logistic, context.facts(node.inputs[0]), _UNIT))


def logistic(x: float) -> float:
    """The sigmoid, without overflow."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


@rule("HardSigmoid")
def hard_sigmoid(node: Node, context: Context) -> Effect:
    """``|alpha|``; exact."""
    alpha = attribute(node, "alpha", 0.2)
    return unary(magnitude(abs(alpha)), _UNIT)


@rule("Erf")
def error_function(node: Node, context: Context) -> Effect:
    """``2/sqrt(pi)``, the slope at 0."""
    known = context.facts(node.inputs[0])
    return unary(Magnitude.of(_ERF_SLOPE), monotone(math.erf, known, _SIGNED_UNIT))


@rule("LeakyRelu")
def leaky_relu(node: Node, context: Context) -> Effect:
    """``max(1, |alpha|)``; files hold alphas above 1 and below 0."""
    alpha = attribute(node, "alpha", 0.01)
    gain = max(1.0, abs(alpha))
    return unary(magnitude(gain), ranges.scale(context.facts(node.inputs[0]), gain))


@rule("PRelu")
def prelu(node: Node, context: Context) -> Effect:
    """``max(1, max |slope|)``; the slope itself as an activation is a product."""
    slope = context.facts(node.inputs[1]).magnitude
    size = context.facts(node.inputs[0]).magnitude
    gain = max(1.0, slope)
    copies = context.repeated(node.inputs[0], node.outputs[0], node.inputs[1:])
    gains: dict[int, Gain] = {0: gated(copies * magnitude(gain), _unbounded(node, 1))}
    if context.live(node.inputs[1]):
        repeats = context.repeated(node.inputs[1], node.outputs[0], node.inputs[:1])
        gains[1] = gated(repeats * magnitude(size), _unbounded(node, 0))
    return Effect(gains, facts=ranges.scale(Facts(-size, size), gain))


def _unbounded(node: Node, index: int) -> Infinite:
    name = node.inputs[index]
    return Infinite("B", f"product of two activations, of which {name} is not known to be bounded")


@rule("Elu")
def elu(node: Node, context: Context) -> Effect:
    """``max(1, |alpha|)``: the slope at 0 from the left is alpha."""
    alpha = attribute(node, "alpha", 1.0)
    known = context.facts(node.inputs[0])
    gain = max(1.0, abs(alpha))
    facts = ranges.scale(known, gain)
    lo, hi = min(0.0, -alpha), max(known.hi, 0.0, -alpha)
    return unary(magnitude(gain), shrunk(facts, max(facts.lo, lo), min(facts.hi, hi)))


@rule("Celu")
def celu(node: Node, context: Context) -> Effect:
    """1 for a positive alpha; for a negative one the slope is not bounded."""
    alpha = attribute(node, "alpha", 1.0)
    if not alpha > 0.0:
        return unary(Infinite("G", f"Celu with alpha {alpha} has an unbounded slope"))
    known = context.facts(node.inputs[0])
    return unary(ONE, shrunk(known, max(known.lo, -alpha), max(known.hi, 0.0)))


@rule("Selu")
def selu(node: Node, context: Context) -> Effect:
    """``|gamma| max(1, |alpha|)``: the slope at 0 from the left is the larger one."""
    alpha, gamma = attribute(node, "alpha", SELU_ALPHA), attribute(node, "gamma", SELU_GAMMA)
    gain = round_up(abs(gamma) * max(1.0, abs(alpha)))
    return unary(magnitude(gain), ranges.scale(context.facts(node.inputs[0]), gain))


@rule("Gelu")
def gelu(node: Node, context: Context) -> Effect:
    """Exact; the tanh form is another function, with another constant."""
    tanh = attribute(node, "approximate", "none") == "tanh"
    return gelu_effect(context.facts(node.inputs[0]), tanh=tanh)


def gelu_effect(known: Facts, *, tanh: bool) -> Effect:
    """Either form of GELU; its values lie between ``-0.17004`` and ``max(x, 0)``."""
    gain = GELU_TANH if tanh else GELU_ERF
    return unary(Magnitude.of(gain), between(known, -0.1701))


def between(known: Facts, floor: float) -> Facts:
    """Values of a gate ``x g(x)`` with g in [0, 1]: no larger than x, and above `floor`."""
    lo = max(floor, min(known.lo, 0.0))
    return shrunk(known, lo, max(known.hi, 0.0))


@rule("Swish")
def swish(node: Node, context: Context) -> Effect:
    """Does not depend on alpha, ``f_a(x) = f(a x)/a``; 1/2 where alpha is 0."""
    return swish_effect(context.facts(node.inputs[0]), attribute(node, "alpha", 1.0))


def swish_effect(known: Facts, alpha: float) -> Effect:
    """``x sigmoid(alpha x)``; its least value is ``-0.27847/alpha``."""
    if alpha == 0.0:
        return unary(Magnitude.of(0.5), ranges.scale(known, 0.5))
    if alpha < 0.0:
        return unary(Magnitude.of(SILU), ranges.scale(known, 1.0))
    return unary(Magnitude.of(SILU), between(known, round_down_negative(-0.27847 / alpha)))


def round_down_negative(value: float) -> float:
    """The next number below."""
    return math.nextafter(value, -math.inf)


@rule("Mish")
def mish(node: Node, context: Context) -> Effect:
    """Exact; the least value is above -0.30885."""
    return mish_effect(context.facts(node.inputs[0]))


def mish_effect(known: Facts) -> Effect:
    """``x tanh(softplus(x))``."""
    return unary(Magnitude.of(MISH), between(known, -0.30885))


@rule("HardSwish")
def hard_swish(node: Node, context: Context) -> Effect:
    """3/2, the slope ``(2x + 3)/6`` on the way to 3, and not 1 as is often assumed."""
    return hard_swish_effect(context.facts(node.inputs[0]))


def hard_swish_effect(known: Facts) -> Effect:
    """``x max(0, min(1, x/6 + 1/2))``; its least value is -3/8."""
    return unary(Magnitude.of(1.5), between(known, -0.375))


@rule("Clip")
def clip(node: Node, context: Context) -> Effect:
    """1, or 0 where there is nothing between the ends."""
    known = context.facts(node.inputs[0])
    lo, hi = _ends(node, context)
    # Where both ends are activations, the upper one has the last word, wherever it is.
    least = context.facts(node.inputs[2]).lo if len(node.inputs) > 2 and node.inputs[2] else hi
    inside = Facts(min(max(known.lo, lo), least), min(known.hi, hi))
    facts = inside if inside.lo <= inside.hi else Facts(min(lo, hi), hi)
    gains: dict[int, Gain] = {0: ZERO if lo >= hi else ONE}
    for index, name in enumerate(node.inputs[1:], 1):
        if context.live(name):
            gains[index] = root(context.copies(name, node.outputs[0]))
    # Each output element is one of the three, so their squares add.
    return Effect(gains, joint=True, facts=facts)


def _ends(node: Node, context: Context) -> tuple[float, float]:
    ends = [attribute(node, "min", -math.inf), attribute(node, "max", math.inf)]
    for index in (1, 2):
        if len(node.inputs) > index and node.inputs[index]:
            known = context.facts(node.inputs[index])
            ends[index - 1] = known.lo if index == 1 else known.hi
    return ends[0], ends[1]


@rule("ThresholdedRelu")
def thresholded_relu(node: Node, context: Context) -> Effect:
    """1 where the threshold is 0; else a jump of its height."""
    alpha = attribute(node, "alpha", 1.0)
    known = context.facts(node.inputs[0])
    if alpha == 0.0:
        return unary(ONE, shrunk(known, max(known.lo, 0.0), max(known.hi, 0.0)))
    return unary(Infinite("D", f"jumps by {abs(alpha)} at its threshold"))


@rule("Shrink")
def shrink(node: Node, context: Context) -> Effect:
    """1 for the soft form, bias = lambda >= 0; ONNX's default is the hard one, which jumps."""
    lambd, bias = attribute(node, "lambd", 0.5), attribute(node, "bias", 0.0)
    if bias == lambd and lambd >= 0.0:
        return unary(ONE, ranges.scale(context.facts(node.inputs[0]), 1.0))
    return unary(Infinite("D", f"jumps at ±{lambd}: bias {bias} is not lambda"))


@rule("Hardmax", "Sign", "Floor", "Ceil", "Round")
def jump(node: Node, context: Context) -> Effect:
    """Not continuous."""
    if node.op == "Hardmax":
        return unary(DISCONTINUOUS, _UNIT)
    known = context.facts(node.inputs[0])
    if node.op == "Sign":
        return unary(DISCONTINUOUS, _SIGNED_UNIT)
    return unary(DISCONTINUOUS, outward(_whole(known.lo, -1), _whole(known.hi, 1)))


def _whole(value: float, step: int) -> float:
    return value if math.isinf(value) else math.floor(value) + step


@rule("Exp", "Sinh", "Cosh")
def exponential(node: Node, context: Context) -> Effect:
    """Unbounded slope, unless the input is bounded: the slope at the far end."""
    known = context.facts(node.inputs[0])
    if node.op == "Exp":
        image = monotone(math.exp, known, _POSITIVE)
        return unary(_steep(node, image.hi, "above"), image)
    size = known.magnitude
    if size > 700.0:
        return unary(_steep(node, math.inf, ""))
    cosh, sinh = outward(0.0, math.cosh(size)).hi, outward(0.0, math.sinh(size)).hi
    if node.op == "Sinh":
        return unary(Magnitude.of(cosh), Facts(-sinh, sinh))
    return unary(Magnitude.of(sinh), Facts(1.0, cosh))


def _steep(node: Node, slope: float, where: str) -> Gain:
    words = f"the slope of {node.op} grows without bound; nothing bounds its input {where}"
    return gated(Magnitude.of(slope), Infinite("G", words.strip()))


@rule("Log", "Sqrt", "Reciprocal", "Acosh")
def steep_at_an_end(node: Node, context: Context) -> Effect:
    """Unbounded slope at 0 (at 1 for Acosh), unless the input stays away from it."""
    known = context.facts(node.inputs[0])
    lo = known.lo
    edge = 1.0 if node.op == "Acosh" else 0.0
    if node.op == "Reciprocal" and known.hi < 0.0:
        lo = -known.hi
    if not lo > edge:
        facts = _POSITIVE if node.op in ("Sqrt", "Acosh") else ranges.UNKNOWN
        if node.op == "Sqrt" and known.hi < math.inf:
            facts = Facts(0.0, ranges.root(max(known.hi, 0.0)))
        words = f"the slope of {node.op} is unbounded at {edge:g}; nothing keeps its input away"
        return unary(Infinite("G", words), facts)
    slope, function, increasing = _away(node.op, lo)
    if node.op == "Reciprocal" and known.hi < 0.0:
        image = outward(1.0 / known.hi, 1.0 / known.lo)
    elif increasing:
        image = monotone(function, known, ranges.UNKNOWN)
    else:
        image = outward(1.0 / known.hi, 1.0 / known.lo)
    return unary(magnitude(outward(0.0, slope).hi), image)


def _away(op: str, lo: float) -> tuple[float, Callable[[float], float], bool]:
    match op:
        case "Log":
            return 1.0 / lo, math.log, True
        case "Sqrt":
            return 0.5 / math.sqrt(lo), math.sqrt, True
        case "Acosh":
            gap = math.nextafter((lo - 1.0) * (lo + 1.0) * (1.0 - 2.0**-50), 0.0)
            if not gap > 0.0:
                raise Missing("the input of Acosh comes too close to 1")
            return 1.0 / math.sqrt(gap), math.acosh, True
        case _:
            return 1.0 / lo / lo, math.sqrt, False


@rule("Asin", "Acos", "Atanh")
def steep_at_one(node: Node, context: Context) -> Effect:
    """Unbounded slope at -1 and 1, unless the input stays away from them."""
    size = context.facts(node.inputs[0]).magnitude
    facts = Facts(-1.5707963267948968, 3.1415926535897936)
    gap = (1.0 - size) * (1.0 + size) * (1.0 - 2.0**-50)
    if not gap > 0.0 or not size < 1.0:
        words = f"the slope of {node.op} is unbounded at ±1; nothing keeps its input away"
        return unary(Infinite("G", words), ranges.UNKNOWN if node.op == "Atanh" else facts)
    if node.op == "Atanh":
        far = outward(0.0, math.atanh(size)).hi
        return unary(magnitude(outward(0.0, 1.0 / gap).hi), Facts(-far, far))
    return unary(magnitude(outward(0.0, 1.0 / math.sqrt(gap)).hi), facts)


@rule("Tan")
def tangent(node: Node, context: Context) -> Effect:
    """Unbounded slope, unless the input stays within a quarter turn."""
    size = context.facts(node.inputs[0]).magnitude
    if not size < 1.57:
        words = "the slope of Tan is unbounded at a quarter turn; nothing keeps its input away"
        return unary(Infinite("G", words))
    far = outward(0.0, math.tan(size), 8).hi
    return unary(magnitude(outward(0.0, 1.0 + far * far, 8).hi), Facts(-far, far))
