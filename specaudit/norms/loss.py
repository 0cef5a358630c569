"""What computing an effective weight has lost, which widens the interval of its norm."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import round_down, round_up
from specaudit.norms import envelopes
from specaudit.norms.blocks import Tall, peak_and_defects
from specaudit.norms.gram import gamma
from specaudit.norms.spectral import _on_grid, _raised
from specaudit.operators import Layer
from specaudit.report import Geometry, Norm

# Bits of a loss: few, so that the order of a sum does not show in a document.
_BITS = 20


def of(layer: Layer, values: NDArray[np.generic]) -> float:
    """Return a bound of ``||values - W||_F``, W the exact weight; of a scale, of its entries.

    Parameters
    ----------
    layer : Layer
    values : ndarray
        What the layer's `read` returned.

    Notes
    -----
    An entry x of W that k roundings lie behind is ``fl(x) (1 + d)`` with ``|d| <= gamma_k``
    (Higham 2002, lemma 3.1). What underflows is off by 2**-1074, times what it meets.
    """
    roundings = layer.roundings + _widening(values)
    total = layer.error() if layer.error is not None else 0.0
    if values.size == 0 or (roundings == 0 and total == 0.0):
        return 0.0
    total = round_up(total + round_up(gamma(roundings) * _size(layer, values)))
    return _on_grid(round_up(total + 2.0**-1022 * values.size), _BITS, math.ceil)


def of_operator(loss: float, shape: tuple[int, ...], geometry: Geometry | None) -> float:
    """Return what a loss in a convolution's kernel is to its operator, at most.

    Notes
    -----
    The operator is a sum over taps of maps whose norms are those of the taps, and sums of
    k norms are within sqrt(k) of the root of their squares. Padding that repeats reads a
    place once more at most for every place that it adds.
    """
    copies = math.prod(shape[2:])
    if geometry is not None and geometry.padding_mode != "constant":
        rank = len(shape) - 2
        copies *= math.prod(1 + geometry.pads[j] + geometry.pads[rank + j] for j in range(rank))
    return _on_grid(round_up(loss * round_up(math.sqrt(copies))), _BITS, math.ceil)


def widened(norm: Norm, loss: float) -> Norm:
    """Return the norm of every weight within `loss` of the one that was measured."""
    if loss == 0.0 or norm.status in ("non_finite", "not_computed"):
        return norm
    if not loss < math.inf:
        reason = "nothing bounds what rounding does to the weight as it is computed"
        return Norm(0.0, None, "unbounded", norm.method, of=norm.of, reason=reason)
    changes: dict[str, object] = {}
    if norm.lower is not None:
        changes["lower"] = round_down(max(0.0, norm.lower - loss))
    if norm.upper is not None:
        changes["upper"] = round_up(norm.upper + loss)
    if norm.estimate is not None:
        changes["estimate"] = norm.estimate + loss
        changes["reason"] = f"{norm.reason}; of the weight as computed, in binary64"
    return msgspec.structs.replace(norm, **changes)


def _widening(values: NDArray[np.generic]) -> int:
    """Return 1 where binary64 does not hold the entries: integers past 2**53."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or values.size == 0:
        return 0
    return int(max(int(values.max()), -int(values.min())) > 2**53)


def _size(layer: Layer, values: NDArray[np.generic]) -> float:
    tall = Tall.of(values.reshape(values.shape[0] if values.ndim else 1, -1))
    peak, nans, infinities = peak_and_defects(tall)
    if nans or infinities or layer.kind == "scale":
        return 2.0 * peak
    tall = tall.scaled(peak)
    return _raised(envelopes.frobenius(tall).upper, tall.exponent)
