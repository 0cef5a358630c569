"""Lower bounds: never above the truth, near it where it is known, and no trap believed."""

import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from specaudit import witness
from specaudit.errors import SpecauditError, UnsupportedModel
from specaudit.graphs import resolve
from specaudit.witness.balls import Ball, bilinear, scalar, summed
from specaudit.witness.evidence import least_quotient
from specaudit.witness.network import Network
from specaudit.witness.table import TABLE, Uncovered
from tests.graphs.backend import node_cases, numbers
from tests.lipschitz.networks import bound_of, graph_of, model_of, runner
from tests.lipschitz.samples import SAMPLES, Sample

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(11)
F = TensorProto.FLOAT


def found(model: onnx.ModelProto, **options: object) -> witness.Witness:
    pair = witness.steepest(resolve(graph_of(model)), **options)  # type: ignore[arg-type]
    assert pair is not None
    return pair


def covered(sample: Sample) -> bool:
    nodes = resolve(graph_of(sample.model)).nodes
    return sample.runs and all(node.op in TABLE and not node.domain for node in nodes)


def evaluated(sample: Sample) -> bool:
    low, high = sample.box or (-3.0, 3.0)
    try:
        net = network(sample)
        net.at(np.full((1, net.inputs.size), 0.4 * low + 0.6 * high), np.zeros(()))
    except Uncovered:
        return False
    return True


def network(sample: Sample) -> Network:
    return Network(resolve(graph_of(sample.model)))


COVERED = [sample for sample in SAMPLES if covered(sample)]
EVALUATED = [sample for sample in COVERED if evaluated(sample)]
# What an operation in the table is not evaluated for: whole numbers, statistics, odd forms.
LEFT_OUT = (
    "And AveragePool Cast Clip Dropout Equal Greater GreaterOrEqual LSTM LayerNormalization Less "
    "LessOrEqual MaxPool Not Or Pow Pow Pow Pow Pow Shape Size Where"
)


def test_what_is_not_evaluated_is_known() -> None:
    names = [sample.op for sample in COVERED if sample not in EVALUATED]
    assert " ".join(sorted(names)) == LEFT_OUT


# onnxruntime keeps the constants of these in float32, also where the numbers are doubles.
COARSE = {"HardSwish", "Gelu"}


@pytest.mark.parametrize(
    "sample",
    [one for one in EVALUATED if not one.fixed and not network(one).inputs.whole],
    ids=str,
)
def test_the_evaluator_agrees_with_onnxruntime(sample: Sample) -> None:
    net = network(sample)
    run = runner(sample.model)
    noise = max(1e3 * run.noise, 1e-7 if sample.op in COARSE else 0.0)
    low, high = sample.box or (-3.0, 3.0)
    compared = 0
    for _ in range(4):
        x = RNG.uniform(low, high, net.inputs.size).astype(np.float32).astype(np.float64)
        mine = net.at(x[None], np.zeros(()))
        theirs = run(x)
        assert mine.mid.shape == theirs.shape
        assert mine.rad is not None
        usable = np.isfinite(mine.mid) & np.isfinite(theirs)
        size = max(1.0, float(np.abs(theirs[usable]).max(initial=0.0)))
        assert (np.abs(mine.mid - theirs)[usable] <= mine.rad[usable] + noise * size).all()
        compared += int(usable.sum())
    assert compared or not mine.mid.size


@pytest.mark.parametrize("sample", EVALUATED, ids=str)
def test_lower_is_never_above_upper(sample: Sample) -> None:
    upper = bound_of(sample.model, input_range=sample.box).upper
    box = None if sample.box is None else {"": sample.box}
    pair = witness.steepest(resolve(graph_of(sample.model)), input_range=box, budget=30_000_000)
    if pair is not None and upper is not None:
        assert pair.lower <= upper


def test_the_evaluator_agrees_with_the_examples_of_onnx() -> None:
    compared = 0
    for case in node_cases():
        try:
            net = Network(resolve(graph_of(case.model)))
        except (Uncovered, SpecauditError):
            continue
        for given_values, expected in case.data_sets:
            arrays = [numbers(value) for value in given_values]
            if any(array is None for array in arrays):
                continue
            values = {
                info.name: array if array.dtype.kind in "iub" else Ball.exactly(array)
                for info, array in zip(net.resolved.inputs, arrays, strict=False)
                if array is not None
            }
            try:
                results = net.run(values)
            except Uncovered:
                continue
            for mine, theirs in zip(results, map(numbers, expected), strict=False):
                assert theirs is not None
                # Their examples are computed in the type that they are in.
                close = {"bfloat16": 2e-2, "float16": 2e-3}.get(theirs.dtype.name, 1e-5)
                assert mine.mid.shape == theirs.shape, case.name
                wide = theirs.astype(np.float64)
                assert np.allclose(mine.mid, wide, close, close, equal_nan=True), case.name
                compared += 1
    assert compared > 600


