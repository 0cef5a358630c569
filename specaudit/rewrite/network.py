"""The bound of a whole network brought under a limit, over its graph or its product."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from specaudit import measuring, pipeline
from specaudit.bracket import round_up
from specaudit.errors import NotCertified, UsageError
from specaudit.operators import Layer, widen
from specaudit.policy import figures
from specaudit.report import Measurement, Norm
from specaudit.rewrite.bench import Bench, epsilon_of, lay_multiple
from specaudit.rewrite.budget import allocate
from specaudit.rewrite.clamping import bring_under, refuse_non_finite
from specaudit.rewrite.differences import smallest_normal
from specaudit.rewrite.modes import ModeName
from specaudit.rewrite.overlay import Overlay

Reals = NDArray[np.float64]

_ROUNDS = 6
_STEP = 0.02  # of a logarithm, for a slope
_SETTLED = 1e-3
_ATTEMPTS = 12
_NOTHING = -40.0  # 4e-18: what is left of the bound then does not come from the weights
_HARDLY = math.log(1e-6)  # past this factor next to nothing is left of a layer
_STEPS = 8.0  # of a type's smallest number: entries of three digits
_ROOM = {"scale": 1e-4, "project": 1e-3}  # under the limit that is not worth another search
_STEEP = 3.0  # a bound that grows so many times faster than its target is another branch's
_SLACK = 1e-6  # relative, which roundings and measuring anew may take
_EQUAL = (
    "the layers take one and the same factor: to change the weights least would leave next to "
    "nothing of one of them"
)


def bring_network_under(
    bench: Bench, chosen: Sequence[Layer], limit: float, mode: ModeName
) -> tuple[str, ...]:
    """Change weights until the network's bound, or the product, is proved under a limit.

    Notes
    -----
    With factors ``exp(t)`` the logarithm of the bound is convex in t but for minima of
    several bounds. It is put linear where it stands, the change of the weights minimised
    (`allocate`), and so on until the factors settle. Far under the bound that change is
    least which takes all of it from one layer, and leaves a network that computes nothing;
    where less than a millionth of a layer would be left, or less than its type can hold, all
    take one and the same factor.

    Returns
    -------
    notes : tuple of str
        What has to be said of it.

    Raises
    ------
    UsageError
        If the limit is no positive number, or no factors reach it.
    NotCertified
        If there is no finite bound, or it misses the limit once the weights are stored.
    """
    if not 0.0 < limit < math.inf:
        raise UsageError(f"--max-lipschitz {limit:g} is not a limit", help="a number over 0")
    with (
        closing(Overlay(bench.overlay.model, bench.overlay.folder)) as trial,
        measuring.threads_for(bench.layers),
    ):
        plan = Plan(bench, trial, chosen)
        if plan.bound(np.zeros(len(plan.groups))) <= math.log(limit) and plan.found <= limit:
            return ()
        refuse_non_finite(bench.measured, bench.prepared.model.path)
        plan.check_feasible(limit)
        measured = _searched(plan, limit, mode)
        if measured is not None:
            bench.take(trial, measured)
            return (_EQUAL,) if plan.is_equal else ()
    raise NotCertified(
        f"SA501: no factors were found with which the bound is proved <= {figures.exact(limit)}",
        where=bench.prepared.model.path,
    )


def _searched(plan: "Plan", limit: float, mode: ModeName) -> list[Measurement] | None:
    """Lay factors over the trial that keep the limit as stored, and not much below it.

    Returns
    -------
    list of Measurement or None
        Of each layer, with these factors; None if there are none.
    """
    aim = math.log(limit) - _SLACK
    kept: tuple[float, float] | None = None  # a target and the room that its bound leaves
    missed: tuple[float, float] | None = None
    best, t, target = None, np.zeros(len(plan.groups)), aim
    for _ in range(_ATTEMPTS):
        t = plan.solved(target, t)
        upper, measured = _carried_out(plan, np.exp(t), mode)
        room = math.log(limit) - math.log(upper) if upper > 0.0 else math.inf
        if room >= 0.0 and (kept is None or target > kept[0]):
            best, kept = t, (target, room)
            if room <= _ROOM[mode]:
                return measured
        elif room < 0.0 and (missed is None or target < missed[0]):
            missed = target, room
        target = _next_target(target, room, kept, missed, 0.5 * _ROOM[mode])
    return None if best is None else _carried_out(plan, np.exp(best), mode)[1]


def _next_target(
    target: float,
    room: float,
    kept: tuple[float, float] | None,
    missed: tuple[float, float] | None,
    wanted: float,
) -> float:
    """Return the target to try next: where the bound would leave the wanted room, were it linear.

    First as if it followed the target step by step, which it mostly does. What missed may be
    on another branch of the factors, far off: a line to it leads nowhere for long, and neither
    does one to where a target has been already. The middle of the two that are known does.
    """
    if kept is None or missed is None:  # one side alone is known: a step to the other
        return target + (min(room, 1.0) if room >= 0.0 else max(1.1 * room, -10.0) - _SLACK)
    is_steep = kept[1] - missed[1] > _STEEP * (missed[0] - kept[0])
    for part in (1.0, 2.0 / 3.0) if is_steep else (1.0,):
        if (direct := kept[0] + part * kept[1] - wanted) < missed[0] and direct > kept[0]:
            return direct
    share = (kept[1] - wanted) / (kept[1] - missed[1])
    if is_steep or not 0.01 < share < 0.99:
        share = 0.5
    return kept[0] + share * (missed[0] - kept[0])


@dataclass(frozen=True, slots=True)
class Group:
    """Uses of one parameter, which takes one factor.

    Attributes
    ----------
    indices : tuple of int
    square : float
        Squared Frobenius norm of the weight.
    hardly : float
        Logarithm of the factor past which next to nothing is left of it.
    """

    indices: tuple[int, ...]
    square: float
    hardly: float


class Plan:
    """The bound as a function of factors, tried on an overlay of the bench's model."""

    def __init__(self, bench: Bench, trial: Overlay, chosen: Sequence[Layer]) -> None:
        self.bench, self.trial = bench, trial
        # As `check` will: what a limit of its own had measured closely is measured as usual.
        self.measured = [
            measuring.alone(layer, bench.settings) if index in bench.closer else found
            for index, (layer, found) in enumerate(zip(bench.layers, bench.current(), strict=True))
        ]
        self.groups = tuple(_groups(bench, {id(layer) for layer in chosen}))
        self.squares = np.array([group.square for group in self.groups])
        self.hardly = np.array([group.hardly for group in self.groups])
        self.known: dict[bytes, Norm] = {}
        self.path: tuple[str, ...] = ()
        self.found = math.inf
        self.is_equal = False

    def check_feasible(self, limit: float) -> None:
        """Raise if the limit lies under what the bound is without these weights."""
        left = self.bound(np.full(len(self.groups), _NOTHING))
        if left <= math.log(limit):
            return
        where = " → ".join(self.path[:8]) + (" → …" if len(self.path) > 8 else "")
        raise UsageError(
            f"no factors of the layers bring the bound to {figures.exact(limit)}: it stays at "
            f"{figures.ceiling(math.exp(left))}" + (f" along {where}" if where else ""),
            where=self.bench.prepared.model.path,
            help="a path that no chosen weight lies on, such as an identity, is not shrunk",
        )

    def solved(self, target: float, t: Reals) -> Reals:
        """Return logarithms of factors for which the bound is at most the target, sought from t."""
        value, slopes = self.bound(t), np.zeros(len(self.groups))
        for _ in range(_ROUNDS):
            slopes = self.slopes(t, value)
            following = self._allocated(slopes, t, target - value)
            moved = float(np.abs(following - t).max())
            t = following
            value = self.bound(t)
            if moved <= _SETTLED and value <= target + _SETTLED:
                break
        for _ in range(4 * _ROUNDS):
            if target - _SLACK <= value <= target:
                break
            t = self._allocated(slopes, t, target - value - 0.1 * _SLACK)
            value = self.bound(t)
        return t

    def _allocated(self, slopes: Reals, t: Reals, rise: float) -> Reals:
        budget = rise + float(slopes @ t)
        if budget >= 0.0 or not slopes.any():
            return np.zeros(len(t))
        found = allocate(self.squares, slopes, budget)
        self.is_equal = bool(np.any(found < self.hardly))
        return np.where(slopes > 0.0, budget / slopes.sum(), 0.0) if self.is_equal else found

    def slopes(self, t: Reals, value: float) -> Reals:
        """Return how fast the logarithm of the bound grows with that of each factor."""
        found = []
        for index in range(len(t)):
            less = t.copy()
            less[index] -= _STEP
            found.append(max(0.0, (value - self.bound(less)) / _STEP))
        slopes = np.array(found)
        slopes[slopes < 1e-9] = 0.0  # what hardly enters the bound is not touched for it
        return slopes

    def bound(self, t: Reals) -> float:
        """Return the logarithm of the bound with factors ``exp(t)``."""
        factors = np.exp(t)
        scaled = list(self.measured)
        for group, factor in zip(self.groups, factors, strict=True):
            for index in group.indices:
                scaled[index] = _scaled(scaled[index], float(factor))
        if self.bench.prepared.model.graph is None:
            upper, log10_upper = _product(scaled)
        else:
            upper, log10_upper = self._over_graph(scaled, factors)
        self.found = upper
        return log10_upper * math.log(10.0)

    def _over_graph(self, scaled: Sequence[Measurement], factors: Reals) -> tuple[float, float]:
        from specaudit import lipschitz

        self.write(factors)
        settings = self.bench.settings
        prepared = self.bench.prepare(self.trial.model)
        layers: dict[str, list[Layer]] = {}
        for layer in prepared.layers:
            if layer.node is not None:
                layers.setdefault(layer.node, []).append(layer)
        measured = {
            id(layer): found.operator_norm or found.norm
            for layer, found in zip(prepared.layers, scaled, strict=True)
            if (found.operator_norm or found.norm).of != "reshaped"
        }
        resolved = prepared.extraction.resolved
        assert resolved is not None
        network = lipschitz.bound(
            resolved,
            {node: tuple(found) for node, found in layers.items()},
            lambda layer: measured.get(id(layer)) or self._measured(layer),
            input_range=settings.input_range,
        )
        if network.log10_upper is None and network.upper != 0.0:
            first = next(iter((*network.unbounded, *network.unmodelled)), None)
            why = network.reason or (f"{first.node} ({first.op}): {first.reason}" if first else "")
            raise NotCertified(
                f"the network has no finite bound to bring down: {why}",
                where=self.bench.prepared.model.path,
            )
        self.path = network.path
        upper = math.inf if network.upper is None else network.upper
        return upper, -math.inf if network.log10_upper is None else network.log10_upper

    def _measured(self, layer: Layer) -> Norm:
        """Measure a kernel that was fused; the same values are measured once."""
        values = np.ascontiguousarray(layer.read())
        digest = hashlib.sha256(values.tobytes())
        digest.update(repr((layer.kind, values.shape, values.dtype, layer.geometry)).encode())
        key = digest.digest()
        if key not in self.known:
            settings = replace(self.bench.settings, conv="operator")
            self.known[key] = measuring.alone(layer, settings).norm
        return self.known[key]

    def write(self, factors: Reals) -> None:
        """Lay the weights times the factors over those of the bench."""
        self.trial.drop()
        pristine = self.bench.prepare(self.trial.model).layers
        for group, factor in zip(self.groups, factors, strict=True):
            layer = pristine[group.indices[0]]
            if factor < 1.0:
                lay_multiple(self.trial, layer, np.asarray(layer.read()), float(factor))


