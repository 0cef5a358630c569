"""Quantised operations: dequantising is linear, quantising jumps."""

import math

from specaudit.lipschitz.context import Context
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import (
    DISCONTINUOUS,
    Effect,
    Infinite,
    Missing,
    everywhere,
    magnitude,
    rule,
)
from specaudit.model import Node

_JUMPS = Infinite(
    "D",
    "rounds to integers, which jumps; the network it approximates, without the rounding, may "
    "have a bound",
)


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain="com.microsoft")
def dequantize(node: Node, context: Context) -> Effect:
    """``max |scale|`` of the integers (or 8-bit floats) it is given."""
    size = context.facts(node.inputs[1]).magnitude
    if context.live(node.inputs[1]):
        words = "the scale is an activation"
        return everywhere(node, Infinite("B", words))
    if math.isinf(size):
        raise Missing(f"the scale {node.inputs[1]} is not a constant that can be computed")
    out = node.outputs[0]
    if context.casts_are_sources and context.varies(node.inputs[0]):
        context.assume(f"{out}, dequantised from the input, is taken as the input")
        return Effect({}, source=True)
    return Effect({0: magnitude(size)})


@rule("QuantizeLinear", "DynamicQuantizeLinear")
@rule("QuantizeLinear", domain="com.microsoft")
def quantize(node: Node, context: Context) -> Effect:
    """Jumps by the scale."""
    return everywhere(node, _JUMPS, Facts(-(2.0**32), 2.0**32))


@rule("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
def integer_product(node: Node, context: Context) -> Effect:
    """Integers in, integers out: as a function of real numbers it jumps."""
    return everywhere(node, DISCONTINUOUS)


@rule(
    *("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"),
    *("QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QGemm", "QAttention"),
    *("DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearWhere"),
    *("QLinearReduceMean", "QOrderedMatMul", "QOrderedGelu", "QLinearConv"),
    domain="com.microsoft",
)
def microsoft_integer(node: Node, context: Context) -> Effect:
    """They quantise their input, or work on quantised ones, and so jump."""
    return everywhere(node, _JUMPS, UNKNOWN)
