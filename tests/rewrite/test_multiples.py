"""A norm that is carried over to a rounded multiple holds for it."""

from contextlib import closing

import numpy as np
import pytest

from specaudit import pipeline
from specaudit.model import Model, Weight
from specaudit.norms import measure, symbol
from specaudit.report import Geometry, Settings
from specaudit.rewrite.bench import Bench
from specaudit.rewrite.multiples import scaled_under
from specaudit.rewrite.overlay import Overlay


def bench_of(values: np.ndarray, geometry: Geometry | None) -> tuple[Bench, Overlay]:
    weight = Weight("conv.weight", values.shape, str(values.dtype), lambda: values.copy())
    attributes = {} if geometry is None else {"conv": described(geometry, values.shape)}
    model = Model("m", "safetensors", "", (weight,), attributes=attributes)
    overlay = Overlay(model)
    prepared = pipeline.prepare(overlay.model, settings=Settings())
    return Bench.of(overlay, prepared, pipeline.measure(prepared)), overlay


def described(geometry: Geometry, shape: tuple[int, ...]) -> dict[str, object]:
    rank = len(geometry.strides)
    return {
        "class": f"Conv{rank}d", "stride": geometry.strides, "padding": geometry.pads[:rank],
        "dilation": geometry.dilations, "groups": geometry.group, "padding_mode": "zeros",
        "transposed": False, "output_padding": (0,) * rank, "kernel_size": shape[2:],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    "geometry",
    [None, Geometry((1, 1), (1,) * 4, (1, 1)), Geometry((2, 2), (1,) * 4, (1, 1), group=2)],
)
def test_it_holds_is_not_far_off_and_what_check_measures_passes(name, geometry) -> None:
    import ml_dtypes

    dtype = np.dtype(getattr(ml_dtypes, name, name))
    values = np.random.default_rng(4).standard_normal((24, 20, 3, 3)).astype(dtype)
    bench, overlay = bench_of(values, geometry)
    with closing(overlay):
        assert scaled_under(bench, 0, 1.0)
        claimed = bench.measured[0].norm
        new = overlay["conv.weight"]
        again = measure(bench.layers[0], pipeline.deciding(Settings()))
    exact = symbol.operator_norm(new, bench.layers[0].geometry, rtol=1e-7)
    assert claimed.lower <= exact.upper
    assert exact.lower <= claimed.upper <= 1.0
    eps = float(ml_dtypes.finfo(dtype).eps)
    assert exact.lower >= 1.0 - 4 * eps * np.sqrt(180) - 1e-7
    reshaped = bench.measured[0].reshaped_norm
    truth = np.linalg.norm(new.astype(float).reshape(24, -1), 2)
    assert reshaped.lower <= truth * (1 + 1e-14)
    assert truth * (1 - 1e-14) <= reshaped.upper
    assert again.norm.upper <= 1.0
