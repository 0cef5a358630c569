"""A graph whose functions are inlined, constants foldable, shapes and types inferred."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from specaudit.graphs.bind import bound, nameless, symbols_of, typed
from specaudit.graphs.fold import Budget, sources
from specaudit.graphs.inline import flatten, subgraphs
from specaudit.graphs.knowledge import Knowledge, Shared
from specaudit.graphs.order import captured
from specaudit.graphs.site import Array, Dimension, Shape, Type
from specaudit.model import Graph, Node, ValueInfo, Weight

NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def resolve(
    graph: Graph, *, input_shapes: Mapping[str, tuple[int, ...]] = NO_SHAPES
) -> "ResolvedGraph":
    """Inline the functions of a graph, infer its shapes, and make its constants foldable.

    Parameters
    ----------
    graph : Graph
    input_shapes : mapping
        Shapes for inputs by name; a symbol bound in one input is bound everywhere.

    Returns
    -------
    ResolvedGraph

    Raises
    ------
    UnreadableModel
        The graph has a cycle, reads what nothing gives, gives a name twice, contradicts
        itself in a dimension, or expands beyond a million nodes.
    UsageError
        `input_shapes` names no input, or contradicts the file.

    Notes
    -----
    Linear in the number of nodes; no weight of more than 1024 elements is read.

    Examples
    --------
    >>> from specaudit.model import Graph, Node, ValueInfo
    >>> halve = Node("halve", "MaxPool", ("x",), ("y",), {"kernel_shape": (2,), "strides": (2,)})
    >>> inputs, outputs = (ValueInfo("x", "float32", ("N", 3, 8)),), (ValueInfo("y"),)
    >>> resolve(Graph("g", (halve,), inputs, outputs, opsets={"": 17})).shape("y")
    ('N', 3, 4)
    """
    flat = flatten(graph)
    symbols = symbols_of(flat.graph, input_shapes)
    given = tuple(
        Type(info.dtype, input_shapes.get(info.name, bound(info.shape, symbols)))
        for info in flat.graph.inputs
    )
    shared = Shared(flat, symbols, Budget(flat.count, flat.elements), {})
    return ResolvedGraph(Knowledge(flat.graph, shared, None, given))


class ResolvedGraph:
    """A graph ready to be walked: flat, sorted, typed, with its constants at hand.

    Made by `resolve`; the bodies of ``If``, ``Loop`` and ``Scan`` are ResolvedGraphs too,
    which see the values of the graph around them.

    Attributes
    ----------
    graph : Graph
        Functions inlined, nodes sorted, node names unique over all subgraphs.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._bodies: dict[str, dict[str, ResolvedGraph]] = {}
        graph = knowledge.graph
        opsets = graph.opsets or knowledge.shared.flat.graph.opsets
        self.graph: Graph = replace(graph, nodes=knowledge.nodes, opsets=opsets)
        self._consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys((*node.inputs, *captured(node, knowledge.shared.captures))):
                self._consumers.setdefault(name, []).append(node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes, each after the nodes whose values it reads."""
        return self.graph.nodes

    @property
    def inputs(self) -> tuple[ValueInfo, ...]:
        """Inputs with what is known of their types; an initializer is none of them."""
        constants = self.graph.constants
        return tuple(self._typed(info) for info in self.graph.inputs if info.name not in constants)

    @property
    def outputs(self) -> tuple[ValueInfo, ...]:
        """Outputs with what is known of their types."""
        return tuple(self._typed(info) for info in self.graph.outputs)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Values with a dimension that the file declares and nothing else confirms."""
        return tuple(dict.fromkeys(self._knowledge.assumed))

    def opset(self, domain: str = "") -> int:
        """Version of an operator set that the graph imports (1 where it does not say)."""
        return self.graph.opsets.get(domain, 1)

    def opset_of(self, node: Node) -> int:
        """Version that a node is read by; a function may bring its own."""
        return self._knowledge.opset_of(node)

    def producer(self, name: str) -> Node | None:
        """The node that gives a value; None for inputs and initializers."""
        return self._knowledge.producer(name)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a value, also those that read it inside a subgraph of theirs."""
        return tuple(self._consumers.get(name, ()))

    def shape(self, name: str) -> Shape:
        """Shape as far as it is known: a number, a symbol or None for each dimension."""
        return nameless(self._knowledge.type_of(name).shape)

    def dimensions(self, name: str) -> Shape:
        """As `shape`, with a symbol of our own in the place of None.

        Where two values have the same one, they have the same size, whatever it is; only
        in the body of a loop, where it may be another one each time, None remains.
        """
        return self._knowledge.type_of(name).shape

    def dtype(self, name: str) -> str | None:
        """Element type by its NumPy name, as ONNX has it; a folded value may be wider."""
        return self._knowledge.type_of(name).dtype

    def is_constant(self, name: str) -> bool:
        """Whether a value depends on no input, even where `constant` is too large to give."""
        return self._knowledge.is_constant(name)

    def constant(self, name: str) -> Array | None:
        """Value of a constant, read-only; None for what is none, or too large to fold.

        Notes
        -----
        A folded value is what IEEE arithmetic in the stored dtype gives, except that
        DequantizeLinear is folded in float64 as ``(q - zero_point) * scale``. A result
        holds at most 2^23 elements, or four times the largest weight it derives from.
        """
        scope = self._knowledge.owner(name)
        if not scope.is_constant(name):
            return None
        leaf = scope.leaf(name)
        if isinstance(leaf, Weight):
            leaf = leaf.read()
        value = scope.folder.value(name) if leaf is None else leaf
        if value is not None:
            value.setflags(write=False)
        return value

    def value_of(self, name: str) -> int | tuple[Dimension, ...] | None:
        """A small integer or vector of integers; in a vector some may be symbols or None."""
        value = self._knowledge.known(name)
        if value is None or value.dtype.kind not in "iuO" or value.ndim > 1:
            return None
        if value.ndim:
            return nameless(tuple(value.tolist()))
        return int(value) if value.dtype != object else None

    def roots(self, name: str) -> tuple[Weight, ...]:
        """The weights whose values a constant derives from, in the order of the operands.

        An index, a shape or a condition that only says where values go is no root.
        """
        found: dict[int, Weight] = {}
        seen: set[tuple[int, str]] = set()
        stack = [(self._knowledge, name)]
        while stack:
            scope, value = stack.pop()
            scope = scope.owner(value)
            if (id(scope), value) in seen or not scope.is_constant(value):
                continue
            seen.add((id(scope), value))
            for weight in _weights(scope, value):
                found.setdefault(id(weight), weight)
            stack += reversed(list(_origins(scope, value)))
        return tuple(found.values())

    def subgraphs(self, node: Node) -> Mapping[str, "ResolvedGraph"]:
        """Bodies of a node by attribute name, with this graph's values in their sight."""
        if node.name not in self._bodies:
            bodies = self._knowledge.bodies(node)
            self._bodies[node.name] = {name: ResolvedGraph(body) for name, body in bodies.items()}
        return MappingProxyType(self._bodies[node.name])

    def taken(self, node: Node) -> str | None:
        """The branch that an ``If`` with a constant condition takes; else None."""
        return self._knowledge.taken(node)

    def _typed(self, info: ValueInfo) -> ValueInfo:
        return typed(info, self._knowledge.type_of(info.name))


def _weights(scope: Knowledge, value: str) -> Iterator[Weight]:
    if value in scope.weights:
        yield scope.weights[value]


def _origins(scope: Knowledge, value: str) -> Iterator[tuple[Knowledge, str]]:
    node = scope.producers.get(value)
    if node is None:
        return
    branch = scope.taken(node)
    for name, body in scope.bodies(node).items() if any(subgraphs(node)) else ():
        if branch in {None, name}:
            outputs = zip(node.outputs, body.graph.outputs, strict=False)
            yield from ((body, info.name) for output, info in outputs if output == value)
    if branch is None:
        yield from ((scope, operand) for operand in sources(node))
