"""Operations that pick elements by index: how often one is picked is what counts."""

import math
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import (
    INDEX,
    Effect,
    Gain,
    Infinite,
    constant,
    everywhere,
    root,
    rule,
)
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
