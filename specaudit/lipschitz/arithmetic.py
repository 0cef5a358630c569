"""Elementwise operations of several operands; an operand that is broadcast counts its copies."""

import math
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, gated
from specaudit.lipschitz.ranges import UNKNOWN, Facts, outward
from specaudit.lipschitz.rules import (
    DISCONTINUOUS,
    Effect,
    Gain,
    Infinite,
    Missing,
    everywhere,
    magnitude,
    root,
    rule,
    unary,
)
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def spread(node: Node, context: Context, index: int) -> Magnitude:
    """Square root of the number of copies that broadcasting makes of an operand's elements."""
    name = node.inputs[index]
    if not context.live(name):
        return ZERO
    if len(node.inputs) == 1:
        return ONE
    others = tuple(other for k, other in enumerate(node.inputs) if k != index)
    return context.repeated(name, node.outputs[0], others)


def stretched(node: Node, context: Context, index: int) -> Facts:
    """Facts of an operand after it was broadcast to the shape of the output."""
    known = context.facts(node.inputs[index])
    shape = context.resolved.shape(node.inputs[index])
    if shape is not None and None not in shape and shape == context.resolved.shape(node.outputs[0]):
        return known
    return widened(known, node.inputs[index], node.outputs[0], context)


def widened(known: Facts, name: str, out: str, context: Context) -> Facts:
    """What of the facts of `name` holds once it is broadcast to the shape of `out`."""
    mine, whole = context.resolved.shape(name), context.resolved.shape(out)
    fibres: dict[int, float] = {}
    if mine is not None and whole is not None:
        for axis, bound in known.fibres.items():
            size = mine[axis]
            if size == whole[axis] and size is not None:
                fibres[axis] = bound
        axes = range(-len(whole), 0)
        for axis in axes:
            # A vector along an axis of copies of one element.
            copied = -axis > len(mine) or mine[axis] == 1
            size = whole[axis]
            if copied and isinstance(size, int):
                fibres[axis] = ranges.times(ranges.root(size), known.magnitude)
    return Facts(known.lo, known.hi, fibres)


@rule("Add", "Sum")
def add(node: Node, context: Context) -> Effect:
    """Each operand by the root of its copies: sharp, since ``x + x`` has norm 2."""
    gains = {index: spread(node, context, index) for index in range(len(node.inputs))}
    total = stretched(node, context, 0)
    for index in range(1, len(node.inputs)):
        total = ranges.add(total, stretched(node, context, index))
    return Effect(gains, facts=total)


@rule("Sub")
def subtract(node: Node, context: Context) -> Effect:
    """As addition."""
    gains = {index: spread(node, context, index) for index in (0, 1)}
    total = ranges.add(stretched(node, context, 0), ranges.negate(stretched(node, context, 1)))
    return Effect(gains, facts=total)


@rule("Mean")
def mean(node: Node, context: Context) -> Effect:
    """The k-th part of a sum."""
    count = len(node.inputs)
    part = Magnitude.of(outward(0.0, 1.0 / count, 1).hi)
    gains = {index: part * spread(node, context, index) for index in range(count)}
    parts = [stretched(node, context, index) for index in range(count)]
    whole = ranges.union(parts)
    return Effect(gains, facts=outward(whole.lo, whole.hi, 2 * count))


@rule("Mul")
def multiply(node: Node, context: Context) -> Effect:
    """By a constant exactly: the largest norm of it over one element's copies.

    Of two activations by the range of the other one, where it has a range.
    """
    facts = ranges.multiply(stretched(node, context, 0), stretched(node, context, 1))
    if node.inputs[0] == node.inputs[1] and context.live(node.inputs[0]):
        size = context.facts(node.inputs[0])
        squared = Facts(0.0, max(facts.hi, 0.0), facts.fibres, facts.norm)
        return Effect({0: _by(size, 2.0, node), 1: ZERO}, facts=squared)
    gains = {index: _factor_gain(node, context, index) for index in (0, 1)}
    return Effect(gains, facts=facts)


def _by(size: Facts, factor: float, node: Node) -> Gain:
    reason = Infinite("B", f"the square of {node.inputs[0]}, which is not known to be bounded")
    return gated(Magnitude.of(ranges.times(size.magnitude, factor)), reason)


def _factor_gain(node: Node, context: Context, index: int) -> Gain:
    name, other = node.inputs[index], node.inputs[1 - index]
    if not context.live(name):
        return ZERO
    value = context.constant(other)
    if value is not None:
        return scaling(name, value, context)
    size = context.facts(other).magnitude
    if context.live(other):
        words = f"product of two activations; {other} is not known to be bounded"
        reason = Infinite("B", words)
    else:
        reason = Infinite(None, f"{other} is a constant whose value cannot be computed")
    return gated(spread(node, context, index) * Magnitude.of(size), reason)


