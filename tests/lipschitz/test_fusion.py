"""Linear runs: their operators are found exactly, and never below a slope."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.lipschitz.networks import bound_of, model_of, runner

make = helper.make_node
F = TensorProto.FLOAT


def true_norm(model: Any) -> float:
    """The norm of a linear network, from its images of the unit vectors (bias taken off)."""
    run = runner(model)
    zero = run(np.zeros(run.size))
    columns = [run(row) - zero for row in np.eye(run.size)]
    return float(np.linalg.norm(np.stack(columns, axis=1), 2))


def _residual(rng: Any) -> Any:
    nodes = [
        make("MatMul", ["x", "a"], ["h"]),
        make("MatMul", ["h", "b"], ["g"]),
        make("Add", ["x", "g"], ["y"]),
    ]
    weights = {"a": rng.standard_normal((4, 6)), "b": rng.standard_normal((6, 4))}
    return model_of(nodes, {"x": [2, 4]}, weights, ["y"])


def _cancels(rng: Any) -> Any:
    nodes = [make("Mul", ["x", "k"], ["h"]), make("Sub", ["x", "h"], ["y"])]
    return model_of(nodes, {"x": [4]}, {"k": np.float64(0.99)}, ["y"])


def _split_and_join(rng: Any) -> Any:
    nodes = [
        make("Split", ["x", "s"], ["a", "b"], axis=1),
        make("MatMul", ["a", "w"], ["c"]),
        make("Concat", ["c", "b"], ["d"], axis=1),
        make("Transpose", ["d"], ["e"], perm=[1, 0]),
        make("ReduceMean", ["e", "t"], ["f"], keepdims=0),
        make("Slice", ["f", "p", "q"], ["y"]),
    ]
    weights = {
        "s": np.array([2, 3]),
        "w": rng.standard_normal((2, 3)),
        "t": np.array([0]),
        "p": np.array([0]),
        "q": np.array([2]),
    }
    return model_of(nodes, {"x": [3, 5]}, weights, ["y"], opset=18)


def _several(rng: Any) -> Any:
    nodes = [
        make("MatMul", ["x", "a"], ["h"]),
        make("Gemm", ["z", "b", "c"], ["g"], transB=1, alpha=0.5),
        make("Add", ["h", "g"], ["y"]),
        make("Sub", ["h", "g"], ["w"]),
    ]
    weights = {
        "a": rng.standard_normal((3, 4)),
        "b": rng.standard_normal((4, 5)),
        "c": rng.standard_normal(4),
    }
    return model_of(nodes, {"x": [2, 3], "z": [2, 5]}, weights, ["y", "w"])


def _convolutions(rng: Any) -> Any:
    nodes = [
        make("Conv", ["x", "a"], ["h"], pads=[1, 1, 1, 1]),
        make("BatchNormalization", ["h", "g", "b", "m", "v"], ["n"]),
        make("Conv", ["n", "c"], ["k"], pads=[1, 0, 1, 0], strides=[2, 1], group=2),
        make("Pad", ["k", "p"], ["q"], mode="reflect"),
        make("AveragePool", ["q"], ["r"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
        make("Flatten", ["r"], ["s"]),
        make("Gemm", ["s", "w"], ["y"]),
    ]
    f = np.float32
    weights = {
        "a": rng.standard_normal((4, 2, 3, 3)).astype(f),
        "c": rng.standard_normal((4, 2, 3, 2)).astype(f),
        "g": rng.standard_normal(4).astype(f),
        "b": rng.standard_normal(4).astype(f),
        "m": rng.standard_normal(4).astype(f),
        "v": np.abs(rng.standard_normal(4)).astype(f) + f(0.1),
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": rng.standard_normal((120, 3)).astype(f),
    }
    return model_of(nodes, {"x": [1, 2, 6, 5]}, weights, ["y"], in_type=F, out_type=F)


def _batched(rng: Any) -> Any:
    nodes = [
        make("MatMul", ["w", "x"], ["h"]),
        make("MatMul", ["h", "u"], ["g"]),
        make("Expand", ["x", "e"], ["f"]),
        make("Add", ["f", "g"], ["y"]),
    ]
    weights = {
        "w": rng.standard_normal((2, 3, 3)),
        "u": rng.standard_normal((2, 2, 2)),
        "e": np.array([2, 3, 2]),
    }
    return model_of(nodes, {"x": [3, 2]}, weights, ["y"])


LINEAR_NETS = (_residual, _cancels, _split_and_join, _several, _convolutions, _batched)


@pytest.mark.parametrize("build", LINEAR_NETS)
@pytest.mark.parametrize("seed", range(3))
def test_linear_network_is_bounded_exactly(build: Any, seed: int) -> None:
    model = build(np.random.default_rng(seed))
    found, truth = bound_of(model), true_norm(model)
    assert found.upper is not None
    noise = 1e-5 if build is _convolutions else 1e-9
    assert truth * (1 - noise) <= found.upper <= truth * (1 + noise), (found.method, found.factors)


def _conv_bn(rng: Any, size: int, folded: bool) -> Any:
    """The same small network with its normalisations apart, or multiplied into its kernels."""
    f = np.float32
    kernels = [rng.standard_normal((8, 3, 3, 3)) * 0.2, rng.standard_normal((8, 1, 3, 3)) * 0.4]
    scales = [rng.uniform(0.2, 3.0, 8) for _ in kernels]
    nodes, weights, value = [], {}, "x"
    for k, (kernel, gamma) in enumerate(zip(kernels, scales, strict=True)):
        variance = rng.uniform(0.5, 2.0, 8)
        factor = gamma / np.sqrt(variance + 1e-5)
        shown = kernel * factor[:, None, None, None] if folded else kernel
        weights[f"k{k}"] = shown.astype(f)
        group = 8 if k else 1
        nodes.append(make("Conv", [value, f"k{k}"], [f"c{k}"], pads=[1, 1, 1, 1], group=group))
        value = f"c{k}"
        if not folded:
            weights |= {
                f"g{k}": gamma.astype(f),
                f"b{k}": np.zeros(8, f),
                f"m{k}": np.zeros(8, f),
                f"v{k}": variance.astype(f),
            }
            nodes.append(
                make("BatchNormalization", [value, f"g{k}", f"b{k}", f"m{k}", f"v{k}"], [f"n{k}"])
            )
            value = f"n{k}"
        nodes.append(make("Relu", [value], [f"r{k}"]))
        value = f"r{k}"
    return model_of(nodes, {"x": [1, 3, size, size]}, weights, [value], in_type=F, out_type=F)


@pytest.mark.parametrize("size", [6, 64])
def test_folded_and_unfolded_exports_agree(size: int) -> None:
    apart = bound_of(_conv_bn(np.random.default_rng(5), size, False))
    folded = bound_of(_conv_bn(np.random.default_rng(5), size, True))
    assert apart.upper is not None
    assert folded.upper is not None
    assert apart.upper == pytest.approx(folded.upper, rel=1e-2)
