"""The resolved graph: shapes bound and contradicted, constants and their roots, bodies."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from specaudit.errors import UnreadableModel, UsageError
from specaudit.graphs import resolve
from specaudit.model import Graph, Node, ValueInfo
from tests.graphs.building import Reading, proto, value, weight

X = ValueInfo("x", "float32", ("N", 3, "L"))


def graph(*nodes: Node, inputs=(X,), outputs=("y",), opset: int = 17, **constants) -> Graph:
    tensors = {name: weight(name, np.asarray(array)) for name, array in constants.items()}
    infos = tuple(item if isinstance(item, ValueInfo) else ValueInfo(item) for item in outputs)
    return Graph("g", nodes, tuple(inputs), infos, tensors, opsets={"": opset})


def flattening(**attributes) -> Graph:
    """What torch writes for x.view(x.shape[0], -1): a shape put together from parts."""
    return graph(
        Node("s", "Shape", ("x",), ("s",)),
        Node("g", "Gather", ("s", "zero"), ("n",), attributes),
        Node("u", "Unsqueeze", ("n", "axes"), ("n1",)),
        Node("c", "Concat", ("n1", "rest"), ("t",), {"axis": 0}),
        Node("r", "Reshape", ("x", "t"), ("y",)),
        zero=np.array(0), axes=np.array([0]), rest=np.array([-1]),
    )  # fmt: skip


def test_a_symbol_flows_through_shape_arithmetic() -> None:
    resolved = resolve(flattening())
    assert resolved.value_of("t") == ("N", -1)
    assert resolved.shape("y") == ("N", None)
    assert not resolved.is_constant("t")
    assert resolved.constant("t") is None


def test_a_bound_symbol_makes_the_arithmetic_constant() -> None:
    resolved = resolve(flattening(), input_shapes={"x": (5, 3, 4)})
    assert resolved.shape("y") == (5, 12)
    assert resolved.is_constant("t")
    assert resolved.constant("t").tolist() == [5, -1]
    assert resolved.constant("t").dtype == np.int64
    assert [w.name for w in resolved.roots("t")] == ["rest"]
    assert resolved.inputs == (ValueInfo("x", "float32", (5, 3, 4)),)


def test_a_symbol_bound_in_one_input_is_bound_in_the_others() -> None:
    other = ValueInfo("z", "float32", ("N", 7))
    resolved = resolve(
        graph(Node("n", "Neg", ("z",), ("y",)), inputs=(X, other)), input_shapes={"x": (2, 3, 9)}
    )
    assert resolved.shape("y") == (2, 7)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"x": (1, 4, 8)}, "wants 3 = 3, 4 was given"),
        ({"x": (1, 3)}, "3 dimensions, 2 were given"),
        ({"q": (1, 3)}, "no input 'q'"),
        ({"x": (1, 3, 8), "z": (2,)}, "wants N = 1, 2 was given"),
        ({"x": (-1, 3, 8)}, "is -1"),
    ],
)
def test_input_shapes_that_contradict_the_file_are_a_usage_error(shapes, says) -> None:
    both = graph(Node("n", "Neg", ("x",), ("y",)), inputs=(X, ValueInfo("z", None, ("N",))))
    with pytest.raises(UsageError, match=says):
        resolve(both, input_shapes=shapes)


def test_what_a_converter_writes_for_any_dimension_is_no_symbol() -> None:
    image = ValueInfo("x", "float32", (None, 3, "?", "?"))
    neg = graph(Node("n", "Neg", ("x",), ("y",)), inputs=(image,))
    assert resolve(neg).shape("y") == (None, 3, None, None)
    assert resolve(neg, input_shapes={"x": (1, 3, 48, 192)}).shape("y") == (1, 3, 48, 192)


def test_a_declared_dimension_that_contradicts_the_inferred_one_names_the_value() -> None:
    wrong = graph(Node("n", "Neg", ("x",), ("y",)), outputs=(ValueInfo("y", "float32", (2, 4, 8)),))
    with pytest.raises(
        UnreadableModel, match="'y' is declared as 2x4x8, but the graph makes it Nx3xL"
    ):
        resolve(wrong)


def test_a_declared_number_does_not_replace_an_inferred_symbol() -> None:
    """Exporters leave the batch they traced with on the outputs of a dynamic graph."""
    stale = graph(Node("n", "Neg", ("x",), ("y",)), outputs=(ValueInfo("y", "float32", (1, 3, 8)),))
    assert resolve(stale).shape("y") == ("N", 3, "L")
    assert resolve(stale).assumed == ()


def test_what_only_the_file_says_is_listed_as_assumed() -> None:
    odd = graph(
        Node("n", "Mystery", ("x",), ("m",), domain="elsewhere"),
        Node("r", "Relu", ("m",), ("y",)),
        outputs=(ValueInfo("y", "float32", (2, 5)),),
    )
    resolved = resolve(odd)
    assert resolved.shape("m") is None
    assert resolved.shape("y") == (2, 5)
    assert resolved.assumed == ("y",)


def test_constants_derive_from_the_weights_whose_values_reach_them() -> None:
    table = graph(
        Node("t", "Transpose", ("w",), ("wt",)),
        Node("g", "Gather", ("wt", "index"), ("picked",)),
        Node("r", "Reshape", ("picked", "shape"), ("flat",)),
        Node("m", "Mul", ("flat", "scale"), ("scaled",)),
        Node("y", "MatMul", ("x", "scaled"), ("y",)),
        w=np.arange(6.0).reshape(2, 3), index=np.array([0, 2]), shape=np.array([2, 2]),
        scale=np.array(10.0),
    )  # fmt: skip
    resolved = resolve(table)
    assert [w.name for w in resolved.roots("scaled")] == ["w", "scale"]
    assert resolved.constant("scaled").tolist() == [[0, 30], [20, 50]]
    assert not resolved.constant("scaled").flags.writeable
    assert resolved.roots("y") == ()
    assert resolved.producer("wt").name == "t"
    assert [node.name for node in resolved.consumers("flat")] == ["m"]


def test_an_initializer_comes_as_it_is_stored() -> None:
    resolved = resolve(graph(Node("y", "Add", ("x", "w"), ("y",)), w=np.array([1, 2], np.float16)))
    assert resolved.constant("w").dtype == np.float16
    assert resolved.roots("w")[0].name == "w"
    assert resolved.is_constant("w")
    assert resolved.shape("w") == (2,)
    assert resolved.dtype("w") == "float16"


def test_random_values_are_no_constants() -> None:
    noise = graph(
        Node("r", "RandomNormal", (), ("r",), {"shape": (2, 2)}),
        Node("n", "Neg", ("r",), ("y",)),
    )
    resolved = resolve(noise)
    assert not resolved.is_constant("r")
    assert not resolved.is_constant("y")
    assert resolved.shape("y") == (2, 2)


def test_an_operation_nothing_is_known_of_makes_no_constant() -> None:
    odd = graph(Node("o", "Mystery", ("w",), ("y",), domain="elsewhere"), w=np.ones(3))
    assert not resolve(odd).is_constant("y")
    assert resolve(odd).constant("y") is None


def test_a_constant_condition_chooses_the_branch(read: Reading) -> None:
    """torch.jit writes If(dim == 1, squeeze, identity); only one branch can be typed."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["d"]),
        helper.make_node("Equal", ["d", "one"], ["c"]),
        helper.make_node(
            "If", ["c"], ["y"], name="if",
            then_branch=helper.make_graph(
                [helper.make_node("Squeeze", ["x", "axes"], ["a"])], "t", [], [value("a", None)]
            ),
            else_branch=helper.make_graph(
                [helper.make_node("Mul", ["x", "k"], ["b"])], "e", [], [value("b", None)]
            ),
        ),
    ]  # fmt: skip
    constants = {"one": np.array(1), "axes": np.array([1]), "k": np.float32([2, 3])}
    model = proto(nodes, [value("x", ["N", 4, 2])], ["y"], constants)
    resolved = resolve(read(model))
    node = resolved.producer("y")
    assert resolved.taken(node) == "else_branch"
    assert resolved.shape("y") == ("N", 4, 2)
    bodies = resolved.subgraphs(node)
    assert bodies["else_branch"].shape("b") == ("N", 4, 2)
    assert bodies["else_branch"].constant("k").tolist() == [2, 3]
    assert bodies["else_branch"].producer("d").op == "Gather"
    assert bodies["then_branch"].shape("a") is None
    assert node in resolved.consumers("x")
    assert node in resolved.consumers("k")
    assert [item.name for item in bodies["else_branch"].nodes] == ["<Mul b>"]


