"""The norm of a rounded multiple of a weight, from that of the weight."""

import math

import numpy as np
from msgspec.structs import replace

from specaudit.bracket import round_down, round_up
from specaudit.norms import loss
from specaudit.operators import Array, Layer, widen
from specaudit.report import Measurement, Norm
from specaudit.rewrite.bench import Bench, epsilon_of

# What `check` may lose when it measures for itself: a width of a millionth, and its digits.
_MARGIN = 1.1e-6
_ATTEMPTS = 3
_WORTH = 1 << 10  # entries of a kernel under which measuring costs nothing


def scaled_under(bench: Bench, index: int, limit: float) -> bool:
    """Scale a convolution under its limit and prove it without measuring it anew.

    Returns
    -------
    bool
        False where that would shrink the weight more than its type asks for: then it has to
        be measured.

    Notes
    -----
    The norm of the weight is wanted to ``1.5 eps sqrt(n)``, about what its type rounds to:
    each further digit of a convolution's norm costs as much again.

    Of the stored weight W' and the old one W, with E = W' - s W: the norm of W' is at most
    ``s ||W|| + ||E||``, and the map of E is the sum of those of its taps, each of a norm of
    at most its Frobenius norm, so that ``||E|| <= sqrt(taps) ||E||_F`` for any stride,
    dilation, group count, size and zero padding.
    """
    layer = bench.layers[index]
    plain = layer.geometry is None or layer.geometry.padding_mode == "constant"
    weight = widen(np.asarray(layer.read()))
    if weight.size < _WORTH or not plain or limit == 0.0:
        return False
    step = epsilon_of(layer.dtype) * math.sqrt(weight.size / weight.shape[0])
    before = bench.tight(index, rtol=1.5 * step)
    upper = before.norm.upper
    if upper is None or upper <= limit:
        return False
    aim = limit * (1.0 - _MARGIN)
    factor = aim / upper
    for _ in range(_ATTEMPTS):
        bench.put(index, weight * factor)
        error = _error(layer, weight, factor)
        found = _multiple(before, factor, error, math.prod(weight.shape[2:]))
        reached = found.norm.upper
        if reached is not None and reached <= aim:
            bench.measured[index] = found
            bench.stale.discard(index)
            return reached >= limit * (1.0 - 2.2 * step)
        factor *= aim / (reached or math.inf) * (1.0 - 2.0**-50)
    return False


def _error(layer: Layer, weight: Array, factor: float) -> float:
    """Return a bound of how far the exact new weight is off the multiple, in Frobenius norm."""
    values = np.asarray(layer.read())
    new = values.astype(weight.dtype)
    size = float(np.linalg.norm(new))
    # Two roundings of every difference, and those of the sums of squares.
    slack = 4.0 * 2.0**-53 * size
    error = float(np.linalg.norm(new - weight * factor))
    slack += loss.of(layer, values)  # what computing the new weight from its tensors lost
    return (error + slack) * (1.0 + float(weight.size) * 2.0**-50)


def _multiple(before: Measurement, factor: float, error: float, taps: int) -> Measurement:
    """Return what is proved of a layer once its weight is a multiple but for an error."""

    def moved(norm: Norm | None, slack: float) -> Norm | None:
        if norm is None or norm.upper is None:
            return norm
        low = round_down(round_down((norm.lower or 0.0) * factor) - slack)
        return replace(
            norm,
            lower=max(0.0, low),
            upper=round_up(round_up(norm.upper * factor) + slack),
        )

    apart = round_up(round_up(math.sqrt(taps)) * error)
    operator, reshaped = moved(before.operator_norm, apart), moved(before.reshaped_norm, error)
    judged = operator if before.norm.of == "operator" else reshaped
    assert judged is not None
    return replace(before, norm=judged, operator_norm=operator, reshaped_norm=reshaped)
