"""Nodes put in an order in which they can run; those that are in one stay as they are."""

import heapq
from collections.abc import Sequence

from specaudit.model import Node


def in_order(nodes: Sequence[tuple[Node, set[str]]]) -> list[Node] | None:
    """The nodes sorted so that each comes after those whose values it needs.

    Parameters
    ----------
    nodes : sequence of (Node, set of str)
        Each with the names it uses: its inputs, and what its subgraphs take from outside.

    Returns
    -------
    list of Node or None
        Of all such orders the one closest to the file's (Kahn 1962, smallest index first);
        None if there is none, because of a cycle.
    """
    producer = {
        value: index for index, (node, _) in enumerate(nodes) for value in node.outputs if value
    }
    waits = [0] * len(nodes)
    users: list[list[int]] = [[] for _ in nodes]
    for index, (_, needs) in enumerate(nodes):
        for source in {producer[value] for value in needs if value in producer}:
            users[source].append(index)
            waits[index] += 1
    ready = [index for index, count in enumerate(waits) if not count]
    ordered: list[Node] = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append(nodes[index][0])
        for user in users[index]:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(ready, user)
    return ordered if len(ordered) == len(nodes) else None
