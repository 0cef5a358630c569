"""Attention, com.microsoft, text: a sample network for each rule."""

import numpy as np
from onnx import TensorProto, helper

from tests.lipschitz.networks import model_of
from tests.lipschitz.samples.collection import RNG, SAMPLES, F, normal, sample


def _attention() -> None:
    three = {"q": [1, 2, 2], "k": [1, 3, 2], "v": [1, 3, 2]}
    extra = {"opset": 23, "in_type": F, "out_type": F}
    sample(
        "Attention",
        three,
        q_num_heads=1,
        kv_num_heads=1,
        code="B",
        label="free",
        runs=False,
        **extra,
    )
    sample(
        "Attention",
        three,
        q_num_heads=1,
        kv_num_heads=1,
        box=(-2.0, 2.0),
        ratio=0.05,
        label="boxed",
        **extra,
    )
    four = {"q": [1, 2, 2, 2], "k": [1, 1, 3, 2], "v": [1, 1, 3, 2]}
    sample("Attention", four, box=(-2.0, 2.0), ratio=0.02, label="grouped", **extra)
    sample(
        "Attention",
        {"q": [1, 1, 2, 2]},
        {"k": normal(1, 1, 3, 2).astype(np.float32), "v": normal(1, 1, 3, 2).astype(np.float32)},
        ratio=0.1,
        label="fixed keys",
        **extra,
    )
    masked = {"q": [1, 1, 2, 2], "k": [1, 1, 3, 2], "v": [1, 1, 3, 2], "m": [2, 3]}
    sample("Attention", masked, box=(-1.0, 1.0), ratio=0.02, label="live mask", **extra)
    for op, domain in (("LinearAttention", ""),):
        sample(
            op,
            {"q": [1, 2, 2], "k": [1, 2, 2], "v": [1, 2, 2]},
            code="B",
            runs=False,
            opset=28,
            domain=domain,
        )
    sample(
        "FlexAttention",
        {"q": [1, 1, 2, 2], "k": [1, 1, 2, 2], "v": [1, 1, 2, 2]},
        code="B",
        runs=False,
        domain="ai.onnx.preview",
    )
    ms = {"domain": "com.microsoft", "in_type": F, "out_type": F}
    sample(
        "MultiHeadAttention",
        {"q": [1, 2, 4], "k": [1, 3, 4], "v": [1, 3, 4]},
        num_heads=2,
        box=(-1.0, 1.0),
        ratio=0.05,
        **ms,
    )
    sample(
        "MultiHeadAttention",
        {"q": [1, 2, 4], "k": [1, 3, 4], "v": [1, 3, 4]},
        num_heads=2,
        code="B",
        label="free",
        **ms,
    )
    gqa = {"n": np.array([1], np.int32), "t": np.int32(2)}
    nodes = [
        helper.make_node(
            "GroupQueryAttention",
            ["q", "k", "v", "", "", "n", "t"],
            ["y", "pk", "pv"],
            domain="com.microsoft",
            num_heads=2,
            kv_num_heads=1,
        )
    ]
    sample(
        "GroupQueryAttention",
        model=model_of(
            nodes,
            {"q": [1, 2, 16], "k": [1, 2, 8], "v": [1, 2, 8]},
            gqa,
            ["y"],
            in_type=F,
            out_type=F,
        ),
        domain="com.microsoft",
        box=(-1.0, 1.0),
        ratio=0.01,
    )
    packed = {"w": normal(4, 12).astype(np.float32), "b": normal(12).astype(np.float32)}
    sample(
        "Attention",
        {"x": [1, 2, 4]},
        packed,
        num_heads=2,
        box=(-1.0, 1.0),
        ratio=0.001,
        label="packed",
        **ms,
    )


