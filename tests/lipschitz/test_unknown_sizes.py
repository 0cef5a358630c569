"""Means over sizes that nobody knows, spread over them again: the roots of the sizes cancel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import specaudit
from specaudit.pipeline import Settings
from tests.lipschitz.networks import bound_of, model_of, runner, steepest

make = helper.make_node
RNG = np.random.default_rng(5)
OPEN = [None, 2, None, None]
SIZES = [[1, 2, 1, 1], [1, 2, 2, 3], [2, 2, 4, 1]]

Made = tuple[list[Any], dict[str, np.ndarray]]


def gate() -> Made:
    """A squeeze-and-excitation block."""
    nodes = [
        make("GlobalAveragePool", ["x"], ["m"]),
        make("Conv", ["m", "a", "b"], ["h"]),
        make("Relu", ["h"], ["r"]),
        make("Conv", ["r", "c"], ["s"]),
        make("HardSigmoid", ["s"], ["g"]),
        make("Mul", ["x", "g"], ["y"]),
    ]
    a, c = 3.0 * RNG.standard_normal((3, 2, 1, 1)), 3.0 * RNG.standard_normal((2, 3, 1, 1))
    return nodes, {"a": a, "b": RNG.standard_normal(3), "c": c}


def gate_of_rows() -> Made:
    """The same, as torch spells it: a mean, a linear layer, and the axes put back."""
    nodes = [
        make("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        make("Gemm", ["m", "a"], ["h"]),
        make("Sigmoid", ["h"], ["s"]),
        make("Unsqueeze", ["s", "axes"], ["g"]),
        make("Mul", ["g", "x"], ["y"]),
    ]
    return nodes, {"axes": np.array([2, 3]), "a": 4.0 * RNG.standard_normal((2, 2))}


def own_mean() -> Made:
    return [make("GlobalAveragePool", ["x"], ["g"]), make("Mul", ["x", "g"], ["y"])], {}


def centred() -> Made:
    return [make("GlobalAveragePool", ["x"], ["g"]), make("Sub", ["x", "g"], ["y"])], {}


def added_twice() -> Made:
    nodes = [
        make("GlobalAveragePool", ["x"], ["g"]),
        make("Add", ["x", "g"], ["u"]),
        make("Relu", ["u"], ["v"]),
        make("Add", ["v", "g"], ["y"]),
    ]
    return nodes, {}


def expanded() -> Made:
    nodes = [
        make("GlobalAveragePool", ["x"], ["g"]),
        make("Shape", ["x"], ["n"]),
        make("Expand", ["g", "n"], ["e"]),
        make("Concat", ["x", "e"], ["y"], axis=1),
    ]
    return nodes, {}


def rows_and_all() -> Made:
    """A mean over two axes and one over the second: each root is used where it stands."""
    nodes = [
        make("ReduceMean", ["x", "one"], ["r"]),
        make("ReduceMean", ["x", "two"], ["m"]),
        make("Add", ["r", "m"], ["s"]),
        make("Add", ["x", "s"], ["y"]),
    ]
    return nodes, {"one": np.array([3]), "two": np.array([2, 3])}


def of_batch() -> Made:
    """A mean over the batch itself, which the samples share."""
    return [make("ReduceMean", ["x", "batch"], ["g"]), make("Mul", ["x", "g"], ["y"])], {
        "batch": np.array([0])
    }


ALL = [gate, gate_of_rows, own_mean, centred, added_twice, expanded, rows_and_all, of_batch]
BOX = (-1.5, 1.5)


def at(made: Made, shape: Sequence[int | None]) -> onnx.ModelProto:
    nodes, constants = made
    return model_of(nodes, {"x": shape}, constants, ["y"])


@pytest.mark.parametrize("network", ALL, ids=lambda made: made.__name__)
def test_one_bound_holds_for_every_size(network: Any) -> None:
    made = network()
    found = bound_of(at(made, OPEN), input_range=BOX)
    assert found.status == "certified", found.reason
    assert found.upper is not None
    for shape in SIZES:
        run = runner(at(made, shape))
        edge = np.full(run.size, BOX[1])
        assert steepest(run, box=BOX, starts=[edge, -edge], points=2) <= found.upper


@pytest.mark.parametrize(
    "network", [own_mean, added_twice, of_batch], ids=lambda made: made.__name__
)
def test_no_bound_could_be_smaller(network: Any) -> None:
    """Twice the edge of the box, or three terms, where all of them point one way."""
    exact = 3.0
    made = network()
    found = bound_of(at(made, OPEN), input_range=BOX)
    assert found.upper == pytest.approx(exact, rel=1e-12)
    run = runner(at(made, [2, 2, 2, 3]))
    edge = np.full(run.size, BOX[1])
    assert steepest(run, box=BOX, starts=[edge], points=1) >= exact * (1 - 1e-3)


def test_a_gate_counts_by_its_range_and_its_layers() -> None:
    """``sup g + R |g'| |C| |A|``, whatever the size."""
    nodes, constants = gate()
    found = bound_of(at((nodes, constants), OPEN), input_range=BOX)
    a, c = (np.linalg.norm(constants[name].reshape(len(constants[name]), -1), 2) for name in "ac")
    assert found.upper == pytest.approx(1.0 + BOX[1] * 0.2 * a * c, rel=1e-6)


