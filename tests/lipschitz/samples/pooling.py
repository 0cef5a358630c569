"""Pooling and reductions: a sample network for each rule."""

import numpy as np
from onnx import TensorProto, helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import D, F, I, sample


def _pooling() -> None:
    sample(
        "AveragePool",
        {"x": [1, 1, 9, 9]},
        kernel_shape=[3, 3],
        strides=[1, 1],
        pads=[1, 1, 1, 1],
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="uncounted",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 8]},
        kernel_shape=[2],
        strides=[2],
        in_type=F,
        out_type=F,
        exact=0.5**0.5,
        ratio=0.99,
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 6]},
        kernel_shape=[3],
        strides=[2],
        pads=[1, 1],
        count_include_pad=1,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="counted",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 4]},
        kernel_shape=[3],
        strides=[2],
        ceil_mode=1,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="ceil",
    )
    sample(
        "AveragePool",
        {"x": [1, 1, 8]},
        kernel_shape=[2],
        dilations=[2],
        opset=19,
        in_type=F,
        out_type=F,
        ratio=0.99,
        label="dilated",
    )
    sample("MaxPool", {"x": [1, 1, 5, 5]}, kernel_shape=[3, 3], strides=[2, 2], exact=2.0)
    sample(
        "MaxPool",
        {"x": [1, 1, 5, 5]},
        kernel_shape=[3, 3],
        exact=3.0,
        label="dense",
        starts=[[5.0 * (i == 12) for i in range(25)]],
    )
    sample("MaxPool", {"x": [1, 1, 6]}, kernel_shape=[2], strides=[2], exact=1.0, label="apart")
    sample(
        "MaxPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        outputs=2,
        code="D",
        label="indices",
        types={"y1": I},
    )
    sample(
        "LpPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        p=2,
        in_type=F,
        out_type=F,
        ratio=0.9,
        opset=18,
    )
    sample(
        "LpPool",
        {"x": [1, 1, 6]},
        kernel_shape=[2],
        p=1,
        in_type=F,
        out_type=F,
        ratio=0.9,
        label="sum",
        opset=18,
        starts=[np.ones(6)],
    )
    for op, exact in (("GlobalAveragePool", 0.5), ("GlobalMaxPool", 1.0)):
        sample(op, {"x": [1, 2, 2, 2]}, exact=exact, in_type=F, out_type=F, ratio=0.98)
    sample("GlobalLpPool", {"x": [1, 2, 2, 2]}, exact=1.0, in_type=F, out_type=F, ratio=0.9)
    sample(
        "GlobalLpPool",
        {"x": [1, 2, 2, 2]},
        p=1,
        exact=2.0,
        in_type=F,
        out_type=F,
        ratio=0.9,
        label="sum",
        starts=[np.ones(8)],
    )
    nodes = [helper.make_node("MaxUnpool", ["x", "i"], ["y"], kernel_shape=[2], strides=[2])]
    sample(
        "MaxUnpool",
        model=model_of(
            nodes, {"x": [1, 1, 3]}, {"i": np.array([[[0, 3, 4]]])}, ["y"], in_type=F, out_type=F
        ),
        exact=1.0,
        ratio=0.98,
    )
    nodes = [helper.make_node("Col2Im", ["x", "s", "b"], ["y"])]
    sample(
        "Col2Im",
        model=model_of(
            nodes,
            {"x": [1, 4, 4]},
            {"s": np.array([3, 3]), "b": np.array([2, 2])},
            ["y"],
            in_type=F,
            out_type=F,
            opset=18,
        ),
        ratio=0.6,
    )


def _reductions() -> None:
    for op, exact in (
        ("ReduceSum", 3**0.5),
        ("ReduceMean", 3**-0.5),
        ("ReduceMax", 1.0),
        ("ReduceMin", 1.0),
        ("ReduceL2", 1.0),
        ("ReduceL1", 3**0.5),
        ("ReduceLogSumExp", 1.0),
    ):
        sample(
            op,
            {"x": [2, 3]},
            {"axes": np.array([1])},
            exact=exact,
            starts=[[1.0, 2.0, 3.0, 4.0, 50.0, 1.0]],
            opset=18,
        )
        if op != "ReduceSum":
            sample(
                op,
                {"x": [2, 3]},
                axes=[-1],
                keepdims=0,
                exact=exact,
                opset=11,
                label="attribute",
                ratio=0.9,
                starts=[[1.0, 2.0, 3.0, 4.0, 50.0, 1.0]],
            )
    for op, code in (("ReduceSumSquare", "B"), ("ReduceProd", "B"), ("ReduceLogSum", "G")):
        sample(op, {"x": [2, 3]}, code=code, opset=18)
    sample(
        "ReduceSumSquare",
        {"x": [3]},
        box=(-1.0, 2.0),
        starts=[[2.0] * 3],
        opset=18,
        label="boxed",
        ratio=0.99,
    )
    sample("Det", {"x": [2, 2]}, code="B")
    sample("CumProd", {"x": [3]}, {"axis": np.int64(0)}, code="B", opset=26, runs=False)
    for op in ("ArgMax", "ArgMin", "NonZero"):
        sample(op, {"x": [2, 3]}, code="D", out_type=I)
    sample("Unique", {"x": [3]}, code="D")
    nodes = [helper.make_node("NonMaxSuppression", ["b", "s"], ["y"])]
    sample(
        "NonMaxSuppression",
        model=model_of(nodes, {"b": [1, 2, 4], "s": [1, 1, 2]}, {}, ["y"], in_type=F, out_type=I),
        code="D",
    )
    k = {"k": np.array([2])}
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"])]
    sample("TopK", model=model_of(nodes, {"x": [2, 4]}, k, ["y"]), exact=1.0)
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"], sorted=0)]
    sample("TopK", model=model_of(nodes, {"x": [2, 4]}, k, ["y"]), code="D", label="unsorted")
    sample("CumSum", {"x": [5]}, {"axis": np.int64(0)})
    sample("CumSum", {"x": [5]}, {"axis": np.int64(0)}, exclusive=1, reverse=1, label="exclusive")
    for op in ("RandomNormalLike", "RandomUniformLike"):
        nodes = [helper.make_node(op, ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0, runs=False)
    for op in ("RandomNormal", "RandomUniform"):
        nodes = [
            helper.make_node(op, [], ["r"], shape=[3], dtype=D),
            helper.make_node("Add", ["x", "r"], ["y"]),
        ]
        sample(op, model=model_of(nodes, {"x": [3]}, {}, ["y"]), exact=1.0, runs=False)
    sample("Bernoulli", {"x": [3]}, code="R")
    sample("Multinomial", {"x": [1, 3]}, code="R", in_type=F, out_type=TensorProto.INT32)
    for op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        nodes = [
            helper.make_node(op, ["n"], ["w"], output_datatype=D),
            helper.make_node("Mul", ["x", "w"], ["y"]),
        ]
        sample(
            op,
            model=model_of(nodes, {"x": [4]}, {"n": np.int64(4)}, ["y"]),
            code=None,
            label="window",
            runs=False,
        )


_pooling()
_reductions()
