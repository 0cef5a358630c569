"""The promise over random networks: no slope that is found exceeds the bound."""

import warnings

import numpy as np
import pytest

from tests.lipschitz.networks import bound_of, runner, steepest
from tests.lipschitz.random_networks import random_network

ORDINARY = 300
CHUNK = 20


def _violations(seeds: range) -> list[tuple[int, float, float]]:
    found, finite = [], 0
    for seed in seeds:
        model, box = random_network(seed)
        bound = bound_of(model, input_range=box)
        if bound.upper is None:
            assert bound.unbounded or bound.unmodelled
            continue
        finite += 1
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = runner(model)
            best = steepest(run, box=box, seed=seed, points=1, rounds=2, scales=(0.3, 1.0, 4.0))
        if best > bound.upper:
            found.append((seed, best, bound.upper))
    assert finite >= len(seeds) // 2, "most of these networks have a bound"
    return found


@pytest.mark.parametrize("first", range(0, ORDINARY, CHUNK))
def test_no_slope_exceeds_the_bound(first: int) -> None:
    assert _violations(range(first, first + CHUNK)) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(ORDINARY, 5000, 100))
def test_no_slope_exceeds_the_bound_at_length(first: int) -> None:
    assert _violations(range(first, first + 100)) == []
