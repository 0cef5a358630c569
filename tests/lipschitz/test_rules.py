"""Every rule: sound against sampled slopes, tight where it says so, infinite where it must be."""

import numpy as np
import pytest

from specaudit.lipschitz.rules import TABLE
from tests.lipschitz.networks import bound_of, runner, steepest
from tests.lipschitz.samples import SAMPLES, Sample


def test_every_rule_has_a_sample() -> None:
    sampled = {(sample.domain, sample.op) for sample in SAMPLES}
    assert sorted(TABLE.keys() - sampled) == []


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_rule(sample: Sample) -> None:
    found = bound_of(sample.model, input_range=sample.box)
    if sample.code is None:
        assert found.status in ("certified", "not_computed", "unbounded")
    elif sample.code:
        assert found.status == "unbounded"
        assert sample.code in {cause.code for cause in found.unbounded}, found
        return
    else:
        assert found.status == "certified", found
    if found.upper is None:
        return
    if sample.exact is not None:
        assert found.upper == pytest.approx(sample.exact, rel=1e-9, abs=1e-12)
        assert found.upper >= sample.exact * (1 - 2**-50)
    if not sample.runs:
        return
    run = runner(sample.model, sample.fixed)
    with np.errstate(all="ignore"):
        best = steepest(run, box=sample.box, starts=sample.starts, seed=1)
    assert best <= found.upper, (best, found)
    assert best >= sample.ratio * found.upper, (best, found)
