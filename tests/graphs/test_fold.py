"""Constants: what onnxruntime computes, bit for bit where IEEE leaves no choice."""

import tracemalloc
from itertools import product

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from specaudit.graphs import resolve
from specaudit.graphs.dtypes import ELEMENT_TYPES
from tests.graphs.building import NUMBERS, Reading, proto, run, value

EXACT = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"]
EXACT_UNARY = ["Neg", "Abs", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Relu"]
WITHIN_AN_ULP = ["Exp", "Log", "Sin", "Cos", "Tanh"]
LEAST_BYTES = 1 << 26


def folded(read: Reading, node, constants, opset=21) -> list[np.ndarray | None]:
    resolved = resolve(read(proto([node], (), list(node.output), constants, opset=opset)))
    for name in node.output:
        assert resolved.is_constant(name)
    return [resolved.constant(name) for name in node.output]


def computed(node, constants, opset=21) -> list[np.ndarray]:
    inputs = [
        value(name, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
        for name, array in constants.items()
    ]
    return run(proto([node], inputs, list(node.output), opset=opset), constants)


def numbers(rng, dtype, shape) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -(2**40)), min(info.max, 2**40), shape).astype(dtype)
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)


@pytest.mark.parametrize(
    ("op", "dtype"), [*product(EXACT, [np.float32]), *product(EXACT[:6], [np.float64])]
)
def test_arithmetic_is_what_onnxruntime_computes(read, op, dtype) -> None:
    rng = np.random.default_rng(0)
    constants = {"a": numbers(rng, dtype, (3, 1, 50)), "b": numbers(rng, dtype, (4, 1))}
    node = helper.make_node(op, ["a", "b"], ["y"])
    (mine,), (theirs,) = folded(read, node, constants), computed(node, constants)
    assert mine.dtype == theirs.dtype
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("op", EXACT_UNARY + WITHIN_AN_ULP)
def test_functions_are_what_onnxruntime_computes(read, op) -> None:
    a = numbers(np.random.default_rng(1), np.float32, (200,))
    a = np.abs(a) + np.float32(1e-3) if op in {"Log", "Sqrt"} else np.clip(a, -80, 80)
    node = helper.make_node(op, ["a"], ["y"])
    (mine,), (theirs,) = folded(read, node, {"a": a}, 22), computed(node, {"a": a}, 22)
    assert mine.dtype == theirs.dtype
    np.testing.assert_array_max_ulp(mine, theirs, 0 if op in EXACT_UNARY else 4)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
