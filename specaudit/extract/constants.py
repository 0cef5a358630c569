"""From a constant of a graph to the weights behind it, and back to them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from specaudit.errors import UnreadableModel
from specaudit.extract.entries import Effective, Values, exact, plain
from specaudit.extract.quantised import ratio
from specaudit.graphs.resolved import ResolvedGraph
from specaudit.model import Node, Weight

_RESHAPES = {"Reshape", "Squeeze", "Unsqueeze", "Flatten"}
_SAME_VALUES = {"Identity", "Cast", "Transpose", *_RESHAPES}
_MOVES = {*_SAME_VALUES, "Slice", "Concat", "Split", "Gather"}


def operand(resolved: ResolvedGraph, name: str) -> Effective | None:
    """Return the effective weight that a value is, or None where it depends on an input.

    Notes
    -----
    An initializer, or one that reaches the node through ``Transpose``, ``Reshape`` and their
    like, can be written back; so can a dequantised one, by its scale. Other arithmetic is
    folded, and then the weight cannot be written. It is called after the largest of the
    tensors that it derives from.
    """
    if not name or not resolved.is_constant(name):
        return None
    chain = _chain(resolved, name)
    if chain.weight is not None:
        return _through(plain(chain.weight), chain.nodes, resolved)
    value = resolved.constant(name)
    roots = sorted(resolved.roots(name), key=lambda weight: -weight.size)
    if value is None:
        return _unfoldable(resolved, name, tuple(roots))
    last = chain.nodes[-1] if chain.nodes else None
    # The graph folds in its own types, but dequantises in binary64: a difference and a product.
    wide = value.dtype.name == "float64" and resolved.dtype(name) != "float64"
    found = Effective(
        name=roots[0].name if roots else name,
        shape=value.shape,
        dtype=roots[0].dtype if roots else str(value.dtype),
        tensors=tuple(roots),
        read=lambda: _value(resolved, name),
        notes=(f"folded from {', '.join(root.name for root in roots)}",) if roots else (),
        roundings=2 if wide else 0,
    )
    if last is not None and last.op == "DequantizeLinear":
        return _by_scale(resolved, found, last)
    if len(roots) == 1 and _is_moved(resolved, name):
        return _by_scaling(found, roots[0])
    return found


def _unfoldable(resolved: ResolvedGraph, name: str, roots: tuple[Weight, ...]) -> Effective:
    declared = resolved.shape(name) or ()
    shape = tuple(size if isinstance(size, int) else -1 for size in declared)
    dtype = roots[0].dtype if roots else resolved.dtype(name) or "float32"
    return Effective(
        roots[0].name if roots else name, shape, dtype, roots, lambda: _value(resolved, name),
        problem=f"the constant {name} is too large, or computed in a way that is not followed",
    )  # fmt: skip


def _value(resolved: ResolvedGraph, name: str) -> Values:
    value = resolved.constant(name)
    if value is None:  # it was there when the graph was walked: the file has changed since
        raise UnreadableModel("a constant can no longer be computed", where=name)
    return value


@dataclass(frozen=True, slots=True)
class _Chain:
    """The nodes from a value back to the tensor that it is, last node first."""

    weight: Weight | None
    nodes: tuple[Node, ...]


def _chain(resolved: ResolvedGraph, name: str) -> _Chain:
    nodes: list[Node] = []
    while True:
        node = resolved.producer(name)
        if node is None or node.op == "Constant":
            roots = resolved.roots(name)
            return _Chain(roots[0] if len(roots) == 1 else None, tuple(nodes))
        nodes.append(node)
        if node.domain or node.op not in _SAME_VALUES or not node.inputs:
            return _Chain(None, tuple(nodes))
        name = node.inputs[0]


def _through(found: Effective, nodes: tuple[Node, ...], resolved: ResolvedGraph) -> Effective:
    for node in reversed(nodes):
        shape = resolved.shape(node.outputs[0]) or ()
        sizes = tuple(size for size in shape if isinstance(size, int))
        if node.op == "Transpose":
            order = node.attributes.get("perm")
            axes = order if isinstance(order, tuple) else ()
            found = found.transposed(*(axis for axis in axes if isinstance(axis, int)))
        elif node.op in _RESHAPES and len(sizes) == len(shape):
            found = found.reshaped(*sizes)
        elif node.op == "Cast":
            found = _cast(found, resolved, node.outputs[0])
    moved = dict.fromkeys(node.op for node in reversed(nodes) if node.op != "Identity")
    note = (f"reaches its node through {', '.join(moved)}",) if moved else ()
    return replace(found, notes=found.notes + note)


def _cast(found: Effective, resolved: ResolvedGraph, name: str) -> Effective:
    """Take over the values that the graph's own conversion gives."""
    return replace(found, read=lambda: _value(resolved, name))


def _is_moved(resolved: ResolvedGraph, name: str) -> bool:
    """Whether a constant is a rearrangement of others, as a recurrent layer's gates are."""
    pending, seen = [name], {name}
    while pending:
        node = resolved.producer(pending.pop())
        if node is None or node.op == "Constant":
            continue
        if node.domain or node.op not in _MOVES:
            return False
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        pending += [value for value in data if value not in seen]
        seen.update(data)
    return True


def _by_scaling(found: Effective, root: Weight) -> Effective:
    """Let a rearranged weight be scaled: its entries are those of one tensor."""

    def scaled(values: Values) -> Mapping[str, Values]:
        return {root.name: exact(root.read()) * ratio(values, found.read())}

    note = (f"rearranged from {root.name}",)
    return replace(found, write=scaled, notes=note)


def _by_scale(resolved: ResolvedGraph, found: Effective, node: Node) -> Effective:
    """Let a dequantised weight be written by the scale of its DequantizeLinear node."""
    scale = operand(resolved, node.inputs[1])
    if scale is None or scale.write is None:
        return found
    write, read = scale.write, scale.read
    note = f"dequantised by {scale.name}"

    def scaled(values: Values) -> Mapping[str, Values]:
        return write(exact(read()) * ratio(values, found.read()))

    first = operand(resolved, node.inputs[0])
    name = first.name if first is not None else found.name
    return replace(found, name=name, write=scaled, notes=(note,))
