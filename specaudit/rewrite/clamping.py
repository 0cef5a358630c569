"""Weights brought under their limits, and proved to be there as they are stored."""

import math
from collections.abc import Sequence

import numpy as np

from specaudit import measuring
from specaudit.errors import NotCertified, UnsupportedModel, UsageError
from specaudit.operators import Array, Layer, widen
from specaudit.policy import figures
from specaudit.policy.patterns import matcher
from specaudit.report import Measurement
from specaudit.rewrite.bench import Bench, epsilon_of
from specaudit.rewrite.modes import MODES, ModeName
from specaudit.rewrite.multiples import scaled_under

Limit = tuple[str | None, float]

_ATTEMPTS = 40
_ROUNDS = 8


def limits_of(
    layers: Sequence[Layer], chosen: Sequence[Layer], limits: Sequence[Limit]
) -> list[float | None]:
    """Return the limit of each layer, None where it has none: the last match wins.

    Raises
    ------
    UsageError
        If a pattern matches no layer, or a limit is no number of 0 or more.
    """
    found: list[float | None] = [None] * len(layers)
    kept = {id(layer) for layer in chosen}
    for pattern, limit in limits:
        if not 0.0 <= limit < math.inf:
            raise UsageError(f"{limit:g} is not a limit", help="a number, 0 or more")
        matches = matcher(pattern) if pattern is not None else None
        hits = [
            index
            for index, layer in enumerate(layers)
            if matches is None or matches(layer.name) or (layer.node and matches(layer.node))
        ]
        if not hits and pattern is not None:
            raise UsageError(
                f"no layer matches {pattern!r}",
                help="`specaudit inspect MODEL` lists the names; `*` stays within a dotted "
                "segment, `**` crosses",
            )
        for index in hits:
            if id(layers[index]) in kept:
                found[index] = limit
    return found


def bring_under(bench: Bench, limits: Sequence[float | None], mode: ModeName) -> None:
    """Change the weights on the bench until each layer is proved to be under its limit.

    Notes
    -----
    A layer that is under its limit is not touched. Tensors that several layers share may
    take a second round, since what one of them needs can change another.

    Raises
    ------
    NotCertified
        If a weight has NaN or infinite entries, or no proof is found.
    UnsupportedModel
        If a weight that is over its limit cannot be written.
    """
    indices = [index for index, limit in enumerate(limits) if limit is not None]
    refuse_non_finite([bench.measured[index] for index in indices], bench.prepared.model.path)
    for _ in range(_ROUNDS):
        changed = False
        for index in indices:
            limit = limits[index]
            assert limit is not None
            changed = _clamp(bench, index, limit, mode) or changed
        if not changed:
            return
    raise NotCertified(
        "layers that share tensors keep pushing one another over their limits",
        where=bench.prepared.model.path,
    )


def refuse_non_finite(measured: Sequence[Measurement], path: str) -> None:
    """Raise if a weight has entries that are no numbers: nothing bounds what it does."""
    bad = [layer for layer in measured if layer.norm.status == "non_finite"]
    if bad:
        names = ", ".join(dict.fromkeys(layer.name for layer in bad[:5]))
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise NotCertified(
            f"NaN or Inf in {names}{more}: no factor mends that",
            where=f"{path} › {bad[0].name}",
            help="--exclude leaves a layer as it is",
        )


def _clamp(bench: Bench, index: int, limit: float, mode: ModeName) -> bool:
    """Bring one layer under its limit; return whether it had to be changed."""
    norm = bench.norm_now(index, limit=limit).norm
    if norm.upper is not None and norm.upper <= limit:
        return False
    layer = bench.layers[index]
    start = norm.upper
    if start is None:
        raise NotCertified(
            f"the norm of {layer.name} is {norm.status}: {norm.reason or 'nothing bounds it'}",
            where=f"{bench.prepared.model.path} › {layer.name}",
            help="--exclude leaves a layer as it is",
        )
    check_writable(layer, bench.prepared.model.path)
    if mode == "scale" and scaled_under(bench, index, limit):
        return True
    if layer.kind in ("convolution", "convolution_transposed"):
        if norm.bracket.relative_width > 1.01 * measuring.deciding(bench.settings).rtol:
            norm = bench.tight(index).norm
        start = norm.bracket.upper
        if start <= limit:
            return False
    with measuring.threads_for((layer,)):
        weight = widen(np.asarray(layer.read()))
        wanted: Array = MODES[mode](layer, weight, limit, start, bench.settings.conv)
        del weight
    # Rounding moves the norm by less than this, nearly always: one measurement then does.
    if mode == "scale":
        wanted *= 1.0 - 0.25 * epsilon_of(layer.dtype)
    for attempt in range(_ATTEMPTS):
        try:
            eps = bench.put(index, wanted)
        except UnsupportedModel as problem:
            problem.where = f"{bench.prepared.model.path} › {layer.name}"
            raise
        upper = bench.tight(index).norm.upper
        if upper is not None and upper <= limit:
            return True
        if upper is None:
            break
        # What rounding to the stored type gains at random, half a step at first, is given back.
        wanted *= max(0.0, limit / upper * (1.0 - max(eps, 2.0**-52) * 2.0 ** (attempt - 3)))
    raise missed(layer, bench.measured[index], limit, bench.prepared.model.path)


def missed(layer: Layer, found: Measurement, limit: float, path: str) -> NotCertified:
    """Return the error that a limit is not proved in the stored type (SA501)."""
    shown = figures.interval(found.norm.lower, found.norm.upper, limit)
    return NotCertified(
        f"SA501: after clamping, the norm is {shown}: not proved <= {figures.exact(limit)} "
        f"in {layer.dtype}",
        where=f"{path} › {layer.name}",
    )


def check_writable(layer: Layer, path: str) -> None:
    """Raise if no tensor decides what a layer's weight is."""
    if layer.write is None:
        why = "; ".join(layer.notes) or "it is computed from several tensors"
        raise UnsupportedModel(
            f"{layer.name} cannot be written: {why}",
            where=f"{path} › {layer.name}",
            help=f"-x '{layer.name}' leaves it as it is",
        )