def scaling(name: str, value: "NDArray[np.generic]", context: Context) -> Magnitude:
    """Norm of the elementwise product with a constant, broadcasting of either side included."""
    import numpy as np

    factor = np.asarray(value, dtype=np.float64)
    if factor.size == 0:
        return ZERO
    if factor.size == 1 and factor.ndim <= 1:
        return magnitude(float(np.abs(factor).reshape(-1)[0]))
    shape = context.resolved.shape(name)
    peak = float(np.abs(factor).max())
    if shape is None:
        raise Missing(f"needs the shape of {name}, which {value.shape} may broadcast")
    summed = []
    lead = factor.ndim - len(shape)
    repeated = 1.0
    for axis, size in enumerate(factor.shape):
        own = 1 if axis < lead else shape[axis - lead]
        if size == 1:
            continue
        if own == 1:
            summed.append(axis)
        elif not isinstance(own, int):
            # It may turn out to be 1, and then its one element meets all the factors.
            repeated *= float(size)
    if not summed and repeated == 1.0:
        return magnitude(peak)
    if not peak > 0.0 or math.isinf(peak):
        return magnitude(peak)
    squares = ((factor / peak) ** 2).sum(axis=tuple(summed))
    slack = 1.0 + (factor.size + 8) * 2.0**-52
    norm = ranges.times(float(np.sqrt(squares.max())) * slack, peak)
    # Copies past the constant's own shape repeat an element it has been counted with once.
    return magnitude(norm) * root(repeated)


@rule("Div")
def divide(node: Node, context: Context) -> Effect:
    """Like the product with the reciprocal, where the divisor stays away from 0."""
    import numpy as np

    dividend, divisor = node.inputs
    if not context.is_float(node.outputs[0]):
        return everywhere(node, Infinite("D", "division of integers truncates"))
    low = context.facts(divisor)
    distance = max(low.lo, -low.hi, 0.0)
    top, bottom = stretched(node, context, 0), stretched(node, context, 1)
    facts = _ratio(top, bottom, distance)
    gains: dict[int, Gain] = {}
    value = context.constant(divisor)
    if context.live(dividend):
        if value is not None and value.size and np.all(value != 0):
            inverse = np.nextafter(1.0 / np.abs(value.astype(np.float64)), np.inf)
            gains[0] = scaling(dividend, inverse, context)
        else:
            share = Magnitude.of(ranges.quotient(1.0, distance)) if distance > 0.0 else None
            gains[0] = spread(node, context, 0) * share if share else _near_zero(divisor)
    if context.live(divisor):
        gains[1] = _divisor_gain(node, context, distance)
    return Effect(gains, facts=facts)


def _near_zero(divisor: str) -> Infinite:
    return Infinite("G", f"division by {divisor}, which nothing keeps away from 0")


def _divisor_gain(node: Node, context: Context, distance: float) -> Gain:
    if not distance > 0.0:
        return _near_zero(node.inputs[1])
    size = context.facts(node.inputs[0]).magnitude
    slope = ranges.quotient(ranges.quotient(size, distance), distance)
    words = f"division of {node.inputs[0]}, which is not known to be bounded, by an activation"
    reason = Infinite("B", words)
    if node.inputs[0] == node.inputs[1]:
        return ZERO
    if (value := context.constant(node.inputs[0])) is not None and value.size == 0:
        return ZERO
    return gated(spread(node, context, 1) * Magnitude.of(slope), reason)


def _ratio(top: Facts, bottom: Facts, distance: float) -> Facts:
    if not distance > 0.0:
        return UNKNOWN
    inverse = outward(1.0 / bottom.hi, 1.0 / bottom.lo, 1)
    return ranges.multiply(top, inverse)


@rule("Max", "Min")
def extremum(node: Node, context: Context) -> Effect:
    """Each output is one of the operands, so their squares add; the roots of copies remain."""
    gains = {index: spread(node, context, index) for index in range(len(node.inputs))}
    known = [context.facts(name) for name in node.inputs]
    ends = max if node.op == "Max" else min
    facts = Facts(ends(part.lo for part in known), ends(part.hi for part in known))
    return Effect(gains, joint=True, facts=facts)


@rule("Where")
def where(node: Node, context: Context) -> Effect:
    """A choice that does not depend on the input: squares add, as for a maximum."""
    gains: dict[int, Gain] = {
        index: root(context.copies(name, node.outputs[0])) if context.live(name) else ZERO
        for index, name in enumerate(node.inputs)
    }
    if context.live(node.inputs[0]):
        gains[0] = Infinite("D", "jumps where its condition, an activation, changes")
    known = [context.facts(name) for name in node.inputs[1:]]
    facts = Facts(min(part.lo for part in known), max(part.hi for part in known))
    return Effect(gains, joint=True, facts=facts)