def _microsoft() -> None:
    f = np.float32
    ms = {"domain": "com.microsoft", "in_type": F, "out_type": F}
    sample(
        "FusedConv",
        {"x": [1, 1, 6]},
        {"w": normal(2, 1, 3).astype(f), "b": normal(2).astype(f)},
        activation="Relu",
        pads=[1, 1],
        ratio=0.6,
        **ms,
    )
    sample(
        "FusedGemm",
        {"x": [2, 3]},
        {"w": normal(3, 4).astype(f), "b": normal(4).astype(f)},
        activation="Tanh",
        ratio=0.2,
        **ms,
    )
    for op in ("FusedMatMul", "TransposeMatMul"):
        sample(
            op,
            {"x": [2, 3]},
            {"w": normal(4, 3).astype(f)},
            transB=1,
            alpha=0.5,
            runs=op == "FusedMatMul",
            ratio=0.99,
            **ms,
        )
    sample("Gelu", {"x": [1]}, starts=[[1.4142]], ratio=0.98, **ms)
    sample("BiasGelu", {"x": [2]}, {"b": normal(2).astype(f)}, ratio=0.95, **ms)
    sample("FastGelu", {"x": [2]}, {"b": normal(2).astype(f)}, ratio=0.95, **ms)
    sample("QuickGelu", {"x": [1]}, starts=[[1.41]], ratio=0.98, **ms)
    gb = {"g": normal(4).astype(f), "b": normal(4).astype(f)}
    nodes = [
        helper.make_node(
            "SkipLayerNormalization",
            ["x", "z", "g", "b"],
            ["y"],
            domain="com.microsoft",
            epsilon=0.1,
        )
    ]
    sample(
        "SkipLayerNormalization",
        model=model_of(nodes, {"x": [1, 2, 4], "z": [1, 2, 4]}, gb, ["y"], in_type=F, out_type=F),
        domain="com.microsoft",
        ratio=0.5,
        starts=[np.zeros(16)],
    )
    nodes = [
        helper.make_node(
            "SkipSimplifiedLayerNormalization",
            ["x", "z", "g"],
            ["y", "", "", "s"],
            domain="com.microsoft",
            epsilon=0.1,
        )
    ]
    sample(
        "SkipSimplifiedLayerNormalization",
        model=model_of(
            nodes, {"x": [1, 2, 4], "z": [1, 2, 4]}, gb, ["y", "s"], in_type=F, out_type=F
        ),
        domain="com.microsoft",
        ratio=0.4,
        starts=[np.zeros(16)],
    )
    tables = {
        "wt": normal(5, 4).astype(f),
        "pt": normal(6, 4).astype(f),
        "st": normal(2, 4).astype(f),
        **gb,
    }
    nodes = [
        helper.make_node(
            "EmbedLayerNormalization",
            ["i", "s", "wt", "pt", "st", "g", "b"],
            ["e", "m"],
            domain="com.microsoft",
        ),
        helper.make_node("Relu", ["e"], ["y"]),
    ]
    ids = {"i": TensorProto.INT32, "s": TensorProto.INT32}
    sample(
        "EmbedLayerNormalization",
        model=model_of(nodes, {"i": [1, 3], "s": [1, 3]}, tables, ["y"], types=ids, out_type=F),
        domain="com.microsoft",
        exact=1.0,
        runs=False,
    )
    packed = {
        "w": RNG.integers(0, 255, (3, 2, 8), dtype=np.uint8),
        "s": np.abs(normal(6)).astype(f),
    }
    sample(
        "MatMulNBits", {"x": [2, 32]}, packed, N=3, K=32, bits=4, block_size=16, ratio=0.98, **ms
    )
    zero = {**packed, "z": RNG.integers(0, 255, (3,), dtype=np.uint8)}
    sample(
        "MatMulNBits",
        {"x": [2, 32]},
        zero,
        N=3,
        K=32,
        bits=4,
        block_size=16,
        ratio=0.98,
        label="zero points",
        **ms,
    )
    from specaudit.lipschitz.rules import TABLE

    done = {(s.domain, s.op) for s in SAMPLES}
    for domain, op in sorted(TABLE.keys()):
        if domain and (domain, op) not in done and op.startswith(("Q", "Dynamic", "MatMulInteger")):
            sample(op, {"x": [2, 3, 3]}, domain=domain, code="D", runs=False)


def _text() -> None:
    # Text and images: made of no real numbers, so they stand beside the path of the input.
    strings = {"t": TensorProto.STRING}
    texts = {
        "StringConcat": helper.make_node("StringConcat", ["t", "t"], ["u"]),
        "StringSplit": helper.make_node("StringSplit", ["t"], ["u", "n"]),
        "StringNormalizer": helper.make_node("StringNormalizer", ["t"], ["u"]),
        "RegexFullMatch": helper.make_node("RegexFullMatch", ["t"], ["u"], pattern="a"),
        "TfIdfVectorizer": helper.make_node(
            "TfIdfVectorizer",
            ["t"],
            ["u"],
            max_gram_length=1,
            max_skip_count=0,
            min_gram_length=1,
            mode="TF",
            ngram_counts=[0],
            ngram_indexes=[0],
            pool_strings=["a"],
        ),
        "ImageDecoder": helper.make_node("ImageDecoder", ["t"], ["u"]),
        "MelWeightMatrix": helper.make_node("MelWeightMatrix", ["a", "b", "b", "c", "d"], ["u"]),
    }
    numbers = {"a": np.int64(2), "b": np.int64(8), "c": np.float32(1.0), "d": np.float32(3.0)}
    for op, node in texts.items():
        nodes = [node, helper.make_node("Relu", ["x"], ["y"])]
        sample(
            op,
            model=model_of(nodes, {"x": [2], "t": [2]}, numbers, ["y", "u"], types=strings),
            exact=1.0,
            runs=False,
        )


_attention()
_microsoft()
_text()