def _carried_out(plan: Plan, factors: Reals, mode: ModeName) -> tuple[float, list[Measurement]]:
    """Lay what was planned over the bench, measure it as it would be stored, and bound it."""
    trial, settings = plan.trial, plan.bench.settings
    if mode == "scale":
        plan.write(factors)
    else:
        trial.drop()
        prepared = plan.bench.prepare(trial.model)
        copy = Bench.of(trial, prepared, plan.measured)
        limits: list[float | None] = [None] * len(plan.measured)
        for group, factor in zip(plan.groups, factors, strict=True):
            for index in group.indices if factor < 1.0 else ():
                upper = plan.measured[index].norm.upper
                limits[index] = None if upper is None else float(factor) * upper
        bring_under(copy, limits, mode)
    prepared = plan.bench.prepare(trial.model)
    changed = set(trial)
    measured = [
        measuring.alone(layer, settings)
        if any(tensor.name in changed for tensor in layer.tensors)
        else known
        for layer, known in zip(prepared.layers, plan.measured, strict=True)
    ]
    if prepared.model.graph is None:
        return _product(measured)[0], measured
    upper = pipeline.bound_network(prepared, measured).upper
    return math.inf if upper is None else upper, measured


def _groups(bench: Bench, chosen: set[int]) -> Iterator[Group]:
    """Yield the parameters that may take a factor."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, layer in enumerate(bench.layers):
        first = layer.tensors[0].name if layer.tensors else layer.name
        part = layer.name.removeprefix(first) if layer.name.startswith(first) else layer.name
        found.setdefault((bench.overlay.same(first)[0], part), []).append(index)
    for indices in found.values():
        layer = bench.layers[indices[0]]
        if layer.write is None or not all(id(bench.layers[index]) in chosen for index in indices):
            continue
        values = widen(np.asarray(layer.read())).reshape(-1)
        square = float(np.vdot(values, values).real)
        if square > 0.0:
            yield Group(tuple(indices), square, _hardly(layer, math.sqrt(square / values.size)))


def _hardly(layer: Layer, size: float) -> float:
    """Return the logarithm of the factor past which next to nothing is left of a weight.

    A millionth; or where entries of this size are a few steps of the type's smallest ones.
    """
    step = smallest_normal(layer.dtype) * epsilon_of(layer.dtype)
    if step == 0.0:
        return _HARDLY
    return max(_HARDLY, min(0.0, math.log(_STEPS * step) - math.log(size)))  # no quotient: 0


def _scaled(found: Measurement, factor: float) -> Measurement:
    """Return a measurement of the multiple of a weight."""

    def times(norm: Norm | None) -> Norm | None:
        if norm is None or norm.upper is None or factor == 1.0:
            return norm
        return replace(norm, lower=0.0, upper=round_up(norm.upper * factor))

    norm = times(found.norm)
    assert norm is not None
    return replace(found, norm=norm, operator_norm=times(found.operator_norm))


def _product(measured: Sequence[Measurement]) -> tuple[float, float]:
    product = pipeline.multiply(measured)
    if product.log10_upper is None and product.upper != 0.0:
        raise NotCertified(f"the product has no finite bound: {product.reason}")
    upper = math.inf if product.upper is None else product.upper
    return upper, -math.inf if product.log10_upper is None else product.log10_upper
