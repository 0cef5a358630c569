"""Reading a graph backwards: who made a value, from what, up to scalars and casts."""

import math
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Statistic:
    """What a reduction makes of `base` over `axes`, spread back over them, times `factor`."""

    base: str
    axes: tuple[int, ...]
    factor: float


def row_statistic(name: str, context: Context, *ops: str, aligned: bool = True) -> Statistic | None:
    """A reduction, behind the scalars and broadcasts that bring it back beside its operand.

    With its axes kept as ones, or put back by a reshape; a reshape keeps the order of the
    elements, so it is enough that every size stands where it stood. Anything else may meet
    the wrong rows and is not recognised; without `aligned` the caller looks to that.
    """
    factor, beside = 1.0, ""
    for _ in range(8):
        name, scale, shift = affine(name, context)
        factor *= scale
        node = context.resolved.producer(name)
        if node is None or node.domain or shift != 0.0:
            return None
        if node.op in ops:
            axes = operands(node, context)
            beside = beside or name
            if axes is None or (
                aligned and not stands_beside(beside, node.inputs[0], axes, context)
            ):
                return None
            return Statistic(node.inputs[0], axes, factor)
        if node.op == "Expand" and beside:
            return None
        if node.op not in ("Expand", "Reshape", "Unsqueeze"):
            return None
        if node.op != "Expand" and not beside:
            beside = name
        name = node.inputs[0]
    return None


def stands_beside(name: str, base: str, axes: tuple[int, ...], context: Context) -> bool:
    """Whether a value has the sizes of `base`, but 1 along the axes."""
    shape, whole = context.resolved.shape(name), context.resolved.shape(base)
    if shape is None or whole is None or len(shape) != len(whole):
        return False
    # One size that nobody names is decided by all the others.
    open_sizes = [
        k for k in range(len(whole)) if k not in axes and (shape[k] != whole[k] or whole[k] is None)
    ]
    unnamed = all(not isinstance(shape[k], int) for k in open_sizes)
    return all(shape[axis] == 1 for axis in axes) and len(open_sizes) <= 1 and unnamed


def square_of(name: str, context: Context) -> str | None:
    """The x of ``x^2``, written as a power or as a product."""
    node = producer(name, context, "Pow", "Mul")
    if node is None:
        return None
    x = plain(node.inputs[0], context)
    if node.op == "Pow":
        return x if scalar(node.inputs[1], context) == 2.0 else None
    return x if plain(node.inputs[1], context) == x else None


def polynomial(name: str, x: str, context: Context, depth: int = 8) -> dict[int, float] | None:
    """The coefficients by degree of a value that is a polynomial in x (degree 3 at most)."""
    name = plain(name, context)
    if name == x:
        return {1: 1.0}
    value = scalar(name, context)
    if value is not None:
        return {0: value}
    node = context.resolved.producer(name)
    if node is None or node.domain or depth == 0:
        return None
    if node.op not in ("Add", "Sub", "Mul", "Div", "Neg", "Pow"):
        return None
    parts = [polynomial(part, x, context, depth - 1) for part in node.inputs]
    first, second = parts[0], parts[-1]
    if first is None or second is None:
        return None
    return _combined(node.op, first, second)


def _combined(
    op: str, first: dict[int, float], second: dict[int, float]
) -> dict[int, float] | None:
    match op:
        case "Neg":
            return {k: -c for k, c in first.items()}
        case "Add" | "Sub":
            sign = 1.0 if op == "Add" else -1.0
            keys = first.keys() | second.keys()
            return {k: first.get(k, 0.0) + sign * second.get(k, 0.0) for k in keys}
        case "Div":
            by = second.get(0, 0.0)
            return {k: c / by for k, c in first.items()} if second.keys() == {0} and by else None
        case "Pow":
            exponent = second.get(0, 0.0)
            if second.keys() != {0} or exponent not in (1.0, 2.0, 3.0):
                return None
            power = first
            for _ in range(int(exponent) - 1):
                power = _product(power, first)
            return power if max(power) <= 3 else None
    whole = _product(first, second)
    return whole if max(whole) <= 3 else None


def _product(first: dict[int, float], second: dict[int, float]) -> dict[int, float]:
    found: dict[int, float] = {}
    for j, a in first.items():
        for k, b in second.items():
            found[j + k] = found.get(j + k, 0.0) + a * b
    return found
