"""Branches and loops: the constants of a body, and what repeating it makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.graphs import ResolvedGraph
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import UNMODELLED, Effect, Gain, Infinite, Missing, rule
from specaudit.lipschitz.steps import finite, forward
from specaudit.model import Node
from specaudit.report import Unbounded

if TYPE_CHECKING:
    from specaudit.lipschitz.explain import Causes

_MOST_TRACED = 64
_MOST_STEPS = 100_000
_MOST_SLICES = 256


@dataclass(frozen=True, slots=True)
class Body:
    """The constants of a body's outputs, by output and then by what it reads."""

    gains: tuple[Mapping[str, Gain], ...]
    facts: tuple[Facts, ...]

    def gain(self, output: int, name: str) -> Gain:
        """Of one output with respect to one name; 0 where it does not depend on it."""
        return self.gains[output].get(name, ZERO)


def analyse(
    body: ResolvedGraph, context: Context, formal: Mapping[str, Facts], names: Sequence[str]
) -> Body:
    """Bound a body with respect to its live formal inputs and the live names it captures.

    Parameters
    ----------
    body : ResolvedGraph
    context : Context
        Of the graph around it.
    formal : mapping of str to Facts
        The formal inputs that depend on a source.
    names : sequence of str
        The surrounding names that the body reads.
    """
    from specaudit.lipschitz import patterns
    from specaudit.lipschitz.explain import causes
    from specaudit.lipschitz.trace import trace

    inner = Context(body, context.layers, context.norm_of, {}, context)
    inner.varying.update(name for name in names if context.varies(name))
    # A formal input hides whatever has its name outside.
    inner.known.update({value.name: UNKNOWN for value in body.inputs})
    seeds = {**formal, **{name: context.facts(name) for name in names if context.live(name)}}
    found = trace(inner, patterns.ALL, seeds)
    if len(found.sources) > len(seeds):
        raise Missing("an embedding inside a subgraph, chosen by an input, is not modelled")
    order = tuple(seeds)
    unit = {name: tuple(ONE if name == other else ZERO for other in order) for name in order}
    columns = forward(found.steps, unit) if order else {}
    gains, facts = [], []
    for value in body.outputs:
        row: dict[str, Gain] = dict(zip(order, columns.get(value.name, ()), strict=False))
        if any(not finite(gain).is_finite for gain in row.values()):
            reasons = causes(found.steps, order, (value.name,))
            row = {name: _explained(gain, reasons) for name, gain in row.items()}
        gains.append(row)
        facts.append(inner.facts(value.name))
    return Body(tuple(gains), tuple(facts))


def _explained(gain: Gain, reasons: "Causes") -> Gain:
    if finite(gain).is_finite or not reasons.any:
        return gain
    listed = reasons.unbounded + tuple(
        Unbounded(cause.node, cause.op, cause.reason, UNMODELLED) for cause in reasons.unmodelled
    )
    return Infinite(None, f"in its body: {listed[0].node}", listed)


def _largest(first: Gain, second: Gain) -> Gain:
    if isinstance(first, Infinite) or isinstance(second, Infinite):
        return first if isinstance(first, Infinite) else second
    return first.max(second)


@rule("If")
def branch(node: Node, context: Context) -> tuple[Effect, ...]:
    """The branch that is taken; the larger constant where the condition is fixed but unknown."""
    from specaudit.lipschitz.trace import captured

    names = captured(context.resolved, node)
    bodies = context.resolved.subgraphs(node)
    taken = context.resolved.taken(node)
    if taken is not None:
        bodies = {taken: bodies[taken]}
    analysed = [analyse(body, context, {}, names) for body in bodies.values()]
    effects = []
    for output in range(len(node.outputs)):
        gains: dict[int, Gain] = {0: ZERO}
        if context.live(node.inputs[0]):
            gains[0] = Infinite("D", "jumps where its condition, an activation, changes")
        for index, name in enumerate(names, 1):
            gain: Gain = ZERO
            for body in analysed:
                gain = _largest(gain, body.gain(output, name))
            gains[index] = gain
        facts = ranges.union(body.facts[output] for body in analysed)
        effects.append(Effect(gains, facts=facts))
    return tuple(effects)


Row = dict[str, Magnitude]


@dataclass(slots=True)
class _Walk:
    """Constants of a loop's state with respect to everything outside, step by step."""

    states: list[Row]
    facts: list[Facts]
    scans: list[list[Row]]
    reason: Infinite | None = None