def test_enough_is_covered() -> None:
    assert {"Conv", "Gemm", "MatMul", "LSTM", "LayerNormalization", "Softmax"} <= {
        sample.op for sample in COVERED
    }


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def gemms(*weights: np.ndarray, bias: float = 0.0, **options: object) -> onnx.ModelProto:
    nodes, constants, last = [], {}, "x"
    for k, weight in enumerate(weights):
        constants |= {f"w{k}": weight, f"b{k}": np.full(weight.shape[0], bias, dtype=np.float32)}
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"y{k}"], transB=1))
        last = f"y{k}"
    return model_of(
        nodes, {"x": ["N", weights[0].shape[1]]}, constants, [last], in_type=F, out_type=F
    )


@pytest.mark.parametrize("shape", [(5, 7), (40, 30), (10, 700), (700, 10), (300, 320)])
def test_of_a_linear_map_the_norm_is_found(shape: tuple[int, int]) -> None:
    weight = normal(*shape)
    true = float(np.linalg.norm(weight.astype(np.float64), 2))
    lower = found(gemms(weight)).lower
    assert 0.99 * true <= lower <= true * (1 + 1e-12)


def test_of_a_linear_chain_with_a_convolution_the_norm_is_found() -> None:
    kernel, weight = normal(4, 2, 3, 3), normal(6, 4 * 36)
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    constants = {"k": kernel, "w": weight}
    model = model_of(nodes, {"x": ["N", 2, 6, 6]}, constants, ["y"], in_type=F, out_type=F)
    net = Network(resolve(graph_of(model)))
    matrix = net(np.eye(72))
    true = float(np.linalg.norm(matrix, 2))
    assert 0.99 * true <= found(model).lower <= true * (1 + 1e-9)


def test_rounding_is_not_mistaken_for_steepness() -> None:
    """In float32 a bias of 1e5 and steps of 1e-4 show slopes of 39 where 16 is the steepest."""
    weight = np.diag(np.array([16.0, 1.0, 0.5], dtype=np.float32))
    model = gemms(weight, np.eye(3, dtype=np.float32), bias=1e5)
    x = np.zeros(3, dtype=np.float32)
    images = [(x + step).astype(np.float32) @ weight.T + np.float32(1e5) for step in (0.0, 3e-4)]
    naive = np.linalg.norm(images[1] - images[0]) / (3e-4 * math.sqrt(3.0))
    assert naive != pytest.approx(float(np.linalg.norm(np.diag(weight)) / math.sqrt(3.0)), rel=0.02)
    for seed in range(5):
        assert 0.999 * 16.0 <= found(model, seed=seed).lower <= 16.0


def test_what_rounding_swamps_proves_nothing() -> None:
    weight = np.full((1, 1), 1e-9, dtype=np.float32)
    pair = witness.steepest(resolve(graph_of(gemms(weight, bias=1e30))))
    assert pair is None or pair.lower <= 1e-9 * (1 + 1e-6)


def test_the_pair_gives_the_quotient_in_onnxruntime() -> None:
    model = gemms(normal(12, 9), normal(5, 12))
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    pair = found(model)
    a, b = (session.run(None, dict(feeds))[0].astype(np.float64) for feeds in (pair.a, pair.b))
    step = np.asarray(pair.a["x"], dtype=np.float64) - np.asarray(pair.b["x"], dtype=np.float64)
    assert np.linalg.norm(a - b) / np.linalg.norm(step) == pytest.approx(pair.lower, rel=1e-4)
    assert pair.a["x"].dtype == np.float32
    assert np.allclose(pair.image_a["y1"], a, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_pair() -> None:
    model = gemms(normal(12, 9), normal(5, 12))
    one, two = found(model, seed=1), found(model, seed=1)
    assert one.lower == two.lower
    assert (one.a["x"] == two.a["x"]).all()


def test_the_pair_stays_in_the_box() -> None:
    pair = found(gemms(normal(4, 6)), input_range={"x": (0.1, 0.7)})
    for point in (pair.a["x"], pair.b["x"]):
        values = np.asarray(point, dtype=np.float64)
        assert (values >= 0.1).all()
        assert (values <= 0.7).all()


def test_what_is_not_evaluated_is_said() -> None:
    model = model_of([helper.make_node("Det", ["x"], ["y"])], {"x": [2, 2]}, {}, ["y"])
    with pytest.raises(Uncovered, match="Det"):
        found(model)


def test_large_networks_are_left_alone_unless_asked_for() -> None:
    resolved = resolve(graph_of(gemms(np.ones((3000, 3000), dtype=np.float32))))
    assert witness.steepest(resolved) is None


EIGHTHS = st.integers(-(2**20), 2**20).map(lambda n: n / 8)
SMALL = st.lists(EIGHTHS | st.floats(-1e6, 1e6), min_size=3, max_size=3)


def exact(values: np.ndarray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values.reshape(-1)]


def holds(ball: Ball, truth: list[Fraction]) -> bool:
    assert ball.rad is not None
    rads = np.broadcast_to(ball.rad, ball.mid.shape).reshape(-1)
    pairs = zip(exact(ball.mid), rads, truth, strict=True)
    return all(math.isinf(rad) or abs(mid - t) <= Fraction(float(rad)) for mid, rad, t in pairs)


@given(SMALL, SMALL, SMALL)
def test_balls_hold_what_exact_arithmetic_gives(
    a: list[float], b: list[float], c: list[float]
) -> None:
    x, y, z = (Ball.exactly(np.array(values)) for values in (a, b, c))
    p, q, r = exact(x.mid), exact(y.mid), exact(z.mid)
    rows = list(zip(p, q, r, strict=True))
    assert holds((x + y) * z, [(i + j) * k for i, j, k in rows])
    assert holds((x * y - z) * x, [(i * j - k) * i for i, j, k in rows])
    shifted = z * z + scalar(1.0)
    assert holds((x - y) / shifted, [(i - j) / (k * k + 1) for i, j, k in rows])
    dot = bilinear(np.dot, x * y, z, 3)
    assert holds(dot, [sum((i * j * k for i, j, k in rows), Fraction(0))])
    assert holds(summed(x * x, (0,), keepdims=False), [sum((i * i for i in p), Fraction(0))])


@given(SMALL)
def test_balls_are_narrow(a: list[float]) -> None:
    x = Ball.exactly(np.array(a))
    y = (x + x) * x
    assert y.rad is not None
    assert (y.rad <= 1e-14 * np.abs(y.mid) + 1e-290).all()


@given(st.lists(EIGHTHS, min_size=1, max_size=5), st.lists(EIGHTHS, min_size=1, max_size=5))
def test_a_quotient_is_rounded_down(least: list[float], step: list[float]) -> None:
    above = sum(Fraction(v) ** 2 for v in least)
    below = sum(Fraction(v) ** 2 for v in step)
    value = least_quotient(np.array(least), np.array(step))
    if above and below:
        assert (
            Fraction(value) ** 2 <= above / below <= Fraction(value) ** 2 * (1 + Fraction(1, 10**8))
        )
    else:
        assert value == 0.0


def top_three() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("TopK", ["h", "k"], ["y", "places"], axis=-1),
    ]
    constants = {"w": normal(6, 6), "k": np.array([3])}
    return model_of(nodes, {"x": ["N", 6]}, constants, ["y"], in_type=F, out_type=F, opset=17)


