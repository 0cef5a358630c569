"""Newer and rarer operations: gated units, causal and deformable convolutions."""

import math

from specaudit.bracket import ONE
from specaudit.lipschitz import activations, ranges
from specaudit.lipschitz.context import Context, attribute, gated, integers
from specaudit.lipschitz.convolution import convolution_layer
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule
from specaudit.model import Node


@rule("SwiGLU")
def swiglu(node: Node, context: Context) -> Effect:
    """``swish(a) b``: by the range of the other operand."""
    gate, value = (context.facts(name).magnitude for name in node.inputs[:2])
    slope = magnitude(activations.SILU)
    if attribute(node, "alpha", 1.0) == 0.0:
        slope = magnitude(0.5)
    words = "product of two activations; {} is not known to be bounded"
    gains: dict[int, Gain] = {
        0: gated(slope * magnitude(value), Infinite("B", words.format(node.inputs[1]))),
        1: gated(magnitude(gate), Infinite("B", words.format(node.inputs[0]))),
    }
    size = ranges.times(gate, value)
    return Effect(gains, facts=Facts(-size, size))


@rule("CausalConvWithState")
def causal_convolution(node: Node, context: Context) -> tuple[Effect, Effect]:
    """State and input lie side by side before a depthwise kernel, so their squares add."""
    if any(context.live(name) for name in node.inputs[1:3]):
        raise Missing("a kernel or bias that depends on the input is not modelled")
    weight = context.value(node.inputs[1], "the kernel")
    plain = Node(node.name, "Conv", node.inputs[:2], node.outputs[:1], {"group": weight.shape[0]})
    gain = context.norm(
        context.layer(node, "convolution") or convolution_layer(plain, context, weight)
    )
    if attribute(node, "activation", "none") in ("silu", "swish"):
        gain = gain * magnitude(activations.SILU)
    both: dict[int, Gain] = {0: gain}
    passing: dict[int, Gain] = {0: ONE}
    if len(node.inputs) > 3 and node.inputs[3]:
        both[3], passing[3] = gain, ONE
    return Effect(both, joint=True), Effect(passing, joint=True)


@rule("DeformConv")
def deformable_convolution(node: Node, context: Context) -> Effect:
    """With fixed offsets: the kernel as a matrix after a sampling that may repeat elements."""
    import numpy as np

    if any(context.live(name) for name in node.inputs[1:] if name):
        reason = Infinite("B", "sampling positions, masks or a kernel that are activations")
        return Effect(dict.fromkeys(range(len(node.inputs)), reason))
    weight = context.value(node.inputs[1], "the kernel")
    group = attribute(node, "group", 1)
    spatial = context.sizes(node.outputs[0])[2:]
    taps = math.prod(integers(node, "kernel_shape") or weight.shape[2:])
    mask = 1.0
    if len(node.inputs) > 4 and node.inputs[4]:
        mask = context.facts(node.inputs[4]).magnitude
        if math.isinf(mask):
            raise Missing(f"the mask {node.inputs[4]} is not a constant that can be computed")
    gain = magnitude(0.0)
    for block in np.split(weight, group, axis=0):
        matrix = block.reshape(block.shape[0], -1)
        gain = gain.max(context.norm(matrix_layer(node.inputs[1], matrix, node)))
    # Every sample has weights that add to at most 1, and all of them may read one element.
    return Effect({0: gain * magnitude(mask) * root(math.prod(spatial) * taps)})
