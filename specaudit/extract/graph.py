"""The layers of a graph: one for each use of a weight; and what its other tensors are."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import specaudit.extract.nodes_quantised  # noqa: F401  enters its rules
from specaudit.extract.entries import Entry
from specaudit.extract.nodes import OPERATIONS, Use
from specaudit.extract.roles import carries, is_matrix, role
from specaudit.extract.skipping import skip
from specaudit.graphs.resolved import ResolvedGraph
from specaudit.model import Model, Node, Weight
from specaudit.operators import Layer
from specaudit.report import Skipped

_REPLACEABLE = "a caller can replace it"  # how formats/onnx.py notes it


def entries(model: Model, resolved: ResolvedGraph) -> Iterator[Entry]:
    """Yield a layer for each use of a weight, in the order of the nodes, then all else.

    Bodies of ``If``, ``Loop`` and ``Scan`` are walked where their node stands; both branches
    of an ``If`` are. A node whose outputs are constants applies nothing: it is folded.
    """
    measured: set[int] = set()
    listed: set[int] = set()
    index = {weight.name: weight for weight in model.weights}
    for entry in _walk(resolved):
        if isinstance(entry, Layer):
            measured.update(id(tensor) for tensor in entry.tensors)
            measured.update(id(index.get(tensor.name)) for tensor in entry.tensors)
            yield entry
        else:
            known = index.get(entry.name)
            if known is None or id(known) not in listed:
                listed.add(id(known))
                yield entry
    uses = _Uses()
    uses.collect(resolved)
    tied = {_memory(w): w.name for w in model.weights if w.storage and id(w) in measured}
    for weight in model.weights:
        if id(weight) in measured:
            yield from _replaceable(weight)
        elif _memory(weight) in tied:
            reason = f"the same parameter as {tied[_memory(weight)]}"
            yield Skipped(weight.name, weight.shape, reason)
        elif id(weight) not in listed:
            yield _left_over(weight, uses)


def _memory(weight: Weight) -> tuple[str, tuple[int, int]]:
    return weight.storage, weight.extent


def _replaceable(weight: Weight) -> Iterator[Skipped]:
    if any(_REPLACEABLE in note for note in weight.notes):
        reason = "measured, but also an input of the graph: a caller can replace it"
        yield Skipped(weight.name, weight.shape, reason, covered=False)


def _walk(resolved: ResolvedGraph) -> Iterator[Entry]:
    for node in resolved.nodes:
        rule = OPERATIONS.get((node.domain, node.op))
        if rule is not None and not _is_folded(resolved, node):
            for entry in rule(Use(resolved, node)):
                yield replace(entry, op=node.op) if isinstance(entry, Layer) else entry
        for body in resolved.subgraphs(node).values():
            yield from _walk(body)


def _is_folded(resolved: ResolvedGraph, node: Node) -> bool:
    return all(resolved.is_constant(name) for name in node.outputs if name)


@dataclass(slots=True)
class _Uses:
    """Where the values of each tensor go: into which input of which operation."""

    places: dict[int, list[tuple[Node, int]]] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)

    def collect(self, resolved: ResolvedGraph) -> None:
        """Take in the nodes of a graph and of its subgraphs."""
        roots: dict[str, tuple[Weight, ...]] = {}
        for node in resolved.nodes:
            folded = _is_folded(resolved, node)
            for place, name in enumerate(node.inputs):
                if not name or not resolved.is_constant(name):
                    continue
                if name not in roots:
                    roots[name] = resolved.roots(name)
                self.read.update(id(weight) for weight in roots[name])
                if folded or not roots[name]:
                    continue
                for use in _followed(resolved, node, place):
                    for weight in roots[name]:
                        self.places.setdefault(id(weight), []).append(use)
            for body in resolved.subgraphs(node).values():
                self.collect(body)
        for info in resolved.outputs:
            if resolved.is_constant(info.name):
                self.read.update(id(weight) for weight in resolved.roots(info.name))


def _followed(resolved: ResolvedGraph, node: Node, place: int) -> Iterator[tuple[Node, int]]:
    """Yield where the values at an input of a node go in the end."""
    pending, seen = [(node, place)], {(node.name, place)}
    while pending:
        node, place = pending.pop()
        if not carries(node, place):
            yield node, place
            continue
        for name in node.outputs:
            for reader in resolved.consumers(name):
                for index, value in enumerate(reader.inputs):
                    if value == name and (reader.name, index) not in seen:
                        seen.add((reader.name, index))
                        pending.append((reader, index))


def _left_over(weight: Weight, uses: _Uses) -> Skipped:
    told = [role(weight, node, place) for node, place in uses.places.get(id(weight), [])]
    holes = [found for found in told if not found.covered]
    if holes:
        return skip(weight, holes[0].reason, covered=False)
    if told:
        reason = "; ".join(dict.fromkeys(found.reason for found in told))
        return skip(weight, reason, infinite=all(found.infinite for found in told))
    if id(weight) in uses.read:
        return skip(weight, "shapes other constants, or is an output", infinite=True)
    return skip(weight, "unused: no node reads it", covered=not is_matrix(weight), infinite=True)
