"""Why the bound is what it is: the path that carries it, and what keeps it from being finite."""

from collections.abc import Sequence
from dataclasses import dataclass

from specaudit.bracket import ZERO, Magnitude
from specaudit.lipschitz.rules import UNMODELLED, Gain, Infinite
from specaudit.lipschitz.steps import Columns, Step, finite, ratio_log10
from specaudit.report import Factor, Unbounded

_MOST_CONTRIBUTORS = 5


@dataclass(frozen=True, slots=True)
class Causes:
    """Nodes without a finite constant on a path from an input to an output."""

    unbounded: tuple[Unbounded, ...]
    unmodelled: tuple[Unbounded, ...]

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.unbounded or self.unmodelled)

    @property
    def proved(self) -> bool:
        """Whether more than a missing size or value stands between here and a bound."""
        return bool(self.unmodelled) or any(cause.code for cause in self.unbounded)

    @property
    def reason(self) -> str:
        """The first cause in words."""
        first = (self.unbounded + self.unmodelled)[0]
        return f"{first.node}: {first.reason}"


def causes(steps: Sequence[Step], sources: Sequence[str], outputs: Sequence[str]) -> Causes:
    """List every infinite gain that lies between an input and an output, in graph order."""
    reached = set(outputs)
    alive: list[Step] = []
    for step in reversed(steps):
        if reached.isdisjoint(step.outputs):
            continue
        alive.append(step)
        for index, name in enumerate(step.inputs):
            if any(option.gains[index] != ZERO for option in step.options):
                reached.add(name)
    found: dict[tuple[str, str, str | None], Unbounded] = {}
    for step in reversed(alive):
        for gain in _infinite(step):
            here = Unbounded(step.node, step.op, gain.words, gain.code)
            for cause in gain.inside or (here,):
                found.setdefault((cause.node, cause.reason, cause.code), cause)
    listed = found.values()
    return Causes(
        tuple(cause for cause in listed if cause.code != UNMODELLED),
        tuple(
            Unbounded(cause.node, cause.op, cause.reason)
            for cause in listed
            if cause.code == UNMODELLED
        ),
    )


def _infinite(step: Step) -> list[Infinite]:
    """The infinite gains that every one of a step's options has."""
    found = []
    for index in range(len(step.inputs)):
        gains: list[Gain] = [option.gains[index] for option in step.options]
        if all(not finite(gain).is_finite for gain in gains):
            reason = next((gain for gain in gains if isinstance(gain, Infinite)), None)
            found.append(reason or Infinite("G", "its constant is past every number"))
    return found


def follow(
    steps: Sequence[Step],
    columns: Columns,
    source: str,
    column: int,
    outputs: tuple[str, ...],
    backwards: bool,
) -> tuple[Factor, ...]:
    """The path that dominates at every sum; its factors multiply to the bound it ends with."""
    if backwards:
        return _down(steps, columns, source, outputs)
    return _up(steps, columns, column, outputs)


def _up(
    steps: Sequence[Step], columns: Columns, column: int, outputs: tuple[str, ...]
) -> tuple[Factor, ...]:
    producers = {name: step for step in steps for name in step.outputs}

    def at(name: str) -> Magnitude:
        return columns[name][column] if name in columns else ZERO

    here = max(outputs, key=lambda name: at(name).log10_upper)
    factors: list[Factor] = []
    while here in producers:
        step = producers[here]
        option = min(
            step.options, key=lambda o: o.combine([at(n) for n in step.inputs]).log10_upper
        )
        weighed = [
            (finite(gain) * at(name)).log10_upper
            for gain, name in zip(option.gains, step.inputs, strict=True)
        ]
        before = step.inputs[weighed.index(max(weighed))]
        if at(before).mantissa == 0.0:
            break
        growth = ratio_log10(at(here), at(before))
        factors.append(Factor(step.node, step.op, growth, step.rule))
        here = before
    return tuple(reversed(factors))


def _down(
    steps: Sequence[Step], columns: Columns, source: str, outputs: tuple[str, ...]
) -> tuple[Factor, ...]:
    def weight(name: str) -> Magnitude:
        return ZERO.hypot(*columns[name]) if name in columns else ZERO

    readers: dict[str, list[tuple[Step, int]]] = {}
    for step in steps:
        for index, name in enumerate(step.inputs):
            readers.setdefault(name, []).append((step, index))
    factors: list[Factor] = []
    here = source
    while here not in outputs:
        best: tuple[float, Step, str] | None = None
        for step, index in readers.get(here, ()):
            gain = finite(min((o.gains[index] for o in step.options), key=_size))
            for name in step.outputs:
                share = (gain * weight(name)).log10_upper
                if best is None or share > best[0]:
                    best = (share, step, name)
        if best is None or weight(best[2]).mantissa == 0.0:
            break
        _, step, after = best
        growth = ratio_log10(weight(here), weight(after))
        factors.append(Factor(step.node, step.op, growth, step.rule))
        here = after
    return tuple(factors)


def _size(gain: Gain) -> float:
    return finite(gain).log10_upper


def contributors(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The steps of a path that stretch most, largest first."""
    stretching = [factor for factor in factors if factor.log10_factor > 0.0]
    stretching.sort(key=lambda factor: -factor.log10_factor)
    return tuple(stretching[:_MOST_CONTRIBUTORS])