def test_a_branch_of_constants_is_a_constant_with_its_roots(read: Reading) -> None:
    branch = helper.make_graph([helper.make_node("Neg", ["w"], ["a"])], "t", [], [value("a", None)])
    other = helper.make_graph([helper.make_node("Abs", ["v"], ["b"])], "e", [], [value("b", None)])
    choice = helper.make_node("If", ["c"], ["k"], then_branch=branch, else_branch=other)
    nodes = [choice, helper.make_node("Add", ["x", "k"], ["y"])]
    constants = {"c": np.array(True), "w": np.float32([1, 2]), "v": np.float32([3, 4])}
    resolved = resolve(read(proto(nodes, [value("x", [2])], ["y"], constants)))
    assert resolved.is_constant("k")
    assert resolved.constant("k").tolist() == [-1, -2]
    assert [w.name for w in resolved.roots("k")] == ["w"]


def loop_body(state_op: str, *operands: str):
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node(
            state_op, list(operands), ["next"], **({"axis": 0} if state_op == "Concat" else {})
        ),
        helper.make_node("Neg", ["next"], ["row"]),
    ]
    inputs = [
        value("i", [], TensorProto.INT64),
        value("go", [], TensorProto.BOOL),
        value("state", None),
    ]
    outputs = [value("go_on", [], TensorProto.BOOL), value("next", None), value("row", None)]
    return helper.make_graph(nodes, "body", inputs, outputs)


