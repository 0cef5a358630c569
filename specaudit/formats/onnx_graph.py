"""GraphProto to Graph: nodes in order, each with a name of its own, every tensor collected."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NoReturn

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.external import ExternalData
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.onnx_functions import check_calls
from specaudit.formats.onnx_order import in_order
from specaudit.formats.onnx_schema import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)
from specaudit.formats.onnx_tensors import STRING, TYPES, Dense, SparseTensor, locate, locate_sparse
from specaudit.formats.protobuf import Span
from specaudit.formats.tensors import StoredTensor
from specaudit.model import AttributeReference, Function, Graph, Node, ValueInfo, Weight

# AttributeProto.AttributeType: the field that holds the value.
ATTRIBUTES = {
    1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors",
    10: "graphs", 11: "sparse_tensor", 12: "sparse_tensors", 13: "tp", 14: "type_protos",
}  # fmt: skip
DEFAULTS: Mapping[str, object] = {"f": 0.0, "i": 0, "s": b""}


class Names:
    """Hands out names, each once: the second ``w`` becomes ``w#2``."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def take(self, name: str) -> str:
        """`name`, or the first free ``name#n``."""
        taken = name
        while taken in self._taken:
            self._taken[name] += 1
            taken = f"{name}#{self._taken[name]}"
        self._taken[taken] = 1
        return taken


