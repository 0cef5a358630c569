"""A limit on the whole network, split over its layers so that the weights change least."""

import math

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
_BISECTIONS = 200


def allocate(squares: Reals, exponents: Reals, budget: float) -> Reals:
    """Return the logarithms of factors that change the weights least.

    Parameters
    ----------
    squares : ndarray, shape (k,), positive
        Squared Frobenius norms of the weights.
    exponents : ndarray, shape (k,), >= 0, one at least positive
        Power with which each factor enters the bound.
    budget : float
        Negative: what ``sum(exponents * t)`` may come to.

    Returns
    -------
    t : ndarray, shape (k,), <= 0
        The factors are ``s = exp(t)``.

    Notes
    -----
    Minimises ``sum(squares * (1 - s)**2)``. At the minimum ``s (1 - s)`` is a multiple
    of ``exponents / squares``, its *level*. Of the two roots all layers take the one over
    1/2, as far as that reaches; past it exactly one takes the other, since the cost is not
    convex there: each is tried.

    Examples
    --------
    >>> t = allocate(np.array([1.0, 4.0, 25.0, 100.0]), np.ones(4), math.log(0.5))
    >>> [round(float(s), 2) for s in np.exp(t)]
    [0.54, 0.93, 0.99, 1.0]
    """
    active = np.flatnonzero(exponents > 0.0)
    if active.size == 0:  # no layer that can be scaled is on the path: nothing helps
        return np.zeros(len(squares))
    f, g = squares[active], exponents[active]
    chain = _Chain(g / f, g, budget)
    if chain.over(math.log(chain.most), None) <= 0.0:
        found = [chain.solved(None)]
    else:
        found = [chain.solved(low) for low in range(len(f))]
    costs = [float(f @ (1.0 - np.exp(t)) ** 2) for t in found]
    result = np.zeros(len(squares))
    result[active] = found[int(np.argmin(costs))]
    return result


class _Chain:
    """The one-parameter family of factors that `allocate` looks through."""

    def __init__(self, ratio: Reals, exponents: Reals, budget: float) -> None:
        self.ratio, self.exponents, self.budget = ratio, exponents, budget
        self.most = 0.25 / float(ratio.max())

    def factors(self, log_level: float, low: int | None) -> Reals:
        """Logarithms of the factors; that of layer `low` takes the smaller root."""
        inside = np.maximum(1.0 - 4.0 * math.exp(log_level) * self.ratio, 0.0)
        t = np.log1p(np.sqrt(inside)) - math.log(2.0)
        if low is not None:  # the product of the two roots is level * ratio
            t[low] = log_level + math.log(self.ratio[low]) - t[low]
        return np.asarray(t)

    def over(self, log_level: float, low: int | None) -> float:
        """By how much the budget is missed."""
        return float(self.exponents @ self.factors(log_level, low)) - self.budget

    def solved(self, low: int | None) -> Reals:
        """Factors that keep the budget and touch it.

        With `low`, the budget is missed at the largest level and kept at a small enough
        one; without, the other way round. Levels are halved as logarithms.
        """
        kept, missed = math.log(self.most), math.log(self.most) - 1.0
        if low is not None:
            missed, kept = kept, kept + self.budget / self.exponents[low] - 1.0
        else:
            while self.over(missed, None) <= 0.0 and missed > -700.0:
                missed -= 10.0
        for _ in range(_BISECTIONS):
            middle = 0.5 * (kept + missed)
            if self.over(middle, low) <= 0.0:
                kept = middle
            else:
                missed = middle
        return self.factors(kept, low)
