"""Losses inside a graph, as functions of the scores."""

import math

from specaudit.bracket import ONE, Magnitude
from specaudit.lipschitz.context import Context, attribute
from specaudit.lipschitz.normalization import inverse_root
from specaudit.lipschitz.ranges import Facts, of_array
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule, unary
from specaudit.model import Node

_ROOT_TWO = 1.4142135623730951455  # the binary64 number above sqrt(2)


@rule("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def log_likelihood(node: Node, context: Context) -> Effect | tuple[Effect, ...]:
    """``sqrt(2)`` a sample for the scores, 1 for log-probabilities; then how samples are added."""
    if any(context.live(name) for name in node.inputs[1:]):
        words = "the labels or weights of a loss depend on the input"
        return unary(Infinite("D", words))
    per_sample = (
        ONE if node.op.startswith("Negative") else Magnitude.of(math.nextafter(_ROOT_TWO, 2))
    )
    gain = per_sample * _weight(node, context)
    if node.op.startswith("Negative"):
        return Effect({0: gain})
    shape = context.resolved.shape(node.inputs[0])
    width = shape[1] if shape is not None and len(shape) > 1 else None
    if len(node.outputs) < 2 or not node.outputs[1]:
        return Effect({0: gain}, facts=Facts(0.0))
    if not isinstance(width, int):
        raise Missing("needs the number of classes")
    return Effect({0: gain}, facts=Facts(0.0)), unary(root(width))


def _weight(node: Node, context: Context) -> Magnitude:
    reduction = attribute(node, "reduction", "mean")
    weights = len(node.inputs) > 2 and node.inputs[2]
    peak = 1.0
    if weights:
        values = context.value(node.inputs[2], "the class weights")
        if reduction == "mean" and float(values.min(initial=0.0)) < 0.0:
            raise Missing("class weights below 0 bound no mean")
        peak = of_array(values).magnitude
    if reduction == "none":
        return magnitude(peak)
    if reduction == "sum":
        return magnitude(peak) * root(context.count(node.inputs[1]))
    # A weighted mean is at most that of one sample; without weights and exclusions 1/sqrt(N).
    if weights or "ignore_index" in node.attributes:
        return ONE
    gain: Gain = magnitude(inverse_root(float(max(context.count(node.inputs[1]), 1))))
    return gain if isinstance(gain, Magnitude) else ONE