@rule("Pow")
def power(node: Node, context: Context) -> Effect:
    """A constant exponent: 1 or 0, else by the range of the base; a constant base: as Exp."""
    base, exponent = node.inputs
    value = context.constant(exponent)
    if value is not None and value.size:
        peaks = [_power_of(context.facts(base), float(p)) for p in {*value.reshape(-1).tolist()}]
        gain = ZERO
        for part, _ in peaks:
            if isinstance(part, Infinite):
                return Effect({0: part}, facts=ranges.union(f for _, f in peaks))
            gain = gain.max(part)
        return Effect({0: gain * spread(node, context, 0)}, facts=ranges.union(f for _, f in peaks))
    return _exponential(node, context)


def _power_of(known: Facts, p: float) -> tuple[Gain, Facts]:
    size = known.magnitude
    if p == 0.0:
        return ZERO, Facts(1.0, 1.0)
    if p == 1.0:
        return ONE, known
    try:
        return _slope_of_power(known, size, p)
    except (OverflowError, ZeroDivisionError):
        return Infinite("G", f"the slope of x^{p:g} is past every number"), UNKNOWN


def _slope_of_power(known: Facts, size: float, p: float) -> tuple[Gain, Facts]:
    whole = p == math.floor(p)
    if p > 1.0 and (whole or known.lo >= 0.0):
        even = whole and p % 2 == 0
        top = math.inf if math.isinf(size) else outward(0.0, size**p, 8).hi
        facts = Facts(0.0 if even or known.lo >= 0.0 else -top, top)
        slope = math.inf if math.isinf(size) else outward(0.0, p * size ** (p - 1.0), 8).hi
        words = f"the slope of x^{p:g} grows without bound; nothing bounds its base"
        return gated(Magnitude.of(slope), Infinite("G", words)), facts
    if known.lo > 0.0:
        slope = abs(p) * known.lo ** (p - 1.0)
        ends = sorted(
            (known.lo**p, known.hi**p if known.hi < math.inf else (math.inf if p > 0 else 0.0))
        )
        return Magnitude.of(outward(0.0, slope, 8).hi), outward(ends[0], ends[1], 8)
    words = f"the slope of x^{p:g} is unbounded at 0; nothing keeps its base away"
    return Infinite("G", words), Facts(0.0, math.inf) if p > 0.0 else UNKNOWN


def _exponential(node: Node, context: Context) -> Effect:
    base, exponent = (context.facts(name) for name in node.inputs)
    reason = Infinite("G", "the slope of a power in its exponent grows without bound")
    if context.live(node.inputs[0]) or not base.lo > 0.0 or not exponent.is_bounded:
        return everywhere(node, reason, Facts(0.0, math.inf) if base.lo > 0.0 else UNKNOWN)
    try:
        size = exponent.magnitude
        far = max(base.hi**size, base.lo**-size)
        slope = max(abs(math.log(base.lo)), abs(math.log(base.hi))) * far
    except OverflowError:
        return everywhere(node, reason)
    gain = magnitude(outward(0.0, slope, 16).hi) * spread(node, context, 1)
    return Effect({0: ZERO, 1: gain}, facts=Facts(0.0, outward(0.0, far, 16).hi))


@rule("Mod")
def modulo(node: Node, context: Context) -> Effect:
    """Jumps at every multiple of the divisor."""
    size = context.facts(node.inputs[1]).magnitude
    return everywhere(node, DISCONTINUOUS, Facts(-size, size))


_COMPARISONS = (
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"),
    *("IsNaN", "IsInf", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift"),
)


@rule(*_COMPARISONS)
def compare(node: Node, context: Context) -> Effect:
    """As a function of real numbers it jumps."""
    truth = not node.op.startswith("Bit")
    return everywhere(node, DISCONTINUOUS, Facts(0.0, 1.0) if truth else UNKNOWN)


@rule("Identity", "Dropout", "OptionalGetElement", "Optional")
def identity(node: Node, context: Context) -> Effect | tuple[Effect, ...]:
    """1. A dropout that is told to train draws random numbers."""
    if not node.inputs:
        return unary(ONE)
    facts = context.facts(node.inputs[0])
    if node.op == "Dropout":
        training = context.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        unknown = len(node.inputs) > 2 and node.inputs[2] and training is None
        if unknown or (training is not None and bool(training.any())):
            random = unary(Infinite("R", "dropout in training mode draws random numbers"))
            return random, random
        return unary(ONE, facts), Effect({0: ZERO}, facts=Facts(1.0, 1.0))
    return unary(ONE, facts)
