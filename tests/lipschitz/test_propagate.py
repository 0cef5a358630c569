"""The whole: paths, causes, inputs, assumptions, sizes that nobody knows, and speed."""

import math
import time
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from specaudit.bracket import Bracket
from specaudit.operators import Layer
from specaudit.report import Norm
from tests.lipschitz.networks import bound_of, model_of, runner, single, steepest

make = helper.make_node
RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def test_path_multiplies_to_the_bound() -> None:
    nodes = [
        make("MatMul", ["x", "a"], ["h"], name="first"),
        make("Relu", ["h"], ["r"], name="relu"),
        make("MatMul", ["r", "b"], ["g"], name="second"),
        make("Tanh", ["g"], ["t"], name="tanh"),
        make("Add", ["t", "x"], ["y"], name="skip"),
    ]
    found = bound_of(model_of(nodes, {"x": [2, 3]}, {"a": normal(3, 5), "b": normal(5, 3)}, ["y"]))
    assert found.path == ("first", "relu", "second", "tanh", "skip")
    assert found.log10_upper is not None
    assert sum(f.log10_factor for f in found.factors) == pytest.approx(found.log10_upper, abs=1e-9)
    assert [c.node for c in found.contributors][:2] in (["first", "second"], ["second", "first"])


def test_tied_weights_count_once_a_use() -> None:
    weight = np.diag([2.0, 1.0, 0.5])
    nodes = [
        make("MatMul", ["x", "w"], ["h"]),
        make("Relu", ["h"], ["r"]),
        make("MatMul", ["r", "w"], ["y"]),
    ]
    assert bound_of(model_of(nodes, {"x": [1, 3]}, {"w": weight}, ["y"])).upper == pytest.approx(
        4.0
    )


def test_the_adjoint_sees_that_parts_are_apart() -> None:
    nodes = [
        make("Split", ["x", "s"], ["a", "b"], axis=0),
        make("MatMul", ["a", "u"], ["c"]),
        make("Tanh", ["c"], ["d"]),
        make("MatMul", ["b", "v"], ["e"]),
        make("Tanh", ["e"], ["f"]),
        make("Add", ["d", "f"], ["y"]),
    ]
    u, v = np.diag([3.0, 1.0]), np.diag([4.0, 1.0])
    found = bound_of(model_of(nodes, {"x": [4, 2]}, {"s": np.array([2, 2]), "u": u, "v": v}, ["y"]))
    assert found.upper == pytest.approx(5.0)
    assert found.method is not None
    assert "adjoint" in found.method


@pytest.mark.parametrize(("second", "expected"), [((2, 4), 5.0), ((1, 3), 7.0)])
def test_slices_add_in_squares_only_where_they_are_apart(
    second: tuple[int, int], expected: float
) -> None:
    ends = {
        "p": np.array([0]),
        "q": np.array([2]),
        "r": np.array([second[0]]),
        "s": np.array([second[1]]),
    }
    nodes = [
        make("Slice", ["x", "p", "q"], ["a"]),
        make("Slice", ["x", "r", "s"], ["b"]),
        make("Mul", ["a", "u"], ["c"]),
        make("Tanh", ["c"], ["d"]),
        make("Mul", ["b", "v"], ["e"]),
        make("Tanh", ["e"], ["f"]),
        make("Add", ["d", "f"], ["y"]),
    ]
    consts = {**ends, "u": np.float64(3.0), "v": np.float64(4.0)}
    model = model_of(nodes, {"x": [4]}, consts, ["y"])
    found = bound_of(model)
    assert found.upper == pytest.approx(expected)
    assert steepest(runner(model), starts=[np.zeros(4)]) <= found.upper


def test_several_inputs_each_and_together() -> None:
    nodes = [
        make("Mul", ["x", "a"], ["h"]),
        make("Mul", ["z", "b"], ["g"]),
        make("Add", ["h", "g"], ["y"]),
    ]
    found = bound_of(
        model_of(nodes, {"x": [3], "z": [3]}, {"a": np.float64(3.0), "b": np.float64(4.0)}, ["y"])
    )
    assert [(i.name, i.upper) for i in found.inputs] == [
        ("x", pytest.approx(3.0)),
        ("z", pytest.approx(4.0)),
    ]
    assert found.upper == pytest.approx(5.0)


def test_every_cause_is_listed_and_only_where_it_matters() -> None:
    nodes = [
        make("Exp", ["x"], ["e"], name="exp"),
        make("Floor", ["e"], ["f"], name="floor"),
        make("Sqrt", ["x"], ["s"], name="unused"),
        make("Shape", ["s"], ["n"]),
        make("Foo", ["f"], ["g"], name="foo"),
    ]
    found = bound_of(model_of(nodes, {"x": [3]}, {}, ["g"]))
    assert {(c.node, c.code) for c in found.unbounded} == {("exp", "G"), ("floor", "D")}
    assert [c.node for c in found.unmodelled] == ["foo"]
    assert found.status == "unbounded"
    assert found.upper is None