class Reader:
    """Turns the messages of one file into graphs, gathering its tensors on the way.

    Parameters
    ----------
    file : ModelFile
    functions : sequence of FunctionProto
    overrides : bool
        Whether an initializer that is also an input can be replaced by a caller.
    """

    def __init__(self, file: ModelFile, functions: list[FunctionProto], *, overrides: bool) -> None:
        self.file = file
        self.external = ExternalData(file)
        self.weights: list[Weight] = []
        self.notes: list[str] = []
        self.missing: list[tuple[str, str]] = []
        self._names = Names()
        self._functions = functions
        self._overrides = overrides
        self._in_function = False

    def main_graph(self, proto: GraphProto) -> Graph:
        """The graph that the model applies; every name it uses must be one it defines."""
        graph, free = self._graph(proto, "", 0)
        if free:
            self._refuse(f"value {shown(min(free))} is used and nowhere defined", "")
        return graph

    def functions(self, main: Graph) -> dict[tuple[str, str], Function]:
        """The model's functions, by domain and name (``name:overload`` where it has one)."""
        found: dict[tuple[str, str], Function] = {}
        for proto in self._functions:
            function = self._function(proto)
            key = (function.domain, function.name)
            if key in found:
                self._refuse(f"function {shown(function.name)} is there twice", "")
            found[key] = function
        check_calls(found, main, self.file.path)
        return found

    def _graph(self, proto: GraphProto, path: str, depth: int) -> tuple[Graph, set[str]]:
        """A graph, and the names it uses from the graphs around it."""
        if depth > limits.SUBGRAPH_DEPTH:
            self._refuse(f"subgraphs nested more than {limits.SUBGRAPH_DEPTH} deep", path)
        given: set[str] = set()
        listed = {info.name for info in proto.input} if self._overrides and not path else set()
        constants = self._initializers(proto, path, given, listed)
        inputs = tuple(info for info in map(value_info, proto.input) if info.name not in given)
        outputs = tuple(map(value_info, proto.output))
        for info in inputs:
            self._define(given, info.name, path)
        if not path and len({info.name for info in outputs}) < len(outputs):
            self._refuse("an output is listed twice", path)
        nodes, free = self._nodes(proto.node, path, depth, given)
        free |= {info.name for info in outputs} - given
        graph = Graph(
            name=proto.name or "",
            nodes=nodes,
            inputs=inputs,
            outputs=outputs,
            constants=constants,
            values=self._values(proto.value_info, path),
        )
        return graph, free

    def _initializers(
        self, proto: GraphProto, path: str, given: set[str], listed: set[str | None]
    ) -> dict[str, Weight]:
        found: dict[str, Weight] = {}
        tensors: list[tuple[str | None, TensorProto | SparseTensorProto]]
        tensors = [(tensor.name, tensor) for tensor in proto.initializer]
        tensors += [(s.values.name if s.values else "", s) for s in proto.sparse_initializer]
        for name, tensor in tensors:
            if not name:
                self._refuse("initializer without a name", path)
            self._define(given, name, path)
            notes = ("also an input of the graph: a caller can replace it",) * (name in listed)
            weight = self._weight(tensor, path + name, notes)
            if weight is not None:
                found[name] = weight
        return found

    def _weight(
        self, tensor: TensorProto | SparseTensorProto, name: str, notes: tuple[str, ...] = ()
    ) -> Weight | None:
        """The weight of a tensor, added to `weights`; None, and said so, if it is text."""
        name = self._names.take(name)
        where = f"{self.file.path} › {shown(name)[1:-1]}"
        stored: Dense | SparseTensor
        if isinstance(tensor, SparseTensorProto):
            stored = locate_sparse(tensor, self.file, self.external, where)
        elif tensor.data_type == STRING:
            self.missing.append((name, "text, not numbers"))
            return None
        else:
            stored = locate(tensor, self.file, self.external, where)
        weight = Weight(name, stored.shape, stored.dtype, stored.read, source=stored, notes=notes)
        if isinstance(stored, StoredTensor) and stored.size:
            extent = (stored.offset, stored.offset + stored.size)
            weight = replace(weight, storage=stored.file.path, extent=extent)
        self.weights.append(weight)
        return weight

    def _nodes(
        self, protos: Iterable[NodeProto], path: str, depth: int, given: set[str]
    ) -> tuple[tuple[Node, ...], set[str]]:
        """Nodes in an order in which they can run, and the names they use from outside.

        Their outputs are added to `given`.
        """
        names = Names()
        nodes: list[tuple[Node, set[str]]] = []
        outside: set[str] = set()
        for proto in protos:
            node, needs = self._node(proto, path, depth, names)
            nodes.append((node, needs))
            outside |= needs
            for output in node.outputs:
                if output:
                    self._define(given, output, path)
        outside -= given
        ordered = in_order(nodes)
        if ordered is None:
            self._refuse("the graph has a cycle", path)
        if any(node is not first for node, (first, _) in zip(ordered, nodes, strict=True)):
            self.notes.append("nodes were not in topological order; they have been sorted")
        return tuple(ordered), outside

    def _node(self, proto: NodeProto, path: str, depth: int, names: Names) -> tuple[Node, set[str]]:
        op = proto.op_type or self._refuse("node without an operation", path)
        if proto.overload:
            op = f"{op}:{proto.overload}"
        first = next((output for output in proto.output if output), "")
        name = names.take(proto.name or f"<{op} {first}>")
        needs = {value for value in proto.input if value}
        attributes: dict[str, object] = {}
        for attribute in proto.attribute:
            key = attribute.name or self._refuse("attribute without a name", path + name)
            if key in attributes:
                self._refuse(f"attribute {shown(key)} is there twice", path + name)
            base = first if op == "Constant" and first else f"{name}.{key}"
            value = self._attribute(attribute, path + base, f"{path}{name}.{key}", depth, needs)
            if value is not None:
                attributes[key] = value
        inputs, outputs = tuple(proto.input), tuple(proto.output)
        return Node(name, op, inputs, outputs, attributes, domain(proto.domain)), needs

    def _attribute(
        self, proto: AttributeProto, base: str, path: str, depth: int, needs: set[str]
    ) -> object:
        """An attribute's value; a tensor in it is called `base`, a subgraph is at `path`."""
        filled = [name for name in ATTRIBUTES.values() if getattr(proto, name) not in (None, [])]
        if proto.ref_attr_name:
            if filled or not self._in_function:
                self._refuse("a reference to an attribute, where there can be none", path)
            return AttributeReference(proto.ref_attr_name)
        kind = ATTRIBUTES.get(proto.type or 0)
        if kind is None and not proto.type and len(filled) == 1:
            kind = filled[0]  # files of IR version 1 leave the type out
        if kind is None or filled not in ([], [kind]):
            self._refuse("an attribute's value contradicts its type", path)
        value = getattr(proto, kind)
        if isinstance(value, list):
            parts = enumerate(value)
            return tuple(
                self._part(v, f"{base}.{i}", f"{path}.{i}", depth, needs) for i, v in parts
            )
        return self._part(DEFAULTS.get(kind) if value is None else value, base, path, depth, needs)

    def _part(self, value: object, base: str, path: str, depth: int, needs: set[str]) -> object:
        match value:
            case bytes():
                return text_or_bytes(value)
            case Span():
                self.missing.append((path, f"attribute of {value.length} bytes, not read"))
                return None
            case TensorProto() | SparseTensorProto():
                return self._weight(value, base)
            case GraphProto():
                graph, free = self._graph(value, path + ".", depth + 1)
                needs |= free
                return graph
            case TypeProto():
                return None
            case None:
                self._refuse("an attribute without its value", path)
        return value

    def _function(self, proto: FunctionProto) -> Function:
        name = proto.name or self._refuse("function without a name", "")
        if proto.overload:
            name = f"{name}:{proto.overload}"
        home = domain(proto.domain)
        path = f"{home}.{name}." if home else f"{name}."
        given: set[str] = set()
        for value in proto.input:
            self._define(given, value, path)
        self._in_function = True
        nodes, free = self._nodes(proto.node, path, 0, given)
        free |= set(proto.output) - given
        if free:
            self._refuse(f"value {shown(min(free))} is used and nowhere defined", path)
        needs: set[str] = set()
        defaults = {
            a.name: self._attribute(a, f"{path}{a.name}", f"{path}{a.name}", 0, needs)
            for a in proto.attribute_proto
            if a.name
        }
        self._in_function = False
        return Function(
            domain=home,
            name=name,
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=tuple(proto.attribute),
            nodes=nodes,
            opsets=opsets(proto.opset_import, self.file.path),
            defaults=defaults,
        )

    def _values(self, protos: Iterable[ValueInfoProto], path: str) -> dict[str, ValueInfo]:
        found: dict[str, ValueInfo] = {}
        for info in map(value_info, protos):
            if found.setdefault(info.name, info) != info:
                self._refuse(f"value {shown(info.name)} is declared twice", path)
        return found

    def _define(self, given: set[str], name: str, path: str) -> None:
        if name in given:
            self._refuse(f"value {shown(name)} is defined twice", path)
        given.add(name)

    def _refuse(self, reason: str, path: str) -> NoReturn:
        where = f"{self.file.path} › {shown(path)[1:-1]}" if path else self.file.path
        raise UnreadableModel(reason, where=where)


