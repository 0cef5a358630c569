"""Functions replaced by their bodies: counted first, so that no file expands without bound."""

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from specaudit import limits
from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.graphs.signatures import check
from specaudit.graphs.words import check_words
from specaudit.model import AttributeReference, Function, Graph, Node, ValueInfo, Weight

Key = tuple[str, str]
Scope = MutableMapping[str, str]


@dataclass(frozen=True, slots=True)
class Flat:
    """A graph without calls.

    Attributes
    ----------
    opsets : mapping
        By node name, the versions of nodes that are read by others than the graph's.
    count : int
        Nodes, those of subgraphs among them.
    elements : int
        Elements of all weights, wherever they are.
    """

    graph: Graph
    opsets: Mapping[str, Mapping[str, int]]
    count: int
    elements: int


def flatten(graph: Graph) -> Flat:
    """Return `graph` with every call of a function, at any depth, replaced by its body.

    An inner value or node ``n`` of a call by node ``c`` is named ``c/n``; a node name that
    the file uses twice gets ``#2`` appended the second time. Both are the same every time.

    Raises
    ------
    UnreadableModel
        A function calls itself, calls nest deeper than 32, or the expansion would have
        more than a million nodes. It is counted, in linear time, before it is built.
    """
    count, _ = _Census(graph.functions).of(graph.nodes, 0)
    if count > limits.GRAPH_NODES:
        raise UnreadableModel(
            f"the graph expands to {_readable(count)} nodes, the limit is {limits.GRAPH_NODES}",
            where=graph.name,
            help="flatten or split the model's functions before the audit",
        )
    inliner = _Inliner(graph)
    flat = inliner.graph(graph, {}, "", {}, {})
    elements = sum(weight.size for weight in inliner.weights.values())
    return Flat(flat, inliner.opsets, count, elements)


def subgraphs(node: Node) -> Iterator[tuple[str, Graph]]:
    """The graphs among a node's attributes, by attribute name (``name[i]`` in a list)."""
    for name, value in node.attributes.items():
        if isinstance(value, Graph):
            yield name, value
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Graph):
                    yield f"{name}[{index}]", item


def _readable(count: int) -> str:
    return str(count) if count < 10**15 else f"more than 10^{len(str(count)) - 1}"


class _Census:
    """Counts what a graph expands to, each function once."""

    def __init__(self, functions: Mapping[Key, Function]) -> None:
        self.functions = functions
        self.known: dict[Key, tuple[int, int]] = {}
        self.active: set[Key] = set()

    def of(self, nodes: Iterable[Node], depth: int) -> tuple[int, int]:
        """Expanded number of nodes, and how deep calls and subgraphs nest in them."""
        total = deepest = 0
        for node in nodes:
            count, height = self._call(node, depth)
            for _, body in subgraphs(node):
                inner, below = self.of(body.nodes, self._deeper(depth, node))
                count, height = count + inner, max(height, below + 1)
            total, deepest = total + count, max(deepest, height)
            if depth + deepest > limits.CALL_DEPTH:
                self._deeper(limits.CALL_DEPTH, node)
        return total, deepest

    def _call(self, node: Node, depth: int) -> tuple[int, int]:
        key = node.domain, node.op
        function = self.functions.get(key)
        if function is None:  # a wide node weighs more: its edges are copied too
            return 1 + (len(node.inputs) + len(node.outputs)) // 16, 0
        if key in self.active:
            raise UnreadableModel(f"function {node.op} calls itself", where=node.name)
        if key not in self.known:
            self.active.add(key)
            count, height = self.of(function.nodes, self._deeper(depth, node))
            self.known[key] = count + len(_relayed(function)), height + 1
            self.active.remove(key)
        return self.known[key]

    @staticmethod
    def _deeper(depth: int, node: Node) -> int:
        if depth >= limits.CALL_DEPTH:
            raise UnreadableModel(
                f"functions and subgraphs nest deeper than {limits.CALL_DEPTH}", where=node.name
            )
        return depth + 1


@dataclass(slots=True)
class _Frame:
    """Where a body is expanded: its names, its prefix, its attributes, its versions."""

    names: Scope
    prefix: str
    attributes: Mapping[str, object]
    opsets: Mapping[str, int]
    nodes: list[Node] = field(default_factory=list)

    def name(self, name: str, node: Node) -> str:
        """What `name` is called outside; a function sees nothing of its caller's scope."""
        if self.prefix and name and name not in self.names:
            raise UnreadableModel(f"nothing in the function gives {name!r}", where=node.name)
        return self.names.get(name, name)


