"""How far the functions of a model expand, counted without expanding them."""

from collections.abc import Iterable, Iterator, Mapping

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.files import shown
from specaudit.model import Function, Graph, Node

Key = tuple[str, str]


def check_calls(functions: Mapping[Key, Function], main: Graph, where: str) -> None:
    """Raise if a function calls itself, or if the calls expand to more than can be walked.

    Thirty functions that call each other twice are a kilobyte and 2³⁰ nodes.
    """
    known: dict[Key, tuple[int, int]] = {}
    total, _ = expansion(main.nodes, functions, known, [], where)
    for key, function in functions.items():
        if key not in known:
            expansion(function.nodes, functions, known, [key], where)
    if total > limits.GRAPH_NODES:
        raise UnreadableModel(f"function calls expand to {total} nodes", where=where)


def expansion(
    nodes: Iterable[Node],
    functions: Mapping[Key, Function],
    known: dict[Key, tuple[int, int]],
    callers: list[Key],
    where: str,
) -> tuple[int, int]:
    """The number of nodes once every call is replaced by its body, and how deep calls nest.

    `known` remembers both for each function; `callers` are those being counted.
    """
    total = depth = 0
    for node in every_node(nodes):
        total += 1
        key = (node.domain, node.op)
        if key not in functions:
            continue
        if key in callers:
            raise UnreadableModel(f"function {shown(node.op)} calls itself", where=where)
        if key not in known and len(callers) < limits.CALL_DEPTH:
            body = functions[key].nodes
            known[key] = expansion(body, functions, known, [*callers, key], where)
        size, below = known.get(key, (0, limits.CALL_DEPTH))
        total += size
        depth = max(depth, below + 1)
    if depth > limits.CALL_DEPTH:
        raise UnreadableModel(
            f"function calls nest more than {limits.CALL_DEPTH} deep", where=where
        )
    return total, depth


def every_node(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes and those in their subgraphs."""
    for node in nodes:
        yield node
        for value in node.attributes.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Graph):
                    yield from every_node(part.nodes)
