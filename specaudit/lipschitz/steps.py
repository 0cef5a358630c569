"""The network as a list of steps, each with the constants of its inputs; and the two walks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from specaudit.bracket import UNBOUNDED, ZERO, Magnitude
from specaudit.errors import SpecauditError
from specaudit.lipschitz.rules import Gain, Infinite


@dataclass(frozen=True, slots=True)
class Option:
    """One set of constants that holds for a step: ``sum g_i L_i``, or its l2 form if `joint`."""

    gains: tuple[Gain, ...]
    joint: bool = False

    def together(self) -> Magnitude:
        """The bound where the inputs are different parts of one vector that moves as a whole.

        By Cauchy and Schwarz: ``sum g_i |d_i| <= sqrt(sum g_i^2) |d|``.
        """
        if not self.joint:
            return ZERO.hypot(*(finite(gain) for gain in self.gains))
        largest = ZERO
        for gain in self.gains:
            largest = largest.max(finite(gain))
        return largest

    def combine(self, incoming: Sequence[Magnitude]) -> Magnitude:
        """Return the bound of the step's outputs, given those of its inputs."""
        terms = [
            finite(gain) * bound
            for gain, bound in zip(self.gains, incoming, strict=True)
            if bound.mantissa != 0.0
        ]
        if self.joint:
            return ZERO.hypot(*terms)
        total = ZERO
        for term in terms:
            total = total + term
        return total


@dataclass(frozen=True, slots=True)
class Step:
    """A node (or what took its place) between the values it reads and those it writes.

    Every one of `options` bounds all the outputs taken together. `selects` says that the
    output is a selection of the first input along an axis, and which indices it takes;
    `parts` are the nodes that were fused into it.
    """

    node: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: tuple[Option, ...]
    rule: str = ""
    selects: tuple[int, frozenset[int]] | None = None
    parts: tuple[str, ...] = ()


Columns: TypeAlias = dict[str, tuple[Magnitude, ...]]


def finite(gain: Gain) -> Magnitude:
    """The gain as a number that may be infinite."""
    return UNBOUNDED if isinstance(gain, Infinite) else gain


def forward(steps: Sequence[Step], seeds: Mapping[str, tuple[Magnitude, ...]]) -> Columns:
    """Bound the Lipschitz constant of every value with respect to every seed column.

    The last column of the seeds is the one in which all of them move as one vector.

    Notes
    -----
    The mean value theorem for vector functions (Clarke 1983, Proposition 2.6.5) writes
    the change of a node's output as M times the change of its inputs, with M in the convex hull of
    the generalised Jacobians on a segment, whose blocks the gains bound. So both walks
    bound the norm of one product of block matrices, summed over all paths.
    """
    columns: Columns = dict(seeds)
    width = len(next(iter(seeds.values()))) if seeds else 0
    nothing = (ZERO,) * width
    for step in steps:
        incoming = [columns.get(name, nothing) for name in step.inputs]
        for index, name in enumerate(step.inputs):
            # Read as 0, a value nobody made would make the bound a lie.
            if name not in columns and _smallest(step, index).mantissa:
                raise SpecauditError(f"{step.node} reads {name}, which no step makes")
        bounds = tuple(_least(step, [row[column] for row in incoming]) for column in range(width))
        if _reads_only(step, seeds):
            together = _least_together(step)
            bounds = (*bounds[:-1], bounds[-1].min(together))
        for name in step.outputs:
            # A source keeps its seed: it does not depend on what it was looked up with.
            if name not in seeds:
                columns[name] = bounds
    return columns


def _reads_only(step: Step, seeds: Mapping[str, tuple[Magnitude, ...]]) -> bool:
    """Whether the last column, in which all seeds move as one vector, has a better bound here."""
    moving = [name for index, name in enumerate(step.inputs) if _smallest(step, index).mantissa]
    return len(moving) > 1 and len(set(moving)) == len(moving) and seeds.keys() >= set(moving)