class _Inliner:
    def __init__(self, graph: Graph) -> None:
        self.functions = graph.functions
        self.main_opsets = graph.opsets
        self.opsets: dict[str, Mapping[str, int]] = {}
        self.weights: dict[int, Weight] = {}
        self.node_names: dict[str, int] = {}
        self.value_names = dict.fromkeys(_value_names(graph), 1)

    def graph(
        self,
        graph: Graph,
        names: Scope,
        prefix: str,
        attributes: Mapping[str, object],
        opsets: Mapping[str, int],
    ) -> Graph:
        """Expand `graph` and its subgraphs; a body inside a function gets names of its own."""
        frame = _Frame(ChainMap({}, names), prefix, attributes, opsets)
        if prefix:
            self._own_names(graph, frame)
        for node in graph.nodes:
            self._node(node, frame)
        self.weights.update((id(weight), weight) for weight in graph.constants.values())
        return Graph(
            graph.name,
            tuple(frame.nodes),
            tuple(_named(info, frame) for info in graph.inputs),
            tuple(_named(info, frame) for info in graph.outputs),
            {frame.names.get(name, name): weight for name, weight in graph.constants.items()},
            {
                frame.names.get(name, name): _named(info, frame)
                for name, info in graph.values.items()
            },
            graph.opsets,
        )

    def _own_names(self, graph: Graph, frame: _Frame) -> None:
        defined = [info.name for info in graph.inputs]
        defined += [*graph.constants]
        defined += [name for node in graph.nodes for name in node.outputs]
        self._rename(defined, frame)

    def _rename(self, defined: Iterable[str], frame: _Frame) -> None:
        for name in defined:
            if name:
                frame.names[name] = _fresh(f"{frame.prefix}{name}", self.value_names)

    def _node(self, node: Node, frame: _Frame) -> None:
        renamed = Node(
            _fresh(frame.prefix + node.name, self.node_names),
            node.op,
            tuple(frame.name(name, node) for name in node.inputs),
            tuple(frame.names.get(name, name) for name in node.outputs),
            {},
            node.domain,
        )
        attributes = {
            name: self._attribute(value, renamed, frame)
            for name, value in node.attributes.items()
            if not isinstance(value, AttributeReference) or value.name in frame.attributes
        }
        renamed = replace(renamed, attributes=attributes)
        function = self.functions.get((node.domain, node.op))
        if function is not None:
            self._call(renamed, function, frame)
            return
        versions = frame.opsets or self.main_opsets
        check(renamed, versions.get(node.domain, self.main_opsets.get(node.domain, 1)))
        check_words(renamed)
        frame.nodes.append(renamed)
        if frame.opsets and frame.opsets.get(node.domain) != self.main_opsets.get(node.domain):
            self.opsets[renamed.name] = frame.opsets

    def _attribute(self, value: object, node: Node, frame: _Frame) -> object:
        if isinstance(value, AttributeReference):
            value = frame.attributes[value.name]
            if isinstance(value, Graph):
                raise UnsupportedModel("a function takes a graph as its attribute", where=node.name)
            return value
        if isinstance(value, Graph):
            return self.graph(value, frame.names, frame.prefix, frame.attributes, frame.opsets)
        if isinstance(value, Weight):
            self.weights[id(value)] = value
        if isinstance(value, tuple) and value and isinstance(value[0], Graph):
            return tuple(self._attribute(item, node, frame) for item in value)
        return value

    def _call(self, call: Node, function: Function, outer: _Frame) -> None:
        if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
            raise UnreadableModel(
                f"{call.op} is called with more inputs or outputs than it has", where=call.name
            )
        inner = _Frame(
            dict.fromkeys(function.inputs, ""),
            f"{call.name}/",
            {**function.defaults, **call.attributes},
            function.opsets,
            outer.nodes,
        )
        inner.names.update(zip(function.inputs, call.inputs, strict=False))
        self._rename((name for node in function.nodes for name in node.outputs), inner)
        relayed = self._bind_outputs(call, function, inner)
        for node in function.nodes:
            self._node(node, inner)
        outer.nodes.extend(relayed)

    def _bind_outputs(self, call: Node, function: Function, inner: _Frame) -> list[Node]:
        """Give results their callers' names; what is not produced here needs an Identity."""
        relayed = _relayed(function)
        pairs = list(enumerate(zip(function.outputs, call.outputs, strict=False)))
        for index, (formal, actual) in pairs:
            if actual and index not in relayed:
                inner.names[formal] = actual
        return [
            Node(
                _fresh(f"{inner.prefix}{formal}", self.node_names),
                "Identity",
                (inner.name(formal, call),),
                (actual,),
            )
            for index, (formal, actual) in pairs
            if actual and index in relayed
        ]


def _relayed(function: Function) -> set[int]:
    """Outputs that are an input passed through, or the same result once more."""
    produced = {name for node in function.nodes for name in node.outputs}
    relayed = set()
    for index, name in enumerate(function.outputs):
        if name in produced:
            produced.remove(name)
        else:
            relayed.add(index)
    return relayed


def _named(info: ValueInfo, frame: _Frame) -> ValueInfo:
    return replace(info, name=frame.names.get(info.name, info.name))


def _fresh(name: str, taken: dict[str, int]) -> str:
    if len(name) > limits.GRAPH_NAME:
        name = f"{name[: limits.GRAPH_NAME // 2]}…{name[-limits.GRAPH_NAME // 2 :]}"
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name}#{taken[name]}"
    taken[unique] = 1
    return unique


def _value_names(graph: Graph) -> Iterator[str]:
    pending = [graph]
    while pending:
        inner = pending.pop()
        yield from (info.name for info in inner.inputs)
        yield from inner.constants
        for node in inner.nodes:
            yield from node.inputs
            yield from node.outputs
            pending += [body for _, body in subgraphs(node)]
