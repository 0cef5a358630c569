"""Weights and normalisations: a sample network for each rule."""

import numpy as np

from tests.lipschitz.samples.collection import F, normal, sample


def _linear() -> None:
    sample("MatMul", {"x": [2, 3]}, {"w": normal(3, 4)})
    sample("MatMul", {"x": [3, 2]}, {"w": normal(4, 3)}, order=["w", "x"], label="left")
    sample("MatMul", {"x": [3]}, {"w": normal(3)}, label="vectors")
    sample("MatMul", {"x": [2, 4, 3]}, {"w": normal(2, 3, 2)}, label="batched")
    sample("MatMul", {"x": [4, 3]}, {"w": normal(2, 3, 2)}, label="side by side")
    sample("MatMul", {"x": [3, 2]}, {"w": normal(2, 4, 3)}, order=["w", "x"], label="stacked")
    sample("MatMul", {"a": [2, 3], "b": [3, 2]}, code="B", label="live")
    sample(
        "MatMul",
        {"a": [2, 3], "b": [3, 2]},
        box=(-1.0, 1.0),
        ratio=0.5,
        label="boxed",
        starts=[np.ones(12)],
    )
    sample(
        "Gemm", {"x": [2, 3]}, {"w": normal(4, 3), "c": normal(4)}, transB=1, alpha=0.5, beta=2.0
    )
    sample("Gemm", {"x": [3, 2]}, {"w": normal(3, 4)}, transA=1, label="transposed")
    sample(
        "Gemm",
        {"x": [2, 3], "c": [1]},
        {"w": normal(3, 4)},
        order=["x", "w", "c"],
        label="bias live",
        ratio=0.6,
    )
    for label, kernel, attributes in (
        ("plain", normal(2, 2, 3), {"pads": [1, 1]}),
        ("strided", normal(3, 2, 3), {"strides": [2], "pads": [1, 0]}),
        ("dilated", normal(2, 2, 3), {"dilations": [2], "pads": [2, 2]}),
        ("grouped", normal(4, 1, 3), {"group": 2, "pads": [1, 1]}),
    ):
        sample(
            "Conv",
            {"x": [1, 2, 9]},
            {"w": kernel.astype(np.float32)},
            in_type=F,
            out_type=F,
            label=label,
            ratio=0.85,
            **attributes,
        )
    sample(
        "Conv",
        {"x": [1, 1, 5, 5]},
        {"w": normal(1, 1, 3, 3).astype(np.float32)},
        in_type=F,
        out_type=F,
        auto_pad="SAME_LOWER",
        label="2-D",
        ratio=0.8,
    )
    sample(
        "Conv",
        {"x": [1, 2, 5], "w": [2, 2, 3]},
        code="B",
        in_type=F,
        out_type=F,
        label="live kernel",
    )
    sample(
        "ConvTranspose",
        {"x": [1, 2, 5]},
        {"w": normal(2, 3, 3).astype(np.float32)},
        strides=[2],
        in_type=F,
        out_type=F,
        ratio=0.85,
    )
    sample(
        "ConvTranspose",
        {"x": [1, 4, 5]},
        {"w": normal(4, 1, 3).astype(np.float32)},
        group=2,
        in_type=F,
        out_type=F,
        ratio=0.85,
        label="grouped",
    )
    sample("Einsum", {"x": [2, 3]}, {"w": normal(3, 4)}, equation="ij,jk->ik")
    sample("Einsum", {"x": [2, 3]}, {"w": normal(2, 3, 4)}, equation="ij,ijk->ik", label="batch")
    sample(
        "Einsum",
        {"x": [2, 3, 2]},
        {"w": normal(4, 2)},
        equation="bij,kj->bk",
        order=["x", "w"],
        label="summed",
        ratio=0.99,
        code="",
    )
    sample("Einsum", {"x": [3, 3]}, equation="ii->i", label="diagonal")
    sample("Einsum", {"x": [2, 3]}, equation="ij->", label="sum")
    sample("Einsum", {"a": [2, 3], "b": [3, 2]}, equation="ij,jk->ik", code="B", label="live")
    sample(
        "Einsum",
        {"a": [2, 3], "b": [3, 2]},
        equation="ij,jk->ik",
        box=(-1.0, 1.0),
        ratio=0.5,
        label="boxed",
        starts=[np.ones(12)],
    )


