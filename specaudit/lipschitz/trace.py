"""From a graph to steps: patterns first, then the rule of each node, in topological order."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from specaudit.bracket import ZERO
from specaudit.graphs import ResolvedGraph
from specaudit.lipschitz import ranges
from specaudit.lipschitz.channels import by_channel
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import MALFORMED, TABLE, UNMODELLED, Effect, Gain, Infinite, Missing
from specaudit.lipschitz.steps import Option, Step
from specaudit.model import Graph, Node

# Their outputs do not change when the values of their inputs do.
_BLIND = frozenset({"Shape", "Size", "OptionalHasElement", "SequenceLength"})


@dataclass(frozen=True, slots=True)
class Match:
    """What takes a node's place: other inputs, and the effect with respect to them."""

    name: str
    inputs: tuple[str, ...]
    effect: Callable[[Context], Effect]


Pattern = Callable[[Node, Context], Match | None]


@dataclass(slots=True)
class Trace:
    """The steps that matter, and the values at which perturbations enter."""

    steps: list[Step] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def trace(context: Context, patterns: tuple[Pattern, ...], seeds: Mapping[str, Facts]) -> Trace:
    """Evaluate the rules of every node that an output depends on.

    Parameters
    ----------
    context : Context
        Takes up the ranges and the values found to depend on a source.
    patterns : tuple of callable
        Tried on each node before its own rule.
    seeds : mapping of str to Facts
        The inputs that may be perturbed, with what is known of them.
    """
    found = Trace(sources=list(seeds))
    context.moving.update(seeds)
    context.known.update(seeds)
    for node, match in _wanted(context, patterns):
        _add(found, node, match, context)
    return found


def _wanted(context: Context, patterns: tuple[Pattern, ...]) -> Iterator[tuple[Node, Match | None]]:
    """The nodes on a path to an output, in order, each with the pattern it completes."""
    needed = {value.name for value in context.resolved.outputs}
    chosen: list[tuple[Node, Match | None]] = []
    for node in reversed(context.resolved.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        match = _completed(node, context, patterns)
        chosen.append((node, match))
        needed.update(match.inputs if match else node.inputs)
        if match is None:
            needed.update(captured(context.resolved, node))
    return reversed(chosen)


def _completed(node: Node, context: Context, patterns: tuple[Pattern, ...]) -> Match | None:
    """The first pattern that a node completes; what does not have a form is not of it."""
    for pattern in patterns:
        with suppress(*MALFORMED):
            match = pattern(node, context)
            if match is not None:
                return match
    return None


def captured(resolved: ResolvedGraph, node: Node) -> tuple[str, ...]:
    """Names of the surrounding graph that the subgraphs of a node read."""
    if not any(isinstance(value, Graph) for value in node.attributes.values()):
        return ()
    names: dict[str, None] = {}
    for body in resolved.subgraphs(node).values():
        own = {value.name for value in body.inputs} | set(body.graph.constants)
        for inner in body.nodes:
            reads = (*inner.inputs, *captured(body, inner))
            names.update(dict.fromkeys(name for name in reads if name and name not in own))
            own.update(inner.outputs)
        names.update(dict.fromkeys(v.name for v in body.outputs if v.name not in own))
    return tuple(names)


def _add(found: Trace, node: Node, match: Match | None, context: Context) -> None:
    inputs = match.inputs if match else (*node.inputs, *captured(context.resolved, node))
    moving = any(context.live(name) for name in inputs)
    outputs = tuple(name for name in node.outputs if name)
    if not moving and all(context.resolved.is_constant(name) for name in outputs):
        return
    if not moving and node.op not in _BLIND and any(context.varies(name) for name in inputs):
        context.varying.update(outputs)
    effects = _evaluate(node, match, context)
    if 1 < len(effects) < len(node.outputs):
        # An output that its rule does not speak of must not pass for a constant.
        silent = _without(context, node, Infinite(None, f"an output of {node.op} has no rule"))
        effects += (silent,) * (len(node.outputs) - len(effects))
    groups = [outputs] if len(effects) == 1 else [(name,) if name else () for name in node.outputs]
    for effect, names in zip(effects, groups, strict=False):
        if names:
            _record(found, node, match, inputs, names, effect, context)


def _record(
    found: Trace,
    node: Node,
    match: Match | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    effect: Effect,
    context: Context,
) -> None:
    gains = tuple(_gain(effect, index, name, node, context) for index, name in enumerate(inputs))
    if effect.source:
        found.sources.extend(outputs)
        context.moving.update(outputs)
    elif any(gain != ZERO for gain in gains):
        context.moving.update(outputs)
        name = match.name if match else ""
        weighed = context.passed_on(inputs, outputs) + effect.weighed
        context.weighed.update(dict.fromkeys(outputs, weighed))
        option = Option(gains, effect.joint)
        found.steps.append(
            Step(node.name, node.op, inputs, outputs, (option,), name, effect.selects)
        )
    for name in outputs:
        context.known[name] = ranges.meet(effect.facts, context.known.get(name, UNKNOWN))
    if outputs[:1] == node.outputs[:1] and context.known[outputs[0]].is_bounded:
        again = partial(_first_effect, node, match, context)
        _narrow(
            outputs[0],
            by_channel(node, match.name if match else "", inputs, again, context),
            context,
        )


def _first_effect(node: Node, match: Match | None, context: Context) -> Effect:
    return _evaluate(node, match, context)[0]


def _narrow(name: str, channels: tuple[Facts, ...], context: Context) -> None:
    """Take up the intervals of a value's channels, and what all of them say of the value."""
    if not channels:
        return
    known = context.known[name]
    channels = tuple(ranges.meet(part, Facts(known.lo, known.hi)) for part in channels)
    whole = ranges.union(channels)
    context.channels[name] = channels
    context.known[name] = ranges.meet(known, Facts(whole.lo, whole.hi))


def _gain(effect: Effect, index: int, name: str, node: Node, context: Context) -> Gain:
    if not context.live(name):
        return ZERO
    if index in effect.gains:
        return effect.gains[index]
    return Infinite("B", f"{name}, a parameter of {node.op}, depends on the network's input")


def _evaluate(node: Node, match: Match | None, context: Context) -> tuple[Effect, ...]:
    """The effects of a node; what a rule could not find out becomes an infinite gain."""
    entry = TABLE.get((node.domain, node.op))
    try:
        if match is not None:
            effect: Effect | tuple[Effect, ...] = match.effect(context)
        elif entry is None:
            return (_without(context, node, Infinite(UNMODELLED, _no_rule(node))),)
        else:
            effect = entry(node, context)
    except Missing as missing:
        return (_without(context, node, Infinite(None, str(missing))),)
    except MALFORMED as error:
        words = f"the node does not have the form that {node.op} must have: {error}"
        return (_without(context, node, Infinite(None, words)),)
    return effect if isinstance(effect, tuple) else (effect,)


def _without(context: Context, node: Node, reason: Infinite) -> Effect:
    count = len(node.inputs) + len(captured(context.resolved, node))
    return Effect(dict.fromkeys(range(count), reason))


def _no_rule(node: Node) -> str:
    domain = f"{node.domain}." if node.domain else ""
    return f"there is no rule for {domain}{node.op}"
