"""A bracket for kernels of so many taps that their symbol is only sampled, never climbed."""

import math

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import Bracket, round_down, round_up
from specaudit.norms.blocks import on_cpu
from specaudit.norms.gram import gamma
from specaudit.operators import Array
from specaudit.report import Geometry

# Taps that are left after a stride has set some apart, from which on the search for the
# supremum takes seconds; and taps from which on even to sort them by stride does.
_MOST_POSITIONS = 2048
_MOST_TAPS = 1 << 14
_MOST_POINTS = 1 << 22  # of a grid, 64 MB as complex numbers

NOTE = "too many taps for the supremum of the symbol: bounded on a grid, in the Frobenius norm"


def is_long(spatial: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether a kernel of this size has more taps than the symbol is searched for."""
    taps = math.prod(spatial)
    apart = math.prod(-(-k // s) for k, s in zip(spatial, geometry.strides, strict=True))
    return taps > _MOST_TAPS or apart > _MOST_POSITIONS


def bracket(kernel: Array, geometry: Geometry, *, transposed: bool) -> Bracket:
    """Bracket the norm of a convolution with zero padding, in time near linear in the kernel.

    Parameters
    ----------
    kernel : ndarray or tensor, shape (out, in/group, k…), float64 or complex128
        Finite and not all zero. Of a transposed layer the first two axes are (in, out/group).
    geometry : Geometry

    Notes
    -----
    A stride drops rows of the map with stride 1, and a dilation leaves the supremum of the
    symbol as it is. So the norm is at most the supremum over frequencies of the Frobenius norm
    of a group's symbol F; that is a norm of ``sum_t |K_t|`` at most, and at most its largest
    value on a grid of N points an axis over ``cos(pi D / (2 N))`` for each axis of degree D
    (`torus.inflation`, with the Frobenius product in the place of ``u* F v``).

    An FFT of length N is off by ``8 u log2(N)`` of its 2-norm (Higham 2002, theorem 24.2, of
    radix 2), hence in each entry by that times ``sqrt(N)`` times the norm of the kernel; eight
    times as much is granted.

    A window that lies inside the input computes, in each output channel, the scalar product
    with a row of the reshaped kernel: the norm is at least that of the longest row. Without a
    stride and an input size it is at least every entry of the symbol.
    """
    values = on_cpu(kernel)
    spatial = values.shape[2:]
    absolute = np.abs(values).reshape(*values.shape[:2], -1)
    sums = absolute.sum(axis=-1) * (1.0 + 2.0 * gamma(absolute.shape[-1]))
    rows = np.sqrt(np.square(absolute).sum(axis=(1, 2)))
    upper = _frobenius(sums, geometry.group)
    slack = 2.0 * gamma(absolute[0].size + 4)
    lower = float(rows.max()) * (1.0 - slack)
    sizes = _grid(spatial)
    if sizes is not None:
        peaks, entry = _sampled(values, sizes, geometry.group)
        stretch = math.prod(
            1.0 / math.cos(math.pi * (k - 1) / (2 * n)) for k, n in zip(spatial, sizes, strict=True)
        )
        lost = 64.0 * 2.0**-53 * math.log2(2 * math.prod(sizes)) * math.sqrt(math.prod(sizes))
        lost *= float(np.sqrt(np.square(rows).sum())) * (1.0 + slack)
        upper = min(upper, (peaks + lost) * stretch * (1.0 + 2.0**-40))
        if geometry.input is None and set(geometry.strides) == {1}:
            lower = max(lower, entry - lost)
    if geometry.input is not None and not _has_window(spatial, geometry, transposed):
        lower = 0.0
    upper = round_up(upper)
    return Bracket(min(max(0.0, round_down(lower)), upper), upper)


def _frobenius(entries: NDArray[np.float64], group: int) -> float:
    """Return the largest Frobenius norm of a group's matrix, rounded up."""
    squares = np.square(entries).reshape(group, -1).sum(axis=1)
    return math.sqrt(float(squares.max())) * (1.0 + 2.0 * gamma(entries.size + 4))


def _grid(spatial: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return powers of two, four times the taps where that is few enough, or else twice."""
    for times in (4, 2):
        sizes = tuple(times << (k - 1).bit_length() for k in spatial)
        if math.prod(sizes) <= _MOST_POINTS:
            return sizes
    return None


def _sampled(
    values: NDArray[np.generic], sizes: tuple[int, ...], group: int
) -> tuple[float, float]:
    """Return the largest Frobenius norm of a group's symbol on a grid, and the largest entry."""
    axes = tuple(range(len(sizes)))
    peak = entry = 0.0
    for block in values.reshape(group, -1, *values.shape[2:]):
        squares: NDArray[np.float64] | float = 0.0
        for taps in block:
            transform = np.fft.fftn if np.iscomplexobj(taps) else np.fft.rfftn
            size = np.abs(transform(taps, sizes, axes))
            entry = max(entry, float(size.max()))
            squares = squares + size * size
        peak = max(peak, math.sqrt(float(np.max(squares))))
    return peak * (1.0 + 2.0 * gamma(values[:, :, 0].size + 8)), entry * (1.0 - 2.0**-50)


def _has_window(spatial: tuple[int, ...], geometry: Geometry, transposed: bool) -> bool:
    """Whether a window lies inside the input, on every axis."""
    assert geometry.input is not None
    rank = len(spatial)
    extra = geometry.output_padding or (0,) * rank
    for axis, (taps, given) in enumerate(zip(spatial, geometry.input, strict=True)):
        before, after = geometry.pads[axis], geometry.pads[rank + axis]
        stride, extent = geometry.strides[axis], geometry.dilations[axis] * (taps - 1) + 1
        if transposed:  # the adjoint of a convolution on what comes out
            size, count = stride * (given - 1) + extent + extra[axis] - before - after, given
        else:
            size, count = given, (given + before + after - extent) // stride + 1
        first = -(-before // stride)
        if not (first < count and first * stride - before + extent <= size):
            return False
    return True
