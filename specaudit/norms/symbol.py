"""The norm of the map that a convolution applies, from the symbol of its kernel."""

import math

import msgspec

from specaudit import limits
from specaudit.bracket import Bracket, round_up
from specaudit.errors import UnreadableModel
from specaudit.norms import coarse
from specaudit.norms.at_size import at_size
from specaudit.norms.blocks import namespace
from specaudit.norms.climb import explore
from specaudit.norms.convolution import Placed, entries
from specaudit.norms.flat import flat_norm
from specaudit.norms.padding import factor, worst_multiplicity
from specaudit.norms.spectral import _scaled_back
from specaudit.norms.supremum import FINE_RTOL, supremum
from specaudit.norms.taps import Taps
from specaudit.operators import Array, widen
from specaudit.report import Geometry, Norm

# Width of the bracket of a norm that takes one matrix and no frequencies.
EXACT_RTOL = 1e-6

# Groups that are measured together: all their symbols are held at once.
_GROUPS_TOGETHER = 4096

# Places along each axis of the block that stands for a map too large to be applied.
_INSIDE = 64

BARE = (
    "holds for every stride, dilation, group count, zero padding and input size; the lower "
    "end is reached at stride 1 in one group"
)


def operator_norm(
    kernel: Array,
    geometry: Geometry | None,
    *,
    transposed: bool = False,
    rtol: float = 1e-2,
    seed: int = 0,
) -> Norm:
    """Return the norm of a convolution as a linear map, as a proved interval.

    Parameters
    ----------
    kernel : ndarray or tensor, shape (out, in/group, k…), or (in, out/group, k…)
        The second is the layout of a transposed convolution. One to three spatial
        dimensions (any number works), of any type whose values binary64 holds.
    geometry : Geometry or None
        With an `input` size, the norm is that of the map on this size; without one, the
        supremum over all sizes. None: over all strides, dilations, group counts and zero
        paddings as well.
    transposed : bool
    rtol : float
        Wanted relative width. A map without overlap is bracketed to 1e-6 at least.
    seed : int

    Raises
    ------
    UnreadableModel
        If the geometry cannot be that of the kernel.

    Examples
    --------
    >>> import numpy as np
    >>> mean = np.full((1, 1, 3, 3), 1 / 9)
    >>> norm = operator_norm(mean, None)
    >>> norm.lower <= 1.0 <= norm.upper <= 1.01
    True

    Notes
    -----
    With F the symbol of the kernel after stride, dilation and groups are resolved (`Taps`):

    * The map on all of Z^d has the norm sup ||F||. Zero padding and a finite input leave a
      part of its rows and columns, so the norm at any size is at most that, and tends to it.
    * A transposed convolution is the adjoint: the same kernel, the same number. Cropping
      and output padding drop rows of it or add zeros.
    * Where the stride keeps windows apart F is one matrix, and the number its norm; it is
      the norm at every size for which one window fits into the input.
    * Padding that repeats the input is a map of its own in front (`padding`).
    * Without a geometry: a stride drops rows of the map with stride 1; dilation leaves
      sup ||F|| as it is; the kernel of any group, for any number of groups, is a part of
      the rows of the kernel in one group. So stride 1 in one group is the worst case.

    References
    ----------
    H. Sedghi, V. Gupta, P. Long, The singular values of convolutional layers, ICLR 2019.
    """
    shape = tuple(int(size) for size in kernel.shape)
    _check(shape, geometry, transposed)
    if 0 in shape:
        reason = "the weight has no entries"
        return Norm(0.0, 0.0, "certified", "exact", of="operator", reason=reason)
    library = namespace(kernel)
    kernel = widen(kernel)
    if not bool(library.all(library.isfinite(kernel))):
        count = int(library.sum(~library.isfinite(kernel)))
        reason = f"{count} NaN or infinite among {math.prod(shape)} entries"
        return Norm(None, None, "non_finite", "symbol", of="operator", reason=reason)
    peak = float(library.max(library.abs(kernel)))
    if peak == 0.0:
        return Norm(0.0, 0.0, "certified", "exact", of="operator")
    known = geometry or _plain(len(shape) - 2)
    is_long = coarse.is_long(shape[2:], known)
    if is_long and known.padding_mode != "constant":
        reason = f"too many taps for a bound with {known.padding_mode} padding"
        return Norm(None, None, "not_computed", "symbol", of="operator", reason=reason)
    if transposed and known.padding_mode != "constant":
        reason = f"no bound for {known.padding_mode} padding of a transposed convolution"
        return Norm(None, None, "not_computed", "symbol", of="operator", reason=reason)
    kernel, exponent = _scaled(kernel, peak)
    note = BARE if geometry is None else None
    if is_long:
        bracket = coarse.bracket(kernel, known, transposed=transposed)
        method, width = "sampled", rtol
        note = f"{note}; {coarse.NOTE}" if note else coarse.NOTE
    else:
        bracket, method, width = _bracket(kernel, geometry, transposed, rtol, seed)
    norm = _scaled_back(bracket, exponent, method, width)
    return msgspec.structs.replace(norm, of="operator", reason=norm.reason or note)


