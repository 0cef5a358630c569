"""Compose: a certified Lipschitz bound of a network over its real graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.graphs import ResolvedGraph
from specaudit.lipschitz import families, patterns
from specaudit.lipschitz.context import Context
from specaudit.lipschitz.explain import Causes, causes, contributors, follow
from specaudit.lipschitz.fusion import SINK, contract
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.steps import Columns, Step, adjoint, forward
from specaudit.lipschitz.trace import Trace, trace
from specaudit.operators import Layer
from specaudit.report import Factor, InputBound, NetworkBound, Norm, magnitude_fields

__all__ = ["bound"]

assert families.ALL


def bound(
    resolved: ResolvedGraph,
    layers: Mapping[str, tuple[Layer, ...]],
    norm_of: Callable[[Layer], Norm],
    *,
    input_range: Mapping[str, tuple[float, float]] | tuple[float, float] | None = None,
) -> NetworkBound:
    """Bound the l2 Lipschitz constant of the function that a graph computes.

    Parameters
    ----------
    resolved : ResolvedGraph
    layers : mapping of str to tuple of Layer
        By node name. A node that is not in it reads its own constants.
    norm_of : callable
        Measures a layer; asked about fused kernels as well, which are new layers.
    input_range : mapping of str to (float, float), or (float, float), optional
        The box the inputs come from, by input name; ``""`` or ``"*"`` names all the rest.

    Returns
    -------
    NetworkBound
        ``certified`` with an upper bound of ``|f(x) - f(y)| / |x - y|`` over all pairs of
        inputs (of the box, if there is one), inputs and outputs each taken as one vector;
        or the nodes for which there is no finite constant, all of them.

    Notes
    -----
    Forward recursion and its adjoint over the steps of the graph, then both again with the
    linear runs fused; every one of the four holds, the smallest is reported.
    """
    if not resolved.outputs:
        return NetworkBound.not_computed("the graph has no output")
    ranges_given = _ranges(input_range)
    context, found = _trace(resolved, layers, norm_of, ranges_given)
    if not found.sources:
        return _without_source(context)
    outputs = tuple(dict.fromkeys(value.name for value in resolved.outputs))
    missing = causes(found.steps, found.sources, outputs)
    if resolved.assumed:
        first, *more = resolved.assumed
        others = f" and of {len(more)} other values" if more else ""
        context.assume(f"the declared shape of {first}{others} is taken to be true")
    plain = _compose("graph", found.steps, found.sources, outputs)
    if missing.any:
        return _without_bound(missing, plain, context)
    steps, ends = contract(found.steps, found.sources, outputs, context)
    fused = _compose("fused", steps, found.sources, ends)
    best = fused if fused.total < plain.total else plain
    factors = tuple(factor for factor in best.path() if factor.node != SINK)
    fields = magnitude_fields(best.total)
    return NetworkBound(
        "certified",
        upper=fields["upper"],
        log10_upper=fields["log10_upper"],
        method=best.method,
        path=tuple(dict.fromkeys(factor.node for factor in factors)),
        factors=factors,
        contributors=contributors(factors),
        inputs=_inputs(best, found.sources),
        assumptions=tuple(context.assumptions),
    )


def _without_bound(missing: Causes, composed: "Composition", context: Context) -> NetworkBound:
    return NetworkBound(
        "unbounded" if missing.proved else "not_computed",
        unbounded=missing.unbounded,
        unmodelled=missing.unmodelled,
        reason=missing.reason,
        inputs=_inputs(composed, composed.sources),
        assumptions=tuple(context.assumptions),
    )


@dataclass(frozen=True, slots=True)
class Composition:
    """Both walks over one list of steps, and what came of them."""

    rung: str
    steps: Sequence[Step]
    sources: Sequence[str]
    outputs: tuple[str, ...]
    ahead: Columns
    back: Columns
    by_source: tuple[Magnitude, ...]
    total: Magnitude
    adjoint_won: bool

    @property
    def method(self) -> str:
        """The rung, and the direction where it was the adjoint's."""
        return f"{self.rung}, adjoint" if self.adjoint_won else self.rung

    def path(self) -> tuple[Factor, ...]:
        """The steps that carry the bound from an input to an output."""
        largest = max(range(len(self.sources)), key=lambda k: _order(self.by_source[k]))
        columns = self.back if self.adjoint_won else self.ahead
        return follow(
            self.steps, columns, self.sources[largest], largest, self.outputs, self.adjoint_won
        )


def _order(bound: Magnitude) -> float:
    return bound.log10_upper


def _compose(
    rung: str, steps: Sequence[Step], sources: Sequence[str], outputs: tuple[str, ...]
) -> Composition:
    # One column a source, and one more in which all of them move together.
    width = len(sources)
    seeds = {
        name: (*(ONE if name == other else ZERO for other in sources), ONE) for name in sources
    }
    ends = {name: tuple(ONE if name == other else ZERO for other in outputs) for name in outputs}
    ahead, back = forward(steps, seeds), adjoint(steps, ends, frozenset(sources))
    ahead_by_source, back_by_source = [], []
    nothing = (ZERO,) * (width + 1)
    for k, name in enumerate(sources):
        ahead_by_source.append(ZERO.hypot(*(ahead.get(out, nothing)[k] for out in outputs)))
        back_by_source.append(ZERO.hypot(*back.get(name, (ZERO,))))
    by_source = tuple(a.min(b) for a, b in zip(ahead_by_source, back_by_source, strict=True))
    together = ZERO.hypot(*(ahead.get(out, nothing)[width] for out in outputs))
    total = ZERO.hypot(*by_source).min(together)
    backwards = ZERO.hypot(*back_by_source)
    return Composition(
        rung,
        steps,
        sources,
        outputs,
        ahead,
        back,
        by_source,
        total,
        adjoint_won=backwards < ZERO.hypot(*ahead_by_source).min(together),
    )


def _inputs(composed: Composition, sources: Sequence[str]) -> tuple[InputBound, ...]:
    return tuple(
        InputBound(name, **magnitude_fields(bound))
        for name, bound in zip(sources, composed.by_source, strict=True)
    )


def _trace(
    resolved: ResolvedGraph,
    layers: Mapping[str, tuple[Layer, ...]],
    norm_of: Callable[[Layer], Norm],
    given: Mapping[str, tuple[float, float]],
) -> tuple[Context, Trace]:
    """Trace from the real inputs; where all are integers, from where they become real."""
    for casts in (False, True):
        context = Context(resolved, layers, norm_of, given)
        context.casts_are_sources = casts
        found = trace(context, patterns.ALL, _seeds(context))
        if found.sources:
            break
    return context, found


def _seeds(context: Context) -> dict[str, Facts]:
    seeds: dict[str, Facts] = {}
    for value in context.resolved.inputs:
        if context.resolved.is_constant(value.name):
            continue
        if context.is_float(value.name):
            seeds[value.name] = context.given(value.name)
        else:
            context.varying.add(value.name)
            context.assume(f"{value.name} holds {value.dtype} and is held fixed")
    return seeds


def _without_source(context: Context) -> NetworkBound:
    return NetworkBound(
        "not_computed",
        reason="the graph has no input of real numbers",
        assumptions=tuple(context.assumptions),
    )


def _ranges(
    given: Mapping[str, tuple[float, float]] | tuple[float, float] | None,
) -> Mapping[str, tuple[float, float]]:
    if given is None:
        return {}
    return {"*": given} if isinstance(given, tuple) else given
