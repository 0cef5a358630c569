"""Operations that move elements about, repeat them, or leave some out."""

import math

from specaudit.bracket import ONE, ZERO
from specaudit.lipschitz import ranges
from specaudit.lipschitz.arithmetic import widened
from specaudit.lipschitz.context import Context, Dimension, attribute, integers
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import (
    DISCONTINUOUS,
    INDEX,
    Effect,
    Gain,
    Missing,
    constant,
    everywhere,
    isometry,
    root,
    rule,
    unary,
    writable,
)
from specaudit.model import Node, Weight


@rule("Transpose")
def transpose(node: Node, context: Context) -> Effect:
    """1; the norms along axes travel with their axes."""
    known = context.facts(node.inputs[0])
    shape = context.resolved.shape(node.inputs[0])
    if shape is None:
        return isometry(Facts(known.lo, known.hi, {}, known.norm))
    order = integers(node, "perm") or tuple(reversed(range(len(shape))))
    rank = len(order)
    fibres = {
        order.index(axis + rank) - rank: bound
        for axis, bound in known.fibres.items()
        if axis + rank in order
    }
    return isometry(Facts(known.lo, known.hi, fibres, known.norm))


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(node: Node, context: Context) -> Effect:
    """1; the norm along the last axis holds for the pieces it is cut into."""
    known = context.facts(node.inputs[0])
    before = context.resolved.shape(node.inputs[0])
    after = context.resolved.shape(node.outputs[0])
    fibres: dict[int, float] = {}
    if before is not None and after is not None:
        for axis, bound in known.fibres.items():
            place, pieces = _kept(before, after, axis)
            if pieces:
                joined = ranges.times(bound, ranges.root(pieces))
                fibres[place] = min(joined, fibres.get(place, math.inf))
    return Effect({0: ONE}, facts=Facts(known.lo, known.hi, fibres, known.norm))


def _kept(
    before: tuple[Dimension, ...], after: tuple[Dimension, ...], axis: int
) -> tuple[int, int]:
    """Where the vectors along an axis are after a reshape, and how many of them are joined.

    They must keep what lies behind them, sizes of 1 aside. Cut into equal parts they count
    as one; ``(axis, 0)`` where they do not survive.
    """
    lost = (axis, 0)
    behind = [size for size in before[len(before) + axis + 1 :] if size != 1]
    place = len(after)
    while behind or (place > 0 and after[place - 1] == 1):
        place -= 1
        if place < 0:
            return lost
        if after[place] == 1:
            continue
        if not behind or after[place] != behind.pop() or after[place] is None:
            return lost
    if place == 0:
        return lost
    old, new = before[axis], after[place - 1]
    where = place - 1 - len(after)
    if old == new and old is not None:
        return where, 1
    if isinstance(old, int) and isinstance(new, int) and old > 0 and new > 0:
        if old % new == 0:
            return where, 1
        if new % old == 0:
            return where, new // old
    return lost


@rule("DepthToSpace", "SpaceToDepth", "ReverseSequence", "CenterCropPad", "SequenceInsert")
@rule("SequenceErase", "SequenceAt", "SequenceConstruct", "SplitToSequence")
def moved(node: Node, context: Context) -> Effect:
    """1: every element of the output is one of the input's, each once, or a zero."""
    if node.op in ("SequenceInsert", "SequenceConstruct"):
        parts = [context.facts(name) for name in node.inputs[: _tensors(node)]]
        known = ranges.union(parts)
        gains: dict[int, Gain] = dict.fromkeys(range(_tensors(node)), ONE)
        return Effect(gains, joint=True, facts=Facts(known.lo, known.hi))
    known = context.facts(node.inputs[0])
    pads = node.op == "CenterCropPad"
    lo, hi = (min(known.lo, 0.0), max(known.hi, 0.0)) if pads else (known.lo, known.hi)
    return isometry(Facts(lo, hi, {}, known.norm))


def _tensors(node: Node) -> int:
    return min(2, len(node.inputs)) if node.op == "SequenceInsert" else len(node.inputs)


@rule("Trilu")
def trilu(node: Node, context: Context) -> Effect:
    """1: the rest becomes 0."""
    known = context.facts(node.inputs[0])
    return isometry(ranges.shrunk(known, min(known.lo, 0.0), max(known.hi, 0.0)))


@rule("Slice")
def cut(node: Node, context: Context) -> Effect:
    """1; pieces that do not overlap are orthogonal, which the adjoint walk makes use of."""
    known = context.facts(node.inputs[0])
    return Effect({0: ONE}, facts=known, selects=_sliced(node, context))


def _sliced(node: Node, context: Context) -> tuple[int, frozenset[int]] | None:
    """The axis and the indices that a slice takes, where it cuts one axis of known size."""
    shape = context.resolved.shape(node.inputs[0])
    parts = [_slice_part(node, context, index) for index in (1, 2, 3, 4)]
    starts, ends, axes, steps = parts
    if shape is None or starts is None or ends is None or len(starts) != 1:
        return None
    axis = (axes[0] if axes else 0) % len(shape)
    size = shape[axis]
    step = steps[0] if steps else 1
    if not isinstance(size, int) or size > 1 << 16 or step == 0:
        return None
    return axis, frozenset(range(size)[slice(starts[0], _end(ends[0], step, size), step)])


def _end(end: int, step: int, size: int) -> int | None:
    # A negative step runs down to index 0 where the end lies before the first element.
    return None if step < 0 and end < -size else end


def _slice_part(node: Node, context: Context, index: int) -> tuple[int, ...] | None:
    name = ("starts", "ends", "axes", "steps")[index - 1]
    if name in node.attributes:
        return integers(node, name)
    if len(node.inputs) <= index:
        return None
    value = context.constant(node.inputs[index])
    return None if value is None else tuple(int(entry) for entry in value.reshape(-1))


