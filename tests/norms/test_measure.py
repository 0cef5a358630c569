"""Layers as they come: kinds, notes, devices, the spectrum."""

import math
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from specaudit.errors import UsageError
from specaudit.norms import devices, measure, spectrum
from specaudit.operators import Layer
from specaudit.report import Kind, Settings

RNG = np.random.default_rng(0)


def layer(kind: Kind, values: NDArray[np.generic], **fields: object) -> Layer:
    name = values.dtype.name
    return Layer("w", kind, values.shape, name, lambda: values, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["linear", "recurrent", "embedding"])
def test_matrices_are_measured_as_they_are(kind: Kind) -> None:
    matrix = RNG.standard_normal((50, 30)).astype(np.float32)
    found = measure(layer(kind, matrix, node="/fc/Gemm", notes=("said",)))
    truth = np.linalg.norm(matrix.astype(np.float64), 2)
    assert found.norm.lower is not None
    assert found.norm.upper is not None
    assert found.norm.lower <= truth * (1 + 1e-13)
    assert truth * (1 - 1e-13) <= found.norm.upper
    assert (found.kind, found.node, found.notes) == (kind, "/fc/Gemm", ("said",))
    assert found.reshaped_norm is None
    assert found.operator_norm is None
    assert found.norm.of is None


def test_a_bilinear_form_is_bounded_by_its_unfolding() -> None:
    form = RNG.standard_normal((4, 5, 6))
    found = measure(layer("bilinear", form))
    assert found.norm.upper == pytest.approx(np.linalg.norm(form.reshape(4, 30), 2), rel=1e-6)
    assert any("unfolding" in note for note in found.notes)
    for _ in range(100):
        x, y = RNG.standard_normal(5), RNG.standard_normal(6)
        image = np.einsum("kij,i,j->k", form, x, y)
        assert found.norm.upper is not None
        assert np.linalg.norm(image) <= found.norm.upper * np.linalg.norm(x) * np.linalg.norm(y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.complex64])
def test_a_scale_is_its_largest_entry(dtype: type) -> None:
    values = np.array([0.5, -3.0, 2.0]).astype(dtype)
    norm = measure(layer("scale", values)).norm
    assert norm.lower == pytest.approx(3.0, rel=1e-15)
    assert norm.upper == pytest.approx(3.0, rel=1e-15)
    if np.dtype(dtype).kind != "c":
        assert (norm.lower, norm.upper) == (3.0, 3.0)


@pytest.mark.parametrize("kind", ["scale", "linear", "embedding", "bilinear"])
def test_nan_and_nothing(kind: Kind) -> None:
    shape = {"scale": (4,), "bilinear": (2, 3, 4)}.get(kind, (4, 5))
    broken = np.ones(shape, np.float32)
    broken.flat[1] = np.nan
    assert measure(layer(kind, broken)).norm.status == "non_finite"
    empty = measure(layer(kind, np.ones((0, *shape[1:]), np.float32))).norm
    assert (empty.lower, empty.upper, empty.status) == (0.0, 0.0, "certified")


@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_has_both_norms(transposed: bool) -> None:
    kernel = RNG.standard_normal((6, 4, 3, 3)).astype(np.float32)
    kind: Kind = "convolution_transposed" if transposed else "convolution"
    flat = kernel.swapaxes(0, 1).reshape(4, -1) if transposed else kernel.reshape(6, -1)
    truth = float(np.linalg.norm(flat.astype(np.float64), 2))
    operator = measure(layer(kind, kernel))
    assert operator.norm == operator.operator_norm
    assert operator.reshaped_norm is not None
    assert operator.operator_norm is not None
    assert operator.reshaped_norm.of == "reshaped"
    assert operator.operator_norm.of == "operator"
    assert operator.reshaped_norm.bracket.upper == pytest.approx(truth, rel=1e-6)
    reshaped = measure(layer(kind, kernel), Settings(conv="reshaped"))
    assert reshaped.norm == reshaped.reshaped_norm == operator.reshaped_norm
    assert reshaped.operator_norm == operator.operator_norm


def test_torchs_spectral_norm_flattens_as_we_do() -> None:
    import torch
    from torch.nn.utils.parametrizations import spectral_norm

    for conv, kind in (
        (torch.nn.Conv2d(4, 6, 3, groups=2), "convolution"),
        (torch.nn.ConvTranspose2d(4, 6, 3, groups=2), "convolution_transposed"),
    ):
        torch.manual_seed(0)
        normalised = spectral_norm(conv, n_power_iterations=200).eval()
        found = measure(layer(kind, normalised.weight.detach().numpy()))  # type: ignore[arg-type]
        assert found.reshaped_norm is not None
        assert found.reshaped_norm.upper == pytest.approx(1.0, abs=1e-5)


def test_a_broken_kernel_is_broken_in_both() -> None:
    kernel = np.ones((2, 2, 3), np.float32)
    kernel[0, 0, 0] = np.inf
    found = measure(layer("convolution", kernel))
    assert found.norm.status == "non_finite"
    assert found.norm.of == "operator"
    assert found.reshaped_norm is not None
    assert found.reshaped_norm.status == "non_finite"


def test_the_spectrum_is_lapacks() -> None:
    matrix = np.diag(np.geomspace(1.0, 100.0, 40))[:, ::-1] * 2.0**500
    found = spectrum(layer("linear", matrix))
    assert found is not None
    assert found.leading[0] == pytest.approx(100.0 * 2.0**500)
    assert list(found.leading) == sorted(found.leading, reverse=True)
    assert sum(found.histogram_counts) == 40
    assert len(found.histogram_edges) == len(found.histogram_counts) + 1
    assert found.histogram_edges[0] == pytest.approx(500 * math.log10(2.0))
    assert found.condition == pytest.approx(100.0)


def test_a_spectrum_with_zeros_has_no_condition_number() -> None:
    for values in (np.ones((4, 5)), np.zeros((3, 3))):
        found = spectrum(layer("linear", values))
        assert found is not None
        assert found.condition is None
    found = spectrum(layer("scale", np.array([-4.0, 1.0], np.float32)))
    assert found is not None
    assert found.leading == (4.0, 1.0)
    assert found.condition == 4.0
    assert spectrum(layer("linear", np.full((2, 2), np.nan))) is None


def test_devices_that_are_not_there() -> None:
    import torch

    assert devices.resolve("cpu") == "cpu"
    assert devices.resolve("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu", "cuda:x", "cuda:99"):
        with pytest.raises(UsageError):
            devices.resolve(name)


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, np.uint16, np.int8, np.complex64, ml_dtypes.bfloat16]
)
def test_placing_keeps_the_values(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch on the CPU stands in for a GPU: the same calls, another string."""
    values = np.array([[1, 2], [3, 4]]).astype(dtype)
    monkeypatch.delenv("CUBLAS_EMULATE_DOUBLE_PRECISION", raising=False)
    placed = devices.place(values, "cpu:0")
    assert (
        placed.tolist() == values.astype(np.complex128 if dtype is np.complex64 else float).tolist()
    )
    monkeypatch.setenv("CUBLAS_EMULATE_DOUBLE_PRECISION", "1")
    with pytest.raises(UsageError, match="emulate"):
        devices.place(values, "cpu:0")
    assert devices.place(values, "cpu") is values


def test_the_cpu_imports_no_torch() -> None:
    script = (
        "import sys, numpy as np; from specaudit.norms import measure;"
        "from specaudit.operators import Layer;"
        "measure(Layer('w', 'linear', (9, 9), 'float32', lambda: np.ones((9, 9), 'f')));"
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
