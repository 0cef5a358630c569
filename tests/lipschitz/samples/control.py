"""Branches, loops and recurrences: a sample network for each rule."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import D, F, I, normal, sample


def _control() -> None:
    def body(nodes: Any, inputs: Any, outputs: Any, constants: Any = None) -> Any:
        return helper.make_graph(
            nodes,
            "body",
            [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
            [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
        )

    w = normal(3, 3) * 0.4
    then = body([helper.make_node("MatMul", ["x", "w"], ["a"])], [], [("a", D, None)], {"w": w})
    other = body(
        [helper.make_node("Mul", ["x", "k"], ["b"])], [], [("b", D, None)], {"k": np.float64(3.0)}
    )
    make = helper.make_node
    for label, flag in (("taken", True), ("not taken", False)):
        nodes = [make("If", ["c"], ["y"], then_branch=then, else_branch=other)]
        sample("If", model=model_of(nodes, {"x": [3]}, {"c": np.array(flag)}, ["y"]), label=label)
    nodes = [make("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    sample(
        "If",
        model=model_of(nodes, {"x": [3], "c": []}, {}, ["y"], types={"c": TensorProto.BOOL}),
        label="held",
        exact=3.0,
        fixed={"c": np.array(False)},
    )
    nodes = [
        make("Greater", ["s", "z"], ["c"]),
        make("ReduceSum", ["x"], ["s"], keepdims=0),
        make("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    nodes = [nodes[1], nodes[0], nodes[2]]
    sample(
        "If",
        model=model_of(nodes, {"x": [3]}, {"z": np.float64(0.0)}, ["y"]),
        code="D",
        label="live",
    )
    turn = body(
        [
            make("MatMul", ["v", "w"], ["u"]),
            make("Tanh", ["u"], ["t"]),
            make("Add", ["t", "x"], ["n"]),
            make("Identity", ["c"], ["d"]),
            make("Identity", ["n"], ["o"]),
        ],
        [("i", I, []), ("c", TensorProto.BOOL, []), ("v", D, [3])],
        [("d", TensorProto.BOOL, []), ("n", D, [3]), ("o", D, [3])],
        {"w": w},
    )
    for count in (0, 3, 80):
        nodes = [make("Loop", ["m", "t", "z"], ["y", "s"], body=turn)]
        consts = {"m": np.int64(count), "t": np.array(True), "z": np.zeros(3)}
        sample(
            "Loop",
            model=model_of(nodes, {"x": [3]}, consts, ["y", "s"]),
            label=f"{count}",
            ratio=0.0 if count != 3 else 0.3,
            runs=count > 0,
        )
    nodes = [
        make("ReduceSum", ["x"], ["q"], keepdims=0),
        make("Cast", ["q"], ["m"], to=I),
        make("Loop", ["m", "t", "z"], ["y", "s"], body=turn),
    ]
    sample(
        "Loop",
        model=model_of(nodes, {"x": [3]}, {"t": np.array(True), "z": np.zeros(3)}, ["y", "s"]),
        code="D",
        label="live count",
    )
    step = body(
        [
            make("MatMul", ["h", "w"], ["u"]),
            make("Add", ["u", "e"], ["a"]),
            make("Tanh", ["a"], ["n"]),
            make("Identity", ["n"], ["o"]),
        ],
        [("h", D, [3]), ("e", D, [3])],
        [("n", D, [3]), ("o", D, [3])],
        {"w": w},
    )
    nodes = [make("Scan", ["z", "x"], ["y", "s"], body=step, num_scan_inputs=1)]
    sample("Scan", model=model_of(nodes, {"x": [4, 3], "z": [3]}, {}, ["y", "s"]), ratio=0.3)
    nodes = [make("Scan", ["z", "x"], ["y", "s"], body=step, num_scan_inputs=1)]
    sample(
        "Scan",
        model=model_of(nodes, {"x": [4, 3]}, {"z": np.zeros(3)}, ["s"]),
        ratio=0.4,
        label="sequence",
    )
    each = body([make("MatMul", ["e", "w"], ["f"])], [("e", D, [3])], [("f", D, [3])], {"w": w})
    nodes = [
        make("SplitToSequence", ["x"], ["q"], axis=0, keepdims=0),
        make("SequenceMap", ["q"], ["r"], body=each),
        make("ConcatFromSequence", ["r"], ["y"], axis=0),
    ]
    sample(
        "SequenceMap",
        model=model_of(nodes, {"x": [2, 3]}, {}, ["y"], opset=17),
        runs=True,
        ratio=0.99,
    )


def _recurrent() -> None:
    h, i, t = 2, 2, 4
    zero = [np.zeros(t * i)]
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for label, directions, extra in (
            ("forward", 1, {}),
            ("bidirectional", 2, {"direction": "bidirectional"}),
        ):
            f = np.float32
            consts = {
                "w": (normal(directions, gates * h, i) * 0.8).astype(f),
                "r": (normal(directions, gates * h, h) * 0.6).astype(f),
            }
            outs = ["y", "y1", "y2"][: 3 if op == "LSTM" else 2]
            nodes = [helper.make_node(op, ["x", "w", "r"], outs, hidden_size=h, **extra)]
            for out in outs:
                sample(
                    op,
                    model=model_of(nodes, {"x": [t, 1, i]}, consts, [out], in_type=F, out_type=F),
                    label=f"{label} {out}",
                    ratio=0.4 if op == "RNN" else 0.001,
                    starts=zero,
                )
    f = np.float32
    for reset in (0, 1):
        consts = {
            "w": normal(1, 6, 2).astype(f),
            "r": normal(1, 6, 2).astype(f),
            "b": normal(1, 12).astype(f),
        }
        nodes = [
            helper.make_node(
                "GRU", ["x", "w", "r", "b"], ["y"], hidden_size=2, linear_before_reset=reset
            )
        ]
        sample(
            "GRU",
            model=model_of(nodes, {"x": [3, 1, 2]}, consts, ["y"], in_type=F, out_type=F),
            label=f"reset {reset}",
            ratio=0.01,
        )
    consts = {
        "w": normal(1, 8, 2).astype(f),
        "r": normal(1, 8, 2).astype(f),
        "p": normal(1, 6).astype(f),
    }
    for forget in (0, 1):
        nodes = [
            helper.make_node(
                "LSTM",
                ["x", "w", "r", "", "", "", "", "p"],
                ["y"],
                hidden_size=2,
                input_forget=forget,
            )
        ]
        sample(
            "LSTM",
            model=model_of(nodes, {"x": [3, 1, 2]}, consts, ["y"], in_type=F, out_type=F),
            label=f"peepholes {forget}",
            ratio=0.001,
            runs=not forget,
        )
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y"], hidden_size=2)]
    states = {"x": [3, 1, 2], "h": [1, 1, 2], "c": [1, 1, 2]}
    sample(
        "LSTM",
        model=model_of(nodes, states, consts, ["y"], in_type=F, out_type=F),
        label="free cell",
        code="B",
    )
    sample(
        "LSTM",
        model=model_of(nodes, states, consts, ["y"], in_type=F, out_type=F),
        label="boxed cell",
        box=(-1.0, 1.0),
        ratio=0.001,
    )
    nodes = [helper.make_node("RNN", ["x", "w", "r", "", "", "h"], ["y", "z"], hidden_size=2)]
    consts = {"w": normal(1, 2, 2).astype(f), "r": normal(1, 2, 2).astype(f)}
    sample(
        "RNN",
        model=model_of(
            nodes, {"x": [3, 1, 2], "h": [1, 1, 2]}, consts, ["y", "z"], in_type=F, out_type=F
        ),
        label="states",
        ratio=0.2,
        starts=[np.zeros(8)],
    )


_control()
_recurrent()
