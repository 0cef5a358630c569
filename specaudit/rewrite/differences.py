"""By how much a weight changed."""

import math

import numpy as np

from specaudit.norms import one_thread
from specaudit.operators import Array, Layer, entries
from specaudit.rewrite.overlay import same_bytes

# Sums of squares between these are right in binary64.
_SMALL, _LARGE = 2.0**-600, 2.0**600


def difference_of(old: Layer, new: Layer) -> tuple[float, float, float] | None:
    """Return factor, Frobenius norm and relative size of a change, or None if there is none."""
    a, b = np.asarray(old.read()), np.asarray(new.read())
    if same_bytes(a, b):
        return None
    scale = 1.0
    square, inner, change = _products(a, b, scale)
    if not _SMALL < square < _LARGE or change < _SMALL:  # squares of the tiny and the huge
        scale = max((float(np.abs(x).max()) for (x,) in entries(a)), default=0.0) or 1.0
        square, inner, change = _products(a, b, scale)
    factor = inner / square if square > 0.0 else 1.0
    size = math.sqrt(change)
    return factor, size * scale, size / math.sqrt(square) if square > 0.0 else 0.0


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
