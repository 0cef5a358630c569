"""Shapes of If, Loop, Scan and SequenceMap, from bodies walked with what is known outside."""

from collections.abc import Sequence

from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import UNKNOWN, Body, Dimension, Site, Type, axis_of, common
from specaudit.model import Graph


@shape_rule("If")
def branches(site: Site) -> Sequence[Type]:
    """The branch taken, or what both have in common."""
    bodies = site.scope.bodies(site.node)
    taken = site.scope.taken(site.node)
    if taken is not None and taken in bodies:
        return bodies[taken].results()
    if set(bodies) != {"then_branch", "else_branch"}:
        return []
    both = zip(bodies["then_branch"].results(), bodies["else_branch"].results(), strict=False)
    return [common(yes, no) for yes, no in both]


@shape_rule("Loop")
def loop(site: Site) -> Sequence[Type]:
    """States as they stay through the iterations, then a row for each iteration."""
    body, states = _settled(site, [Type("int64", ()), Type("bool", ())], 2, [], results_before=1)
    if body is None:
        return []
    rows = body.results()[1 + len(states) :]
    trips = _trips(site, body)
    return [*states, *(_stacked(row, trips, 0) for row in rows)]


def _trips(site: Site, body: Body) -> Dimension:
    """Number of iterations, if nothing can end the loop early."""
    bound = site.known(0)
    if bound is None or bound.size != 1:
        return None
    goes_on = body.known_results()[0]
    if goes_on is None or goes_on.dtype == object or not bool(goes_on.all()):
        starts = not site.has(1) or bool((first := site.known(1)) is not None and first.all())
        if not (starts and body.relays(0, 1)):
            return None
    return max(0, int(bound.ravel()[0]))


@shape_rule("Scan")
def scan(site: Site) -> Sequence[Type]:
    """States, then a slice for each step."""
    count = site.integer("num_scan_inputs", 0)
    first = len(site.node.inputs) - count
    if site.opset < 9 or not 0 <= first < len(site.node.inputs):
        return []
    axes = site.integers("scan_input_axes") or (0,) * count
    sliced: list[Type] = []
    steps: Dimension = None
    for index, axis in zip(range(first, first + count), axes, strict=False):
        shape = site.shape(index)
        if shape is None:
            sliced.append(Type(site.dtype(index)))
            continue
        at = axis_of(axis, len(shape), site)
        steps = shape[at] if steps is None else steps
        sliced.append(Type(site.dtype(index), (*shape[:at], *shape[at + 1 :])))
    body, states = _settled(site, [], 0, sliced, results_before=0)
    if body is None:
        return []
    rows = body.results()[len(states) :]
    out_axes = site.integers("scan_output_axes") or (0,) * len(rows)
    return [
        *states,
        *(_stacked(row, steps, axis) for row, axis in zip(rows, out_axes, strict=False)),
    ]


def _settled(
    site: Site, before: list[Type], skipped: int, after: list[Type], *, results_before: int
) -> tuple[Body | None, list[Type]]:
    """Walk the body until the states' types stay the same through an iteration."""
    if not isinstance(site.node.attributes.get("body"), Graph):
        return None, []
    last = len(site.node.inputs) - len(after)
    states = [site.type(index) for index in range(skipped, last)]
    if not site.scope.may_repeat():
        states = [UNKNOWN] * len(states)
    for attempt in range(3):
        body = site.scope.body(site.node, "body", (*before, *states, *after))
        results = body.results()[results_before : results_before + len(states)]
        wider = [common(old, new) for old, new in zip(states, results, strict=False)]
        if wider == states or len(wider) < len(states):
            break
        states = wider if attempt == 0 else [UNKNOWN] * len(states)
    return body, states


def _stacked(row: Type, count: Dimension, axis: int) -> Type:
    if row.shape is None:
        return row
    at = axis + len(row.shape) + 1 if axis < 0 else axis
    return Type(row.dtype, (*row.shape[:at], count, *row.shape[at:]))


@shape_rule("SequenceMap")
def mapped(site: Site) -> Sequence[Type]:
    """Sequences of what the body makes of the elements."""
    if not isinstance(site.node.attributes.get("body"), Graph):
        return []
    types = [site.type(index) for index in range(len(site.node.inputs))]
    given = tuple(
        type_.element or (UNKNOWN if index == 0 else type_) for index, type_ in enumerate(types)
    )
    return [Type(element=type_) for type_ in site.scope.body(site.node, "body", given).results()]
