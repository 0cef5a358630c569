"""The split of a budget is the least change, against a search that knows no formula."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from specaudit.rewrite.budget import allocate

CASES = {
    "chain": ([1.0, 4.0, 25.0, 100.0], [1, 1, 1, 1], 0.5),
    "equal": ([3.0, 3.0, 3.0], [1, 1, 1], 0.3),
    "tied": ([2.0, 5.0, 1.0], [2, 1, 1], 0.4),
    "one without effect": ([2.0, 5.0, 1.0], [1, 0, 1], 0.6),
    "past one half": ([1.0, 4.0, 25.0, 100.0], [1, 1, 1, 1], 0.1),
    "far past": ([2.0, 3.0, 4.0], [1, 2, 1], 1e-6),
    "fractions": ([1.0, 1.0], [0.25, 0.75], 0.9),
}


@pytest.mark.parametrize("case", CASES)
def test_the_budget_is_kept_touched_and_no_split_changes_less(case: str) -> None:
    squares, exponents, share = CASES[case]
    f, g, budget = np.array(squares), np.array(exponents, dtype=float), math.log(share)
    t = allocate(f, g, budget)
    assert (t <= 0).all()
    assert budget * (1 + 1e-9) <= g @ t <= budget
    assert (t[g == 0] == 0).all()
    cost = f @ (1 - np.exp(t)) ** 2
    rng = np.random.default_rng(0)
    for _ in range(30):
        start = -rng.exponential(1.0, len(f)) * (g > 0)
        start *= budget / (g @ start)
        found = minimize(
            lambda t: f @ (1 - np.exp(t)) ** 2,
            start,
            jac=lambda t: -2 * f * (1 - np.exp(t)) * np.exp(t),
            bounds=[(None, 0.0)] * len(f),
            constraints={"type": "eq", "fun": lambda t: g @ t - budget, "jac": lambda t: g},
            method="SLSQP",
        )
        if abs(g @ found.x - budget) < 1e-9:
            assert cost <= found.fun * (1 + 1e-6)


def test_the_known_answers() -> None:
    f, g = np.array([1.0, 4.0, 25.0, 100.0]), np.ones(4)
    half = np.exp(allocate(f, g, math.log(0.5)))
    np.testing.assert_allclose(half, [0.54, 0.93, 0.99, 0.998], atol=5e-3)
    assert f @ (1 - half) ** 2 == pytest.approx(0.23, abs=5e-3)
    tenth = np.exp(allocate(f, g, math.log(0.1)))
    np.testing.assert_allclose(tenth, [0.103, 0.976, 0.996, 0.999], atol=5e-4)


def test_where_no_layer_counts_nothing_is_scaled() -> None:
    """The steepest path may hold no layer; what then is missed is for the caller to say."""
    assert allocate(np.array([1.0, 4.0]), np.zeros(2), math.log(0.5)).tolist() == [0.0, 0.0]