def test_what_is_not_evaluated_is_observed_in_another_process(tmp_path: Path) -> None:
    model = top_three()
    path = tmp_path / "top.onnx"
    path.write_bytes(model.SerializeToString())
    resolved = resolve(graph_of(model))
    with pytest.raises(Uncovered, match="TopK"):
        witness.steepest(resolved)
    pair = witness.observed(resolved, str(path))
    upper = bound_of(model).upper
    assert upper is not None
    assert pair.lower == 0.0
    assert 0.5 * upper <= pair.quotient <= upper * (1 + 1e-4)


def test_onnxruntime_refusing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(UnsupportedModel):
        witness.observed(resolve(graph_of(top_three())), str(path))


def inspected(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "specaudit", "inspect", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )


def test_the_pair_is_kept_and_reported(tmp_path: Path) -> None:
    kept = tmp_path / "pair.npz"
    done = inspected("sample_models/critic.onnx", "--witness", str(kept), "--format", "json")
    assert done.returncode == 0, done.stderr
    network = json.loads(done.stdout)["network"]
    with np.load(kept, allow_pickle=False) as pair:
        found = dict(pair)
    assert float(found["lower"]) == network["lower"]
    assert network["lower"] <= network["upper"]
    import onnxruntime

    session = onnxruntime.InferenceSession(ROOT / "sample_models" / "critic.onnx")
    (name,) = (value.name for value in session.get_inputs())
    a, b = (session.run(None, {name: found[f"{side}/{name}"]})[0] for side in "ab")
    step = np.linalg.norm(found[f"a/{name}"].astype(float) - found[f"b/{name}"])
    assert np.linalg.norm(a.astype(float) - b) / step == pytest.approx(network["lower"], rel=1e-3)


def test_without_a_witness_the_audit_is_shown_and_the_code_says_so(tmp_path: Path) -> None:
    kept = tmp_path / "pair.npz"
    done = inspected("sample_models/mlp.pt", "--witness", str(kept))
    assert done.returncode == 3
    assert "there is no graph" in done.stderr
    assert "product" in done.stdout
    assert not kept.exists()


def test_a_pair_is_of_one_model(tmp_path: Path) -> None:
    kept = str(tmp_path / "pair.npz")
    done = inspected("sample_models/mlp.onnx", "sample_models/cnn.onnx", "--witness", kept)
    assert done.returncode == 2
    done = inspected("sample_models/mlp.onnx", "--witness", "sample_models/mlp.onnx")
    assert done.returncode == 2


def test_a_vast_input_of_which_little_is_read_is_left_alone() -> None:
    """Four elements of two million: what it takes to draw an input is not in the network."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[997, 991])
    small, vast = (
        model_of([node], {"x": (1, 2, size, size)}, {"w": np.ones((1, 2, 3, 3))}, ["y"])
        for size in (10, 1000)
    )
    assert found(small).lower > 0.0
    assert witness.steepest(resolve(graph_of(vast))) is None