def _check(shape: tuple[int, ...], geometry: Geometry | None, transposed: bool) -> None:
    """Raise unless the geometry can be that of the kernel."""
    rank = len(shape) - 2
    if rank < 1:
        raise UnreadableModel(f"a convolution's kernel has at least three axes, not {len(shape)}")
    if geometry is None:
        return
    name, group = "in" if transposed else "out", geometry.group
    if group < 1 or shape[0] % group:
        raise UnreadableModel(f"{group} groups do not divide {shape[0]} {name} channels")
    fields = (
        (geometry.strides, 1),
        (geometry.dilations, 1),
        (geometry.pads[:rank], 0),
        (geometry.pads[rank:], 0),
        (geometry.input or (1,) * rank, 1),
        (geometry.output_padding or (0,) * rank, 0),
    )
    for values, least in fields:
        if len(values) != rank or min(values) < least:
            raise UnreadableModel(f"{geometry} is no geometry of a kernel of shape {shape}")


def _scaled(kernel: Array, peak: float) -> tuple[Array, int]:
    """Return the kernel over a power of two, its largest entry about 1, and the exponent.

    ``sup ||F||`` is at least the norm of every tap (the mean of F times a phase), so what
    underflows here, under 2**-1000 of it, goes in any one step of rounding.
    """
    exponent = math.frexp(peak)[1]
    half = -exponent // 2  # in two factors: 2**1074 is not a number
    return kernel * 2.0**half * 2.0 ** (-exponent - half), exponent


def _bracket(
    kernel: Array, geometry: Geometry | None, transposed: bool, rtol: float, seed: int
) -> tuple[Bracket, str, float]:
    """Return the bracket, the method, and the width that was aimed at."""
    rank = kernel.ndim - 2
    known = geometry or _plain(rank)
    if known.group > _GROUPS_TOGETHER:
        return _in_parts(kernel, known, transposed, rtol, seed)
    strides, dilations = known.strides, known.dilations
    taps = Taps.of(kernel, strides=strides, dilations=dilations, group=known.group)
    stretch = 1.0
    if known.input is not None and _is_vast(kernel, known, transposed):
        return _vast(kernel, known, transposed, rtol, seed)
    if known.input is not None:
        placed = Placed.of(kernel, known, transposed=transposed)
        if taps.axes or placed.multiplicity > 1 or not placed.has_full_window:
            mode = known.padding_mode
            return at_size(taps, placed, mode=mode, rtol=rtol, seed=seed)
    elif known.padding_mode != "constant":
        stretch = _worst_stretch(tuple(int(size) for size in kernel.shape[2:]), known)
    if taps.axes:
        first = explore(taps, rtol=max(rtol, FINE_RTOL), seed=seed)  # supremum goes on from there
        bracket, method = supremum(taps, first, rtol=rtol, seed=seed), "symbol"
    else:
        rtol = min(rtol, EXACT_RTOL)
        bracket, method = flat_norm(taps, rtol=rtol, seed=seed), "exact"
    if stretch > 1.0:
        # The lower end stands: windows inside a large input meet no padding.
        return Bracket(bracket.lower, round_up(bracket.upper * stretch)), "padding*symbol", rtol
    return bracket, method, rtol


