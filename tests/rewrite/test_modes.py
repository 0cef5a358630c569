"""Projection is the nearest point; both modes keep what they promise about a kernel."""

import numpy as np
import pytest

from specaudit.norms import symbol
from specaudit.operators import Layer
from specaudit.report import Geometry
from specaudit.rewrite.modes import MODES, clip, project, scale


def layer_of(values, kind="linear", geometry=None):
    return Layer("w", kind, values.shape, str(values.dtype), lambda: values, geometry=geometry)


def norm_of(layer, values, of="operator"):
    if layer.kind == "scale":
        return np.abs(values).max()
    if layer.kind.startswith("convolution") and of == "operator":
        transposed = layer.kind == "convolution_transposed"
        return symbol.operator_norm(values, layer.geometry, transposed=transposed, rtol=1e-4).upper
    if layer.kind == "convolution_transposed":
        values = values.swapaxes(0, 1)
    return np.linalg.norm(values.reshape(len(values), -1), 2)


@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
@pytest.mark.parametrize("upper", [1.0, 2000.0])  # which way it goes
def test_clipping_equals_the_formula_and_no_random_feasible_matrix_is_nearer(shape, upper) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal(shape)
    sigma = np.linalg.svd(matrix, compute_uv=False)
    limit = float(sigma[3])
    clipped = clip(matrix, limit, upper * sigma[0])
    expected = np.minimum(sigma, limit)
    found = np.linalg.svd(clipped, compute_uv=False)
    np.testing.assert_allclose(found, expected, atol=1e-13 * sigma[0])
    distance = np.linalg.norm(clipped - matrix)
    assert distance == pytest.approx(np.sqrt(np.sum(np.maximum(sigma - limit, 0) ** 2)), rel=1e-12)
    for _ in range(300):
        other = clipped + 0.05 * rng.standard_normal(matrix.shape)
        other *= min(1.0, limit / np.linalg.norm(other, 2))
        assert np.linalg.norm(other - matrix) >= distance * (1 - 1e-12)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
@pytest.mark.parametrize("is_complex", [False, True])
def test_clipping_far_below_the_norm_is_off_by_no_more_than_squares_lose(shape, is_complex) -> None:
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if is_complex else 0.0)
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    sigma = np.array([1000.0, 500.0, 30.0, 30.0, 2.0, 1.01, 1.001, 0.99, 0.5, 0.1, 1e-3, 0.0])
    clipped = clip((u * sigma) @ v, 1.0, 1000.1)
    expected = (u * np.minimum(sigma, 1.0)) @ v
    # What eigh and the product before it lose of the largest square, 12 roundings of it each and
    # twice that for vectors, is halved by the root, and meets a weight of up to 1000.
    lost = 4 * 12 * 2.0**-53 * 1000.0**2
    assert np.linalg.norm(clipped - expected, 2) <= lost
    assert np.linalg.norm(clipped, 2) <= 1.0 + lost


KINDS = {
    "linear": ((9, 5), None),
    "recurrent": ((12, 4), None),
    "embedding": ((30, 6), None),
    "bilinear": ((3, 4, 5), None),
    "scale": ((7,), None),
    "convolution": ((6, 4, 3, 3), Geometry((1, 1), (1, 1, 1, 1), (1, 1))),
    "convolution strided": ((6, 4, 3, 3), Geometry((2, 2), (1, 1, 1, 1), (1, 1))),
    "convolution grouped": ((6, 2, 3), Geometry((1,), (1, 1), (2,), group=2)),
    "convolution bare": ((4, 3, 3, 3), None),
    "convolution flat": ((6, 4, 2, 2), Geometry((2, 2), (0, 0, 0, 0), (1, 1))),
    "convolution_transposed": ((4, 6, 3), Geometry((2,), (1, 1), (1,), output_padding=(1,))),
}


@pytest.mark.parametrize("of", ["operator", "reshaped"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", KINDS)
def test_every_mode_keeps_the_shape_and_comes_to_the_limit(case, mode, of) -> None:
    shape, geometry = KINDS[case]
    values = np.random.default_rng(1).standard_normal(shape)
    layer = layer_of(values, case.split()[0], geometry)
    upper = norm_of(layer, values, of)
    limit = upper / 2
    new = MODES[mode](layer, values, limit, upper, of)
    assert new.shape == values.shape
    reached = norm_of(layer, new, of)
    # Dykstra's steps stop early, and the grid has gaps; the rest is exact.
    loose = mode == "project" and "convolution" in case and of == "operator"
    assert 0.9 * limit <= reached <= limit * (1.1 if loose else 1 + 2e-4)
    if mode == "project":  # once brought under the limit, it is nearer than the multiple
        under = new * min(1.0, limit / reached)
        multiple = scale(layer, values, limit, upper, of)
        assert np.linalg.norm(under - values) < np.linalg.norm(multiple - values)


def test_what_is_under_the_limit_is_not_touched_by_projection() -> None:
    kernel = np.random.default_rng(2).standard_normal((4, 3, 3))
    geometry = Geometry((1,), (1, 1), (1,))
    layer = layer_of(kernel, "convolution", geometry)
    upper = norm_of(layer, kernel)
    same = project(layer, kernel, 1.001 * upper, upper, "operator")
    np.testing.assert_allclose(same, kernel, atol=1e-13 * upper)
    matrix = kernel.reshape(4, 9)
    norm = float(np.linalg.norm(matrix, 2))
    assert np.array_equal(clip(matrix, 1.001 * norm, norm), matrix)
