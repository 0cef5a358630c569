"""Functions inlined: the same function of the inputs, stable names, and never without bound."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx.inliner
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from specaudit.errors import UnreadableModel
from specaudit.graphs import resolve
from specaudit.graphs.inline import flatten, subgraphs
from specaudit.model import AttributeReference, Function, Graph, Node, ValueInfo
from tests.graphs.building import Reading, proto, run, value, written

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]


def function(name, inputs, outputs, nodes, attributes=(), defaults=()):
    return helper.make_function(
        "f", name, inputs, outputs, nodes, OPSETS, list(attributes), list(defaults)
    )


def call(name, inputs, outputs, **attributes):
    return helper.make_node(
        name, inputs, outputs, name=f"{name}_{outputs[0]}", domain="f", **attributes
    )


def referring(op, inputs, outputs, **references):
    node = helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}")
    kinds = {"alpha": onnx.AttributeProto.FLOAT, "axis": onnx.AttributeProto.INT}
    for name, outer in references.items():
        node.attribute.append(onnx.AttributeProto(name=name, ref_attr_name=outer, type=kinds[name]))
    return node


def same_function(model, read: Reading, feeds) -> Graph:
    graph = read(model)
    flat = flatten(graph).graph
    assert not flat.functions
    for mine, theirs in zip(run(written(flat), feeds), run(model, feeds), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    return flat


def leaky():
    inner = [
        referring("LeakyRelu", ["x"], ["t"], alpha="slope"),
        helper.make_node("Neg", ["t"], ["y"], name="n"),
    ]
    return function("Leaky", ["x"], ["y"], inner, ["slope"])


def test_inner_names_carry_the_call_and_attributes_are_substituted(read) -> None:
    nodes = [call("Leaky", ["x"], ["a"], slope=0.5), call("Leaky", ["a"], ["y"], slope=2.0)]
    model = proto(
        nodes, [value("x", [4])], [value("y", [4])], opset=18, functions=[leaky()], domains={"f": 1}
    )
    flat = same_function(model, read, {"x": np.array([-2, -1, 0, 3], np.float32)})
    assert [node.name for node in flat.nodes] == [
        "Leaky_a/LeakyRelu_t", "Leaky_a/n", "Leaky_y/LeakyRelu_t", "Leaky_y/n",
    ]  # fmt: skip
    assert [node.attributes.get("alpha") for node in flat.nodes] == [0.5, None, 2.0, None]
    assert flat.nodes[0].outputs == ("Leaky_a/t",)
    assert flat.nodes[1].outputs == ("a",)


def test_an_attribute_left_out_takes_its_default_or_none(read) -> None:
    default = helper.make_attribute("slope", 0.25)
    with_default = helper.make_function(
        "f", "D", ["x"], ["y"], [referring("LeakyRelu", ["x"], ["y"], alpha="slope")], OPSETS,
        [], [default],
    )  # fmt: skip
    without = function(
        "N", ["x"], ["y"], [referring("LeakyRelu", ["x"], ["y"], alpha="slope")], ["slope"]
    )
    nodes = [call("D", ["x"], ["a"]), call("N", ["a"], ["y"])]
    model = proto(
        nodes,
        [value("x", [3])],
        [value("y", [3])],
        opset=18,
        functions=[with_default, without],
        domains={"f": 1},
    )
    flat = same_function(model, read, {"x": np.array([-2, 0, 3], np.float32)})
    assert flat.nodes[0].attributes == {"alpha": 0.25}
    assert flat.nodes[1].attributes == {}


def test_an_input_passed_through_and_a_result_given_twice_become_identities(read) -> None:
    relay = function("R", ["x"], ["x", "y", "y"], [helper.make_node("Neg", ["x"], ["y"])])
    nodes = [call("R", ["x"], ["a", "b", "c"]), helper.make_node("Sum", ["a", "b", "c"], ["y"])]
    feeds = {"x": np.array([1.5, -2], np.float32)}
    graph = read(
        proto(
            nodes,
            [value("x", [2])],
            [value("y", [2])],
            opset=18,
            functions=[relay],
            domains={"f": 1},
        )
    )
    (out,) = run(written(flatten(graph).graph), feeds)
    np.testing.assert_array_equal(out, -feeds["x"])


def test_inputs_left_out_stay_left_out(read) -> None:
    clip = function(
        "C", ["x", "low", "high"], ["y"], [helper.make_node("Clip", ["x", "low", "high"], ["y"])]
    )
    one = np.array(1, np.float32)
    nodes = [call("C", ["x", "", "one"], ["a"]), call("C", ["a"], ["y"])]
    model = proto(
        nodes,
        [value("x", [2])],
        [value("y", [2])],
        {"one": one},
        opset=18,
        functions=[clip],
        domains={"f": 1},
    )
    flat = same_function(model, read, {"x": np.array([-3, 3], np.float32)})
    assert flat.nodes[0].inputs == ("x", "", "one")
    assert flat.nodes[1].inputs == ("a", "", "")


def test_a_subgraph_in_a_function_is_renamed_with_what_it_captures(read) -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["t"], ["r"], name="inner")], "b", [], [value("r", [2])]
    )
    other = helper.make_graph(
        [referring("LeakyRelu", ["x"], ["r"], alpha="slope")], "b", [], [value("r", [2])]
    )
    body = [
        helper.make_node("Abs", ["x"], ["t"], name="abs"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=other),
    ]
    chosen = function("Chosen", ["x", "c"], ["y"], body, ["slope"])
    nodes = [
        call("Chosen", ["x", "yes"], ["a"], slope=3.0),
        call("Chosen", ["a", "no"], ["y"], slope=4.0),
    ]
    flags = {"yes": np.array(True), "no": np.array(False)}
    model = proto(
        nodes,
        [value("x", [2])],
        [value("y", [2])],
        flags,
        opset=18,
        functions=[chosen],
        domains={"f": 1},
    )
    flat = same_function(model, read, {"x": np.array([-3, 3], np.float32)})
    inner = dict(subgraphs(flat.nodes[3]))
    assert inner["then_branch"].nodes[0].name == "Chosen_y/inner"
    assert inner["then_branch"].nodes[0].inputs == ("Chosen_y/t",)
    assert inner["else_branch"].nodes[0].attributes == {"alpha": 4.0}
    names = [node.name for node in every_node(flat)]
    assert len(names) == len(set(names))


def every_node(graph: Graph):
    for node in graph.nodes:
        yield node
        for _, body in subgraphs(node):
            yield from every_node(body)


@st.composite
def nests(draw):
    """Functions that call earlier ones, with attributes handed down."""
    functions, known = [], []
    for index in range(draw(st.integers(1, 4))):
        inner, last = [], "x"
        for step in range(draw(st.integers(1, 3))):
            out = f"v{step}"
            kind = draw(st.sampled_from(["ref", "fixed", "call", "add"]))
            if kind == "call" and known:
                slope = draw(st.sampled_from([0.5, 1.5]))
                inner.append(call(draw(st.sampled_from(known)), [last, "x"], [out], slope=slope))
            elif kind == "add":
                inner.append(helper.make_node("Add", [last, "z"], [out]))
            elif kind == "ref":
                inner.append(referring("LeakyRelu", [last], [out], alpha="slope"))
            else:
                inner.append(helper.make_node("Neg", [last], [out]))
            last = out
        functions.append(function(f"F{index}", ["x", "z"], [last], inner, ["slope"]))
        known.append(f"F{index}")
    nodes, last = [], "x"
    for index in range(draw(st.integers(1, 3))):
        nodes.append(call(draw(st.sampled_from(known)), [last, "x"], [f"y{index}"], slope=0.25))
        last = f"y{index}"
    return proto(
        nodes,
        [value("x", [3])],
        [value(last, [3])],
        opset=18,
        functions=functions,
        domains={"f": 1},
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(nests())
def test_any_nest_of_functions_computes_what_onnx_inliner_makes_of_it(read, model) -> None:
    flat = same_function(model, read, {"x": np.array([-2, 0.5, 3], np.float32)})
    theirs = onnx.inliner.inline_local_functions(model)
    assert Counter(node.op for node in flat.nodes) == Counter(n.op_type for n in theirs.graph.node)
    assert len({node.name for node in flat.nodes}) == len(flat.nodes)
    assert flatten(read(model)).graph.nodes == flatten(read(model)).graph.nodes


def chain(levels: int, calls: int) -> Graph:
    """`levels` functions, each calling the one below `calls` times."""
    functions = {}
    for level in range(levels):
        op, domain = ("Neg", "") if level == 0 else (f"F{level - 1}", "f")
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        nodes = tuple(
            Node(f"n{i}", op, (names[i],), (names[i + 1],), domain=domain) for i in range(calls)
        )
        functions["f", f"F{level}"] = Function(
            "f", f"F{level}", ("x",), ("y",), (), nodes, {"": 18, "f": 1}
        )
    top = Node("top", f"F{levels - 1}", ("x",), ("y",), domain="f")
    info = ValueInfo("x", "float32", (2,))
    return Graph(
        "g", (top,), (info,), (ValueInfo("y"),), opsets={"": 18, "f": 1}, functions=functions
    )


def test_an_exponential_expansion_is_counted_and_refused() -> None:
    start = time.perf_counter()
    with pytest.raises(UnreadableModel, match=f"expands to {2**30} nodes"):
        resolve(chain(30, 2))
    assert time.perf_counter() - start < 1


def test_an_expansion_within_the_limit_is_made_whole() -> None:
    resolved = resolve(chain(10, 3))
    assert len(resolved.nodes) == 3**10
    assert len({node.name for node in resolved.nodes}) == 3**10
    assert resolved.shape("y") == (2,)


def test_functions_nested_deeper_than_32_are_refused() -> None:
    with pytest.raises(UnreadableModel, match="nest deeper"):
        resolve(chain(33, 1))
    assert resolve(chain(32, 1)).shape("y") == (2,)


@pytest.mark.parametrize("names", [("F0",), ("F1", "F0"), ("F1", "F2", "F0")])
def test_functions_that_call_themselves_are_refused(names) -> None:
    functions = {}
    for index, other in enumerate(names):
        node = Node("n", other, ("x",), ("y",), domain="f")
        functions["f", f"F{index}"] = Function("f", f"F{index}", ("x",), ("y",), (), (node,), {})
    top = Node("top", "F0", ("x",), ("y",), domain="f")
    graph = Graph("g", (top,), (ValueInfo("x"),), (ValueInfo("y"),), functions=functions)
    with pytest.raises(UnreadableModel, match="calls itself"):
        resolve(graph)


def test_subgraphs_nested_deeper_than_32_are_refused() -> None:
    def nested(levels: int) -> Graph:
        body = Graph("b", (Node("n", "Neg", ("x",), ("y",)),), (), (ValueInfo("y"),))
        for level in range(levels):
            branches = {"then_branch": body, "else_branch": body}
            node = Node(f"if{level}", "If", ("c",), ("y",), branches)
            body = Graph("b", (node,), (), (ValueInfo("y"),))
        inputs = (ValueInfo("x", "float32", (2,)), ValueInfo("c", "bool", ()))
        return replace(body, inputs=inputs)

    with pytest.raises(UnreadableModel, match="nest deeper"):
        resolve(single_branch(nested(40)))
    assert resolve(single_branch(nested(20))).shape("y") == (2,)


def single_branch(graph: Graph) -> Graph:
    """Keep one branch at each level, so that a test of depth is none of breadth."""
    nodes = tuple(
        replace(node, attributes={"then_branch": single_branch(node.attributes["then_branch"]),
                                  "else_branch": LEAF})
        if node.op == "If" else node
        for node in graph.nodes
    )  # fmt: skip
    return replace(graph, nodes=nodes)


LEAF = Graph("b", (Node("n", "Neg", ("x",), ("y",)),), (), (ValueInfo("y"),))


def test_a_function_does_not_see_its_callers_values() -> None:
    node = Node("n", "Add", ("x", "outside"), ("y",))
    functions = {("f", "F"): Function("f", "F", ("x",), ("y",), (), (node,), {"": 18})}
    first = Node("first", "Neg", ("x",), ("outside",))
    top = Node("top", "F", ("x",), ("y",), domain="f")
    graph = Graph("g", (first, top), (ValueInfo("x"),), (ValueInfo("y"),), functions=functions)
    with pytest.raises(UnreadableModel, match="outside"):
        resolve(graph)


def test_a_name_used_twice_and_one_that_is_taken_stay_apart() -> None:
    nodes = (
        Node("n", "Neg", ("x",), ("call/t",)),
        Node("n", "Neg", ("call/t",), ("b",)),
        Node("call", "F", ("b",), ("y",), domain="f"),
    )
    inner = (Node("n", "Neg", ("x",), ("t",)), Node("n", "Neg", ("t",), ("y",)))
    functions = {("f", "F"): Function("f", "F", ("x",), ("y",), (), inner, {"": 18})}
    graph = Graph(
        "g", nodes, (ValueInfo("x", "float32", (1,)),), (ValueInfo("y"),), functions=functions
    )
    resolved = resolve(graph)
    assert [n.name for n in resolved.nodes] == ["n", "n#2", "call/n", "call/n#2"]
    assert resolved.nodes[2].outputs == ("call/t#2",)
    assert resolved.shape("y") == (1,)


def test_names_of_200_kilobytes_do_not_multiply() -> None:
    long = "n" * 200_000
    inner = tuple(Node(long, "Neg", (f"v{i}",), (f"v{i + 1}",)) for i in range(100))
    functions = {("f", "F"): Function("f", "F", ("v0",), ("v100",), (), inner, {"": 18})}
    nodes = tuple(Node(long, "F", (f"a{i}",), (f"a{i + 1}",), domain="f") for i in range(100))
    graph = Graph("g", nodes, (ValueInfo("a0"),), (ValueInfo("a100"),), functions=functions)
    resolved = resolve(graph)
    assert len({node.name for node in resolved.nodes}) == 10_000
    assert max(len(node.name) for node in resolved.nodes) < 1000


def test_nodes_of_a_function_are_read_by_its_own_versions() -> None:
    inner = (Node("n", "Squeeze", ("x",), ("y",), {"axes": (0,)}),)
    functions = {("f", "F"): Function("f", "F", ("x",), ("y",), (), inner, {"": 11})}
    top = Node("top", "F", ("x",), ("y",), domain="f")
    info = ValueInfo("x", "float32", (1, 5))
    graph = Graph("g", (top,), (info,), (ValueInfo("y"),), opsets={"": 18}, functions=functions)
    resolved = resolve(graph)
    assert resolved.opset() == 18
    assert resolved.opset_of(resolved.nodes[0]) == 11
    assert resolved.shape("y") == (5,)


def test_a_reference_that_nothing_fills_is_left_out() -> None:
    inner = (Node("n", "Elu", ("x",), ("y",), {"alpha": AttributeReference("a")}),)
    functions = {("f", "F"): Function("f", "F", ("x",), ("y",), ("a",), inner, {"": 18})}
    top = Node("top", "F", ("x",), ("y",), domain="f")
    graph = Graph("g", (top,), (ValueInfo("x"),), (ValueInfo("y"),), functions=functions)
    assert resolve(graph).nodes[0].attributes == {}
