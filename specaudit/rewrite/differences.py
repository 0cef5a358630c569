"""What a clamp did to each layer: by how much its weight changed, and what rounding took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from specaudit import measuring
from specaudit.errors import NotCertified
from specaudit.model import Model
from specaudit.norms import one_thread
from specaudit.operators import Array, Layer, entries
from specaudit.policy import figures
from specaudit.report import ClampedLayer, Report
from specaudit.rewrite.bench import Bench
from specaudit.rewrite.overlay import same_bytes

# Sums of squares between these are right in binary64.
_SMALL, _LARGE = 2.0**-600, 2.0**600
_LARGE_BYTES = 1 << 27
# Where the mean square is this far over the smallest normal number, few entries lie under it.
_FAR = 2.0**40


@dataclass(frozen=True, slots=True)
class Difference:
    """From one weight to another.

    Attributes
    ----------
    factor : float
        Of the least-squares multiple of the old weight which the new one is.
    change, relative_change : float
        Frobenius norm of the difference, and over that of the old weight.
    entries_lost : int
        Entries that are zero now and were not, where the new weight is so small, for its
        type, that there can be many.
    entries_subnormal : int
        Entries with fewer digits than their type has, so small are they; counted likewise.
    """

    factor: float
    change: float
    relative_change: float
    entries_lost: int = 0
    entries_subnormal: int = 0


def changes(
    model: Model, bench: Bench, before: Report, limits: Sequence[float | None], *, jobs: int
) -> tuple[ClampedLayer, ...]:
    """Return every layer before and after."""
    old = bench.prepare(model).layers
    now_of = {id(layer): now for layer, now in zip(old, bench.layers, strict=True)}
    changed = set(bench.overlay)

    def compared(layer: Layer) -> Difference | None:
        touched = any(tensor.name in changed for tensor in layer.tensors)
        return difference_of(layer, now_of[id(layer)]) if touched else None

    rows = []
    if max(map(measuring.weight_bytes, old), default=0) > _LARGE_BYTES:
        jobs = 1  # what is compared is held as a whole, before and after
    differences = measuring.side_by_side(compared, old, jobs=jobs)
    found = zip(before.layers, bench.measured, differences, strict=True)
    for index, (was, now, difference) in enumerate(found):
        tensors = tuple(dict.fromkeys(t.name for t in old[index].tensors if t.name in changed))
        row = ClampedLayer(
            name=was.name,
            kind=was.kind,
            shape=was.shape,
            dtype=was.dtype,
            before=was.norm,
            after=now.norm,
            limit=limits[index],
            node=was.node,
            notes=was.notes,
        )
        if difference is not None:
            others = [bench.layers[other] for other in bench.sharing(index, tensors)]
            row = msgspec.structs.replace(
                row,
                tensors=tensors,
                factor=difference.factor,
                change=difference.change,
                relative_change=difference.relative_change,
                entries_lost=difference.entries_lost,
                entries_subnormal=difference.entries_subnormal,
                consumers=tuple(dict.fromkeys(map(_place, others))),
            )
        else:  # measured more closely perhaps, but the same: one number of it
            row = msgspec.structs.replace(row, before=now.norm)
        rows.append(row)
    return tuple(rows)


def _place(layer: Layer) -> str:
    return f"{layer.name} ({layer.node})" if layer.node else layer.name


def refuse_zeros(rows: Sequence[ClampedLayer], max_lipschitz: float | None, path: str) -> None:
    """Raise if a limit over 0 left nothing of a weight: its type has no smaller number.

    Such a file would be proved to obey the limit, and be of no use. A limit of 0 asks for it.
    """
    for row in rows:
        limit = max_lipschitz if row.limit is None else row.limit
        if row.entries_lost and row.after.upper == 0.0 and limit:
            raise NotCertified(
                f"only zeros are <= {figures.exact(limit)} in {row.dtype}: nothing would be left",
                where=f"{path} › {row.name}",
                help=f"a larger limit, or -x '{row.name}' to leave the layer as it is",
            )


def difference_of(old: Layer, new: Layer) -> Difference | None:
    """Return how one weight differs from another, or None if it does not."""
    a, b = np.asarray(old.read()), np.asarray(new.read())
    if same_bytes(a, b):
        return None
    scale = 1.0
    square, inner, change = _products(a, b, scale)
    smallest = smallest_normal(new.dtype)
    # The part of b along a is no more than b: only where it is small may many entries be tiny.
    along = abs(inner) / math.sqrt(square) if square > 0.0 else 0.0
    is_tiny = not along > math.sqrt(b.size) * _FAR * smallest
    lost, subnormal = _counts(a, b, smallest) if is_tiny or smallest == 0.0 else (0, 0)
    if not _SMALL < square < _LARGE or change < _SMALL:  # squares of the tiny and the huge
        scale = max((float(np.abs(x).max()) for (x,) in entries(a)), default=0.0) or 1.0
        square, inner, change = _products(a, b, scale)
    factor = inner / square if square > 0.0 else 1.0
    size = math.sqrt(change)
    relative = size / math.sqrt(square) if square > 0.0 else 0.0
    return Difference(factor, size * scale, relative, lost, subnormal)


def _products(a: Array, b: Array, scale: float) -> tuple[float, float, float]:
    """Return the sums of |a|^2, of a* b and of |b - a|^2, with both over a scale."""
    square = inner = change = 0.0
    with np.errstate(over="ignore", invalid="ignore"), one_thread():
        for x, y in entries(a, b):
            if scale != 1.0:
                x, y = x / scale, y / scale
            apart = y - x
            square += float(np.vdot(x, x).real)
            inner += float(np.vdot(x, y).real)
            change += float(np.vdot(apart, apart).real)
    return square, inner, change


def _counts(a: Array, b: Array, smallest: float) -> tuple[int, int]:
    """Return how many entries became zero, and how many are subnormal."""
    lost = subnormal = 0
    for x, y in entries(a, b):
        lost += int(np.count_nonzero(x)) - int(np.count_nonzero(y))
        size = np.abs(y)
        subnormal += int(np.count_nonzero((size > 0.0) & (size < smallest)))
    return max(lost, 0), subnormal


def smallest_normal(dtype: str) -> float:
    """Return the smallest number with all digits of a stored type, 0 for integers."""
    if dtype in ("float16", "float32", "float64", "complex64", "complex128"):
        return float(np.finfo(dtype).smallest_normal)
    if not dtype.startswith(("bfloat", "float")):
        return 0.0
    import ml_dtypes

    known: Any = ml_dtypes  # of whose types it says nothing
    return float(known.finfo(dtype).smallest_normal)