@pytest.mark.parametrize(
    ("op", "operands", "state", "row"),
    [
        ("Add", ("state", "x"), (2, 4), (5, 2, 4)),
        ("Concat", ("state", "x"), (None, 4), (5, None, 4)),
    ],
)
def test_a_loop_keeps_what_every_iteration_keeps(read: Reading, op, operands, state, row) -> None:
    node = helper.make_node(
        "Loop", ["trips", "", "x"], ["last", "rows"], body=loop_body(op, *operands)
    )
    model = proto([node], [value("x", [2, 4])], ["last", "rows"], {"trips": np.array(5)})
    resolved = resolve(read(model))
    assert resolved.shape("last") == state
    assert resolved.shape("rows") == row
    assert resolved.subgraphs(resolved.nodes[0])["body"].shape("state") == state


def test_a_scan_slices_its_inputs(read: Reading) -> None:
    nodes = [
        helper.make_node("Add", ["s", "e"], ["s2"]),
        helper.make_node("Identity", ["s2"], ["o"]),
    ]
    body = helper.make_graph(
        nodes, "b", [value("s", [4]), value("e", None)], [value("s2", None), value("o", None)]
    )
    node = helper.make_node("Scan", ["s0", "x"], ["last", "all"], body=body, num_scan_inputs=1)
    model = proto([node], [value("s0", [4]), value("x", [7, 4])], ["last", "all"])
    resolved = resolve(read(model))
    assert resolved.shape("last") == (4,)
    assert resolved.shape("all") == (7, 4)


def test_nodes_out_of_order_are_sorted_and_ordered_ones_kept() -> None:
    late = graph(Node("b", "Neg", ("t",), ("y",)), Node("a", "Abs", ("x",), ("t",)))
    assert [node.name for node in resolve(late).nodes] == ["a", "b"]
    names = [f"n{i}" for i in range(50)]
    free = graph(*(Node(name, "Neg", ("x",), (name,)) for name in names), outputs=("n0",))
    assert [node.name for node in resolve(free).nodes] == names


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((Node("a", "Add", ("x", "b"), ("a",)), Node("b", "Neg", ("a",), ("b",))), "cycle"),
        ((Node("a", "Add", ("x", "a"), ("a",)),), "cycle"),
        ((Node("a", "Neg", ("nowhere",), ("a",)),), "nothing gives the input 'nowhere'"),
        ((Node("a", "Neg", ("x",), ("a",)), Node("b", "Neg", ("x",), ("a",))), "given twice"),
        ((Node("a", "Neg", ("x",), ("x",)),), "given twice"),
        ((Node("a", "Neg", ("x",), ("b",)),), "nothing gives the output 'a'"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(nodes, says) -> None:
    with pytest.raises(UnreadableModel, match=says):
        resolve(graph(*nodes, outputs=("a",)))


CONTRADICTIONS = {
    "inner": (Node("n", "MatMul", ("x", "w"), ("y",)), (2, 3), (4, 5)),
    "broadcast": (Node("n", "Add", ("x", "w"), ("y",)), (2, 3), (2, 4)),
    "concat": (Node("n", "Concat", ("x", "w"), ("y",), {"axis": 0}), (2, 3), (2, 4)),
    "groups": (Node("n", "Conv", ("x", "w"), ("y",), {"group": 3}), (1, 4, 8, 8), (6, 2, 3, 3)),
    "channels": (Node("n", "Conv", ("x", "w"), ("y",)), (1, 4, 8, 8), (6, 2, 3, 3)),
    "window": (Node("n", "Conv", ("x", "w"), ("y",)), (1, 2, 2, 2), (6, 2, 3, 3)),
    "strides": (
        Node("n", "Conv", ("x", "w"), ("y",), {"strides": (0, 1)}),
        (1, 2, 8, 8),
        (6, 2, 3, 3),
    ),
    "rank": (Node("n", "Gemm", ("x", "w"), ("y",)), (2, 3, 4), (4, 5)),
    "axis": (Node("n", "Softmax", ("x",), ("y",), {"axis": 7}), (2, 3), (1,)),
    "perm": (Node("n", "Transpose", ("x",), ("y",), {"perm": (0, 0)}), (2, 3), (1,)),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_names_the_node(name) -> None:
    node, x, w = CONTRADICTIONS[name]
    wrong = graph(node, inputs=(ValueInfo("x", "float32", x),), w=np.zeros(w, np.float32))
    with pytest.raises(UnreadableModel) as caught:
        resolve(wrong)
    assert caught.value.where == "n"


def test_the_users_shapes_win_over_what_the_file_was_traced_with() -> None:
    traced = ValueInfo("y", "float32", (1, 3, 8))
    stale = graph(Node("n", "Neg", ("x",), ("y",)), outputs=(traced,))
    assert resolve(stale, input_shapes={"x": (4, 3, 6)}).shape("y") == (4, 3, 6)


def test_text_that_a_reader_left_out_is_no_missing_value() -> None:
    words = {"words": ValueInfo("words", "string", (2,))}
    nodes = (Node("n", "StringNormalizer", ("words",), ("y",)),)
    text = Graph("g", nodes, (X,), (ValueInfo("y"),), values=words, opsets={"": 17})
    assert resolve(text).dtype("y") == "string"
    assert not resolve(text).is_constant("words")