def _normalizations() -> None:
    constant = [np.full(8, 0.7)]
    sample(
        "BatchNormalization",
        {"x": [2, 3, 2]},
        {"g": normal(3), "b": normal(3), "m": normal(3), "v": np.abs(normal(3)) + 0.1},
    )
    sample(
        "LayerNormalization",
        {"x": [2, 4]},
        {"g": np.array([3.0, -2.0, 0.5, 1.0]), "b": normal(4)},
        epsilon=1e-2,
        starts=constant,
        ratio=0.99,
    )
    sample(
        "LayerNormalization",
        {"x": [2, 2]},
        {"g": np.array([3.0, -2.0])},
        epsilon=1e-2,
        starts=[np.ones(4)],
        label="two",
        ratio=0.99,
    )
    sample(
        "LayerNormalization",
        {"x": [1, 4]},
        {"g": np.ones(4)},
        epsilon=1e-2,
        outputs=3,
        starts=[np.ones(4)],
        label="statistics",
        ratio=0.3,
        in_type=F,
        out_type=F,
    )
    sample(
        "LayerNormalization",
        {"x": [2, 4]},
        {"g": np.ones(4)},
        epsilon=0.0,
        code="G",
        label="no epsilon",
    )
    sample(
        "RMSNormalization",
        {"x": [2, 4]},
        {"g": normal(4)},
        epsilon=1e-2,
        opset=23,
        starts=[np.zeros(8)],
        ratio=0.99,
    )
    for domain in ("com.microsoft",):
        sample(
            "LayerNormalization",
            {"x": [2, 4]},
            {"g": normal(4).astype(np.float32), "b": normal(4).astype(np.float32)},
            domain=domain,
            epsilon=1e-2,
            ratio=0.0,
            in_type=F,
            out_type=F,
            runs=False,
        )
        sample(
            "SimplifiedLayerNormalization",
            {"x": [2, 4]},
            {"g": normal(4).astype(np.float32)},
            domain=domain,
            epsilon=1e-2,
            ratio=0.0,
            in_type=F,
            out_type=F,
            runs=False,
        )
    sample(
        "SimplifiedLayerNormalization",
        {"x": [2, 4]},
        {"g": normal(4).astype(np.float32)},
        epsilon=1e-1,
        in_type=F,
        out_type=F,
        starts=[np.zeros(8)],
        ratio=0.9,
    )
    sample(
        "GroupNormalization",
        {"x": [1, 4, 2]},
        {"g": normal(4), "b": normal(4)},
        num_groups=2,
        epsilon=1e-2,
        opset=21,
        starts=[np.ones(8)],
        ratio=0.6,
    )
    sample(
        "InstanceNormalization",
        {"x": [1, 2, 3]},
        {"g": normal(2).astype(np.float32), "b": normal(2).astype(np.float32)},
        epsilon=1e-1,
        in_type=F,
        out_type=F,
        starts=[np.ones(6)],
        ratio=0.9,
    )
    sample("MeanVarianceNormalization", {"x": [1, 2, 2, 2]}, ratio=0.0, in_type=F, out_type=F)
    sample("LpNormalization", {"x": [2, 3]}, code="G")
    sample(
        "LRN",
        {"x": [1, 4, 2, 1]},
        size=3,
        bias=2.0,
        in_type=F,
        out_type=F,
        ratio=0.3,
        starts=[np.zeros(8)],
    )
    sample(
        "LRN",
        {"x": [1, 4, 2, 1]},
        size=3,
        bias=-1.0,
        code="G",
        in_type=F,
        out_type=F,
        label="negative",
    )
    sample("Softmax", {"x": [2, 3]}, exact=0.5, starts=[[0.0, 0.0, -50.0] * 2])
    sample("Softmax", {"x": [2, 1]}, exact=0.0, ratio=0.0, label="one")
    sample(
        "Softmax", {"x": [2, 3]}, exact=0.5, starts=[[0.0, 0.0, -50.0] * 2], opset=11, label="old"
    )
    sample("LogSoftmax", {"x": [2, 4]}, exact=2.0, starts=[[50.0, 0, 0, 0, 0, 0, 0, 0]])
    sample(
        "LogSoftmax",
        {"x": [1, 2, 2]},
        exact=2.0,
        starts=[[50.0, 0, 0, 0]],
        opset=11,
        label="flattened",
    )


_linear()
_normalizations()