def test_unknown_operation_beside_the_path_is_no_matter() -> None:
    nodes = [make("Foo", ["k"], ["c"]), make("Add", ["x", "c"], ["y"])]
    model = model_of(nodes, {"x": [3]}, {"k": np.zeros(3)}, ["y"])
    found = bound_of(model)
    # What it makes has a shape nobody knows, so the sum may repeat x: that is asked about.
    assert found.status == "not_computed"
    assert found.reason is not None
    assert "shape" in found.reason


def test_token_ids_start_at_the_embedding() -> None:
    nodes = [make("Gather", ["table", "ids"], ["e"], name="lookup"), make("Tanh", ["e"], ["y"])]
    model = model_of(
        nodes, {"ids": [4]}, {"table": normal(7, 3)}, ["y"], types={"ids": TensorProto.INT64}
    )
    found = bound_of(model)
    assert found.upper == 1.0
    assert [i.name for i in found.inputs] == ["e"]
    assert any("looked up" in words for words in found.assumptions)


def test_integers_become_real_where_they_are_cast() -> None:
    nodes = [make("Cast", ["x"], ["c"], to=TensorProto.DOUBLE), make("Mul", ["c", "k"], ["y"])]
    model = model_of(
        nodes, {"x": [4]}, {"k": np.float64(0.5)}, ["y"], types={"x": TensorProto.UINT8}
    )
    found = bound_of(model)
    assert found.upper == 0.5
    assert any("as real numbers" in words for words in found.assumptions)


def test_no_real_input_is_said() -> None:
    found = bound_of(
        single("Identity", {"x": [3]}, in_type=TensorProto.INT64, out_type=TensorProto.INT64)
    )
    assert found.status == "not_computed"
    assert found.reason == "the graph has no input of real numbers"


def test_sizes_that_are_missing_are_asked_for() -> None:
    model = single(
        "GlobalLpPool",
        {"x": [1, 2, "h", "w"]},
        p=1,
        in_type=TensorProto.FLOAT,
        out_type=TensorProto.FLOAT,
    )
    found = bound_of(model)
    assert found.status == "not_computed"
    assert found.reason is not None
    assert "--input-shape x=" in found.reason
    assert bound_of(model, input_shapes={"x": (1, 2, 4, 4)}).upper == pytest.approx(4.0)