def _least_together(step: Step) -> Magnitude:
    best = UNBOUNDED
    for option in step.options:
        best = best.min(option.together())
    return best


def _least(step: Step, incoming: Sequence[Magnitude]) -> Magnitude:
    best = UNBOUNDED
    for option in step.options:
        best = best.min(option.combine(incoming))
    return best


def adjoint(
    steps: Sequence[Step], ends: Mapping[str, tuple[Magnitude, ...]], starts: frozenset[str]
) -> Columns:
    """Bound the constant of every end column with respect to every value, walking backwards.

    A transposed Jacobian has the same norm; here fan-out is what adds, and the parts of a
    split, being orthogonal, add in squares.
    """
    columns: Columns = {}
    width = len(next(iter(ends.values()))) if ends else 0
    nothing = (ZERO,) * width
    pieces: dict[str, list[tuple[tuple[int, frozenset[int]], tuple[Magnitude, ...]]]] = {}
    for name, row in ends.items():
        columns[name] = row
    for step in reversed(steps):
        leaving = [
            _close(name, columns, pieces, nothing) for name in step.outputs if name not in starts
        ]
        total = tuple(ZERO.hypot(*(row[column] for row in leaving)) for column in range(width))
        if all(bound.mantissa == 0.0 for bound in total):
            continue
        for index, name in enumerate(step.inputs):
            gain = _smallest(step, index)
            if gain.mantissa == 0.0:
                continue
            share = tuple(gain * bound for bound in total)
            if step.selects is not None and index == 0:
                pieces.setdefault(name, []).append((step.selects, share))
            else:
                columns[name] = _sum(columns.get(name, nothing), share)
    for name in starts:
        _close(name, columns, pieces, nothing)
    return columns


def _smallest(step: Step, index: int) -> Magnitude:
    best = UNBOUNDED
    for option in step.options:
        best = best.min(finite(option.gains[index]))
    return best


def _sum(first: tuple[Magnitude, ...], second: tuple[Magnitude, ...]) -> tuple[Magnitude, ...]:
    return tuple(one + two for one, two in zip(first, second, strict=True))


def _close(
    name: str,
    columns: Columns,
    pieces: dict[str, list[tuple[tuple[int, frozenset[int]], tuple[Magnitude, ...]]]],
    nothing: tuple[Magnitude, ...],
) -> tuple[Magnitude, ...]:
    """Add what flows back through the selections of a value, once all of it is known."""
    groups: dict[int, list[tuple[frozenset[int], tuple[Magnitude, ...]]]] = {}
    for (axis, indices), share in pieces.pop(name, ()):
        groups.setdefault(axis, []).append((indices, share))
    for group in groups.values():
        columns[name] = _sum(columns.get(name, nothing), _gather(group))
    return columns.get(name, nothing)


def _gather(group: list[tuple[frozenset[int], tuple[Magnitude, ...]]]) -> tuple[Magnitude, ...]:
    """Selections of one tensor: their squares add, times how often an index is taken."""
    counts: dict[int, int] = {}
    for indices, _ in group:
        for index in indices:
            counts[index] = counts.get(index, 0) + 1
    overlap = Magnitude.of(float(max(counts.values(), default=0))).sqrt()
    overlap = overlap if max(counts.values(), default=0) > 1 else Magnitude.of(1.0)
    rows = [share for _, share in group]
    total = rows[0]
    for row in rows[1:]:
        total = _sum(total, row)
    return tuple(
        plain.min(overlap * ZERO.hypot(*(row[column] for row in rows)))
        for column, plain in enumerate(total)
    )


def ratio_log10(after: Magnitude, before: Magnitude) -> float:
    """Decimal logarithm of a quotient, for people to read; no bound is computed from it."""
    if before.mantissa == 0.0 or after.mantissa == 0.0:
        return 0.0
    difference = after.log10_upper - before.log10_upper
    return 0.0 if math.isnan(difference) else difference
