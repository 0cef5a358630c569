"""A norm that is carried over to a rounded multiple holds for it."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import specaudit
from specaudit import measuring, norms, pipeline
from specaudit.model import Graph, Model, Node, ValueInfo, Weight
from specaudit.norms import measure, symbol
from specaudit.operators import Layer
from specaudit.report import Geometry, Measurement, Settings
from specaudit.rewrite.bench import Bench
from specaudit.rewrite.multiples import scaled_under
from specaudit.rewrite.overlay import Overlay


def bench_of(values: np.ndarray, geometry: Geometry | None) -> tuple[Bench, Overlay]:
    weight = Weight("conv.weight", values.shape, str(values.dtype), lambda: values.copy())
    attributes = {} if geometry is None else {"conv": described(geometry, values.shape)}
    model = Model("m", "safetensors", str, (weight,), attributes=attributes)
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
        again = measure(bench.layers[0], measuring.deciding(Settings()))
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


def matrix_bench(values: np.ndarray, name: str = "fc.weight") -> tuple[Bench, Overlay]:
    weight = Weight(name, values.shape, str(values.dtype), lambda: values.copy())
    overlay = Overlay(Model("m", "safetensors", str, (weight,)))
    prepared = pipeline.prepare(overlay.model, settings=Settings())
    return Bench.of(overlay, prepared, pipeline.measure(prepared)), overlay


@pytest.mark.parametrize("shape", [(700, 40), (40, 700), (200, 200)])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_a_matrix_is_proved_from_its_old_norm(name: str, shape: tuple[int, int]) -> None:
    import ml_dtypes

    dtype = np.dtype(getattr(ml_dtypes, name, name))
    values = np.random.default_rng(9).standard_normal(shape).astype(dtype)
    bench, overlay = matrix_bench(values)
    with closing(overlay):
        assert scaled_under(bench, 0, 1.0)
        claimed = bench.measured[0].norm
        new = overlay["fc.weight"]
        again = measure(bench.layers[0], Settings())
    truth = float(np.linalg.norm(new.astype(float), 2))
    assert claimed.lower <= truth * (1 + 1e-13)
    assert truth * (1 - 1e-13) <= claimed.upper <= 1.0
    assert again.norm.upper <= 1.0
    assert truth >= 1.0 - 4 * float(ml_dtypes.finfo(dtype).eps) * np.sqrt(shape[1])


@pytest.mark.parametrize("limit", [1e-200, 1e200, 0.0])
def test_what_cannot_be_proved_so_is_left_as_it_was(limit: float) -> None:
    """Squares of what is rounded away would underflow, and prove too much."""
    values = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    bench, overlay = matrix_bench(values * np.float32(2.0**100))
    with closing(overlay):
        assert not scaled_under(bench, 0, limit)
        assert len(overlay) == 0


def test_a_type_too_coarse_for_its_limit_is_given_back() -> None:
    """Most entries round to nothing: the error is as large as the limit."""
    values = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float16)
    bench, overlay = matrix_bench(values)
    with closing(overlay):
        assert not scaled_under(bench, 0, 2.0**-22)
        assert len(overlay) == 0 or np.array_equal(overlay["fc.weight"], values)


@pytest.mark.parametrize("folds", ["Split", "Cast"])
def test_what_a_graph_folds_is_folded_from_the_old_values_once_they_are_back(folds: str) -> None:
    """What a graph computes of a weight is held on to: nothing of an attempt may stay in it."""
    dtype = np.float32 if folds == "Cast" else np.float16
    values = np.random.default_rng(3).standard_normal((64, 64)).astype(dtype)
    weight = Weight("w", values.shape, dtype.__name__, values.copy)
    computed = {
        "Cast": (Node("cast", "Cast", ("w",), ("h",), {"to": 10}),),  # to float16
        "Split": (
            Node("split", "Split", ("w",), ("a", "b"), {"axis": 0}),
            Node("concat", "Concat", ("b", "a"), ("h",), {"axis": 0}),
        ),
    }[folds]
    nodes = (*computed, Node("matmul", "MatMul", ("x", "h"), ("y",)))
    ends = ValueInfo("x", "float16", (1, 64)), ValueInfo("y", "float16", (1, 64))
    graph = Graph("g", nodes, ends[:1], ends[1:], {"w": weight}, opsets={"": 13})
    overlay = Overlay(Model("m", "onnx", str, (weight,), graph))
    prepared = pipeline.prepare(overlay.model, settings=Settings())
    bench = Bench.of(overlay, prepared, pipeline.measure(prepared))
    before = np.array(bench.layers[0].read())
    assert bench.layers[0].notes  # it is one that the graph computes
    with closing(overlay):
        assert not scaled_under(bench, 0, 2.0**-22)  # of float16's steps there are four
        assert len(overlay) == 0
        assert np.array_equal(bench.layers[0].read(), before)


def test_each_weight_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    tensors = {
        "fc.weight": rng.standard_normal((60, 50)).astype(np.float32),
        "conv.weight": rng.standard_normal((32, 16, 3, 3)).astype(np.float32),
        "small.weight": (1e-3 * rng.standard_normal((60, 50))).astype(np.float32),
    }
    save_file(tensors, tmp_path / "in.safetensors")
    names: list[str] = []
    real = norms.measure

    def counted(layer: Layer, settings: Settings | None = None) -> Measurement:
        names.append(layer.name)
        return real(layer, settings)

    monkeypatch.setattr(norms, "measure", counted)
    done = specaudit.clamp(tmp_path / "in.safetensors", max=1.0, out=tmp_path / "out.safetensors")
    assert {row.name for row in done.changed} == {"fc.weight", "conv.weight"}
    assert sorted(names) == sorted(tensors)
    for row in specaudit.audit(tmp_path / "out.safetensors", limit_of=lambda _: 1.0).layers:
        assert row.norm.upper <= 1.0
