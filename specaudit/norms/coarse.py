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
    The norm is at most the supremum over frequencies of the Frobenius norm of a group's symbol
    F, once stride and dilation are resolved (`_apart`). That is a norm of ``sum_t |K_t|`` at
    most, and at most its largest value on a grid of N points an axis over
    ``cos(pi D / (2 N))`` for each axis of degree D (`torus.inflation`, with the Frobenius
    product in the place of ``u* F v``).

    An FFT of length N is off by ``8 u log2(N)`` of its 2-norm (Higham 2002, theorem 24.2, of
    radix 2), hence in each entry by that times ``sqrt(N)`` times the norm of the kernel; eight
    times as much is granted.

    A window that lies inside the input computes, in each output channel, the scalar product
    with a row of the reshaped kernel: the norm is at least that of the longest row. Without an
    input size it is at least that of the symbol at every point of the grid.
    """
    values = on_cpu(kernel)
    taps = values.shape[2:]
    values = _apart(values, geometry)
    spatial = values.shape[2:]
    absolute = np.abs(values).reshape(*values.shape[:2], -1)
    sums = absolute.sum(axis=-1) * (1.0 + 2.0 * gamma(absolute.shape[-1]))
    rows = np.sqrt(np.square(absolute).sum(axis=(1, 2)))
    upper = _frobenius(sums, geometry.group)
    slack = 2.0 * gamma(absolute[0].size + 4)
    lower = float(rows.max()) * (1.0 - slack)
    sizes = _grid(spatial)
    if sizes is not None:
        peak, least = _sampled(values, sizes, geometry.group)
        stretch = math.prod(
            1.0 / math.cos(math.pi * (k - 1) / (2 * n)) for k, n in zip(spatial, sizes, strict=True)
        )
        lost = 64.0 * 2.0**-53 * math.log2(2 * math.prod(sizes)) * math.sqrt(math.prod(sizes))
        lost *= float(np.sqrt(np.square(rows).sum())) * (1.0 + slack)
        upper = min(upper, (peak + lost) * stretch * (1.0 + 2.0**-40))
        if geometry.input is None:
            lower = max(lower, least - lost)
    if geometry.input is not None and not _has_window(taps, geometry, transposed):
        lower = 0.0
    upper = round_up(upper)
    return Bracket(min(max(0.0, round_down(lower)), upper), upper)


def _apart(values: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    """Return the kernel of stride 1 whose map is that of a strided one, up to permutations.

    Notes
    -----
    `Taps` says why: tap j of an axis with stride s and dilation d reads residue ``d j mod s``
    at position ``d j div s``. With g = gcd(s, d) the taps of one residue are those of one
    ``j mod (s / g)``, and their positions are multiples of d / g after a shift. So j alone
    decides, cut into s / g channels.
    """
    shape, width, order = [*values.shape[:2]], [(0, 0), (0, 0)], [0, 1]
    for taps, stride, dilation in zip(
        values.shape[2:], geometry.strides, geometry.dilations, strict=True
    ):
        phases = min(stride // math.gcd(stride, dilation), taps)
        order += [len(shape) + 1, len(shape)]
        shape += [-(-taps // phases), phases]
        width.append((0, shape[-2] * phases - taps))
    rank = len(geometry.strides)
    cut = np.pad(values, width).reshape(shape).transpose(*order[:2], *order[2::2], *order[3::2])
    return cut.reshape(shape[0], -1, *cut.shape[2 + rank :])


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
    """Return the largest Frobenius norm of a group's symbol on a grid, and what a norm is at least.

    That is every entry, and the Frobenius norm over the root of the short side.
    """
    axes = tuple(range(1, 1 + len(sizes)))
    transform = np.fft.fftn if np.iscomplexobj(values) else np.fft.rfftn
    step = max(1, (_MOST_POINTS >> 3) // math.prod(sizes))
    peak = entry = 0.0
    for block in values.reshape(group, -1, *values.shape[2:]):
        squares: NDArray[np.float64] | float = 0.0
        for start in range(0, len(block), step):
            size = np.abs(transform(block[start : start + step], sizes, axes))
            entry = max(entry, float(size.max()))
            squares = squares + np.square(size, out=size).sum(axis=0)
        peak = max(peak, math.sqrt(float(np.max(squares))))
    off = 2.0 * gamma(values[:, :, 0].size + 8)
    short = min(len(values) // group, values.shape[1])
    least = max(entry, peak / math.sqrt(short)) * (1.0 - off)
    return peak * (1.0 + off), least


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