def _step(
    walk: _Walk,
    body: ResolvedGraph,
    context: Context,
    names: Sequence[str],
    slices: Mapping[str, tuple[str, Facts]],
    known: Body | None,
    lead: int,
) -> tuple[Body, list[Row]]:
    """One pass through the body; `slices` maps its formal inputs to the slice they receive."""
    formals = [value.name for value in body.inputs]
    inside = formals[lead : lead + len(walk.states)]
    if known is None:
        live = {
            name: facts
            for name, row, facts in zip(inside, walk.states, walk.facts, strict=True)
            if row
        }
        live.update({name: facts for name, (_, facts) in slices.items()})
        known = analyse(body, context, live, names)
    rows = []
    for output in range(len(known.gains)):
        row: Row = {}
        for name, before in zip(inside, walk.states, strict=True):
            _collect(row, known.gain(output, name), before)
        for name, (slice_name, _) in slices.items():
            _collect(row, known.gain(output, name), {slice_name: ONE})
        for name in names:
            if context.live(name):
                _collect(row, known.gain(output, name), {name: ONE})
        rows.append(row)
    return known, rows


def _collect(row: Row, gain: Gain, before: Row) -> None:
    if finite(gain).mantissa == 0.0:
        return
    if isinstance(gain, Infinite):
        raise _Endless(gain)
    for name, bound in before.items():
        row[name] = row.get(name, ZERO) + gain * bound


class _Endless(Exception):
    def __init__(self, reason: Infinite) -> None:
        super().__init__(reason.words)
        self.reason = reason


@rule("Loop")
def loop(node: Node, context: Context) -> tuple[Effect, ...]:
    """The body's constants, composed as often as the trip count says."""
    from specaudit.lipschitz.trace import captured

    names = captured(context.resolved, node)
    body = context.resolved.subgraphs(node)["body"]
    inputs = (*node.inputs, *names)
    if any(context.live(name) for name in node.inputs[:2]):
        reason = Infinite("D", "the number of turns depends on an activation")
        return _same(node, inputs, reason)
    trips = _trip_count(node, context)
    states: list[Row] = [{name: ONE} if context.live(name) else {} for name in node.inputs[2:]]
    walk = _Walk(states, [context.facts(name) for name in node.inputs[2:]], [])
    try:
        finals = _turns(walk, body, context, names, trips)
    except _Endless as endless:
        return _same(node, inputs, endless.reason)
    rows = [*finals, *_stacked(walk, len(node.outputs) - len(finals))]
    return tuple(Effect({k: row.get(name, ZERO) for k, name in enumerate(inputs)}) for row in rows)


def _same(node: Node, inputs: Sequence[str], reason: Infinite) -> tuple[Effect, ...]:
    gains: dict[int, Gain] = dict.fromkeys(range(len(inputs)), reason)
    return tuple(Effect(gains) for _ in node.outputs)


def _trip_count(node: Node, context: Context) -> int:
    if not node.inputs[0]:
        raise Missing("the loop has no trip count: how often it turns is not known")
    trips = context.integers(node.inputs[0], "the trip count of the loop")[0]
    if trips > _MOST_STEPS:
        raise Missing(f"the loop turns {trips} times, more than are followed")
    return max(trips, 0)


def _turns(
    walk: _Walk, body: ResolvedGraph, context: Context, names: Sequence[str], trips: int
) -> list[Row]:
    """Run the recursion; where the loop may stop early, at a turn that is fixed, the largest."""
    count = len(walk.states)
    finals = [dict(row) for row in walk.states]
    fixed = _always_true(body)
    known: Body | None = None
    if trips > _MOST_TRACED:
        # Every state may become live, and nothing is known of any of them.
        walk.facts = [UNKNOWN] * count
        formals = [value.name for value in body.inputs][2:]
        known = analyse(body, context, dict.fromkeys(formals, UNKNOWN), names)
    for _ in range(trips):
        turn, rows = _step(walk, body, context, names, {}, known, 2)
        if rows[0]:
            reason = Infinite("D", "whether the loop goes on depends on an activation")
            raise _Endless(reason)
        walk.states = rows[1 : 1 + count]
        walk.facts = [UNKNOWN] * count if known else list(turn.facts[1 : 1 + count])
        walk.scans.append(rows[1 + count :])
        finals = walk.states if fixed else _row_max(finals, walk.states)
    return finals


def _always_true(body: ResolvedGraph) -> bool:
    name = body.outputs[0].name
    if name == body.inputs[1].name:
        return True
    producer = body.producer(name)
    if producer is not None and producer.op == "Identity":
        return producer.inputs[0] == body.inputs[1].name
    value = body.constant(name)
    return value is not None and bool(value.all())


def _row_max(first: list[Row], second: list[Row]) -> list[Row]:
    return [
        {name: a.get(name, ZERO).max(b.get(name, ZERO)) for name in a.keys() | b.keys()}
        for a, b in zip(first, second, strict=True)
    ]


def _stacked(walk: _Walk, count: int) -> list[Row]:
    """Constants of the stacked outputs: their squares add over the turns."""
    found: list[Row] = []
    for output in range(count):
        row: Row = {}
        for turn in walk.scans:
            for name, bound in turn[output].items():
                row[name] = row.get(name, ZERO).hypot(bound)
        found.append(row)
    return found