@rule("Split")
def split(node: Node, context: Context) -> Effect:
    """1 for all the parts together."""
    known = context.facts(node.inputs[0])
    return isometry(known)


@rule("Concat", "ConcatFromSequence")
def concat(node: Node, context: Context) -> Effect:
    """1 for all the parts together."""
    parts = [context.facts(name) for name in node.inputs]
    known = ranges.union(parts)
    gains: dict[int, Gain] = dict.fromkeys(range(len(node.inputs)), ONE)
    if node.op == "ConcatFromSequence":
        return Effect(gains, joint=True, facts=Facts(known.lo, known.hi, {}, known.norm))
    rank = len(context.resolved.shape(node.inputs[0]) or ())
    axis = attribute(node, "axis", 1)
    fibres = dict(known.fibres)
    along = axis if axis < 0 else axis - rank
    if along in fibres:
        fibres[along] = ranges.hypotenuse(part.fibres[along] for part in parts)
    fibres = fibres if rank else {}
    norm = ranges.hypotenuse(part.norm for part in parts)
    return Effect(gains, joint=True, facts=Facts(known.lo, known.hi, fibres, norm))


@rule("Expand", "Tile")
def repeat(node: Node, context: Context) -> Effect:
    """Root of how often an element is repeated."""
    name, out = node.inputs[0], node.outputs[0]
    known = context.facts(name)
    if node.op == "Expand":
        facts = widened(known, name, out, context)
        return unary(context.repeated(name, out, ()) if context.live(name) else ZERO, facts)
    count = math.prod(context.integers(node.inputs[1], "the repeats of Tile"))
    return unary(root(max(count, 0)), Facts(known.lo, known.hi))


@rule("Pad")
def pad(node: Node, context: Context) -> Effect:
    """1 with constants; else the root of how often the most repeated element appears."""
    known = context.facts(node.inputs[0])
    mode = attribute(node, "mode", "constant")
    if mode == "constant":
        fill = Facts(*2 * (attribute(node, "value", 0.0),))
        if len(node.inputs) > 2 and node.inputs[2]:
            fill = context.facts(node.inputs[2])
            if context.live(node.inputs[2]):
                return Effect({0: ONE, 2: root(context.count(node.outputs[0]))}, joint=True)
        return isometry(Facts(min(known.lo, fill.lo), max(known.hi, fill.hi)))
    return unary(root(_repeats(node, context, mode)), Facts(known.lo, known.hi))


def _repeats(node: Node, context: Context, mode: str) -> int:
    """How often the padding shows the element that it shows most often, from its index map."""
    import numpy as np

    rank = context.rank(node.inputs[0])
    given = integers(node, "pads") or ()
    if len(node.inputs) > 1:
        given = context.integers(node.inputs[1], "the pads")
    axes: tuple[int, ...] = tuple(range(rank))
    if len(node.inputs) > 3 and node.inputs[3]:
        axes = context.integers(node.inputs[3], "the axes of Pad")
    most = 1
    for index, axis in enumerate(axes):
        before, after = given[index], given[index + len(axes)]
        if before == after == 0:
            continue
        size = context.size(node.inputs[0], axis)
        low, high = max(before, 0), max(after, 0)
        writable(size + low + high, "the padding")
        kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
        if kept.size == 0:
            raise Missing("the padding is taken from nothing")
        style = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
        shown = np.pad(kept, (low, high), mode=style)  # type: ignore[call-overload]
        most *= int(np.bincount(shown).max())
    return most


@rule("Cast", "CastLike")
def cast(node: Node, context: Context) -> Effect:
    """1 between real types (rounding is left out); to integers it jumps."""
    known = context.facts(node.inputs[0])
    name, out = node.inputs[0], node.outputs[0]
    if not context.is_float(out):
        ends = (_truncated(known.lo), _truncated(known.hi))
        return unary(DISCONTINUOUS, Facts(min(ends[0], 0.0), max(ends[1], 0.0)))
    if context.casts_are_sources and context.varies(name) and not context.is_float(name):
        context.assume(f"{out}, the integers of {name} as real numbers, is taken as the input")
        return Effect({0: ZERO}, source=True, facts=ranges.meet(context.given(name), known))
    narrow = context.resolved.dtype(out) or ""
    if context.live(name) and narrow not in ("", "float32", "float64"):
        context.assume(f"the rounding of casts to {narrow} is left out of the bound")
    return Effect({0: ONE, 1: ZERO}, facts=known)


def _truncated(value: float) -> float:
    return value if math.isinf(value) else math.copysign(math.ceil(abs(value)), value)


@rule("BitCast")
def bitcast(node: Node, context: Context) -> Effect:
    """The bits of a number are no continuous function of it."""
    return unary(DISCONTINUOUS)


@rule("Shape", "Size", "SequenceLength", "OptionalHasElement")
def measure(node: Node, context: Context) -> Effect:
    """0: it reads the sizes, not the values."""
    return constant(inputs=len(node.inputs))


@rule("EyeLike", "ConstantOfShape", "Constant", "Range", "SequenceEmpty")
def made(node: Node, context: Context) -> Effect:
    """0: made of shapes and attributes."""
    if node.op in ("ConstantOfShape", "Range") and any(context.live(n) for n in node.inputs):
        return everywhere(node, INDEX)
    facts = Facts(0.0, 1.0) if node.op == "EyeLike" else UNKNOWN
    if node.op == "ConstantOfShape":
        value = node.attributes.get("value")
        facts = ranges.of_array(value.read()) if isinstance(value, Weight) else Facts(0.0, 0.0)
        facts = Facts(facts.lo, facts.hi)
    return constant(facts, len(node.inputs))
