"""The torus of frequencies cut into boxes, each judged by one sample of the symbol."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.gram import U

# |fl(exp(i x)) - exp(i x)| with x = 2 pi p / q in [-pi, pi]: three roundings of x (3 u pi), and a
# sine and a cosine that every library in use returns to within 4 units in the last place.
PHASE_ERROR = 24 * U


@dataclass(frozen=True, slots=True)
class Points:
    """Frequencies that are rational parts of a turn: ``2 pi steps / turns`` along each axis.

    Parameters
    ----------
    group : ndarray, shape (points,), int64
    steps, turns : ndarray, shape (points, axes), int64
    """

    group: NDArray[np.int64]
    steps: NDArray[np.int64]
    turns: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.group.size)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Points":
        """Return some of the points."""
        return Points(self.group[which], self.steps[which], self.turns[which])

    def phases(self, positions: NDArray[np.int64]) -> NDArray[np.complex128]:
        """Return ``exp(-i <position, frequency>)``, shape (points, positions).

        Notes
        -----
        The angle is reduced in integers, so that its error does not grow with the
        position: each axis brings PHASE_ERROR, and each product of two axes under 4 u.
        """
        result = np.ones((len(self), len(positions)), dtype=np.complex128)
        for axis in range(self.steps.shape[1]):
            turns = self.turns[:, axis, None]
            places, which = np.unique(positions[:, axis], return_inverse=True)
            steps = self.steps[:, axis, None] * places % turns
            waves = unit(np.where(2 * steps > turns, steps - turns, steps) / turns)
            result *= waves[:, which]
        return result


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of frequencies: along axis j the cell ``2 pi [index, index + 1] / counts``.

    Parameters
    ----------
    group : ndarray, shape (boxes,), int64
    index, counts : ndarray, shape (boxes, axes), int64

    Notes
    -----
    The boxes of a group nest: the cells that occur along the first axis tile it; among the
    boxes with one cell there, the cells along the second axis tile that; and so on. `split`
    keeps it so, and the proof in `inflation` rests on it. Of a real kernel the first axis
    is tiled from 0 to pi only, since F(-w) is the conjugate of F(w).
    """

    group: NDArray[np.int64]
    index: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def uniform(
        cls, groups: NDArray[np.int64], counts: NDArray[np.int64], *, half: bool
    ) -> "Boxes":
        """Return every box of a uniform grid, for each group; `half` spares negative ones."""
        counts = counts.copy()
        ranges = [np.arange(count) for count in counts]
        if half and counts.size:
            counts[0] += counts[0] % 2
            ranges[0] = np.arange(counts[0] // 2)
        cells = (
            np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
            if counts.size
            else np.zeros((1, 0))
        )
        cells = cells.reshape(-1, counts.size).astype(np.int64)
        index = np.tile(cells, (groups.size, 1))
        return cls(np.repeat(groups, len(cells)), index, np.broadcast_to(counts, index.shape))

    def __len__(self) -> int:
        return int(self.group.size)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(self.group[which], self.index[which], self.counts[which])

    def ratios(self, degrees: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the inflation of every box along every axis."""
        columns = [inflation(int(d), self.counts[:, axis]) for axis, d in enumerate(degrees)]
        return np.stack(columns, axis=1) if columns else np.ones((len(self), 0))

    def split(
        self, failed: NDArray[np.bool_], axes: NDArray[np.int64]
    ) -> tuple["Boxes", NDArray[np.bool_]]:
        """Return the boxes with those that `failed` halved, and which of them are new.

        Parameters
        ----------
        failed : ndarray, shape (boxes,)
        axes : ndarray, shape (boxes,)
            Along which axis to halve.

        Notes
        -----
        To halve a cell of axis j is to halve all boxes over it which share the cells of the
        axes before j, for the rest of the tiling depends on it: for the last axis that is the
        box alone, for the first a whole slab. Slabs without a failure are done, and left out.
        """
        slabs = self._names(0)
        kept = np.isin(slabs, slabs[failed])
        boxes, failed, axes = self.take(kept), failed[kept], axes[kept]
        new = failed.copy()
        for axis in range(self.counts.shape[1]):
            names = boxes._names(axis)
            hit = np.isin(names, names[failed & (axes == axis)])
            order = np.concatenate([np.flatnonzero(~hit), *[np.flatnonzero(hit)] * 2])
            still, moved = int(np.count_nonzero(~hit)), int(np.count_nonzero(hit))
            boxes = Boxes(boxes.group[order], boxes.index[order], boxes.counts[order])
            boxes.counts[still:, axis] *= 2
            boxes.index[still:, axis] *= 2
            boxes.index[still + moved :, axis] += 1
            failed, axes, new = failed[order], axes[order], new[order]
            new[still:] = True
        return boxes, new

    def _names(self, axis: int) -> NDArray[np.int64]:
        """Return equal numbers for boxes with equal cells along the axes up to one."""
        parts = [self.group, *self.index.T[: axis + 1], *self.counts.T[: axis + 1]]
        return np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1)

    def centres(self) -> "Points":
        """Return the middle of every box."""
        return Points(self.group, 2 * self.index + 1, 2 * self.counts)


def unit(turns: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return ``exp(-2 pi i turns)`` to within PHASE_ERROR, for turns within [-1/2, 1/2]."""
    angle = 2.0 * math.pi * turns
    result = np.empty(angle.shape, dtype=np.complex128)
    result.real, result.imag = np.cos(angle), -np.sin(angle)
    return result


def inflation(degree: int, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return r, for cells of 2 pi / counts: how much a sample may understate the supremum.

    Parameters
    ----------
    degree : int
        Largest position D along the axis, which has taps 0 … D.
    counts : ndarray, int64
        More than D.

    Notes
    -----
    Let M = sup ||F|| along one axis, attained at t* in the cell about c, so that
    ``|c - t*| <= h = pi / counts``; let u, v be the singular vectors there. With phases
    about the middle tap, ``p(t) = Re exp(i D t / 2) u* F(t) v`` (times a unit constant) is
    a real trigonometric polynomial of degree D / 2 that never exceeds M and has
    ``p(t*) = M``. Then M is at most the norm, at the single point c, of

    * ``F(c) / cos(D h / 2)``: by M. Riesz, p(t* + s) >= M cos(D s / 2) for |s| <= 2 pi / D;
    * if D = 2m is even, of F(c) with all taps *but the middle one* multiplied by
      ``r = 1 / (1 - e)``, e = m + 1 - K(h)**2 / (m + 1), K(h) = sin((m + 1) h / 2) / sin(h / 2):
      M - p >= 0 equals |P|**2 with P of degree m in exp(i t) and P(t*) = 0 (Fejér and
      Riesz). Its mean, M minus the mean p_0 of p, is the squared 2-norm of P's coefficients,
      so that M - p(c) <= e (M - p_0) by Cauchy and Schwarz, and M <= p_0 + r (p(c) - p_0).

    For D = 2 the r of both is 1 / cos(h), and the second spares the middle tap; for D = 4
    they agree to first order; past that Riesz is ahead. In either form a larger r holds too.

    With several axes: let w* attain the supremum and let C1 be the cell of w*_1. Put c1 for
    w_1 and inflate the taps along axis 1: the symbol that is left is at least M somewhere
    over the other axes. Repeat with its own supremum along axis 2, whose tiling may depend
    on C1, and so on. The last box reached has an inflated sample of norm at least M, so the
    largest inflated sample bounds M.

    References
    ----------
    M. Riesz, Eine trigonometrische Interpolationsformel, 1914. Fejér and F. Riesz, 1916.
    """
    half_width = math.pi / counts
    if spares_middle(degree):
        m = degree // 2
        kernel = np.sin((m + 1) * half_width / 2) / np.sin(half_width / 2)
        room = 1.0 - (m + 1) + kernel * kernel / (m + 1)
    else:
        room = np.cos(degree * half_width / 2)
    # A loss of half or more is no use to anybody, and lets the few roundings here be counted:
    # under 64 u of the terms of `room`, which are at most 3, so 4 times 3 times that of room.
    return np.where(
        (room > 0.25) & (counts > degree), (1.0 + 1024 * U) / np.maximum(room, 0.25), math.inf
    )


def spares_middle(degree: int) -> bool:
    """Whether the middle tap of an axis is left as it is when the others are inflated."""
    return degree in (2, 4)
