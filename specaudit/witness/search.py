"""A search for a steep pair of inputs, without gradients; it proves nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from specaudit.witness.balls import Array

_LENGTHS = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_SCALES = (1.0, 0.1, 3.0)
_DIFFERENCE = 1e-6
_TRIALS = 16
_LARGEST_GRAM = 512
_MOST_DIRECTIONS = 4096
_BLOCK = 64
_CALL = 300_000  # what the search itself costs, in multiplications


@dataclass(frozen=True, slots=True)
class Pair:
    """Two points and the slope seen between them, less what its evaluation may be off."""

    a: "Array"
    b: "Array"
    slope: float


@dataclass(slots=True)
class Searcher:
    """Looks for steep pairs within a budget of evaluations, so that a seed gives one answer.

    Parameters
    ----------
    function : callable
        From points, one a row, to their images.
    size : int
        Entries of a point.
    box : (ndarray, ndarray)
        Least and greatest value of each entry; infinite where there is none.
    noise : float
        Relative error to reckon with where somebody else evaluates the pair.
    price : callable
        From a number of points to what it costs to evaluate them together.
    budget : int
        What may be spent.
    seed : int
    step : float
        Length of the steps for a Jacobian, relative to the largest entry of the point.
    call : int
        What a call costs besides.
    """

    function: "Callable[[Array], Array]"
    size: int
    box: "tuple[Array, Array]"
    noise: float
    price: Callable[[int], int]
    budget: int
    seed: int
    step: float = _DIFFERENCE
    call: int = _CALL

    def best(self, count: int) -> list[Pair]:
        """The `count` steepest pairs, the steepest first, each from another start.

        What cannot be proved at one place (a root at 0) often can at another.
        """
        rng = np.random.default_rng(self.seed)
        found: list[Pair] = []
        for place in range(1 << 16):
            if self.budget <= 0:
                break
            near = self._around(self._start(place, found, rng), rng)
            found += sorted(near, key=lambda pair: -pair.slope)[:1]
            found = sorted(found, key=lambda pair: -pair.slope)[:count]
        return found

    def _start(self, place: int, found: Sequence[Pair], rng: np.random.Generator) -> "Array":
        """The middle, then random points; every other time a step away from the best pair."""
        low, high = self.box
        boxed = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):
            middle = np.where(boxed, (low + high) / 2, np.clip(0.0, low, high))
            width = np.where(boxed, (high - low) / 2, 1.0)
        if place == 0:
            return middle
        noise = rng.standard_normal(self.size)
        if found and place % 2 == 0:
            return self._inside((found[0].a + found[0].b) / 2 + 0.1 * width * noise)
        return self._inside(middle + _SCALES[place // 2 % len(_SCALES)] * width * noise)

    def _around(self, x: "Array", rng: np.random.Generator) -> list[Pair]:
        """Steep pairs at x and near it, along the direction in which x is steepest."""
        direction: Array | None = None
        for _ in range(1 if self.size <= self._directions() else 3):
            direction = self._steepest(x, direction, rng)
            if direction is None:
                return []
        assert direction is not None  # it was looked for at least once
        pairs = self._along(x, direction)
        for _ in range(3):
            if not pairs or self.budget <= 0:
                break
            best = max(pairs, key=lambda pair: pair.slope)
            pairs += self._climb(best, rng)
        return pairs

    def _directions(self) -> int:
        affordable = self.budget // (4 * self.price(_BLOCK)) * _BLOCK
        return min(self.size, max(8, affordable), _MOST_DIRECTIONS)

    def _steepest(
        self, x: "Array", known: "Array | None", rng: np.random.Generator
    ) -> "Array | None":
        """The right singular vector of the Jacobian at x, or of it on a random subspace."""
        count = self._directions()
        if count == self.size:
            basis = np.eye(self.size)
        else:
            block = rng.standard_normal((self.size, min(count, _BLOCK)))
            if known is not None:
                block[:, 0] = known
            basis = np.linalg.qr(block)[0].T
        step = self.step * max(1.0, float(np.abs(x).max(initial=0.0)))
        here, there = self._evaluate(x[None]), self._evaluate(x + step * basis)
        rows = (there - here) / step
        if not np.isfinite(rows).all() or not rows.any():
            return None
        return np.asarray(_top_left(rows) @ basis)

    def _along(self, x: "Array", direction: "Array") -> list[Pair]:
        scale = max(1.0, float(np.linalg.norm(x)))
        lengths = np.array([sign * length for length in _LENGTHS for sign in (1, -1)])
        return self._pairs(
            np.repeat(x[None], len(lengths), axis=0), x + scale * lengths[:, None] * direction
        )

    def _climb(self, best: Pair, rng: np.random.Generator) -> list[Pair]:
        """The same step from places around, and steps turned a little."""
        step = best.b - best.a
        length = float(np.linalg.norm(step))
        shifts = rng.standard_normal((_TRIALS, self.size))
        shifts *= length / np.linalg.norm(shifts, axis=1, keepdims=True)
        half = _TRIALS // 2
        starts = np.concatenate([best.a + shifts[:half], np.repeat(best.a[None], half, axis=0)])
        ends = np.concatenate([best.a + step + shifts[:half], best.b + 0.2 * shifts[half:]])
        return self._pairs(starts, ends)

    def _pairs(self, starts: "Array", ends: "Array") -> list[Pair]:
        starts, ends = self._inside(starts), self._inside(ends)
        images = self._evaluate(np.concatenate([starts, ends]))
        before, after = images[: len(starts)], images[len(starts) :]
        apart = np.linalg.norm(after - before, axis=1)
        lost = self.noise * (np.linalg.norm(before, axis=1) + np.linalg.norm(after, axis=1))
        distance = np.linalg.norm(ends - starts, axis=1)
        with np.errstate(all="ignore"):
            slopes = (apart - lost) / distance
        return [
            Pair(starts[k], ends[k], float(slope))
            for k, slope in enumerate(slopes)
            if np.isfinite(slope) and slope > 0.0
        ]

    def _inside(self, points: "Array") -> "Array":
        return np.asarray(np.clip(points, *self.box))

    def _evaluate(self, points: "Array") -> "Array":
        self.budget -= self.price(len(points)) + self.call
        blocks = [self.function(points[k : k + _BLOCK]) for k in range(0, len(points), _BLOCK)]
        return np.concatenate(blocks)


def _top_left(rows: "Array") -> "Array":
    """The leading left singular vector of a matrix."""
    with np.errstate(all="ignore"):
        if rows.shape[0] <= min(rows.shape[1], _LARGEST_GRAM):
            return np.asarray(np.linalg.eigh(rows @ rows.T)[1][:, -1])
        if rows.shape[1] <= _LARGEST_GRAM:
            vector = rows @ np.linalg.eigh(rows.T @ rows)[1][:, -1]
        else:
            vector = rows[:, 0] + rows @ np.linspace(1.0, 2.0, rows.shape[1])
            for _ in range(40):
                vector = rows @ (rows.T @ (vector / np.linalg.norm(vector)))
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-300))
