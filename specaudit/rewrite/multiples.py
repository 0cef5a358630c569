"""The norm of a rounded multiple of a weight, from that of the weight."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import round_down, round_up
from specaudit.norms import loss, one_thread
from specaudit.norms.threads import spread
from specaudit.operators import Layer, entries
from specaudit.report import Measurement, Norm, Settings
from specaudit.rewrite.bench import Bench, epsilon_of

# What `check` may lose when it measures for itself: a width of a millionth, and its digits.
_MARGIN = 1.1e-6
# A multiple may be this many times ``eps sqrt(n)``, what rounding moves norms by, too small.
_ROOM = 4.0
_COARSE = 1e-2
_ATTEMPTS = 4
_WORTH = 1 << 10  # entries of a weight under which measuring costs nothing
# Of limits between these, squares of what is rounded away stay clear of underflow.
_SMALL, _LARGE = 2.0**-400, 2.0**400
# What rounding a weight takes to, of its size and an epsilon: the root mean square of numbers
# evenly spread on a logarithmic scale, and a little more.
_ROUNDED = 0.21
_PIECE = 1 << 19  # entries, for a thread
_KERNELS = ("convolution", "convolution_transposed")


def scaled_under(bench: Bench, index: int, limit: float) -> bool:
    """Scale a weight under its limit and prove it without measuring it anew.

    Returns
    -------
    bool
        False where that would shrink the weight more than its type asks for: then nothing
        has changed, and it has to be measured.

    Notes
    -----
    Of the stored weight W' and the old one W, with E = W' - s W, the norm of W' is at most
    ``s ||W|| + ||E||`` and at least ``s ||W|| - ||E||``. A matrix E has at most its Frobenius
    norm. The map of a kernel E is the sum of those of its taps, each of a norm of at most its
    Frobenius norm, so that ``||E|| <= sqrt(taps) ||E||_F`` for any stride, dilation, group
    count, size and zero padding.
    """
    layer = bench.layers[index]
    width = width_wanted(layer)
    if width is None or not _SMALL <= limit <= _LARGE:
        return False
    before = bench.measured[index]
    if before.norm.bracket.relative_width > 1.01 * width:  # its ends are rounded outwards
        before = bench.tight(index, rtol=width)
    upper = before.norm.bracket.upper
    if not limit < upper < math.inf:
        return False
    old, aim = np.asarray(layer.read()), limit * (1.0 - _MARGIN)
    width = min(width, before.norm.bracket.relative_width)
    root = round_up(math.sqrt(_taps(layer, old)))
    guess = root * _ROUNDED * epsilon_of(layer.dtype) * _size(old)
    factor = aim / (upper + guess) if guess < math.inf else aim / upper
    is_new = layer.tensors[0].name not in bench.overlay
    for attempt in range(_ATTEMPTS):
        factor = _short(factor)
        bench.scale(index, old, factor)
        error = _error(bench.layers[index], old, factor)
        apart = round_up(root * error)
        found = _multiple(before, factor, error, apart)
        reached = found.norm.bracket.upper
        is_under = reached <= aim
        is_near = reached * (1.0 - width) - 2.0 * apart >= limit * (1.0 - _ROOM * _step(layer))
        if is_under and is_near:
            bench.measured[index] = found
            bench.stale.discard(index)
            return True
        is_back = is_new and bench.unscale(index)
        # Another factor rounds to another error: of about the same size but near powers of two.
        factor = (aim - (1.0 + 4.0 ** (attempt - 2)) * apart) / upper
        if is_under or not factor > 0.0:
            break
    if not is_back:
        bench.put(index, old)
    return False


def width_wanted(layer: Layer) -> float | None:
    """Return how closely a norm has to be known to scale by it, None where that is no use."""
    plain = layer.geometry is None or layer.geometry.padding_mode == "constant"
    if layer.kind == "scale" or math.prod(layer.shape) < _WORTH or not plain:
        return None
    # A quarter is left for what the rounding of the multiple adds at both ends.
    width = 0.75 * (_ROOM * _step(layer) - _MARGIN)
    return min(width, _COARSE) if width > _MARGIN / 2 else None


def first_settings(layer: Layer, limit: float | None, settings: Settings) -> Settings:
    """Return the settings of a first measurement, which spare a kernel the second one.

    Notes
    -----
    The norm of a convolution is about that of its flattened kernel or more, and that at least
    the root mean square of its singular values. Where this is over the limit already, the
    kernel is to be scaled. A guess: all that hangs on it is time.
    """
    width = width_wanted(layer)
    if limit is None or width is None or layer.kind not in _KERNELS:
        return settings
    kernel = np.asarray(layer.read())
    short = min(kernel.shape[0], kernel.size // max(kernel.shape[0], 1))
    if not _size(kernel) > limit * math.sqrt(short):
        return settings
    return msgspec.structs.replace(settings, rtol=max(settings.rtol, width), rtol_given=True)


def _step(layer: Layer) -> float:
    """Return what rounding to the stored type moves a norm by, relative: eps times sqrt(n)."""
    return epsilon_of(layer.dtype) * math.sqrt(math.prod(layer.shape) / max(layer.shape[0], 1))


def _size(values: NDArray[np.generic]) -> float:
    """Return about the Frobenius norm."""
    with np.errstate(all="ignore"):
        if values.dtype == np.float32:  # a tenth of the time
            flat: NDArray[np.float32] = values.reshape(-1).view(np.float32)
            return math.sqrt(float(np.vdot(flat, flat)))
        return math.sqrt(math.fsum(float(np.vdot(b, b).real) for (b,) in entries(values)))


def _short(factor: float) -> float:
    """Return a factor rounded down to the digits of float32, in which its products are quick."""
    digits, exponent = math.frexp(factor)
    return math.ldexp(math.floor(math.ldexp(digits, 24)), exponent - 24)


def _error(layer: Layer, old: NDArray[np.generic], factor: float) -> float:
    """Return a bound of how far the exact new weight is off the multiple, in Frobenius norm.

    Notes
    -----
    Every difference meets two roundings, each of at most u times the new entry or the
    difference itself; the sums, one for every entry and block.
    """
    new = np.asarray(layer.read())
    ours, theirs = new.reshape(-1), old.reshape(-1)
    errors, sizes = [0.0] * -(-new.size // _PIECE), [0.0] * -(-new.size // _PIECE)

    def add(piece: int) -> None:
        part = slice(piece * _PIECE, (piece + 1) * _PIECE)
        with one_thread():
            for after, before in entries(ours[part], theirs[part]):
                apart = after - before * factor
                errors[piece] += float(np.vdot(apart, apart).real)
                sizes[piece] += float(np.vdot(after, after).real)

    spread(add, range(len(errors)))
    slack = 4.0 * 2.0**-53 * math.sqrt(math.fsum(sizes))
    slack += loss.of(layer, new)  # what computing the new weight from its tensors lost
    return (math.sqrt(math.fsum(errors)) + slack) * (1.0 + float(new.size) * 2.0**-50)


def _taps(layer: Layer, kernel: NDArray[np.generic]) -> int:
    return math.prod(kernel.shape[2:]) if layer.kind in _KERNELS else 1


def _multiple(before: Measurement, factor: float, error: float, apart: float) -> Measurement:
    """Return what is proved of a layer once its weight is a multiple but for an error.

    `error` is that of the weight as a matrix, `apart` that of the map it is in.
    """

    def moved(norm: Norm | None, slack: float) -> Norm | None:
        if norm is None or norm.upper is None:
            return norm
        low = round_down(round_down((norm.lower or 0.0) * factor) - slack)
        return msgspec.structs.replace(
            norm,
            lower=max(0.0, low),
            upper=round_up(round_up(norm.upper * factor) + slack),
        )

    judged = moved(before.norm, error if before.norm.of == "reshaped" else apart)
    assert judged is not None
    return msgspec.structs.replace(
        before,
        norm=judged,
        operator_norm=moved(before.operator_norm, apart),
        reshaped_norm=moved(before.reshaped_norm, error),
    )
