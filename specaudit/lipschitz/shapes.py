"""Operations that move elements about, repeat them, or leave some out."""

import math
from typing import TYPE_CHECKING

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
    Infinite,
    Missing,
    constant,
    everywhere,
    isometry,
    root,
    rule,
    unary,
)
from specaudit.model import Node, Weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        return unary(root(context.copies(name, out)) if context.live(name) else ZERO, facts)
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
        kept = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
        if kept.size == 0:
            raise Missing("the padding is taken from nothing")
        style = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
        shown = np.pad(kept, (low, high), mode=style)  # type: ignore[call-overload]
        most *= int(np.bincount(shown).max())
    return most


@rule("Gather", "GatherElements", "GatherND")
def gather(node: Node, context: Context) -> Effect:
    """Root of how often an index is repeated; a table looked up by an input starts anew."""
    data, index = node.inputs[:2]
    known = context.facts(data)
    facts = Facts(known.lo, known.hi, _row_facts(node, context, known))
    if context.live(index):
        return Effect({0: INDEX, 1: INDEX}, facts=facts)
    if not context.live(data):
        return _looked_up(node, context, facts)
    value = context.constant(index)
    if value is None:
        # Any index may be the one that all entries name.
        return Effect({0: root(_most(node, context, context.count(index)))}, facts=facts)
    most, selects = _index_repeats(node, context, value)
    return Effect({0: root(most)}, facts=facts, selects=selects if most <= 1 else None)


def _row_facts(node: Node, context: Context, known: Facts) -> dict[int, float]:
    shape = context.resolved.shape(node.inputs[0])
    axis = attribute(node, "axis", 0)
    rows = node.op == "Gather" and shape is not None and axis % max(len(shape), 1) < len(shape) - 1
    return {-1: known.fibres[-1]} if rows and -1 in known.fibres else {}


def _looked_up(node: Node, context: Context, facts: Facts) -> Effect:
    data, index = node.inputs[:2]
    if not (context.varies(index) and context.resolved.is_constant(data)):
        return constant(facts, 2)
    out = node.outputs[0]
    if not context.is_float(out):
        return constant(facts, 2)
    chosen = context.given(out, named=True)
    if chosen == UNKNOWN and context.input_range:
        context.assume(f"{out}, looked up by {index}, stays in the convex hull of the table's rows")
        chosen = facts
    else:
        context.assume(f"{out}, looked up by integers, is taken as an input in its own right")
    return Effect({0: ZERO, 1: ZERO}, source=True, facts=chosen)


def _most(node: Node, context: Context, count: int) -> int:
    if node.op == "GatherElements":
        axis = attribute(node, "axis", 0)
        return context.size(node.inputs[1], axis)
    if node.op == "GatherND":
        return count // max(context.size(node.inputs[1], -1), 1)
    return count


def _index_repeats(
    node: Node, context: Context, value: "NDArray[np.generic]"
) -> tuple[int, tuple[int, frozenset[int]] | None]:
    """The largest count of one element in a constant index, and the indices if each is once."""
    import numpy as np

    if value.size == 0:
        return 0, None
    entries = value.astype(np.int64)
    if node.op == "Gather":
        rank = context.rank(node.inputs[0])
        axis = attribute(node, "axis", 0) % rank
        if (entries < 0).any():
            # -1 and n - 1 are the same element.
            entries = entries % context.size(node.inputs[0], axis)
        found, counts = np.unique(entries, return_counts=True)
        return int(counts.max()), (axis, frozenset(found.tolist()))
    sizes = context.sizes(node.inputs[0])
    if node.op == "GatherElements":
        axis = attribute(node, "axis", 0) % len(sizes)
        places = np.indices(entries.shape)
        places[axis] = entries % sizes[axis]
        _, counts = np.unique(places.reshape(len(sizes), -1), axis=1, return_counts=True)
        return int(counts.max()), None
    batch = attribute(node, "batch_dims", 0)
    depth = entries.shape[-1]
    addressed = np.array(sizes[batch : batch + depth])
    tuples = (entries % addressed).reshape(math.prod(entries.shape[:batch]), -1, depth)
    most = max(int(np.unique(t, axis=0, return_counts=True)[1].max()) for t in tuples)
    return most, None


@rule("Compress")
def compress(node: Node, context: Context) -> Effect:
    """1 where the condition does not depend on the input."""
    known = context.facts(node.inputs[0])
    gains: dict[int, Gain] = {0: ONE}
    if context.live(node.inputs[1]):
        gains = {0: INDEX, 1: INDEX}
    return Effect(gains, facts=Facts(known.lo, known.hi, {}, known.norm))


@rule("Scatter", "ScatterElements", "ScatterND", "TensorScatter")
def scatter(node: Node, context: Context) -> Effect:
    """1 for the data; for updates that are added the root of how often an index is repeated."""
    mode = "none" if node.op == "TensorScatter" else attribute(node, "reduction", "none")
    order = (0, 1, 2) if node.op == "TensorScatter" else (0, 2, 1)
    data, updates, index = (order[k] for k in (0, 1, 2))
    if len(node.inputs) > index and context.live(node.inputs[index]):
        return everywhere(node, INDEX)
    if mode == "mul":
        words = "updates are multiplied with the data, both activations"
        return everywhere(node, Infinite("B", words))
    # Otherwise each output is one of its candidates, and no two outputs share one.
    repeats = _scatter_repeats(node, context, node.inputs[index]) if mode == "add" else 1
    facts = ranges.union([context.facts(node.inputs[data]), context.facts(node.inputs[updates])])
    boxed = Facts(facts.lo, facts.hi) if mode != "add" else UNKNOWN
    gains: dict[int, Gain] = {data: ONE, updates: root(repeats)}
    return Effect(gains, joint=mode in ("none", "max", "min"), facts=boxed)


def _scatter_repeats(node: Node, context: Context, index: str) -> int:
    import numpy as np

    value = context.constant(index)
    if value is None:
        return context.count(index)
    sizes = context.sizes(node.inputs[0])
    entries = value.astype(np.int64)
    if entries.size == 0:
        return 0
    if node.op == "ScatterND":
        flat = (entries % np.array(sizes[: entries.shape[-1]])).reshape(-1, entries.shape[-1])
        return int(np.unique(flat, axis=0, return_counts=True)[1].max())
    axis = attribute(node, "axis", 0) % len(sizes)
    places = np.indices(entries.shape)
    places[axis] = entries % sizes[axis]
    flat = places.reshape(len(sizes), -1)
    return int(np.unique(flat, axis=1, return_counts=True)[1].max())


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


@rule("OneHot")
def one_hot(node: Node, context: Context) -> Effect:
    """0 of integers; a row that an integer input chooses starts a new input."""
    ends = context.facts(node.inputs[2]) if len(node.inputs) > 2 else Facts(0.0, 1.0)
    known = Facts(ends.lo, ends.hi, {-1: 1.0} if (ends.lo, ends.hi) == (0.0, 1.0) else {})
    if attribute(node, "axis", -1) != -1:
        known = Facts(ends.lo, ends.hi)
    if context.live(node.inputs[0]):
        return everywhere(node, INDEX, known)
    if not context.varies(node.inputs[0]):
        return constant(known, len(node.inputs))
    out = node.outputs[0]
    context.assume(f"{out}, one-hot rows of integers, is taken as an input in its own right")
    facts = known if context.input_range else UNKNOWN
    return Effect({0: ZERO, 1: ZERO, 2: ZERO}, source=True, facts=facts)
