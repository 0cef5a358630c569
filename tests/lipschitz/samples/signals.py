"""Spectra, grids, losses, quantised and rarer operations: a sample network for each rule."""

import numpy as np
from onnx import TensorProto, helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import RNG, F, normal, sample


def _signals() -> None:
    sample("DFT", {"x": [1, 4, 1]}, {"n": np.int64(6)}, exact=6**0.5, opset=17, axis=1)
    sample("DFT", {"x": [1, 4, 2]}, inverse=1, exact=0.5, opset=17, axis=1, label="inverse")
    sample("DFT", {"x": [1, 4, 1]}, exact=2.0, opset=20, label="newer", ratio=0.99)
    nodes = [helper.make_node("STFT", ["x", "s", "w"], ["y"], onesided=0)]
    sample(
        "STFT",
        model=model_of(
            nodes, {"x": [1, 10, 1]}, {"s": np.int64(2), "w": np.abs(normal(4))}, ["y"], opset=17
        ),
        ratio=0.9,
    )
    for label, size, new, attributes in (
        ("nearest", 3, 6, {"mode": "nearest"}),
        ("nearest odd", 3, 5, {"mode": "nearest"}),
        ("floor", 3, 6, {"mode": "nearest", "nearest_mode": "floor"}),
        (
            "asymmetric",
            3,
            6,
            {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            },
        ),
        ("linear", 4, 8, {"mode": "linear"}),
        ("corners", 4, 7, {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
        (
            "linear asymmetric",
            4,
            8,
            {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        ),
        ("shrinking", 7, 3, {"mode": "linear"}),
        ("antialias", 8, 3, {"mode": "linear", "antialias": 1}),
        (
            "pytorch",
            4,
            1,
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        ),
    ):
        by_scale = {
            "r": np.array([], dtype=np.float32),
            "s": np.array([1.0, 1.0, new / size], dtype=np.float32),
        }
        by_size = {
            "r": np.array([], dtype=np.float32),
            "s": np.array([], dtype=np.float32),
            "z": np.array([1, 1, new]),
        }
        whole = new % size == 0
        sample(
            "Resize",
            {"x": [1, 1, size]},
            by_scale if whole else by_size,
            in_type=F,
            out_type=F,
            opset=19,
            label=label,
            ratio=0.9 if "antialias" in attributes else 0.98,
            **attributes,
        )
    for label, extra in (("cubic", {}), ("cubic outside", {"exclude_outside": 1})):
        sample(
            "Resize",
            {"x": [1, 1, 4, 4]},
            {"r": np.array([], np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
            mode="cubic",
            in_type=F,
            out_type=F,
            opset=19,
            label=label,
            ratio=0.98,
            **extra,
        )
    sample(
        "Upsample",
        {"x": [1, 1, 3, 2]},
        {"s": np.array([1, 1, 2, 3], np.float32)},
        mode="nearest",
        in_type=F,
        out_type=F,
        opset=9,
        ratio=0.98,
    )
    sample(
        "Upsample",
        {"x": [1, 1, 3, 2]},
        {"s": np.array([1, 1, 2, 2], np.float32)},
        mode="linear",
        in_type=F,
        out_type=F,
        opset=9,
        ratio=0.9,
        label="linear",
    )
    nodes = [helper.make_node("AffineGrid", ["x", "s"], ["y"])]
    sample(
        "AffineGrid",
        model=model_of(
            nodes,
            {"x": [1, 2, 3]},
            {"s": np.array([1, 1, 3, 4])},
            ["y"],
            in_type=F,
            out_type=F,
            opset=20,
        ),
        ratio=0.98,
    )
    grid = RNG.uniform(-1, 1, (1, 2, 2, 2)).astype(np.float32)
    sample(
        "GridSample", {"x": [1, 1, 3, 3]}, {"g": grid}, in_type=F, out_type=F, opset=20, ratio=0.2
    )
    sample(
        "GridSample",
        {"x": [1, 1, 3, 3]},
        {"g": np.zeros((1, 2, 2, 2), np.float32)},
        in_type=F,
        out_type=F,
        opset=20,
        ratio=0.98,
        label="one point",
        align_corners=1,
    )
    sample(
        "GridSample",
        {"x": [1, 1, 3, 3], "g": [1, 2, 2, 2]},
        in_type=F,
        out_type=F,
        opset=20,
        code="B",
        label="live grid",
    )
    rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    sample(
        "MaxRoiPool",
        {"x": [1, 1, 4, 4]},
        {"r": rois},
        pooled_shape=[2, 2],
        in_type=F,
        out_type=F,
        ratio=0.3,
    )
    nodes = [helper.make_node("RoiAlign", ["x", "r", "b"], ["y"], output_height=2, output_width=2)]
    boxes = {"r": np.array([[0, 0, 3, 3]], np.float32), "b": np.array([0])}
    sample(
        "RoiAlign",
        model=model_of(nodes, {"x": [1, 1, 4, 4]}, boxes, ["y"], in_type=F, out_type=F, opset=16),
        ratio=0.1,
    )
    angle = RNG.uniform(0, 3, (1, 2, 2))
    sample(
        "RotaryEmbedding",
        {"x": [1, 1, 2, 4]},
        {"c": np.cos(angle), "s": np.sin(angle)},
        opset=23,
        ratio=0.99,
    )
    sample(
        "RotaryEmbedding",
        {"x": [1, 2, 4]},
        {
            "p": np.array([[0, 1]]),
            "c": np.cos(angle[0]).astype(np.float32),
            "s": np.sin(angle[0]).astype(np.float32),
        },
        domain="com.microsoft",
        in_type=F,
        out_type=F,
        ratio=0.9,
        num_heads=1,
    )


def _losses() -> None:
    labels = {"t": np.array([1, 0])}
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        labels,
        reduction="sum",
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
    )
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        labels,
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
        label="mean",
    )
    sample(
        "SoftmaxCrossEntropyLoss",
        {"x": [2, 3]},
        {**labels, "w": np.array([1.0, 2.0, 0.5])},
        reduction="none",
        starts=[[50.0, 0, 0, 0, 50.0, 0]],
        ratio=0.99,
        label="none",
    )
    sample("NegativeLogLikelihoodLoss", {"x": [2, 3]}, labels, ratio=0.99)
    sample(
        "NegativeLogLikelihoodLoss",
        {"x": [2, 3]},
        {**labels, "w": np.array([1.0, 2.0, 0.5])},
        reduction="sum",
        ratio=0.7,
        label="weighted",
    )


def _quantized() -> None:
    q = {"s": np.float32(0.1), "z": np.uint8(3)}
    sample("QuantizeLinear", {"x": [3]}, q, in_type=F, out_type=TensorProto.UINT8, code="D")
    sample(
        "DynamicQuantizeLinear",
        {"x": [3]},
        in_type=F,
        out_type=TensorProto.UINT8,
        code="D",
        outputs=3,
        types={"y1": F},
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    sample(
        "DequantizeLinear",
        model=model_of(nodes, {"x": [3]}, q, ["y"], in_type=F, out_type=F),
        code="D",
    )
    sample(
        "DequantizeLinear",
        {"x": [3]},
        q,
        in_type=TensorProto.UINT8,
        out_type=F,
        label="source",
        ratio=0.0,
        runs=False,
    )
    sample(
        "DequantizeLinear",
        {"x": [3]},
        q,
        in_type=TensorProto.UINT8,
        out_type=F,
        label="source",
        ratio=0.0,
        runs=False,
        domain="com.microsoft",
    )
    sample(
        "QuantizeLinear",
        {"x": [3]},
        q,
        in_type=F,
        out_type=TensorProto.UINT8,
        code="D",
        domain="com.microsoft",
    )
    ints = {"w": np.ones((3, 3), np.uint8)}
    pre = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    integer = {
        "MatMulInteger": [helper.make_node("MatMulInteger", ["q", "w"], ["y"])],
        "ConvInteger": [helper.make_node("ConvInteger", ["q4", "k"], ["y"])],
        "QLinearMatMul": [
            helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["y"])
        ],
        "QLinearConv": [
            helper.make_node("QLinearConv", ["q4", "s", "z", "k", "s", "z", "s", "z"], ["y"])
        ],
    }
    for op, nodes in integer.items():
        reshape = [helper.make_node("Reshape", ["q", "n"], ["q4"])] if "Conv" in op else []
        consts = {**q, **ints, "k": np.ones((1, 1, 2, 2), np.uint8), "n": np.array([1, 1, 3, 3])}
        sample(
            op,
            model=model_of(
                [*pre, *reshape, *nodes],
                {"x": [3, 3]},
                consts,
                ["y"],
                in_type=F,
                out_type=TensorProto.UINT8 if op.startswith("Q") else TensorProto.INT32,
            ),
            code="D",
        )


def _special() -> None:
    sample("SwiGLU", {"a": [2], "b": [2]}, code="B", opset=28, runs=False)
    sample(
        "SwiGLU",
        {"a": [2], "b": [2]},
        box=(-3.0, 3.0),
        ratio=0.0,
        opset=28,
        label="boxed",
        runs=False,
    )
    nodes = [helper.make_node("CausalConvWithState", ["x", "w", "", "s"], ["y", "t"])]
    sample(
        "CausalConvWithState",
        model=model_of(
            nodes, {"x": [1, 2, 4], "s": [1, 2, 2]}, {"w": normal(2, 1, 3)}, ["y", "t"], opset=27
        ),
        ratio=0.3,
        runs=False,
    )
    offset = np.zeros((1, 8, 2, 2), np.float32)
    sample(
        "DeformConv",
        {"x": [1, 1, 3, 3]},
        {"w": normal(1, 1, 2, 2).astype(np.float32), "o": offset},
        in_type=F,
        out_type=F,
        opset=22,
        ratio=0.2,
    )
    sample(
        "DeformConv",
        {"x": [1, 1, 3, 3], "o": [1, 8, 2, 2]},
        {"w": normal(1, 1, 2, 2).astype(np.float32)},
        order=["x", "w", "o"],
        in_type=F,
        out_type=F,
        opset=22,
        code="B",
        label="live offsets",
    )


_signals()
_losses()
_quantized()
_special()
