"""Normalisations: finite through their epsilon, and bounded whatever comes in."""

import math
from typing import TYPE_CHECKING

from specaudit.bracket import Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, Dimension, attribute, gated, single
from specaudit.lipschitz.ranges import UNKNOWN, Facts, outward
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule, unary
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AT_ZERO = Infinite("G", "the slope at 0 is unbounded: there is no epsilon")


def inverse_root(epsilon: float) -> float:
    """``1/sqrt(epsilon)``, rounded up."""
    if not epsilon > 0.0:
        return math.inf
    return outward(0.0, 1.0 / math.sqrt(epsilon)).hi


@rule("BatchNormalization")
def batch_normalization(node: Node, context: Context) -> Effect | tuple[Effect, ...]:
    """Per channel ``|gamma| / sqrt(var + epsilon)``; exact. In training mode by epsilon alone."""
    import numpy as np

    epsilon = attribute(node, "epsilon", 1e-5)
    gamma = np.abs(context.value(node.inputs[1], "the scale").astype(np.float64))
    if attribute(node, "training_mode", 0):
        gain = magnitude(float(gamma.max())) * magnitude(inverse_root(epsilon))
        words = "running statistics of a normalisation in training mode"
        statistics = unary(Infinite("B", words))
        return (unary(gated(gain, _AT_ZERO)), *(statistics for _ in node.outputs[1:]))
    scale, shift = affine(node, context)
    size = float(np.abs(scale).max()) if scale.size else 0.0
    gain = magnitude(outward(0.0, size, 8).hi)
    known = context.facts(node.inputs[0])
    return unary(gain, _affine_facts(known, scale, shift, offset_parts(node, context)))


def affine(node: Node, context: Context) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Factor and offset of each channel.

    The factor is off by 4 units in the last place at most, the offset by as many of its terms,
    which may cancel.
    """
    import numpy as np

    names = ("the scale", "the bias", "the mean", "the variance")
    gamma, beta, average, variance = (
        context.value(node.inputs[index], what).astype(np.float64)
        for index, what in enumerate(names, 1)
    )
    total = variance + attribute(node, "epsilon", 1e-5)
    if not np.all(total > 0.0):
        raise Missing("a variance plus epsilon is not positive")
    scale = gamma / np.sqrt(total)
    return scale, beta - average * scale


def _affine_facts(
    known: Facts,
    scale: "NDArray[np.float64]",
    shift: "NDArray[np.float64]",
    parts: "NDArray[np.float64]",
) -> Facts:
    import numpy as np

    if not known.is_bounded or not scale.size:
        return UNKNOWN
    size = known.magnitude
    lo, hi = np.array([max(known.lo, -size)]), np.array([min(known.hi, size)])
    bottom, top = affine_images(lo, hi, scale, shift, parts)
    return outward(float(bottom.min()), float(top.max()))


def offset_parts(node: Node, context: Context) -> "NDArray[np.float64]":
    """Sizes of the terms of each channel's offset, which rounding is relative to."""
    import numpy as np

    scale, shift = affine(node, context)
    average = context.value(node.inputs[3], "the mean").astype(np.float64)
    return np.asarray(np.abs(shift) + 2.0 * np.abs(average * scale))