@rule("Scan")
def scan(node: Node, context: Context) -> tuple[Effect, ...]:
    """As a loop; each turn reads its own slice, and slices are orthogonal."""
    from specaudit.lipschitz.trace import captured

    if context.opset(node) < 9:
        raise Missing("Scan before opset 9 has another form, which is not modelled")
    names = captured(context.resolved, node)
    body = context.resolved.subgraphs(node)["body"]
    inputs = (*node.inputs, *names)
    slices = attribute(node, "num_scan_inputs", 0)
    if not 0 < slices <= len(node.inputs):  # it may claim 2^40
        raise Missing(f"it has {len(node.inputs)} inputs, and cannot slice {slices} of them")
    lead = len(node.inputs) - slices
    given = node.attributes.get("scan_input_axes")
    axes = given if isinstance(given, tuple) else (0,) * slices
    turns = context.size(node.inputs[lead], int(axes[0]))
    if turns > _MOST_SLICES:
        raise Missing(f"Scan turns {turns} times, more than are followed")
    try:
        walk = _slice_by_slice(node, context, body, names, lead, turns)
    except _Endless as endless:
        return _same(node, inputs, endless.reason)
    stacks = len(node.outputs) - lead
    finals = [_gathered([row], node, lead, slices, names) for row in walk.states]
    rows_out = [
        _gathered([turn[k] for turn in walk.scans], node, lead, slices, names)
        for k in range(stacks)
    ]
    return tuple(
        Effect({k: row.get(name, ZERO) for k, name in enumerate(inputs)})
        for row in (*finals, *rows_out)
    )


def _slice_by_slice(
    node: Node,
    context: Context,
    body: ResolvedGraph,
    names: Sequence[str],
    lead: int,
    turns: int,
) -> _Walk:
    """Run the recursion, every slice of an input a source of its own."""
    states: list[Row] = [{name: ONE} if context.live(name) else {} for name in node.inputs[:lead]]
    walk = _Walk(states, [context.facts(name) for name in node.inputs[:lead]], [])
    formals = [value.name for value in body.inputs]
    read_live = [
        (k, formals[lead + k], _slice_facts(context.facts(name)))
        for k, name in enumerate(node.inputs[lead:])
        if context.live(name)
    ]
    for turn in range(turns):
        read = {formal: (f"{k}@{turn}", facts) for k, formal, facts in read_live}
        one, rows = _step(walk, body, context, names, read, None, 0)
        walk.states, walk.facts = rows[:lead], list(one.facts[:lead])
        walk.scans.append(rows[lead:])
    return walk


def _slice_facts(known: Facts) -> Facts:
    return Facts(known.lo, known.hi, {}, known.norm)


def _gathered(rows: Sequence[Row], node: Node, lead: int, slices: int, names: Sequence[str]) -> Row:
    """Constants of one output over all turns with respect to whole inputs.

    The block matrix of turns by slices has non-negative bounds as its entries; its norm is
    at most its Frobenius norm, and at most the root of largest row sum times column sum.
    """
    found: Row = {}
    for name in (*node.inputs[:lead], *names):
        bound = ZERO.hypot(*(row.get(name, ZERO) for row in rows))
        if bound.mantissa:
            found[name] = found.get(name, ZERO) + bound
    for k in range(slices):
        table = [
            {key: bound for key, bound in row.items() if key.startswith(f"{k}@")} for row in rows
        ]
        bound = table_norm(table)
        if bound.mantissa:
            name = node.inputs[lead + k]
            found[name] = found.get(name, ZERO) + bound
    return found


def table_norm(table: Sequence[Mapping[str, Magnitude]]) -> Magnitude:
    """Spectral norm of a matrix of non-negative bounds, rows as mappings by column."""
    frobenius = ZERO.hypot(*(bound for row in table for bound in row.values()))
    columns: Row = {}
    widest = ZERO
    for row in table:
        total = ZERO
        for key, bound in row.items():
            total = total + bound
            columns[key] = columns.get(key, ZERO) + bound
        widest = widest.max(total)
    tallest = ZERO
    for bound in columns.values():
        tallest = tallest.max(bound)
    return frobenius.min((widest * tallest).sqrt())


@rule("SequenceMap")
def sequence_map(node: Node, context: Context) -> tuple[Effect, ...]:
    """The body's constant for each element: elements are orthogonal."""
    from specaudit.lipschitz.trace import captured

    names = captured(context.resolved, node)
    if any(context.live(name) for name in (*node.inputs[1:], *names)):
        raise Missing("an activation that every element of the sequence reads is not modelled")
    body = context.resolved.subgraphs(node)["body"]
    first = body.inputs[0].name
    found = analyse(body, context, {first: UNKNOWN} if context.live(node.inputs[0]) else {}, names)
    return tuple(Effect({0: found.gain(k, first)}) for k in range(len(node.outputs)))