def test_whole_numbers_are_divided_towards_zero(read, dtype) -> None:
    a = numbers(np.random.default_rng(2), dtype, (100,))
    b = numbers(np.random.default_rng(3), dtype, (100,)) // 7
    constants = {"a": a, "b": np.where(b == 0, dtype(3), b).astype(dtype)}
    (mine,) = folded(read, helper.make_node("Div", ["a", "b"], ["y"]), constants)
    exact = [abs(int(p)) // abs(int(q)) for p, q in zip(*constants.values(), strict=True)]
    signs = np.sign(a.astype(np.int64)) * np.sign(constants["b"].astype(np.int64))
    assert mine.dtype == dtype
    np.testing.assert_array_equal(mine.astype(np.int64), exact * signs)


def test_a_division_by_zero_of_whole_numbers_is_left_open(read) -> None:
    constants = {"a": np.array([1, 2]), "b": np.array([1, 0])}
    node = helper.make_node("Div", ["a", "b"], ["y"])
    resolved = resolve(read(proto([node], (), ["y"], constants)))
    assert resolved.constant("y") is None


REAL = ["float32", "float64", "float16", "bfloat16"]
TARGETS = [*REAL, "int8", "uint8", "int16", "int32", "int64", "bool"]


@pytest.mark.parametrize(
    ("source", "target"), [*product([*REAL, "int32", "uint8", "bool"], TARGETS)]
)
def test_casts_are_what_onnxruntime_computes(read, source, target) -> None:
    plain = np.array([0, 1, 2.5, 3.5, -0.5, -1.75, 100.25, 1e-3, 65000.0, 0.1])
    if target not in REAL:  # beyond its range ONNX leaves the result open
        plain = plain[:8]
    a = plain.astype(np.dtype(getattr(ml_dtypes, source, source)))
    if target in {"uint8"} or source == "uint8":
        a = np.abs(plain).clip(0, 200).astype(a.dtype)
    node = helper.make_node("Cast", ["a"], ["y"], to=NUMBERS[target])
    (mine,) = folded(read, node, {"a": a})
    back = helper.make_node("Cast", ["y"], ["z"], to=TensorProto.DOUBLE)
    there = helper.make_node("Cast", ["x"], ["a"], to=NUMBERS[source])
    wide = {"x": a.astype(np.float64)}
    model = proto([there, node, back], [value("x", a.shape, TensorProto.DOUBLE)], ["z"])
    assert mine.dtype.name == target
    np.testing.assert_array_equal(mine.astype(np.float64), run(model, wide)[0])


@pytest.mark.parametrize("beyond", [300.0, -200.0, np.nan, np.inf])
def test_a_cast_beyond_the_range_of_whole_numbers_is_left_open(read, beyond) -> None:
    node = helper.make_node("Cast", ["a"], ["y"], to=TensorProto.INT8)
    assert folded(read, node, {"a": np.array([1.0, beyond])}) == [None]


def test_whole_numbers_wrap_when_they_are_narrowed(read) -> None:
    a = np.array([300, -200, 2**40 + 5])
    (mine,) = folded(read, helper.make_node("Cast", ["a"], ["y"], to=TensorProto.INT8), {"a": a})
    assert mine.tolist() == [44, 56, 5]


WHOLE = ["int8", "uint8", "int16", "uint16", "int32", "int4", "uint4", "int2", "uint2"]
FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@pytest.mark.parametrize("dtype", [*WHOLE, *FLOAT8, "float4_e2m1fn"])
def test_weights_are_dequantised_exactly(read, dtype) -> None:
    rng = np.random.default_rng(4)
    target = np.dtype(getattr(ml_dtypes, dtype, dtype))
    narrow = "int" in dtype
    low, high = (
        ml_dtypes.iinfo(target).min if narrow else -3,
        ml_dtypes.iinfo(target).max if narrow else 3,
    )
    q = rng.integers(low, int(high) + 1, (4, 6)).astype(np.int64).astype(np.float64).astype(target)
    scale = rng.uniform(0.001, 3, 6).astype(np.float32)
    zero = (
        rng.integers(0, 2, 6).astype(np.float32).astype(target) if narrow else np.zeros(6, target)
    )
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1)
    (mine,) = folded(read, node, {"q": q, "s": scale, "z": zero}, 25)
    exact = (q.astype(np.float64) - zero.astype(np.float64)) * scale.astype(np.float64)
    assert mine.dtype == np.float64
    np.testing.assert_array_equal(mine, exact)


