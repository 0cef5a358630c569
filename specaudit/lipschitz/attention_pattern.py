"""Attention as exporters spell it out: MatMul, scale, mask, Softmax, MatMul."""

from dataclasses import dataclass, field

from specaudit.bracket import Magnitude, round_up
from specaudit.lipschitz import ranges
from specaudit.lipschitz.attention import HALF_ROOT, Heads, gains, mixed
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.linear import batch_copies
from specaudit.lipschitz.reading import plain, producer, scalar
from specaudit.lipschitz.rules import Effect, Gain, Infinite, magnitude, root
from specaudit.lipschitz.trace import Match
from specaudit.model import Node


@dataclass(slots=True)
class _Logits:
    """What lies between the product of Q and K^T and the softmax."""

    product: Node
    scale: float = 1.0
    added: list[tuple[str, float]] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


def attention(node: Node, context: Context) -> Match | None:
    """``softmax(s Q K^T + mask) V``, matched at its last product."""
    if node.op != "MatMul":
        return None
    weights = _probabilities(node.inputs[0], context)
    if weights is None or not _over_last_axis(weights, context):
        return None
    logits = _logits(weights.inputs[0], context)
    if logits is None:
        return None
    query, key = logits.product.inputs[:2]
    value = node.inputs[1]
    inputs = (query, key, value, *(name for name, _ in logits.added), *logits.chosen)
    out = node.outputs[0]
    return Match("attention", inputs, lambda c: _effect(c, logits, (query, key, value), out))


def _probabilities(name: str, context: Context) -> Node | None:
    """The softmax, behind a dropout or a guard against rows of NaN."""
    guard = producer(name, context, "Where")
    if guard is not None:
        test = producer(guard.inputs[0], context, "IsNaN")
        if test is None or plain(test.inputs[0], context) != plain(guard.inputs[2], context):
            return None
        name = guard.inputs[2]
    return producer(name, context, "Softmax")


def _over_last_axis(softmax: Node, context: Context) -> bool:
    axis = softmax.attributes.get("axis", -1 if context.opset(softmax) >= 13 else 1)
    shape = context.resolved.shape(softmax.inputs[0])
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def _logits(name: str, context: Context) -> _Logits | None:
    """Walk from the softmax down to the product, through scales and masks."""
    scale, added, chosen = 1.0, list[tuple[str, float]](), list[str]()
    for _ in range(16):
        name = plain(name, context)
        node = context.resolved.producer(name)
        if node is None or node.domain:
            return None
        if node.op == "MatMul":
            return _Logits(node, round_up(scale), added, chosen)
        step = _inward(node, context)
        if step is None:
            return None
        below, factor, addend, choice = step
        if context.resolved.shape(below) != context.resolved.shape(name):
            return None
        scale = round_up(scale * factor) if factor != 1.0 else scale
        # What is added is scaled by what lies between it and the softmax.
        added.extend((other, scale) for other in addend)
        chosen.extend(choice)
        name = below
    return None


_Step = tuple[str, float, tuple[str, ...], tuple[str, ...]]


def _inward(node: Node, context: Context) -> _Step | None:
    """One operation nearer to the product: what is below, its factor, addends, conditions."""
    if node.op in ("Mul", "Div") and len(node.inputs) == 2:
        for x, other in (node.inputs, node.inputs[::-1]):
            value = scalar(other, context)
            if value is not None and (node.op == "Mul" or (value and x == node.inputs[0])):
                return x, abs(value) if node.op == "Mul" else round_up(1.0 / abs(value)), (), ()
        return None
    if node.op == "Add":
        for x, other in (node.inputs, node.inputs[::-1]):
            if _leads_to_product(x, context):
                return x, 1.0, (other,), ()
        return None
    if node.op == "Where":
        for x, other in ((node.inputs[1], node.inputs[2]), (node.inputs[2], node.inputs[1])):
            if context.resolved.is_constant(other) and _leads_to_product(x, context):
                return x, 1.0, (), (node.inputs[0],)
    return None


def _leads_to_product(name: str, context: Context) -> bool:
    for _ in range(16):
        node = context.resolved.producer(plain(name, context))
        if node is None or node.domain:
            return False
        if node.op == "MatMul":
            return True
        step = _inward(node, context) if node.op in ("Mul", "Div", "Add", "Where") else None
        if step is None:
            return False
        name = step[0]
    return False


def _effect(context: Context, logits: _Logits, names: tuple[str, str, str], out: str) -> Effect:
    query, key, value = names
    rows = context.resolved.shape(query)
    count = rows[-2] if rows is not None and len(rows) > 1 else None
    q, k, v = (context.facts(name) for name in names)
    width = rows[-1] if rows else None
    inner = width if isinstance(width, int) else None
    wide = context.resolved.shape(value)
    last = wide[-1] if wide else None
    value_row = v.fibre(-1, last if isinstance(last, int) else None)
    product = logits.product.outputs[0]
    # V may have batches that Q K^T has not: one matrix of logits is then read several times.
    copies = [
        batch_copies(name, out, context) if context.live(name) else magnitude(1.0)
        for name in (query, key, value)
    ]
    heads = Heads(
        count if isinstance(count, int) else None,
        logits.scale,
        (q.fibre(-1, inner), k.fibre(-2, inner), value_row),
        copies[1],
        copies[2],
    )
    live = context.live(query), context.live(key), context.live(value)
    found: dict[int, Gain] = dict(enumerate(gains(heads, names, live)))
    first = found[0]
    found[0] = first * copies[0] if isinstance(first, Magnitude) else first
    found.update(_masks(context, logits, value_row, (product, out)))
    return Effect(found, facts=mixed(v, value_row))


def _masks(
    context: Context, logits: _Logits, value_row: float, places: tuple[str, str]
) -> dict[int, Gain]:
    """A live addend moves a row of the output by at most ``rho_v / sqrt(2)`` of its own move.

    Row i changes by ``Cov(v, e) dm`` with e the unit vectors, and the covariance of
    unit vectors under p, ``diag(p) - p p^T``, has norm at most 1/2.
    """
    found: dict[int, Gain] = {}
    for index, (name, scale) in enumerate(logits.added, 3):
        if context.live(name):
            if value_row == float("inf"):
                found[index] = Infinite("B", f"attention biased by {name} over unbounded values")
                continue
            factor = magnitude(ranges.times(value_row, HALF_ROOT))
            spread = root(context.copies(name, places[0])) * batch_copies(*places, context)
            found[index] = factor * spread * magnitude(scale)
    for index, name in enumerate(logits.chosen, 3 + len(logits.added)):
        if context.live(name):
            found[index] = Infinite("D", "a mask that depends on the input jumps")
    return found
