"""Every name is given once and read after it was given; nodes are sorted where a file is not."""

from collections import Counter
from collections.abc import Container
from heapq import heappop, heappush

from specaudit.errors import UnreadableModel
from specaudit.graphs.inline import subgraphs
from specaudit.model import Graph, Node

Captures = dict[int, frozenset[str]]


def ordered(graph: Graph, outside: Container[str], captures: Captures) -> tuple[Node, ...]:
    """Return the nodes of `graph` in an order in which each value precedes its readers.

    The file's own order is kept where it is one.

    Parameters
    ----------
    graph : Graph
    outside : container of str
        Names of the scopes around a subgraph.
    captures : dict
        Free names of subgraphs by ``id``, filled on the way and shared between scopes.

    Raises
    ------
    UnreadableModel
        A name given twice, a cycle, or an input or graph output that nothing gives.
    """
    producers = _producers(graph)
    waiting: dict[str, list[int]] = {}
    missing = Counter[int]()
    known = {info.name for info in graph.inputs} | graph.constants.keys()
    # text is no weight: a reader leaves only its type behind
    known |= {name for name, info in graph.values.items() if info.dtype == "string"}
    for index, node in enumerate(graph.nodes):
        for name in {*node.inputs, *captured(node, captures)}:
            if not name or name in known or (name not in producers and name in outside):
                continue
            if name not in producers:
                raise UnreadableModel(f"nothing gives the input {name!r}", where=node.name)
            missing[index] += 1
            waiting.setdefault(name, []).append(index)
    order = _sorted(graph.nodes, waiting, missing)
    for info in graph.outputs:
        if info.name not in producers and info.name not in known and info.name not in outside:
            raise UnreadableModel(f"nothing gives the output {info.name!r}", where=graph.name)
    return order


def captured(node: Node, captures: Captures) -> frozenset[str]:
    """Names that the subgraphs of `node` read from the scopes around them."""
    free: frozenset[str] = frozenset()
    for _, body in subgraphs(node):
        if id(body) not in captures:
            captures[id(body)] = _free(body, captures)
        free |= captures[id(body)]
    return free


def _free(graph: Graph, captures: Captures) -> frozenset[str]:
    read = {info.name for info in graph.outputs}
    given = {info.name for info in graph.inputs} | graph.constants.keys()
    for node in graph.nodes:
        read.update(node.inputs)
        read |= captured(node, captures)
        given.update(node.outputs)
    return frozenset(read - given - {""})


def _producers(graph: Graph) -> set[str]:
    given: set[str] = set()
    outer = {info.name for info in graph.inputs} | graph.constants.keys()
    for node in graph.nodes:
        for name in node.outputs:
            if name and (name in given or name in outer):
                raise UnreadableModel(f"the value {name!r} is given twice", where=node.name)
            if name:
                given.add(name)
    return given


def _sorted(
    nodes: tuple[Node, ...], waiting: dict[str, list[int]], missing: Counter[int]
) -> tuple[Node, ...]:
    """Kahn's algorithm; of the nodes that are ready, the first in the file goes first."""
    ready = [index for index in range(len(nodes)) if not missing[index]]
    order: list[Node] = []
    while ready:
        node = nodes[heappop(ready)]
        order.append(node)
        for name in node.outputs:
            for reader in waiting.pop(name, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(node for index, node in enumerate(nodes) if missing[index] > 0)
        raise UnreadableModel("the graph has a cycle", where=stuck.name)
    return tuple(order)
