"""Clamping over a graph: biases, batch norms, quantised and shared tensors, onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import specaudit
from specaudit.errors import NotCertified, UsageError
from specaudit.report import Settings

RNG = np.random.default_rng(5)
OPSET = [helper.make_opsetid("", 17)]


def saved(path: Path, nodes, shape, weights, out_shape=None) -> Path:
    graph = helper.make_graph(
        [helper.make_node(*args, name=f"n{k}", **more) for k, (args, more) in enumerate(nodes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out_shape)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": x})
    return out


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def relu_chain(path: Path) -> Path:
    return saved(
        path,
        [
            (("Conv", ["x", "k", "kb"], ["a"]), {"pads": [1, 1, 1, 1]}),
            (("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"]), {}),
            (("LeakyRelu", ["n"], ["r"]), {"alpha": 0.1}),
            (("MaxPool", ["r"], ["p"]), {"kernel_shape": [2, 2], "strides": [2, 2]}),
            (("Flatten", ["p"], ["f"]), {}),
            (("Gemm", ["f", "w", "wb"], ["h"]), {"transB": 1}),
            (("Relu", ["h"], ["q"]), {}),
            (("MatMul", ["q", "u"], ["s"]), {}),
            (("Add", ["s", "ub"], ["y"]), {}),
        ],
        [1, 2, 6, 6],
        {
            "k": 2 * real(3, 2, 3, 3), "kb": real(3), "g": 1 + np.abs(real(3)), "b": real(3),
            "m": real(3), "v": np.abs(real(3)) + 0.1, "w": real(8, 27), "wb": real(8),
            "u": real(8, 4), "ub": real(4),
        },
        [1, 4],
    )  # fmt: skip


def test_with_bias_the_network_becomes_an_exact_multiple(tmp_path: Path) -> None:
    path, out = relu_chain(tmp_path / "net.onnx"), tmp_path / "out.onnx"
    done = specaudit.clamp(path, max=1.0, out=out, with_bias=True)
    factor = np.prod([layer.factor for layer in done.layers])
    assert factor < 0.1
    assert set(done.biases) == {"kb", "b", "m", "wb", "ub"}
    for _ in range(20):
        x = 3 * real(1, 2, 6, 6)
        old, new = run(path, x), run(out, x)
        # float32 throughout: a few hundred roundings of numbers of the outputs' size
        np.testing.assert_allclose(new, factor * old, atol=1e-4 * factor * np.abs(old).max())
    without = tmp_path / "without.onnx"
    specaudit.clamp(path, max=1.0, out=without)
    plain = run(without, x)
    assert np.abs(plain - factor * old).max() > 0.05 * factor * np.abs(old).max()


def test_with_bias_refuses_what_is_not_homogeneous_and_names_it(tmp_path: Path) -> None:
    weights = {"w": 3 * np.eye(4, dtype=np.float32), "b": real(4)}
    first = (("Gemm", ["x", "w", "b"], ["h"]), {})
    for nodes, words in (
        ([first, (("Sigmoid", ["h"], ["y"]), {})], "Sigmoid is not positively homogeneous"),
        ([first, (("Add", ["x", "h"], ["y"]), {})], "Add joins values"),
    ):
        path = saved(tmp_path / "net.onnx", nodes, [1, 4], weights, [1, 4])
        with pytest.raises(UsageError, match=words):
            specaudit.clamp(path, max=1.0, with_bias=True)
    with pytest.raises(UsageError, match="needs a graph"):
        specaudit.clamp("sample_models/mlp.pt", max=1.0, with_bias=True)


def test_fold_batchnorm_clamps_the_fused_map_by_gamma(tmp_path: Path) -> None:
    path, out = relu_chain(tmp_path / "net.onnx"), tmp_path / "out.onnx"
    noted = specaudit.clamp(path, max=1.0, layers=["k"])
    assert any("training mode" in note for note in noted.notes)
    done = specaudit.clamp(path, max=1.0, out=out, layers=["k"], fold_batchnorm=True)
    old = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    new = {t.name: numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}
    assert [name for name in old if not np.array_equal(old[name], new[name])] == ["g"]
    ratio = new["g"] / old["g"]
    np.testing.assert_allclose(ratio, ratio[0], rtol=2**-22)
    # The fused map at this size, written out.
    fused = new["k"] * (new["g"] / np.sqrt(new["v"] + 1e-5)).reshape(-1, 1, 1, 1)
    columns = []
    for index in range(2 * 6 * 6):
        x = np.zeros(72)
        x[index] = 1.0
        padded = np.pad(x.reshape(2, 6, 6), ((0, 0), (1, 1), (1, 1)))
        columns.append([
            np.tensordot(fused, padded[:, i : i + 3, j : j + 3], 3) for i in range(6)
            for j in range(6)
        ])  # fmt: skip
    norm = np.linalg.norm(np.array(columns).reshape(72, -1), 2)
    assert 1 - 1e-4 < norm <= 1.0 + 1e-6
    assert done.layers[0].after.upper is not None
    assert done.layers[0].after.upper <= 1.0


def test_a_quantised_weight_is_scaled_by_its_scale(tmp_path: Path) -> None:
    weights = {
        "q": RNG.integers(-127, 127, (6, 5)).astype(np.int8),
        "s": np.float32(0.03),
        "z": np.int8(3),
    }
    nodes = [
        (("DequantizeLinear", ["q", "s", "z"], ["w"]), {}),
        (("MatMul", ["x", "w"], ["y"]), {}),
    ]
    path = saved(tmp_path / "net.onnx", nodes, [1, 6], weights, [1, 5])
    done = specaudit.clamp(path, max=0.5, out=tmp_path / "out.onnx")
    new = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer
    }
    assert np.array_equal(new["q"], weights["q"])
    assert np.array_equal(new["z"], weights["z"])
    matrix = (new["q"].astype(float) - 3) * float(new["s"])
    assert 0.5 * (1 - 2**-21) <= np.linalg.norm(matrix, 2) <= 0.5 * (1 + 1e-14)
    assert done.changed[0].tensors == ("s",)


def test_a_weight_used_twice_is_changed_once_for_both(tmp_path: Path) -> None:
    nodes = [
        (("MatMul", ["x", "w"], ["h"]), {}),
        (("Transpose", ["w"], ["t"]), {"perm": [1, 0]}),
        (("MatMul", ["h", "t"], ["y"]), {}),
    ]
    path = saved(tmp_path / "net.onnx", nodes, [1, 4], {"w": 2 * real(4, 4)}, [1, 4])
    done = specaudit.clamp(path, max=1.0, out=tmp_path / "out.onnx")
    assert [layer.tensors for layer in done.layers] == [("w",), ("w",)]
    assert all(layer.consumers for layer in done.layers)
    upper = specaudit.audit(tmp_path / "out.onnx").network.upper
    assert upper is not None
    assert upper <= 1.0
    both = specaudit.clamp(path, max_lipschitz=0.25, out=tmp_path / "both.onnx")
    after = both.networks[1].upper
    assert after is not None
    assert 0.25 * (1 - 1e-3) <= after <= 0.25
    assert both.layers[0].factor == pytest.approx(both.layers[1].factor, rel=1e-9)


def test_the_network_limit_spares_what_does_not_enter_the_bound(tmp_path: Path) -> None:
    nodes = [
        (("MatMul", ["x", "w"], ["h"]), {}),
        (("MatMul", ["x", "v"], ["unused"]), {}),
        (("Relu", ["h"], ["y"]), {}),
    ]
    weights = {"w": 2 * real(4, 4), "v": real(4, 3)}
    path = saved(tmp_path / "net.onnx", nodes, [1, 4], weights, [1, 4])
    done = specaudit.clamp(path, max_lipschitz=1.0)
    assert [layer.name for layer in done.changed] == ["w"]


def test_a_network_without_a_finite_bound_is_said(tmp_path: Path) -> None:
    nodes = [(("MatMul", ["x", "w"], ["h"]), {}), (("Mul", ["h", "h"], ["y"]), {})]
    path = saved(tmp_path / "net.onnx", nodes, [1, 4], {"w": real(4, 4)}, [1, 4])
    with pytest.raises(NotCertified, match="no finite bound"):
        specaudit.clamp(path, max_lipschitz=1.0, out=tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
    bounded = specaudit.clamp(
        path, max_lipschitz=1.0, settings=Settings(input_range={"": (-1.0, 1.0)})
    )
    assert bounded.networks[1].upper is not None
    assert bounded.networks[1].upper <= 1.0
