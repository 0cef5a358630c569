"""The bracket holds the norm of the exact effective weight, evaluated with 60 digits."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from specaudit.norms import measure
from specaudit.operators import Layer
from specaudit.report import Kind, Settings
from tests.extract.making import Array, extracted, graph_file, of_file

Exact = mpmath.matrix
mpmath.mp.dps = 60
# LAPACK-free: a bracket so narrow that a few units in the last place are outside of it.
NARROW = Settings(rtol=1e-15, rtol_given=True)


def exact(values: Array) -> Exact:
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    return mpmath.matrix([[mpmath.mpf(float(entry)) for entry in row] for row in rows])


def norm(matrix: Exact) -> mpmath.mpf:
    gram = matrix * matrix.T if matrix.rows <= matrix.cols else matrix.T * matrix
    return mpmath.sqrt(max(mpmath.eigsy(gram, eigvals_only=True)))


def holds(layer: Layer, truth: mpmath.mpf, width: float = 1e-11) -> None:
    found = measure(layer, NARROW).norm
    assert found.status == "certified"
    assert found.lower is not None
    assert found.upper is not None
    assert mpmath.mpf(found.lower) <= truth <= mpmath.mpf(found.upper)
    assert found.upper - found.lower <= width * found.upper


def draw(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def weight_norm(rng: np.random.Generator, size: int) -> tuple[Mapping[str, Array], Exact]:
    v, g = draw(rng, size, size), draw(rng, size, 1)
    truth = exact(v)
    for i in range(size):
        length = mpmath.sqrt(sum(truth[i, j] ** 2 for j in range(size)))
        for j in range(size):
            truth[i, j] *= mpmath.mpf(float(g[i, 0])) / length
    return {"fc.weight_g": g, "fc.weight_v": v}, truth


def spectral_norm(rng: np.random.Generator, size: int) -> tuple[Mapping[str, Array], Exact]:
    weight, u, v = draw(rng, size, size), draw(rng, size), draw(rng, size)
    sigma = (exact(u) * exact(weight) * exact(v).T)[0, 0]
    return {"fc.weight_orig": weight, "fc.weight_u": u, "fc.weight_v": v}, exact(weight) / sigma


def adapter(rng: np.random.Generator, size: int) -> tuple[Mapping[str, Array], Exact]:
    base, a, b = draw(rng, size, size), draw(rng, 3, size), draw(rng, size, 3)
    # Nearly all of the base cancels: what is left is as small as its rounding is large.
    base = (base * 1e-14 - b.astype(np.float64) @ a.astype(np.float64) * (5 / 3)).astype(np.float64)
    truth = exact(base) + exact(b) * exact(a) * 5 / 3
    tensors = {
        "fc.weight": base, "fc.lora_A": a, "fc.lora_B": b,
        "fc.lora_alpha": np.float32(5.0).reshape(()),
    }  # fmt: skip
    return tensors, truth


def integers(rng: np.random.Generator, size: int) -> tuple[Mapping[str, Array], Exact]:
    whole = rng.integers(-127, 128, (size, size)).astype(np.int8)
    rows = np.abs(draw(rng, size)) + np.float32(0.5)
    truth = exact(whole)
    for i in range(size):
        for j in range(size):
            truth[i, j] *= mpmath.mpf(float(rows[i])) / 127
    return {"fc.weight": whole, "fc.SCB": rows}, truth


CASES: dict[str, Callable[[np.random.Generator, int], tuple[Mapping[str, Array], Exact]]] = {
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "integers": integers,
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_weights_computed_from_parts(case: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        tensors, truth = CASES[case](rng, size)
        (layer,) = extracted(tensors).layers
        holds(layer, norm(truth), width=1e-9)


@pytest.mark.parametrize("size", [1, 3])
def test_an_adapter_that_cancels_its_base(size: int) -> None:
    rng = np.random.default_rng(size)
    for _ in range(20):
        tensors, truth = adapter(rng, size)
        (layer,) = extracted(tensors).layers
        holds(layer, norm(truth), width=2.0)
        assert measure(layer, NARROW).norm.upper <= 1e-12  # type: ignore[operator]


def test_an_estimate_that_cancels_is_without_a_bound() -> None:
    weight = np.array([[1.0, -1.0]]), np.array([1.0]), np.array([1.0, 1.0 + 2.0**-52])
    tensors = dict(zip(("fc.weight_orig", "fc.weight_u", "fc.weight_v"), weight, strict=True))
    found = measure(extracted(tensors).layers[0]).norm
    assert (found.status, found.lower, found.upper) == ("unbounded", 0.0, None)


def test_axes_that_cannot_be_told_apart() -> None:
    """Both unfoldings of a square kernel fit; without an estimate to choose by, none is."""
    rng = np.random.default_rng(3)
    kernel, u = draw(rng, 4, 4, 1), draw(rng, 4)
    kernel += kernel.swapaxes(0, 1)
    tensors = {"conv.weight_orig": kernel, "conv.weight_u": u, "conv.weight_v": draw(rng, 4)}
    found = measure(extracted(tensors).layers[0]).norm
    assert found.status == "unbounded"
    tensors["conv.weight_v"] = u
    clear = np.zeros((4, 4, 2), np.float32)
    clear[:, 0, 0] = u
    tensors |= {"conv.weight_orig": clear, "conv.weight_v": np.eye(8, dtype=np.float32)[0]}
    sigma = float(u.astype(np.float64) @ u.astype(np.float64))
    found = measure(extracted(tensors).layers[0]).norm
    assert found.upper == pytest.approx(np.sqrt(sigma) / sigma, rel=2e-2)


def test_the_scale_of_a_batch_norm(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        gamma, variance = draw(rng, 1), np.abs(draw(rng, 1))
        truth = mpmath.mpf(abs(float(gamma[0]))) / mpmath.sqrt(
            mpmath.mpf(float(variance[0])) + mpmath.mpf(float(np.float32(1e-5)))
        )
        nothing = np.zeros(1, np.float32)
        path = graph_file(
            tmp_path,
            [helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"])],
            {"x": ("N", 1)},
            {"g": gamma, "b": nothing, "m": nothing, "v": variance},
        )
        (layer,) = of_file(path)[1].layers
        holds(layer, truth, width=1e-14)
        told = {"class": "BatchNorm1d", "eps": 1e-5}
        module = extracted(
            {"bn.weight": gamma, "bn.bias": nothing, "bn.running_mean": nothing,
             "bn.running_var": variance}, bn=told,
        )  # fmt: skip
        truth = mpmath.mpf(abs(float(gamma[0]))) / mpmath.sqrt(
            mpmath.mpf(float(variance[0])) + mpmath.mpf(1e-5)
        )
        holds(module.layers[0], truth, width=1e-14)


def test_the_kernel_of_a_weight_normed_convolution() -> None:
    """One tap, so that the norm is its entry's; through both norms of a convolution."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        g, v = draw(rng, 1, 1, 1), draw(rng, 1, 1, 1)
        (layer,) = extracted({"conv.weight_g": g, "conv.weight_v": v}).layers
        found = measure(layer)
        truth = mpmath.mpf(abs(float(g[0, 0, 0])))
        for one in (found.operator_norm, found.reshaped_norm):
            assert one is not None
            assert mpmath.mpf(one.bracket.lower) <= truth <= mpmath.mpf(one.bracket.upper)
            assert one.bracket.relative_width < 1e-5


def test_whole_numbers_past_binary64() -> None:
    """One entry, two to the power of 53 plus one, which no float is."""
    cases: list[tuple[Kind, tuple[int, ...]]] = [
        ("linear", (1, 1)), ("scale", (1,)), ("convolution", (1, 1, 1))]  # fmt: skip
    for kind, shape in cases:
        values = np.full(shape, 2**53 + 1, dtype=np.int64)
        holds(
            Layer("w", kind, shape, "int64", partial(np.array, values)),
            mpmath.mpf(2**53 + 1),
            width=1e-5,
        )


def test_what_is_stored_has_lost_nothing() -> None:
    values = np.array([[3.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    (layer,) = extracted({"fc.weight": values}).layers
    found = measure(layer).norm
    assert (found.lower, found.upper, found.method) == (4.0, 4.0, "exact")
    assert (layer.roundings, layer.error) == (0, None)
