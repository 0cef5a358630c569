"""Shapes of com.microsoft operations, against what onnxruntime gives."""

import numpy as np
import pytest
from onnx import helper

from specaudit.graphs import resolve
from tests.graphs.building import Reading, proto, run, value

RNG = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(dtype, *shape: int) -> np.ndarray:
    return RNG.integers(0, 5, shape).astype(dtype)


SCALE, ZERO = np.float32(0.5), np.uint8(3)
CASES = {
    "FusedConv": (
        [real(1, 4, 9, 9), real(6, 2, 3, 3)], {"group": 2, "strides": [2, 2], "activation": "Relu"},
    ),
    "FusedGemm": ([real(3, 4), real(5, 4), real(5)], {"transB": 1, "activation": "Relu"}),
    "FusedMatMul": ([real(2, 4, 3), real(2, 4, 5)], {"transA": 1, "alpha": 0.5}),
    "BiasGelu": ([real(2, 3, 4), real(4)], {}),
    "FastGelu": ([real(2, 3, 4)], {}),
    "QuickGelu": ([real(2, 3, 4)], {"alpha": 1.702}),
    "SkipLayerNormalization": ([real(2, 3, 8), real(2, 3, 8), real(8), real(8)], {}),
    "EmbedLayerNormalization": (
        [whole(np.int32, 2, 5), None, real(9, 8), real(6, 8), None, real(8), real(8)], {},
    ),
    "Attention": ([real(2, 5, 8), real(8, 24), real(24)], {"num_heads": 2}),
    "MultiHeadAttention": ([real(2, 5, 8), real(2, 6, 8), real(2, 6, 12)], {"num_heads": 2}),
    "GroupQueryAttention": (
        [real(1, 3, 64), real(1, 3, 32), real(1, 3, 32), np.zeros((1, 2, 8, 16), np.float32),
         np.zeros((1, 2, 8, 16), np.float32), np.array([2], np.int32), np.array(3, np.int32)],
        {"num_heads": 4, "kv_num_heads": 2},
    ),
    "MatMulNBits": (
        [real(2, 3, 32), whole(np.uint8, 5, 1, 16), real(5)],
        {"K": 32, "N": 5, "bits": 4, "block_size": 32},
    ),
    "QLinearAdd": (
        [whole(np.uint8, 2, 3), SCALE, ZERO, whole(np.uint8, 3), SCALE, ZERO, SCALE, ZERO], {},
    ),
    "QLinearMul": (
        [whole(np.uint8, 2, 1), SCALE, ZERO, whole(np.uint8, 3), SCALE, ZERO, SCALE, ZERO], {},
    ),
    "QLinearSigmoid": ([whole(np.uint8, 2, 3), SCALE, ZERO, SCALE, ZERO], {}),
    "QLinearConcat": (
        [SCALE, ZERO, whole(np.uint8, 2, 3), SCALE, ZERO, whole(np.uint8, 2, 5), SCALE, ZERO],
        {"axis": 1},
    ),
    "QLinearGlobalAveragePool": ([whole(np.uint8, 2, 3, 4, 4), SCALE, ZERO, SCALE, ZERO], {}),
    "QGemm": (
        [whole(np.uint8, 3, 4), SCALE, ZERO, whole(np.uint8, 4, 5), SCALE, ZERO, None, SCALE, ZERO],
        {},
    ),
    "DynamicQuantizeMatMul": ([real(2, 3, 4), whole(np.uint8, 4, 5), SCALE, ZERO], {}),
    "MatMulIntegerToFloat": (
        [whole(np.uint8, 3, 4), whole(np.uint8, 4, 5), SCALE, SCALE, ZERO, ZERO], {},
    ),
    "QAttention": (
        [whole(np.uint8, 2, 5, 8), whole(np.int8, 8, 24), real(24), SCALE, np.float32(0.1), None,
         ZERO, np.int8(0)],
        {"num_heads": 2},
    ),
}  # fmt: skip
OUTPUTS = {"EmbedLayerNormalization": 2, "SkipLayerNormalization": 1}


@pytest.mark.parametrize("op", CASES)
def test_shapes_and_types_are_what_onnxruntime_gives(read: Reading, op: str) -> None:
    operands, attributes = CASES[op]
    arrays = {f"i{k}": np.asarray(a) for k, a in enumerate(operands) if a is not None}
    names = [f"i{k}" if item is not None else "" for k, item in enumerate(operands)]
    results = [f"o{k}" for k in range(OUTPUTS.get(op, 1))]
    if op == "GroupQueryAttention":
        results = ["o0", "o1", "o2"]
    node = helper.make_node(op, names, results, domain="com.microsoft", **attributes)
    inputs = [
        value(name, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
        for name, array in arrays.items()
    ]
    model = proto([node], inputs, results, domains={"com.microsoft": 1})
    resolved = resolve(read(model))
    for index, array in enumerate(run(model, arrays)):
        if op == "GroupQueryAttention" and index:
            continue  # the caches, which no bound reads
        assert resolved.shape(results[index]) == array.shape
        assert resolved.dtype(results[index]) == array.dtype.name
