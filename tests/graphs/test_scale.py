"""Linear in the number of nodes, whatever the number of paths and however deep."""

import time

import numpy as np
import pytest

from specaudit.graphs import resolve
from specaudit.model import Graph, Node, ValueInfo
from tests.graphs.building import weight

X = (ValueInfo("x", "float32", ("N", 8)),)


def plain(nodes, outputs=("y",), **constants) -> Graph:
    tensors = {name: weight(name, array) for name, array in constants.items()}
    infos = tuple(ValueInfo(name) for name in outputs)
    return Graph("g", tuple(nodes), X, infos, tensors, opsets={"": 17})


def seconds(graph: Graph) -> float:
    """Of the processor: another's work on it is not ours."""
    start = time.process_time()
    resolved = resolve(graph)
    assert resolved.shape(resolved.outputs[0].name) == ("N", 8)
    return time.process_time() - start


def chain(count: int) -> Graph:
    nodes = [Node(f"n{i}", "Relu", (f"v{i}",), (f"v{i + 1}",)) for i in range(count)]
    nodes.insert(0, Node("first", "Neg", ("x",), ("v0",)))
    return plain(nodes, (f"v{count}",))


def test_the_time_grows_with_the_nodes_and_not_faster() -> None:
    short = min(seconds(chain(2_000)) for _ in range(3))
    assert min(seconds(chain(20_000)) for _ in range(3)) < 30 * short


def test_two_to_the_sixty_paths_take_no_longer_than_their_nodes() -> None:
    nodes = [Node("first", "Neg", ("x",), ("v0",))]
    nodes += [Node(f"n{i}", "Add", (f"v{i}", f"v{i}"), (f"v{i + 1}",)) for i in range(60)]
    assert seconds(plain(nodes, ("v60",))) < 0.5


def test_two_to_the_sixty_paths_of_constants_are_folded_once_each() -> None:
    big = np.ones(4096)
    nodes = [Node(f"n{i}", "Mul", (f"v{i}", f"v{i}"), (f"v{i + 1}",)) for i in range(60)]
    nodes.append(Node("last", "Neg", ("x",), ("y",)))
    resolved = resolve(plain(nodes, v0=big))
    start = time.perf_counter()
    assert resolved.constant("v60").tolist() == big.tolist()
    assert [w.name for w in resolved.roots("v60")] == ["v0"]
    assert time.perf_counter() - start < 0.5


def test_loops_nested_thirty_deep_are_not_walked_exponentially_often() -> None:
    """Each loop's state grows, so that each level would be walked three times: 3^30."""

    def body(level: int) -> Graph:
        state = ValueInfo(f"s{level}")
        inputs = (ValueInfo(f"i{level}", "int64", ()), ValueInfo(f"c{level}", "bool", ()), state)
        if level == 0:
            inner = Node("grow", "Concat", ("s0", "s0"), ("o0",), {"axis": 0})
        else:
            inner = Node(
                f"loop{level}", "Loop", ("", f"c{level}", f"s{level}"), (f"o{level}",),
                {"body": body(level - 1)},
            )  # fmt: skip
        on = Node(f"on{level}", "Identity", (f"c{level}",), (f"d{level}",))
        outputs = (ValueInfo(f"d{level}"), ValueInfo(f"o{level}"))
        return Graph("b", (inner, on), inputs, outputs)

    nodes = (
        Node("top", "Loop", ("", "", "x"), ("grown",), {"body": body(29)}),
        Node("last", "Neg", ("x",), ("y",)),
    )
    start = time.perf_counter()
    resolved = resolve(plain(nodes))
    assert time.perf_counter() - start < 5
    assert resolved.shape("grown") in {None, (None, 8)}


def test_twenty_thousand_names_for_one_name_stay_linear() -> None:
    nodes = [Node("same", "Neg", ("x",), (f"v{i}",)) for i in range(20_000)]
    start = time.perf_counter()
    resolved = resolve(plain(nodes, ("v0",)))
    assert time.perf_counter() - start < 5
    assert len({node.name for node in resolved.nodes}) == 20_000


@pytest.mark.parametrize("reads", [1, 20_000])
def test_a_value_with_many_readers_is_no_burden(reads) -> None:
    nodes = [Node("first", "Neg", ("x",), ("v",))]
    nodes += [Node(f"n{i}", "Relu", ("v",), (f"o{i}",)) for i in range(reads)]
    assert len(resolve(plain(nodes, ("o0",))).consumers("v")) == reads
