"""Every node test of the onnx package gets a verdict, and no slope of theirs exceeds it."""

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from specaudit.errors import UnreadableModel
from tests.graphs.backend import node_cases
from tests.lipschitz.networks import bound_of, runner, steepest

PARTS = 6


def _cases(part: int) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(node_cases())[part::PARTS]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_case_gets_a_verdict(part: int) -> None:
    for case in _cases(part):
        try:
            found = bound_of(case.model)
        except UnreadableModel:  # a few cases declare shapes that contradict their nodes
            continue
        if found.status == "certified":
            assert found.log10_upper is not None or found.upper == 0.0, case.name
            continue
        assert found.reason, case.name
        for cause in found.unbounded + found.unmodelled:
            assert cause.node, case.name
            assert cause.op, case.name
            assert cause.reason, case.name


def _frozen(case: Any, kept: list[int]) -> onnx.ModelProto:
    """The model of a case with all inputs but some made initializers, as its data say."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    arrays = case.data_sets[0][0]
    infos = [onnx.ValueInfoProto() for _ in kept]
    for info, index in zip(infos, kept, strict=True):
        info.CopyFrom(model.graph.input[index])
    for index, value in enumerate(arrays):
        if index not in kept:
            name = model.graph.input[index].name
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    del model.graph.input[:]
    model.graph.input.extend(infos)
    return model


def _real(arrays: Any) -> list[int] | None:
    if not all(isinstance(a, np.ndarray) and a.dtype != object for a in arrays):
        return None
    return [k for k, a in enumerate(arrays) if a.dtype in (np.float32, np.float64)]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_slope_exceeds_the_bound(part: int) -> None:
    tested = 0
    for case in _cases(part):
        arrays = case.data_sets[0][0]
        real = _real(arrays)
        if not real or len(arrays) != len(case.model.graph.input):
            continue
        for kept in [[real[0]], real] if len(real) > 1 else [real]:
            tested += _checked(_frozen(case, kept), [arrays[k] for k in kept], case.name)
    assert tested > 30


def _checked(model: onnx.ModelProto, point: list[np.ndarray], name: str) -> int:
    """1 if a bound was compared with slopes, on all of space or on the first box that has one."""
    x = np.concatenate([np.asarray(p, dtype=np.float64).reshape(-1) for p in point])
    if not 0 < x.size <= 80:
        return 0
    for box in (None, (-2.0, 2.0), (0.5, 2.0)):
        found = bound_of(model, input_range=box)
        if found.upper is None:
            continue
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run = runner(model)
                run(x if box is None else np.clip(x, *box))
            except Exception:  # neither onnxruntime nor the reference runs this case
                return 0
            best = steepest(run, box=box, starts=[x], points=1, rounds=1, scales=(1.0,))
        assert best <= found.upper, (name, box, best, found.upper)
        return 1
    return 0