def test_the_mean_of_one_input_is_not_spread_over_another() -> None:
    """Nobody says that the two have the same size."""
    nodes = [make("GlobalAveragePool", ["x"], ["g"]), make("Mul", ["z", "g"], ["y"])]
    model = model_of(nodes, {"x": OPEN, "z": [None, 2, None, None]}, {}, ["y"])
    found = bound_of(model, input_range=BOX)
    assert found.status == "not_computed"
    assert "--input-shape" in (found.reason or "")


def test_a_root_is_used_once() -> None:
    """Spread over an axis once, and then over another of the same size: that one counts.

    The mean of n numbers, ``x[n]``, as a matrix (n, n) has the norm 1/sqrt(n) sqrt(n n).
    """
    nodes = [
        make("ReduceMean", ["x", "axis"], ["m"]),
        make("Shape", ["x"], ["n"]),
        make("Expand", ["m", "n"], ["row"]),
        make("Unsqueeze", ["row", "last"], ["column"]),
        make("Concat", ["n", "n"], ["nn"], axis=0),
        make("Expand", ["column", "nn"], ["y"]),
    ]
    constants = {"axis": np.array([0]), "last": np.array([1])}
    assert bound_of(model_of(nodes, {"x": ["n"]}, constants, ["y"])).status == "not_computed"
    known = bound_of(model_of(nodes, {"x": [9]}, constants, ["y"]))
    assert known.upper == pytest.approx(3.0, rel=1e-12)


@pytest.mark.parametrize("mark", [None, "?", "unknown", "?x[0]", "N"])
def test_a_dimension_without_a_name_keeps_its_identity(mark: str | None) -> None:
    """A skip connection adds what has the same size, named or not; marks say nothing of two."""
    nodes = [make("Conv", ["x", "w"], ["h"], pads=[1, 1]), make("Add", ["x", "h"], ["y"])]
    weight = {"w": RNG.standard_normal((2, 2, 3))}
    found = bound_of(model_of(nodes, {"x": [mark, 2, mark]}, weight, ["y"]))
    assert found.status == "certified"
    apart = [make("Add", ["x", "z"], ["y"])]
    found = bound_of(model_of(apart, {"x": [mark], "z": [mark]}, {}, ["y"]))
    assert (found.status == "certified") is (mark == "N")


def test_a_real_classifier_of_images_of_any_size() -> None:
    """Nine gates, and neither a batch nor a height nor a width that anybody says."""
    models = Path(__file__).resolve().parents[3] / "shared" / "models" / "rapidocr-onnxruntime"
    path = models / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    found = specaudit.audit(path, settings=Settings(input_range={"": (0.0, 1.0)})).network
    assert found.status == "certified", found.reason
    assert found.log10_upper is not None
    shape = {"x": (1, 3, 48, 192)}
    at_size = Settings(input_range={"": (0.0, 1.0)}, input_shapes=shape)
    sized = specaudit.audit(path, settings=at_size).network
    # The largest gates count the same at every size; what is known of one helps a little.
    assert sized.log10_upper is not None
    assert found.log10_upper >= sized.log10_upper
