"""Reading a graph backwards: who made a value, from what, up to scalars and casts."""

import math

from specaudit.lipschitz.context import Context
from specaudit.model import Node

_THROUGH = ("Identity", "Cast", "Dropout")


def producer(name: str, context: Context, *ops: str) -> Node | None:
    """The node behind a value, looking through copies, if it is one of these operations."""
    node = context.resolved.producer(plain(name, context))
    return node if node is not None and node.op in ops and not node.domain else None


def plain(name: str, context: Context) -> str:
    """The value itself behind identities, casts between real types and idle dropouts."""
    while True:
        node = context.resolved.producer(name)
        if node is None or node.op not in _THROUGH or node.domain or node.outputs[0] != name:
            return name
        if node.op == "Cast" and not (context.is_float(name) and context.is_float(node.inputs[0])):
            return name
        if node.op == "Dropout" and len(node.inputs) > 2:
            return name
        name = node.inputs[0]


def scalar(name: str, context: Context) -> float | None:
    """The value of a constant with one element."""
    if not context.resolved.is_constant(name):
        return None
    value = context.constant(name)
    if value is None or value.size != 1 or value.dtype.kind not in "fiuV":
        return None
    number = float(value.reshape(-1)[0])
    return number if math.isfinite(number) else None


def affine(name: str, context: Context, stop: str = "") -> tuple[str, float, float]:
    """``(x, a, b)`` where the value is ``a x + b`` with scalars: as far back as `stop`, or at all.

    Notes
    -----
    The scalars are combined in binary64; what that rounds (a few units in the last place)
    is left to the reader, who compares them or has slack.
    """
    scale, shift = 1.0, 0.0
    name = plain(name, context)
    while True:
        node = context.resolved.producer(name) if name != stop else None
        if node is None or node.domain:
            return name, scale, shift
        step = affine_step(node, context)
        if step is None:
            return name, scale, shift
        base, factor, offset = step
        name, scale, shift = plain(base, context), scale * factor, scale * offset + shift


def affine_step(node: Node, context: Context) -> tuple[str, float, float] | None:
    """``(x, a, b)`` of one operation with one scalar operand."""
    if node.op == "Neg":
        return node.inputs[0], -1.0, 0.0
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    first, second = (scalar(name, context) for name in node.inputs)
    if (first is None) == (second is None):
        return None
    if second is not None:
        x = node.inputs[0]
        match node.op:
            case "Add":
                return x, 1.0, second
            case "Sub":
                return x, 1.0, -second
            case "Mul":
                return x, second, 0.0
        return (x, 1.0 / second, 0.0) if second else None
    assert first is not None
    x = node.inputs[1]
    match node.op:
        case "Add":
            return x, 1.0, first
        case "Sub":
            return x, -1.0, first
        case "Mul":
            return x, first, 0.0
    return None


def operands(node: Node, context: Context) -> tuple[int, ...] | None:
    """The axes of a reduction, from its attribute or its input, as non-negative numbers."""
    given = node.attributes.get("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1]:
        value = context.constant(node.inputs[1])
        given = None if value is None else tuple(int(axis) for axis in value.reshape(-1))
        if given is None:
            return None
    shape = context.resolved.shape(node.inputs[0])
    if shape is None:
        return tuple(sorted(given)) if isinstance(given, tuple) else None
    rank = len(shape)
    if not isinstance(given, tuple) or not given:
        return tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))
