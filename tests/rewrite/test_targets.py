"""A limit on the network: the targets that lead to it."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from specaudit.rewrite import network
from specaudit.rewrite.modes import ModeName

LIMIT = 1e-3


@pytest.mark.parametrize(
    ("mode", "slope"),
    [("scale", 0.8), ("scale", 1.0), ("project", 0.8), ("project", 1.0), ("project", 1.3)],
)
def test_a_target_missed_by_far_does_not_hold_the_others_back(
    mode: ModeName, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the limit itself other factors are found, whose bound stays far above it."""
    tried: list[float] = []

    def solved(target: float, _: np.ndarray) -> np.ndarray:
        tried.append(target)
        bound = slope * (target - math.log(LIMIT))
        return np.array([bound if len(tried) > 1 else math.log(LIMIT) + 2.5])

    def carried_out(_: Any, factors: np.ndarray, __: str) -> tuple[float, float]:
        upper = float(factors[0]) * (1.0 if len(tried) == 1 else LIMIT)
        return upper, upper

    monkeypatch.setattr(network, "_carried_out", carried_out)
    plan: Any = SimpleNamespace(groups=(0,), solved=solved, is_equal=True)
    reached: Any = network._searched(plan, LIMIT, mode)
    assert reached <= LIMIT
    assert math.log(LIMIT / reached) <= network._ROOM[mode]