def test_blocks_and_the_whole_tensor_are_dequantised(read) -> None:
    q = np.arange(-10, 10, dtype=np.int8).reshape(2, 10)
    scale = np.float32([[0.5, 2, 3], [1, 0.25, 7]])
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=1, block_size=4)
    (mine,) = folded(read, node, {"q": q, "s": scale})
    np.testing.assert_array_equal(mine, q * np.repeat(scale, 4, axis=1)[:, :10].astype(float))
    whole = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    constants = {"q": q, "s": np.float32(0.1), "z": np.int8(3)}
    (mine,) = folded(read, whole, {k: np.asarray(v) for k, v in constants.items()})
    np.testing.assert_array_equal(mine, (q.astype(float) - 3) * float(np.float32(0.1)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantising_is_what_onnxruntime_computes(read, dtype) -> None:
    a = numbers(np.random.default_rng(5), np.float32, (8, 40))
    constants = {"a": a, "s": np.float32(0.37), "z": np.array(5, dtype)}
    constants = {name: np.asarray(item) for name, item in constants.items()}
    node = helper.make_node("QuantizeLinear", ["a", "s", "z"], ["y"])
    (mine,), (theirs,) = folded(read, node, constants), computed(node, constants)
    np.testing.assert_array_equal(mine, theirs)


def test_every_form_of_a_constant_node(read) -> None:
    forms = {
        "value": numpy_helper.from_array(np.float16([1, 2]), "t"),
        "value_float": 1.5, "value_floats": [1.5, 2.5], "value_int": 3, "value_ints": [3, 4],
    }  # fmt: skip
    for name, item in forms.items():
        node = helper.make_node("Constant", [], ["y"], **{name: item})
        resolved = resolve(read(proto([node], (), ["y"])))
        expected = numpy_helper.to_array(item) if name == "value" else np.array(item)
        np.testing.assert_array_equal(resolved.constant("y"), expected)
        assert resolved.shape("y") == expected.shape
        assert str(resolved.constant("y").dtype) == resolved.dtype("y")
        assert len(resolved.roots("y")) == (name == "value")


def test_a_deep_chain_of_constants_needs_no_recursion(read) -> None:
    count = 20_000
    nodes = [helper.make_node("Add", [f"v{i}", "one"], [f"v{i + 1}"]) for i in range(count)]
    constants = {"v0": np.zeros(2048), "one": np.ones(1)}  # too long to be folded on the way
    resolved = resolve(read(proto(nodes, (), [f"v{count}"], constants)))
    assert resolved.constant(f"v{count}").tolist() == [count] * 2048
    assert [w.name for w in resolved.roots(f"v{count}")] == ["v0", "one"]


BOMBS = {
    "fill": [helper.make_node("ConstantOfShape", ["huge"], ["y"])],
    "expand": [helper.make_node("Expand", ["one", "huge"], ["y"])],
    "tile": [helper.make_node("Tile", ["square", "huge"], ["y"])],
    "range": [helper.make_node("Range", ["zero", "count", "step"], ["y"])],
    "onehot": [helper.make_node("OneHot", ["many", "count", "pair"], ["y"])],
    "pad": [helper.make_node("Pad", ["square", "widths"], ["y"])],
    "outer": [
        helper.make_node("ConstantOfShape", ["tall"], ["a"]),
        helper.make_node("ConstantOfShape", ["wide"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ],
    "gather": [helper.make_node("Gather", ["rows", "many"], ["y"])],
    "hidden": [
        helper.make_node("ConstantOfShape", ["huge"], ["a"]),
        helper.make_node("ReduceSum", ["a"], ["y"], keepdims=0),
    ],
    "product": [
        helper.make_node("ConstantOfShape", ["deep"], ["a"]),
        helper.make_node("ConstantOfShape", ["deep2"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ],
    "many": [
        *(helper.make_node("ConstantOfShape", ["allowed"], [f"a{i}"]) for i in range(100)),
        helper.make_node("Sum", [f"a{i}" for i in range(100)], ["y"]),
    ],
}
OPERANDS = {
    "huge": np.array([2**20, 2**20]), "one": np.ones((1, 1)), "square": np.ones((2, 2)),
    "zero": np.array(0), "count": np.array(2**40), "step": np.array(1), "pair": np.array([0.0, 1]),
    "many": np.zeros(2000, np.int64), "widths": np.array([0, 0, 2**20, 2**20]),
    "tall": np.array([2**20, 1]), "wide": np.array([1, 2**20]), "rows": np.ones((1, 20_000)),
    "deep": np.array([4000, 2000]), "deep2": np.array([2000, 4000]),
    "allowed": np.array([2**24]),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_not_folded(read, name) -> None:
    names = {item for node in BOMBS[name] for item in node.input} & OPERANDS.keys()
    graph = read(proto(BOMBS[name], (), ["y"], {item: OPERANDS[item] for item in names}))
    tracemalloc.start()
    resolved = resolve(graph)
    value_ = resolved.constant("y")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert resolved.is_constant("y")
    assert value_ is None
    assert peak < 6 * LEAST_BYTES


def test_what_is_within_the_limit_is_folded(read) -> None:
    node = helper.make_node("Expand", ["one", "shape"], ["y"])
    constants = {"one": np.ones((1, 1), np.float32), "shape": np.array([4096, 4096])}
    (mine,) = folded(read, node, constants)
    assert mine.nbytes == LEAST_BYTES
    constants["shape"] = np.array([4096, 4097])
    assert folded(read, node, constants) == [None]


def test_dtypes_have_the_names_that_onnx_numbers() -> None:
    for number, name in ELEMENT_TYPES.items():
        if name != "string":
            assert helper.tensor_dtype_to_np_dtype(number).name == name