def test_a_size_missing_in_a_branch_is_asked_of_the_whole_graph() -> None:
    """The body of an If has no inputs of its own that anybody could give a shape."""
    pad = make("Pad", ["x", "pads"], ["r"], mode="reflect")
    keep = make("Identity", ["x"], ["s"])
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "rs"]
    branches = [
        helper.make_graph([n], n.op_type, [], [e]) for n, e in zip((pad, keep), ends, strict=True)
    ]
    node = make("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    constants = {"pads": np.array([1, 1])}
    kinds = {"c": TensorProto.BOOL}
    model = model_of([node], {"c": [], "x": [None]}, constants, ["y"], types=kinds)
    found = bound_of(model)
    assert found.status == "not_computed"
    assert "--input-shape x=" in (found.reason or "")
    # The first and the last element but one are shown twice.
    known = bound_of(model, input_shapes={"x": (5,)})
    assert known.upper == pytest.approx(math.sqrt(2.0))


def test_rules_that_need_no_size_do_without() -> None:
    nodes = [
        make("Conv", ["x", "w"], ["h"], pads=[1, 1]),
        make("Add", ["h", "b"], ["g"]),
        make("Relu", ["g"], ["r"]),
        make("MaxPool", ["r"], ["y"], kernel_shape=[2], strides=[2]),
    ]
    f = np.float32
    consts = {"w": normal(2, 2, 3).astype(f), "b": normal(1, 2, 1).astype(f)}
    model = model_of(
        nodes,
        {"x": ["n", 2, "t"]},
        consts,
        ["y"],
        in_type=TensorProto.FLOAT,
        out_type=TensorProto.FLOAT,
    )
    assert bound_of(model).status == "certified"


def test_weights_that_are_no_numbers_have_no_bound() -> None:
    weight = normal(3, 3)
    weight[1, 1] = math.nan
    found = bound_of(single("MatMul", {"x": [1, 3]}, {"w": weight}))
    assert found.upper is None
    assert found.reason is not None
    assert "non_finite" in found.reason


def test_products_past_binary64_keep_their_logarithm() -> None:
    nodes = [make("Mul", [f"v{k}" if k else "x", "c"], [f"v{k + 1}"]) for k in range(40)]
    nodes = [
        n
        for k, node in enumerate(nodes)
        for n in (node, make("Tanh", [f"v{k + 1}"], [f"u{k + 1}"]))
    ]
    chain = []
    for k in range(40):
        chain += [
            make("Mul", [f"u{k}" if k else "x", "c"], [f"m{k}"]),
            make("Tanh", [f"m{k}"], [f"u{k + 1}"]),
        ]
    found = bound_of(model_of(chain, {"x": [2]}, {"c": np.float64(1e10)}, ["u40"]))
    assert found.upper is None
    assert found.status == "certified"
    assert found.log10_upper == pytest.approx(400.0)


def cheap(layer: Layer) -> Norm:
    """Frobenius: these tests are about the time of everything but norms."""
    weight = np.asarray(layer.read(), dtype=np.float64)
    return Norm.certified(Bracket(0.0, float(np.linalg.norm(weight)) * 3), "frobenius")


def test_a_mobile_network_composes_in_time() -> None:
    f = np.float32
    nodes: list[Any] = []
    weights: dict[str, np.ndarray] = {}
    value = "x"
    for block in range(39):
        name = f"b{block}"
        weights[f"{name}p"] = (normal(96, 24, 1, 1) * 0.1).astype(f)
        weights[f"{name}d"] = normal(96, 1, 3, 3).astype(f)
        weights[f"{name}q"] = (normal(24, 96, 1, 1) * 0.1).astype(f)
        inner = value
        for step, width in (("p", 96), ("d", 96), ("q", 24)):
            weights |= {
                f"{name}{step}{k}": np.abs(normal(width)).astype(f) + f(0.1) for k in "gbmv"
            }
            group = 96 if step == "d" else 1
            pads = [1, 1, 1, 1] if step == "d" else [0, 0, 0, 0]
            nodes.append(
                make("Conv", [inner, f"{name}{step}"], [f"{name}{step}c"], group=group, pads=pads)
            )
            parameters = [f"{name}{step}{k}" for k in "gbmv"]
            nodes.append(
                make("BatchNormalization", [f"{name}{step}c", *parameters], [f"{name}{step}n"])
            )
            inner = f"{name}{step}n"
            if step != "q":
                nodes.append(make("Clip", [inner, "lo", "hi"], [f"{name}{step}r"]))
                inner = f"{name}{step}r"
        nodes.append(make("Add", [value, inner], [f"{name}y"]))
        value = f"{name}y"
    weights |= {"lo": f(0.0), "hi": f(6.0)}
    model = model_of(
        nodes,
        {"x": ["n", 24, 28, 28]},
        weights,
        [value],
        in_type=TensorProto.FLOAT,
        out_type=TensorProto.FLOAT,
    )
    assert len(nodes) >= 350
    began = time.perf_counter()
    assert bound_of(model, norm=cheap).status == "certified"
    assert time.perf_counter() - began < 5.0


def test_a_transformer_composes_in_time() -> None:
    nodes: list[Any] = []
    weights = {
        "g": np.ones(16),
        "a": np.array([-1]),
        "two": np.float64(2.0),
        "eps": np.float64(1e-5),
        "half": np.float64(0.5),
        "one": np.float64(1.0),
        "r": np.float64(math.sqrt(0.5)),
        "s": np.array([0, 8, 4, 4]),
        "t": np.array([0, 8, 16]),
    }
    value, serial = "x", 0

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        nonlocal serial
        serial += 1
        nodes.append(make(op, list(inputs), [f"n{serial}"], **attributes))
        return f"n{serial}"

    def norm(x: str) -> str:
        centred = add("Sub", x, add("ReduceMean", x, "a"))
        spread = add("ReduceMean", add("Pow", centred, "two"), "a")
        return add("Mul", add("Div", centred, add("Sqrt", add("Add", spread, "eps"))), "g")

    for block in range(48):
        for w, shape in (
            ("q", (16, 16)),
            ("k", (16, 16)),
            ("v", (16, 16)),
            ("o", (16, 16)),
            ("u", (16, 32)),
            ("d", (32, 16)),
        ):
            weights[f"{w}{block}"] = normal(*shape) * 0.2
        n = norm(value)
        heads = [
            add(
                "Transpose",
                add("Reshape", add("MatMul", n, f"{w}{block}"), "s"),
                perm=[0, 2, 1, 3] if w != "k" else [0, 2, 3, 1],
            )
            for w in "qkv"
        ]
        logits = add("Mul", add("MatMul", heads[0], heads[1]), "half")
        mixed = add("MatMul", add("Softmax", logits, axis=-1), heads[2])
        back = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), "t")
        value = add("Add", value, add("MatMul", back, f"o{block}"))
        h = add("MatMul", norm(value), f"u{block}")
        gelu = add("Mul", add("Mul", h, add("Add", add("Erf", add("Mul", h, "r")), "one")), "half")
        value = add("Add", value, add("MatMul", gelu, f"d{block}"))
    model = model_of(nodes, {"x": ["n", 8, 16]}, weights, [value], opset=18)
    assert len(nodes) >= 1900
    began = time.perf_counter()
    found = bound_of(model, norm=cheap)
    assert found.status == "certified", found.reason
    assert time.perf_counter() - began < 20.0
