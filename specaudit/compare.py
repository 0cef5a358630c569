"""What changed from one audit to another, layer by layer; only what is proved is a regression."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Literal

import msgspec

from specaudit.bracket import round_down, round_up
from specaudit.report import Measurement, ModelInfo, NetworkBound, Norm, Product, Report

Status = Literal["regressed", "improved", "unchanged", "unclear", "lost", "added", "removed"]
STATUSES: tuple[Status, ...] = (
    "regressed",
    "lost",
    "unclear",
    "improved",
    "added",
    "removed",
    "unchanged",
)


class Change(msgspec.Struct, frozen=True):
    """One layer in both audits, or in one.

    Parameters
    ----------
    status : str
        ``regressed``: lower(B) > upper(A)·(1 + tolerance), or B is no longer finite numbers;
        ``improved``: the same with A and B exchanged; ``lost``: the upper end that A had is
        not proved in B; ``unchanged``: proved to agree within the tolerance; ``unclear``:
        none of these is proved; ``added``, ``removed``.
    before, after : Measurement or None
    matched : {"name", "position", ""}
        How the two were found to be one layer.
    """

    status: Status
    before: Measurement | None
    after: Measurement | None
    matched: Literal["name", "position", ""] = "name"

    @property
    def name(self) -> str:
        """The layer's name, the new one where it was renamed."""
        layer = self.after or self.before
        return layer.name if layer is not None else ""


class Comparison(msgspec.Struct, frozen=True):
    """All changes, in the order of the new audit; what was removed comes last."""

    before: ModelInfo
    after: ModelInfo
    tolerance: float
    changes: tuple[Change, ...]
    products: tuple[Product, Product]
    networks: tuple[NetworkBound, NetworkBound]
    network: Status

    @property
    def regressed(self) -> bool:
        """Whether something is proved to be worse."""
        return self.network == "regressed" or any(
            change.status == "regressed" for change in self.changes
        )

    def summary(self) -> dict[Status, int]:
        """Return how many layers there are of each status."""
        found = [change.status for change in self.changes]
        return {status: found.count(status) for status in STATUSES}

    def groups(self, most: int = 20) -> dict[str, tuple[Change, ...]]:
        """Return the changes by the longest prefix of names that makes at most `most` groups."""
        deepest = max((change.name.count(".") for change in self.changes), default=0)
        best = _grouped(self.changes, 1)
        for depth in range(2, deepest + 1):
            finer = _grouped(self.changes, depth)
            if len(finer) > most:
                break
            best = finer
        return best


def compare(before: Report, after: Report, tolerance: float = 0.01) -> Comparison:
    """Compare two audits.

    Parameters
    ----------
    before, after : Report
    tolerance : float
        Relative; a change below it is none.

    Returns
    -------
    Comparison

    Notes
    -----
    Layers are matched by name and node, then by name, then, among what is left, by kind and
    shape in order of position. Every threshold is rounded away from the claim it serves.
    """
    changes = []
    pairs, removed = _matched(before.layers, after.layers)
    for old, new, how in pairs:
        if old is None:
            changes.append(Change("added", None, new, ""))
        else:
            changes.append(Change(_status(old.norm, new.norm, tolerance), old, new, how))
    changes += [Change("removed", old, None, "") for old in removed]
    return Comparison(
        before.model,
        after.model,
        tolerance,
        tuple(changes),
        (before.product, after.product),
        (before.network, after.network),
        _status(_as_norm(before.network), _as_norm(after.network), tolerance),
    )


def _status(old: Norm, new: Norm, tolerance: float) -> Status:
    if new.status == "non_finite":
        return "unchanged" if old.status == "non_finite" else "regressed"
    if old == new:
        return "unchanged"
    if _above(new.lower, old.upper, tolerance):
        return "regressed"
    if _above(old.lower, new.upper, tolerance):
        return "improved"
    if new.upper is None and old.upper is not None:
        return "lost"
    if _within(old, new, tolerance) and _within(new, old, tolerance):
        return "unchanged"
    return "unclear"


def _above(lower: float | None, upper: float | None, tolerance: float) -> bool:
    """Whether a number of at least `lower` is proved above one of at most `upper`."""
    if lower is None or upper is None:
        return False
    return lower > round_up(upper * round_up(1.0 + tolerance))


def _within(old: Norm, new: Norm, tolerance: float) -> bool:
    """Whether the new number is proved to be at most (1 + tolerance) times the old one."""
    if new.upper is None:
        return False
    return new.upper <= round_down((old.lower or 0.0) * round_down(1.0 + tolerance))


def _as_norm(network: NetworkBound) -> Norm:
    return Norm(network.lower, network.upper, network.status, network.method or "")


Pair = tuple[Measurement | None, Measurement, Literal["name", "position"]]


def _matched(
    before: tuple[Measurement, ...], after: tuple[Measurement, ...]
) -> tuple[list[Pair], list[Measurement]]:
    partners: dict[int, tuple[Measurement, Literal["name", "position"]]] = {}
    left = dict(enumerate(before))
    steps: tuple[tuple[Callable[[Measurement], Hashable], Literal["name", "position"]], ...] = (
        (lambda layer: (layer.name, layer.node), "name"),
        (lambda layer: layer.name, "name"),
        (lambda layer: (layer.kind, layer.shape), "position"),
    )
    for key, how in steps:
        waiting: dict[Hashable, deque[int]] = {}
        for place, layer in left.items():
            waiting.setdefault(key(layer), deque()).append(place)
        for place, layer in enumerate(after):
            if place not in partners and waiting.get(key(layer)):
                partners[place] = left.pop(waiting[key(layer)].popleft()), how
    pairs: list[Pair] = []
    for place, layer in enumerate(after):
        old, how = partners.get(place, (None, "name"))
        pairs.append((old, layer, how))
    return pairs, list(left.values())


def _grouped(changes: Iterable[Change], depth: int) -> dict[str, tuple[Change, ...]]:
    found: dict[str, list[Change]] = {}
    for change in changes:
        parts = change.name.split(".")
        prefix = ".".join(parts[: min(depth, max(len(parts) - 1, 1))])
        found.setdefault(prefix, []).append(change)
    return {prefix: tuple(group) for prefix, group in found.items()}
