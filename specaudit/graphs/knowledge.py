"""What is known of the values of one graph, worked out in one walk over its nodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.graphs.bind import declared_types, merged, named
from specaudit.graphs.fold import Budget, Folder
from specaudit.graphs.inline import Flat, subgraphs
from specaudit.graphs.order import Captures, captured, ordered
from specaudit.graphs.partial import SMALL, small_outputs
from specaudit.graphs.shapes import is_deterministic, output_types
from specaudit.graphs.site import UNKNOWN, Array, Site, Type
from specaudit.model import Graph, Node, Weight

TEXT = {"str", "string", "object"}


@dataclass(frozen=True, slots=True)
class Shared:
    """What a graph and the subgraphs in it have in common."""

    flat: Flat
    symbols: Mapping[str, int]
    budget: Budget
    captures: Captures


class Knowledge:
    """Types, small constants and constness of the values of one graph or subgraph.

    Parameters
    ----------
    graph : Graph
    shared : Shared
    outer : Knowledge or None
        The scope around a subgraph, whose values it sees. In a subgraph a contradiction
        makes a value unknown instead of being raised: the branch may never be taken.
    given : tuple of Type
        Types of the inputs, as the caller knows them.
    """

    def __init__(
        self, graph: Graph, shared: Shared, outer: "Knowledge | None", given: tuple[Type, ...]
    ) -> None:
        self.graph = graph
        self.shared = shared
        self.outer = outer
        self.nodes = ordered(graph, _Outside(outer), shared.captures)
        self.producers = {name: node for node in self.nodes for name in node.outputs if name}
        self.weights = dict(graph.constants) | dict(_constant_nodes(self.nodes))
        self.constants: set[str] = set(graph.constants)
        self.small: dict[str, Array] = {}
        self.types: dict[str, Type] = {}
        self.assumed: list[str] = []
        self.inner: dict[tuple[str, str], Knowledge] = {}
        self.folder = Folder(self, shared.budget)
        infos = [*graph.values.values(), *graph.outputs, *graph.inputs]
        self._declared = declared_types(infos, shared.symbols)
        shared.budget.walked += len(self.nodes)
        self._enter(given)
        for node in self.nodes:
            self._learn(node)

    def owner(self, name: str) -> "Knowledge":
        """The scope that a name belongs to."""
        scope = self
        while name not in scope.types and scope.outer is not None:
            scope = scope.outer
        return scope

    def type_of(self, name: str) -> Type:
        """What is known of a value's type."""
        return self.owner(name).types.get(name, UNKNOWN)

    def is_constant(self, name: str) -> bool:
        """Whether a value depends on no input."""
        return name in self.owner(name).constants

    def producer(self, name: str) -> Node | None:
        """The node that gives a value."""
        return self.owner(name).producers.get(name)

    def known(self, name: str) -> Array | None:
        """A small constant; with dtype object where single elements are symbols or None."""
        scope = self.owner(name)
        if name not in scope.small and scope.is_known(name):
            scope.small[name] = scope.weights[name].read()
        return scope.small.get(name)

    def is_known(self, name: str) -> bool:
        """Whether `known` has a value, without reading it."""
        scope = self.owner(name)
        weight = scope.weights.get(name)
        return name in scope.small or (
            weight is not None and weight.size <= SMALL and weight.dtype not in TEXT
        )

    def leaf(self, name: str) -> Weight | Array | None:
        """A constant that no node of this scope has to be evaluated for."""
        scope = self.owner(name)
        small = scope.small.get(name)
        if small is not None:
            return None if small.dtype == object else small
        if scope is not self and name not in scope.weights:
            return scope.folder.value(name) if scope.is_constant(name) else None
        return scope.weights.get(name)

    def may_repeat(self) -> bool:
        """Whether bodies may be walked again to find types that stay the same."""
        return self.shared.budget.may_walk_again()

    def relays(self, result: int, given: int) -> bool:
        """Whether an output is one of the inputs, unchanged."""
        name, wanted = self.graph.outputs[result].name, self.graph.inputs[given].name
        while (node := self.producers.get(name)) is not None and node.op == "Identity":
            name = node.inputs[0]
        return name == wanted

    def opset_of(self, node: Node) -> int:
        """Version that a node is read by; a function may bring its own."""
        versions = self.shared.flat.graph.opsets
        own = self.shared.flat.opsets.get(node.name, versions)
        return own.get(node.domain, versions.get(node.domain, 1))

    def site(self, node: Node) -> Site:
        """The node as rules see it."""
        return Site(node, self.opset_of(node), self)

    def bodies(self, node: Node) -> "dict[str, Knowledge]":
        """The node's subgraphs, whose inputs are of the types they were last given."""
        for name, _ in subgraphs(node):
            if (node.name, name) not in self.inner:
                self.body(node, name, ())
        return {name: self.inner[node.name, name] for name, _ in subgraphs(node)}

    def body(self, node: Node, name: str, given: tuple[Type, ...]) -> "Knowledge":
        """One subgraph, walked with its inputs of the types given."""
        graph = dict(subgraphs(node))[name]
        inner = Knowledge(graph, self.shared, self, given)
        self.inner[node.name, name] = inner
        return inner

    def results(self) -> tuple[Type, ...]:
        """Types of the outputs."""
        return tuple(self.type_of(info.name) for info in self.graph.outputs)

    def known_results(self) -> tuple[Array | None, ...]:
        """Values of the outputs that are small constants."""
        return tuple(self.known(info.name) for info in self.graph.outputs)

    def taken(self, node: Node) -> str | None:
        """The branch that an ``If`` with a constant condition takes."""
        condition = self.known(node.inputs[0]) if node.op == "If" and node.inputs else None
        if condition is None or condition.dtype == object or condition.size != 1:
            return None
        return "then_branch" if bool(condition.ravel()[0]) else "else_branch"

    def _enter(self, given: tuple[Type, ...]) -> None:
        for name, weight in self.graph.constants.items():
            self._settle(name, Type(weight.dtype, weight.shape))
        for index, info in enumerate(self.graph.inputs):
            if info.name not in self.graph.constants:
                self._settle(info.name, given[index] if index < len(given) else UNKNOWN)
        self.assumed.clear()  # what the inputs are is the file's to say

    def _learn(self, node: Node) -> None:
        site = self.site(node)
        for name, type_ in zip(node.outputs, self._typed(site), strict=True):
            if name:
                self._settle(name, type_)
        if self._is_constant_node(site):
            self.constants.update(name for name in node.outputs if name)
        if node.outputs and node.outputs[0] in self.weights:  # read when it is asked for
            return
        for name, value in small_outputs(site, self).items():
            if not self.shared.budget.may_keep(value.size):
                continue
            self.small[name] = value
            if value.dtype != object:
                self.constants.add(name)
                self._settle(name, Type(self.types[name].dtype, value.shape))

    def _typed(self, site: Site) -> tuple[Type, ...]:
        try:
            return output_types(site)
        except UnreadableModel:
            if self.outer is None:
                raise
            return (UNKNOWN,) * len(site.node.outputs)

    def _settle(self, name: str, inferred: Type) -> None:
        declared = self._declared.get(name, UNKNOWN)
        if len(inferred.shape or ()) > limits.TENSOR_RANK:
            inferred = Type(inferred.dtype)
        strict = self.outer is None and not self.shared.symbols
        found, assumed = merged(inferred, declared, name, strict=strict)
        # In a loop's body a value may have another size each time.
        self.types[name] = named(found, name) if self.outer is None else found
        if assumed:
            self.assumed.append(name)

    def _is_constant_node(self, site: Site) -> bool:
        node = site.node
        branch = self.taken(node)
        if branch is not None and (node.name, branch) in self.inner:
            inner = self.inner[node.name, branch]
            return all(inner.is_constant(info.name) for info in inner.graph.outputs)
        read = [*node.inputs, *captured(node, self.shared.captures)]
        return is_deterministic(site) and all(not name or self.is_constant(name) for name in read)


def _constant_nodes(nodes: tuple[Node, ...]) -> Iterator[tuple[str, Weight]]:
    for node in nodes:
        value = node.attributes.get("value") if node.op == "Constant" else None
        if isinstance(value, Weight) and not node.domain and len(node.outputs) == 1:
            yield node.outputs[0], value


class _Outside:
    """The names that a subgraph may read from around it."""

    def __init__(self, scope: Knowledge | None) -> None:
        self.scope = scope

    def __contains__(self, name: object) -> bool:
        scope = self.scope
        while scope is not None:
            if name in scope.types:
                return True
            scope = scope.outer
        return False
