"""Attention: finite in each operand on the ranges of the others."""

import math
from dataclasses import dataclass, replace

from specaudit.bracket import ONE, ZERO, Magnitude, round_up
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, gated
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule
from specaudit.model import Node

HALF_ROOT = 0.7071067811865476  # the binary64 number above sqrt(1/2)


@dataclass(frozen=True, slots=True)
class Heads:
    """What the constants of ``softmax(s Q K^T + mask) V`` depend on.

    `queries` is the number of query rows, None where it is not known. The others bound
    the scale, and `rows` the norms of the rows of Q, K and V inside one head; the shares are the
    roots of how many heads read one head of K, and of V.
    """

    queries: int | None
    scale: float
    rows: tuple[float, float, float]
    key_share: Magnitude = ONE
    value_share: Magnitude = ONE


def gains(heads: Heads, names: tuple[str, str, str], live: tuple[bool, bool, bool]) -> list[Gain]:
    """Constants with respect to Q, K and V.

    Notes
    -----
    Row i is ``E v`` under the probabilities of row i. Its derivative in ``q_i`` is
    ``s Cov(v, k)``, of norm at most ``s rho_v rho_k``; in K it maps ``dk_j`` to
    ``s p_j (v_j - E v)(q_i . dk_j)``, at most ``s rho_q rho_v`` for one row and ``sqrt(N)``
    times that for all; in V it is the matrix of probabilities, whose rows have l2 norm
    at most 1, so its norm is at most ``sqrt(N)``.
    """
    many = None if heads.queries is None else root(heads.queries)
    query_row, key_row, value_row = heads.rows
    scale = magnitude(heads.scale)
    found: list[Gain] = [ZERO, ZERO, ZERO]
    if live[0]:
        product = scale * magnitude(key_row) * magnitude(value_row)
        found[0] = gated(product, _unbounded(heads, names, "Q", ("K", "V")))
    if live[1]:
        if many is None:
            raise Missing(f"needs the number of rows of {names[0]}: give --input-shape")
        product = scale * magnitude(query_row) * magnitude(value_row) * many
        found[1] = gated(product * heads.key_share, _unbounded(heads, names, "K", ("Q", "V")))
    if live[2]:
        if many is None:
            raise Missing(f"needs the number of rows of {names[0]}: give --input-shape")
        found[2] = many * heads.value_share
    return found


def _unbounded(
    heads: Heads, names: tuple[str, str, str], which: str, others: tuple[str, str]
) -> Infinite:
    sizes = dict(zip("QKV", heads.rows, strict=True))
    title = dict(zip("QKV", names, strict=True))
    free = " and ".join(f"{title[o]} ({o})" for o in others if math.isinf(sizes[o]))
    return Infinite("B", f"attention without a bound on {free}: its slope in {which} grows with it")


def mixed(known: Facts, row: float) -> Facts:
    """Rows that are averages of the rows of V."""
    return Facts(known.lo, known.hi, {-1: row} if row < math.inf else {})


@rule("Attention")
def attention(node: Node, context: Context) -> tuple[Effect, ...]:
    """ai.onnx Attention: heads in one axis (4-D) or folded into the last one (3-D)."""
    rank = context.rank(node.inputs[0])
    heads = attribute(node, "q_num_heads", 0), attribute(node, "kv_num_heads", 0)
    if rank == 4:
        heads = context.size(node.inputs[0], 1), context.size(node.inputs[1], 1)
    if not (heads[0] > 0 and heads[1] > 0):
        raise Missing("the number of heads is not given")
    if any(context.live(name) for name in node.inputs[4:]):
        raise Missing("a cache that depends on the input is not modelled")
    if any(node.inputs[4:6]) or any(node.outputs[1:3]):
        raise Missing("attention with a cache is not modelled")
    width = context.size(node.inputs[0], -1) // (heads[0] if rank == 3 else 1)
    scale = attribute(node, "scale", 0.0) or 1.0 / math.sqrt(width)
    gain = _by_names(node, context, node.inputs[:3], heads, round_up(abs(scale)), 4 - rank)
    effect = _with_mask(node, context, gain, 3)
    if len(node.outputs) < 4 or not node.outputs[3]:
        return (effect,) * max(len(node.outputs), 1)
    words = Infinite(None, "the logits of Attention as an output are not modelled")
    return (effect, effect, effect, Effect({0: words, 1: words}))


def _with_mask(node: Node, context: Context, effect: Effect, index: int) -> Effect:
    """A mask that is added to the logits may move: a row by ``rho_v / sqrt(2)`` of its own move.

    Its derivative is ``Cov(v, e)`` with e the unit vectors, whose covariance
    ``diag(p) - p p^T`` has norm at most 1/2.
    """
    if len(node.inputs) <= index or not context.live(node.inputs[index]):
        return effect
    mask, (batch, queries) = node.inputs[index], (0, -2)
    value = context.facts(node.inputs[2])
    row = value.fibre(-1, context.size(node.inputs[2], -1))
    heads = attribute(node, "q_num_heads", 0) or context.size(node.inputs[0], 1)
    copies = context.size(node.inputs[0], batch) * heads
    if len(context.shape(mask)) < 2 or context.shape(mask)[-2] == 1:
        copies *= context.size(node.inputs[0], queries)
    size = magnitude(ranges.times(row, HALF_ROOT)) * root(copies)
    reason = Infinite("B", f"attention biased by {mask} over values that are not bounded")
    return replace(effect, gains={**effect.gains, index: gated(size, reason)})