def _in_parts(
    kernel: Array, geometry: Geometry, transposed: bool, rtol: float, seed: int
) -> tuple[Bracket, str, float]:
    """Return the bracket of many groups: the largest of those of some groups at a time."""
    each = int(kernel.shape[0]) // geometry.group
    best, method, width = Bracket(0.0, 0.0), "exact", rtol
    for start in range(0, geometry.group, _GROUPS_TOGETHER):
        stop = min(start + _GROUPS_TOGETHER, geometry.group)
        part = msgspec.structs.replace(geometry, group=stop - start)
        held = kernel[start * each : stop * each]
        found, how, width = _bracket(held, part, transposed, rtol, seed)
        method = how if found.upper >= best.upper else method
        best = best.max(found)
    return best, method, width


def _plain(rank: int) -> Geometry:
    """Return the geometry that is the worst case of all of them."""
    return Geometry((1,) * rank, (0,) * (2 * rank), (1,) * rank)


def _is_vast(kernel: Array, geometry: Geometry, transposed: bool) -> bool:
    return entries(kernel.shape, geometry, transposed=transposed) > limits.scaled(
        limits.MAP_ENTRIES
    )


def _vast(
    kernel: Array, geometry: Geometry, transposed: bool, rtol: float, seed: int
) -> tuple[Bracket, str, float]:
    """Return the bracket at a size that a file declares but no vector of which is made.

    Notes
    -----
    The upper end is the one at every size. Windows that lie inside the input and meet no
    padding make up the map without padding of a smaller input, which is a block of the map.
    """
    anywhere = msgspec.structs.replace(geometry, input=None)
    whole, method, width = _bracket(kernel, anywhere, transposed, rtol, seed)
    inside = _inside(tuple(int(size) for size in kernel.shape[2:]), geometry)
    if inside is None or _is_vast(kernel, inside, transposed):
        return Bracket(0.0, whole.upper), method, width
    block, _, _ = _bracket(kernel, inside, transposed, rtol, seed)
    return Bracket(min(block.lower, whole.upper), whole.upper), method, width


def _inside(kernel: tuple[int, ...], geometry: Geometry) -> Geometry | None:
    """Return a small geometry without padding that occurs inside this one, if there is one."""
    assert geometry.input is not None
    rank = len(kernel)
    sizes = []
    for axis, (size, given) in enumerate(zip(kernel, geometry.input, strict=True)):
        extent = geometry.dilations[axis] * (size - 1) + 1
        ends = geometry.pads[axis] + geometry.pads[rank + axis]
        largest = given - ends - extent - geometry.strides[axis]
        if largest < extent:
            return None
        sizes.append(min(largest, max(extent, _INSIDE)))
    bare = (0,) * (2 * rank)
    return Geometry(geometry.strides, bare, geometry.dilations, geometry.group, tuple(sizes))


def _worst_stretch(kernel: tuple[int, ...], geometry: Geometry) -> float:
    """Return a bound of the padding's factor at every input size that the kernel fits."""
    rank, mode = len(kernel), geometry.padding_mode
    counts = []
    for axis, size in enumerate(kernel):
        before, after = geometry.pads[axis], geometry.pads[rank + axis]
        extent = geometry.dilations[axis] * (size - 1) + 1
        if mode == "wrap" and geometry.strides[axis] == 1 and before + after < extent:
            counts.append(1)  # at most as many windows as places: circulant at every size
            continue
        smallest = max(1, extent - before - after)
        if mode == "reflect":
            smallest = max(smallest, before + 1, after + 1)
        counts.append(worst_multiplicity(before, after, mode, smallest))
    return factor(counts)