def opsets(protos: Iterable[OperatorSetIdProto], where: str) -> dict[str, int]:
    """The version of each domain."""
    found: dict[str, int] = {}
    for proto in protos:
        name = domain(proto.domain)
        if name in found:
            raise UnreadableModel(f"operator set {shown(name)} is imported twice", where=where)
        if not 0 < (proto.version or 0) < 1 << 31:
            raise UnreadableModel(f"operator set version {proto.version}", where=where)
        found[name] = proto.version or 0
    return found


def domain(name: str | None) -> str:
    """A domain's name; ``ai.onnx`` is the default one's long form."""
    return "" if name in (None, "ai.onnx") else name


def value_info(proto: ValueInfoProto) -> ValueInfo:
    """A value's name and what is known of its type.

    A dimension of zero or less is taken for unknown: exporters write them for "any size",
    and an empty input would make every bound zero.
    """
    name = proto.name or ""
    tensor = proto.type.tensor_type if proto.type else None
    if tensor is None:
        return ValueInfo(name)
    dtype = TYPES.get(tensor.elem_type or 0, (None, ""))[0]
    if tensor.shape is None:
        return ValueInfo(name, dtype)
    shape: list[int | str | None] = []
    for size in tensor.shape.dim:
        fixed = size.dim_value if (size.dim_value or 0) > 0 else None
        shape.append(size.dim_param or fixed if size.dim_value is None else fixed)
    return ValueInfo(name, dtype, tuple(shape))


def text_or_bytes(value: bytes) -> str | bytes:
    """ONNX strings are bytes, nearly always UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