def affine_images(
    lo: "NDArray[np.float64]",
    hi: "NDArray[np.float64]",
    scale: "NDArray[np.float64]",
    shift: "NDArray[np.float64]",
    parts: "NDArray[np.float64]",
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Ends of ``scale x + shift`` for x between `lo` and `hi`, each widened by its rounding."""
    import numpy as np

    ends = np.stack([scale * lo + shift, scale * hi + shift])
    slack = 16 * 2.0**-52 * (np.abs(scale) * np.maximum(-lo, hi) + parts)
    return ends.min(axis=0) - slack, ends.max(axis=0) + slack


def width(context: Context, name: str, axes: range) -> int | None:
    """Number of elements over some axes, or None where one of them is not known."""
    shape = context.resolved.shape(name)
    if shape is None:
        return None
    total = 1
    for axis in axes:
        size: Dimension = shape[axis]
        if not isinstance(size, int):
            return None
        total *= size
    return total


def normalised(count: int | None, gamma: float, beta: float, centred: bool) -> Facts:
    """Values of ``gamma z + beta`` where z has mean square at most 1 (and mean 0 if centred)."""
    if count is None:
        return UNKNOWN
    peak = ranges.root(max(count - 1, 0) if centred else count)
    size = ranges.plus(ranges.times(gamma, peak), beta)
    length = ranges.plus(
        ranges.times(gamma, ranges.root(count)), ranges.times(beta, ranges.root(count))
    )
    return Facts(-size, size, {-1: length})


@rule("LayerNormalization")
@rule("LayerNormalization", domain="com.microsoft")
def layer_normalization(node: Node, context: Context) -> tuple[Effect, ...]:
    """``max |gamma| / sqrt(epsilon)``, and exactly the norm of gamma times the centring."""
    epsilon = attribute(node, "epsilon", 1e-5)
    rank = context.rank(node.inputs[0])
    axis = attribute(node, "axis", -1) % max(rank, 1)
    count = width(context, node.inputs[0], range(axis, rank))
    gamma = _parameter(node, context, 1, 1.0)
    beta = _parameter(node, context, 2, 0.0)
    scale = inverse_root(epsilon)
    gain = gated(layer_gain(gamma, count, context, node) * magnitude(scale), _AT_ZERO)
    facts = _last_axis(
        normalised(count, gamma.magnitude, beta.magnitude, True), axis == rank - 1, beta
    )
    mean = Magnitude.of(1.0) if count is None else magnitude(inverse_root(float(count)))
    # d(1/s) along a unit direction: 2/(3 sqrt(3) epsilon sqrt(n)), the peak of t/(t^2+1)^1.5.
    deviation = magnitude(outward(0.0, 0.3849001794597506 / max(epsilon, 5e-324), 8).hi) * mean
    inverse = gated(deviation if epsilon > 0.0 else magnitude(math.inf), _AT_ZERO)
    return (
        unary(gain, facts),
        unary(mean, context.facts(node.inputs[0])),
        unary(inverse, Facts(0.0, scale)),
    )


def _parameter(node: Node, context: Context, index: int, default: float) -> Facts:
    """Facts of a scale or bias; an activation in its place is refused by its missing gain."""
    if len(node.inputs) <= index or not node.inputs[index]:
        return Facts(default, default)
    return context.facts(node.inputs[index])


def layer_gain(gamma: Facts, count: int | None, context: Context, node: Node) -> Magnitude:
    """Norm of ``diag(gamma) (I - 11^T/n)``, which is at most ``max |gamma|``."""
    import numpy as np

    size = magnitude(gamma.magnitude)
    value = context.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if count == 1:
        return Magnitude.of(0.0)
    if value is None or count is None or value.size != count or count > 512:
        return size
    from specaudit.lipschitz.linear import matrix_layer

    scale = np.abs(value.astype(np.float64).reshape(-1))
    if not np.isfinite(scale).all() or np.sort(scale)[-2] == scale.max():
        return size
    centred = np.diag(scale) - np.outer(scale, np.full(count, 1.0 / count))
    rounding = magnitude(4 * 2.0**-52 * float(scale.max()) * 2.0 * math.sqrt(count))
    return size.min(context.norm(matrix_layer(node.inputs[1], centred, node)) + rounding)


def _last_axis(facts: Facts, last: bool, beta: Facts) -> Facts:
    """The norm along the last axis holds only where that is what was normalised."""
    if not last:
        return Facts(facts.lo, facts.hi)
    return facts


@rule("RMSNormalization")
@rule("SimplifiedLayerNormalization")
@rule("SimplifiedLayerNormalization", domain="com.microsoft")
def rms_normalization(node: Node, context: Context) -> Effect | tuple[Effect, ...]:
    """``max |gamma| / sqrt(epsilon)``, at 0."""
    epsilon = attribute(node, "epsilon", 1e-5)
    rank = context.rank(node.inputs[0])
    axis = attribute(node, "axis", -1) % max(rank, 1)
    count = width(context, node.inputs[0], range(axis, rank))
    gamma = _parameter(node, context, 1, 1.0).magnitude
    gain = gated(magnitude(ranges.times(gamma, inverse_root(epsilon))), _AT_ZERO)
    facts = _last_axis(normalised(count, gamma, 0.0, False), axis == rank - 1, UNKNOWN)
    if len([name for name in node.outputs if name]) < 2:
        return unary(gain, facts)
    inverse = Infinite(None, "the second output of the normalisation is not modelled")
    return unary(gain, facts), unary(inverse)


@rule("GroupNormalization", "InstanceNormalization")
def group_normalization(node: Node, context: Context) -> Effect:
    """``max |gamma| / sqrt(epsilon)``; exact where a gamma is repeated inside its group."""
    epsilon = attribute(node, "epsilon", 1e-5)
    gamma = _parameter(node, context, 1, 1.0).magnitude
    beta = _parameter(node, context, 2, 0.0).magnitude
    gain = gated(magnitude(ranges.times(gamma, inverse_root(epsilon))), _AT_ZERO)
    rank = context.rank(node.inputs[0])
    count = width(context, node.inputs[0], range(2, rank))
    if node.op == "GroupNormalization":
        channels = context.resolved.shape(node.inputs[0])
        width_ = channels[1] if channels else None
        groups = attribute(node, "num_groups", 1)
        known = isinstance(width_, int) and count is not None
        count = count * (width_ // groups) if known and isinstance(width_, int) and count else None
    facts = normalised(count, gamma, beta, True)
    return unary(gain, Facts(facts.lo, facts.hi))


@rule("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, context: Context) -> Effect:
    """``1e9``: the function body of ONNX adds 1e-9 to the deviation."""
    return unary(Magnitude.of(outward(0.0, 1.0 / single(1e-9)).hi))


@rule("LpNormalization")
def lp_normalization(node: Node, context: Context) -> Effect:
    """No epsilon: unbounded at 0."""
    return unary(_AT_ZERO, Facts(-1.0, 1.0))


@rule("LRN")
def local_response(node: Node, context: Context) -> Effect:
    """``b^-beta (1 + 2 sqrt(size) beta^(beta+1) / (beta+1)^(beta+1))``, whatever alpha."""
    alpha, beta = attribute(node, "alpha", 1e-4), attribute(node, "beta", 0.75)
    bias, size = attribute(node, "bias", 1.0), attribute(node, "size", 1)
    if not (alpha >= 0.0 and beta >= 0.0 and bias > 0.0):
        return unary(Infinite("G", f"alpha {alpha}, beta {beta}, bias {bias} bound no slope"))
    outer = bias**-beta
    peak = 2.0 * math.sqrt(size) * beta ** (beta + 1.0) / (beta + 1.0) ** (beta + 1.0)
    facts = ranges.scale(context.facts(node.inputs[0]), outward(0.0, outer, 8).hi)
    return unary(magnitude(outward(0.0, outer * (1.0 + peak), 16).hi), facts)


@rule("Softmax")
def softmax(node: Node, context: Context) -> Effect:
    """1/2; exact. The entries are probabilities."""
    count, last = _softmax_width(node, context)
    gain: Gain = Magnitude.of(0.0) if count == 1 else Magnitude.of(0.5)
    return unary(gain, Facts(0.0, 1.0, {-1: 1.0} if last else {}))


@rule("LogSoftmax")
def log_softmax(node: Node, context: Context) -> Effect:
    """``sqrt(n)``; exact. Before opset 13 n counts all the axes from `axis` on."""
    count, _ = _softmax_width(node, context)
    if count is None:
        axis = attribute(node, "axis", -1 if context.opset(node) >= 13 else 1)
        context.size(node.inputs[0], axis)
        raise Missing(f"needs the sizes of the axes of {node.inputs[0]} from {axis} on")
    facts = _log_softmax_facts(context.facts(node.inputs[0]), count)
    return unary(Magnitude.of(0.0) if count == 1 else root(count), facts)


def _log_softmax_facts(known: Facts, count: int) -> Facts:
    size = 2.0 * known.magnitude + math.log(count) if count else 0.0
    return Facts(-outward(0.0, size).hi, 2.0**-40)


def _softmax_width(node: Node, context: Context) -> tuple[int | None, bool]:
    """Elements that are normalised together, and whether they are the last axis alone."""
    old = context.opset(node) < 13
    axis = attribute(node, "axis", 1 if old else -1)
    shape = context.resolved.shape(node.inputs[0])
    if shape is None:
        return None, axis == -1 and not old
    axis %= max(len(shape), 1)
    last = axis == len(shape) - 1
    axes = range(axis, len(shape)) if old else range(axis, axis + 1)
    return width(context, node.inputs[0], axes), last
