"""Sums, means, maxima and norms over axes; sorting; cumulative sums."""

import math

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, gated, integers
from specaudit.lipschitz.pooling import mean_over
from specaudit.lipschitz.ranges import UNKNOWN, Facts, outward
from specaudit.lipschitz.rules import (
    DISCONTINUOUS,
    Effect,
    Infinite,
    Missing,
    constant,
    everywhere,
    magnitude,
    root,
    rule,
    unary,
)
from specaudit.model import Node


def axes(node: Node, context: Context) -> tuple[int, ...]:
    """The axes that a reduction runs over, from an attribute or an input."""
    given = integers(node, "axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        given = context.integers(node.inputs[1], "the axes")
    rank = context.rank(node.inputs[0])
    if not given:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(dict.fromkeys(axis % rank for axis in given))  # one named twice counts once


def reduced(node: Node, context: Context) -> int:
    """Number of elements that become one."""
    return math.prod(context.size(node.inputs[0], axis) for axis in axes(node, context))


@rule("ReduceSum", "ReduceMean")
def linear_reduction(node: Node, context: Context) -> Effect:
    """``sqrt(n)`` for the sum, ``1/sqrt(n)`` for the mean; exact."""
    known = context.facts(node.inputs[0])
    if node.op == "ReduceMean":
        return mean_over(node, context, lambda: axes(node, context), Facts(known.lo, known.hi))
    count = reduced(node, context)
    size = Facts(float(count), float(count))
    box = ranges.multiply(Facts(known.lo, known.hi), size)
    return unary(root(count), Facts(box.lo, box.hi))


@rule("ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp")
def contraction(node: Node, context: Context) -> Effect:
    """1; exact."""
    known = context.facts(node.inputs[0])
    if node.op in ("ReduceMax", "ReduceMin"):
        return unary(ONE, Facts(known.lo, known.hi))
    if node.op == "ReduceL2":
        return unary(ONE, Facts(0.0, _euclidean(node, context, known)))
    return unary(ONE)


def _euclidean(node: Node, context: Context, known: Facts) -> float:
    try:
        over = axes(node, context)
        rank = context.rank(node.inputs[0])
        if len(over) == 1 and over[0] - rank in known.fibres:
            return known.fibre(over[0] - rank)
        return min(known.norm, ranges.times(ranges.root(reduced(node, context)), known.magnitude))
    except Missing:
        return known.norm


@rule("ReduceL1")
def absolute_sum(node: Node, context: Context) -> Effect:
    """``sqrt(n)``; exact."""
    return unary(root(reduced(node, context)), Facts(0.0))


@rule("ReduceSumSquare", "ReduceProd", "ReduceLogSum", "Det", "CumProd")
def products(node: Node, context: Context) -> Effect:
    """Products and logarithms of activations; a sum of squares has one on a bounded range."""
    if node.op == "ReduceSumSquare":
        size = _euclidean(node, context, context.facts(node.inputs[0]))
        words = f"the sum of squares of {node.inputs[0]}, which is not known to be bounded"
        gain = gated(magnitude(ranges.times(2.0, size)), Infinite("B", words))
        return unary(gain, Facts(0.0, ranges.times(size, size)))
    if node.op == "ReduceLogSum":
        return unary(Infinite("G", "the slope of a logarithm is unbounded at 0"))
    return unary(Infinite("B", f"{node.op} multiplies activations with each other"))


@rule("ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "Unique")
def choose(node: Node, context: Context) -> Effect:
    """Integers that jump."""
    return everywhere(node, DISCONTINUOUS)


@rule("TopK")
def top(node: Node, context: Context) -> tuple[Effect, ...]:
    """1 for the values in order, since sorting does not expand; the indices jump."""
    known = context.facts(node.inputs[0])
    box = Facts(known.lo, known.hi, {}, known.norm)
    if attribute(node, "sorted", 1) != 1:  # onnxruntime takes 7 for no order
        words = "TopK without order may return its values in any order, which jumps"
        return unary(Infinite("D", words), box), unary(DISCONTINUOUS)
    return unary(ONE, box), unary(DISCONTINUOUS)


@rule("CumSum")
def cumulative(node: Node, context: Context) -> Effect:
    """``1 / (2 sin(pi/(4n + 2)))``, the norm of the triangle of ones; exact."""
    rank = context.rank(node.inputs[0])
    axis = context.integers(node.inputs[1], "the axis of CumSum")[0] % rank
    exclusive = attribute(node, "exclusive", 0)
    if exclusive not in (0, 1):
        raise Missing(f"exclusive is {exclusive}, neither 0 nor 1")
    count = context.size(node.inputs[0], axis) - exclusive
    return unary(triangle(count))


def triangle(count: int) -> Magnitude:
    """Norm of the lower triangle of ones (n x n)."""
    if count <= 0:
        return ZERO
    if count == 1:
        return ONE
    # sin(t) >= t - t^3/6 for t > 0, below the library's error for the long ones.
    angle = math.pi / (4 * count + 2)
    least = max(math.sin(angle) * (1.0 - 4 * 2.0**-52), 0.0)
    return magnitude(outward(0.0, 0.5 / least, 4).hi)


@rule("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
def noise(node: Node, context: Context) -> Effect:
    """0: the numbers drawn are held fixed, and that is put on record."""
    context.assume(f"{node.name} draws random numbers, which are held fixed")
    return constant(UNKNOWN, len(node.inputs))


@rule("Bernoulli", "Multinomial")
def draw(node: Node, context: Context) -> Effect:
    """Random, with probabilities that depend on the input."""
    from specaudit.lipschitz.rules import RANDOM

    return everywhere(node, RANDOM, Facts(0.0, 1.0) if node.op == "Bernoulli" else UNKNOWN)


@rule("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix", "ImageDecoder")
@rule("StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer")
def unrelated(node: Node, context: Context) -> Effect:
    """0: made of sizes or of text."""
    if any(context.live(name) for name in node.inputs):
        return everywhere(node, DISCONTINUOUS)
    return constant(UNKNOWN, len(node.inputs))