def _by_names(
    node: Node,
    context: Context,
    names: tuple[str, ...],
    heads: tuple[int, int],
    scale: float,
    folded: int,
) -> Effect:
    query, key, value = names
    q, k, v = (context.facts(name) for name in names)
    share = root(max(heads[0] // heads[1], 1))
    rows = context.resolved.shape(query)
    count = rows[-2] if rows is not None else None
    found = gains(
        Heads(
            count if isinstance(count, int) else None,
            scale,
            (
                _head_row(q, query, heads[0] if folded else 1, context),
                _head_row(k, key, heads[1] if folded else 1, context),
                _head_row(v, value, heads[1] if folded else 1, context),
            ),
            share,
            share,
        ),
        (query, key, value),
        (context.live(query), context.live(key), context.live(value)),
    )
    row = _head_row(v, value, heads[1] if folded else 1, context)
    joined = ranges.times(row, ranges.root(heads[0])) if folded else row
    return Effect(dict(enumerate(found)), facts=mixed(v, joined))


def _head_row(known: Facts, name: str, heads: int, context: Context) -> float:
    """A bound of the rows inside one head, which are parts of the whole rows."""
    shape = context.resolved.shape(name)
    size = shape[-1] if shape else None
    width = size // heads if isinstance(size, int) else None
    part = math.inf if width is None else ranges.times(ranges.root(width), known.magnitude)
    return min(known.fibre(-1), part)


@rule("MultiHeadAttention", domain="com.microsoft")
def multi_head_attention(node: Node, context: Context) -> Effect:
    """Query, key and value apart, (batch, length, hidden); with biases, masks held fixed."""
    names = node.inputs
    if len(names) < 3 or not names[1] or not names[2]:
        raise Missing("packed key and value are not modelled")
    if any(names[6:]) or any(node.outputs[1:]):
        raise Missing("attention with a cache is not modelled")
    if any(context.live(name) for name in names[3:]):
        raise Missing("a bias or mask that depends on the input is not modelled")
    if any(context.rank(name) != 3 for name in names[:3]):
        raise Missing("attention over packed heads is not modelled")
    heads = attribute(node, "num_heads", 1)
    width = context.size(names[0], -1) // heads
    scale = round_up(abs(attribute(node, "scale", 0.0) or 1.0 / math.sqrt(width)))
    rows = [context.facts(name).fibre(-1, context.size(name, -1)) for name in names[:3]]
    if len(names) > 3 and names[3]:
        # One bias of (query, key, value) in a row; each row moves by at most the whole of it.
        extra = context.facts(names[3]).fibre(-1)
        rows = [ranges.plus(row, extra) for row in rows]
    found = gains(
        Heads(context.size(names[0], -2), scale, (rows[0], rows[1], rows[2])),
        (names[0], names[1], names[2]),
        (context.live(names[0]), context.live(names[1]), context.live(names[2])),
    )
    row = ranges.times(rows[2], ranges.root(heads))
    return Effect(dict(enumerate(found)), facts=Facts(-rows[2], rows[2], {-1: row}))


@rule("GroupQueryAttention", domain="com.microsoft")
def group_query_attention(node: Node, context: Context) -> Effect:
    """Query, key and value apart; groups of query heads share one head of key and value."""
    names = node.inputs
    if len(names) < 3 or not names[1] or not names[2]:
        raise Missing("packed query, key and value are not modelled")
    if any(context.live(name) for name in names[3:]):
        raise Missing("a cache that depends on the input is not modelled")
    if any(context.count(name) for name in names[3:5] if name):
        raise Missing("attention with a filled cache is not modelled")
    heads, shared = attribute(node, "num_heads", 1), attribute(node, "kv_num_heads", 1)
    width = context.size(names[0], -1) // heads
    scale = round_up(abs(attribute(node, "scale", 0.0) or 1.0 / math.sqrt(width)))
    rows = [context.facts(name).fibre(-1, context.size(name, -1)) for name in names[:3]]
    if attribute(node, "do_rotary", 0):
        # The caches' entries are at most 1 each for a rotation: twice sqrt(2), at the worst.
        turns = [
            ranges.of_array(context.value(n, "a rotation cache")).magnitude for n in names[7:9]
        ]
        scale = ranges.times(scale, 2.0, max(*turns, 1.0), max(*turns, 1.0))
    share = root(max(heads // max(shared, 1), 1))
    found = gains(
        Heads(context.size(names[0], -2), scale, (rows[0], rows[1], rows[2]), share, share),
        (names[0], names[1], names[2]),
        (context.live(names[0]), context.live(names[1]), context.live(names[2])),
    )
    return Effect(dict(enumerate(found)), facts=Facts(-rows[2], rows[2]))


@rule("FlexAttention", domain="ai.onnx.preview")
@rule("LinearAttention")
def linear_attention(node: Node, context: Context) -> Effect:
    """A product of three activations."""
    reason = Infinite("B", f"{node.op} multiplies queries, keys and values")
    return Effect(dict.fromkeys(range(len(node.inputs)), reason))
