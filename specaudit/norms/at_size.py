"""The norm of a convolution at its input size, bracketed and proved."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import Bracket, round_down, round_up
from specaudit.norms import lanczos
from specaudit.norms.blocks import namespace, on_cpu
from specaudit.norms.climb import Climb, Peak, explore, heights
from specaudit.norms.convolution import Placed
from specaudit.norms.gram import U, gamma
from specaudit.norms.padding import factor, is_circulant, multiplicity
from specaudit.norms.samples import Samples
from specaudit.norms.spectral import measured
from specaudit.norms.supremum import supremum
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Points
from specaudit.operators import Array, dense
from specaudit.report import Settings

# Width of the bracket of a map that is written out: its eigenvalues cost no more.
DENSE_RTOL = 1e-9
# Flops of Gram matrices up to which the map is written out: about a tenth of a second.
_DENSE_WORK = 4e9
_DENSE_ENTRIES = 1 << 23
_DENSE_GROUPS = 2048  # each takes a millisecond or two, however small it is
# Points of a grid up to which it is cheaper than the search for the supremum.
_GRID_POINTS = 2048
_GRID_WORK = 1e9
_KRYLOV_STEPS = 12
_KRYLOV_BYTES = 1 << 27


def at_size(
    taps: Taps, placed: Placed, *, mode: str, rtol: float, seed: int
) -> tuple[Bracket, str, float]:
    """Return a bracket of the map's norm, the method of its upper end, and the width aimed at.

    Parameters
    ----------
    taps, placed
        Of one kernel.
    mode : {"constant", "reflect", "edge", "wrap"}
        Padding in front of the convolution.
    rtol : float
        Wanted relative width; what the input size leaves between the two ends can be more.

    Notes
    -----
    A small map is written out. Otherwise the lower end is a quotient ``||C x|| / ||x||``:
    x begins as a wave of the frequency at which the symbol is largest, under a window, and
    a few Golub-Kahan steps improve it. The upper end is the symbol on a grid, if that is
    small (`_grid`), or else its supremum over all frequencies, times the norm of the
    padding where that reads places twice (`_padding`).
    """
    if _is_small(taps, placed):
        rtol = min(rtol, DENSE_RTOL)
        return _written_out(placed, rtol, seed), "dense", rtol
    stretch, circles = _padding(placed, mode)
    first = explore(taps, rtol=rtol, seed=seed)
    lower, vector = _launched(taps, placed, first)
    points = _grid(taps, placed, circles, first.peaks[0])
    if points is not None:
        upper = _largest(taps, points, lower / stretch, rtol, seed)
    else:
        upper = supremum(taps, first, rtol=rtol, seed=seed).upper
    upper = upper if stretch == 1.0 else round_up(upper * stretch)
    if 0.0 < lower < upper * (1.0 - rtol):
        lower = max(lower, _improved(taps, placed, vector, rtol))
    method = "symbol" if stretch == 1.0 else "padding*symbol"
    return Bracket(min(lower, upper), upper), method, rtol


def _is_small(taps: Taps, placed: Placed) -> bool:
    short, long = sorted(side // taps.groups for side in placed.shape)
    work = 2.0 * taps.groups * short**2 * long
    return taps.groups <= _DENSE_GROUPS and work <= _DENSE_WORK and short * long <= _DENSE_ENTRIES


def _written_out(placed: Placed, rtol: float, seed: int) -> Bracket:
    """Bracket the largest norm of the groups' matrices.

    Notes
    -----
    Where padding makes a window read a place several times, an entry is a sum of as many
    taps; rounding it moves the norm by at most gamma of that times the norm of the map with
    absolute values, itself at most that of its matrix in the Frobenius norm.
    """
    settings = Settings(rtol=rtol, seed=seed)
    taps = math.prod(placed.kernel.shape[3:])
    result = Bracket(0.0, 0.0)
    for group in range(placed.kernel.shape[0]):
        matrix = placed.matrix(group)
        bracket = measured(dense(matrix), settings)[0].bracket
        if placed.multiplicity > 1:
            library = namespace(matrix)
            size = float(library.sum(placed.part(group).magnitude().matrix(0) ** 2)) ** 0.5
            loss = round_up(gamma(taps) * size * (1.0 + 2.0 * gamma(2 * matrix.size)))
            bracket = Bracket(round_down(bracket.lower - loss), round_up(bracket.upper + loss))
        result = result.max(bracket)
    return result


def _padding(placed: Placed, mode: str) -> tuple[float, tuple[bool, ...]]:
    """Return the factor that padding brings, and which axes are circles.

    Notes
    -----
    The map is the convolution without padding of a padded input, hence at most the symbol
    times the norm of the padding; the axes are independent, and an axis that is part of a
    circulant map needs no factor (`padding.is_circulant`).
    """
    axes = list(zip(placed.sources, placed.sizes, placed.windows, placed.strides, strict=True))
    counts = [multiplicity(source) for source, *_ in axes]
    circles = tuple(
        mode == "wrap" and count > 1 and is_circulant(size, windows, stride)
        for count, (_, size, windows, stride) in zip(counts, axes, strict=True)
    )
    repeated = [1 if circle else count for count, circle in zip(counts, circles, strict=True)]
    return factor(repeated), circles


def _launched(taps: Taps, placed: Placed, first: Climb) -> tuple[float, Array]:
    """Return the better quotient of two waves, and the input that has it.

    Notes
    -----
    On the line, outputs ``b exp(i t m)`` come back from the adjoint as the input that the
    map stretches by the singular value to b, the left singular vector of the symbol at
    -t = w. Taps that hold transposes have conj(b) for their right singular vector.
    """
    peak = first.peaks[0]
    values = on_cpu(taps.values[peak.group])
    phases = np.exp(-2j * np.pi * (taps.positions @ peak.frequency))
    left = (
        peak.vector.conj() if taps.is_transposed else np.tensordot(phases, values, 1) @ peak.vector
    )
    frequency = np.zeros(len(taps.steps))
    frequency[taps.steps > 0] = peak.frequency / taps.steps[taps.steps > 0]
    best: tuple[float, Array] | None = None
    for window in (_sine, np.ones_like):
        wave = left
        for count, turns in zip(placed.windows, frequency, strict=True):
            places = np.arange(count, dtype=np.float64)
            wave = wave[..., None] * (window(places) * np.exp(-2j * np.pi * turns * places))
        outputs = np.zeros((taps.groups, wave.size), dtype=np.complex128)
        outputs[peak.group] = wave.reshape(-1)
        operator = placed.operator()
        vector = operator.rmatvec(taps.like(outputs.reshape(-1)))
        quotient = _quotient(taps, placed, vector)
        if best is None or quotient > best[0]:
            best = quotient, vector
    assert best is not None
    return best


def _sine(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sin(math.pi * (places + 1.0) / (places.size + 1.0))


def _improved(taps: Taps, placed: Placed, start: Array, rtol: float) -> float:
    operator = placed.operator()
    steps = max(3, min(_KRYLOV_STEPS, _KRYLOV_BYTES // (16 * sum(operator.shape))))
    ritz = lanczos.bidiagonalise(operator, start, tolerance=rtol / 8, steps=steps)
    return _quotient(taps, placed, ritz.vector)


def _quotient(taps: Taps, placed: Placed, vector: Array) -> float:
    """Return a number that the norm of the map is not below.

    Notes
    -----
    ``y = fl(C x)`` is within ``gamma_k |C| |x|`` of C x, entry by entry, with k the
    roundings of a complex product over the channels and a sum over the taps. |C| is the map
    of |K|: its norm is at most that of the padding times the mass of the taps.
    """
    library = namespace(vector)
    image = placed.operator().matvec(vector)
    long, short = (float(library.linalg.vector_norm(v)) for v in (image, vector))
    if not (short > 0.0 and math.isfinite(long)):
        return 0.0
    _, _, channels, *spatial = placed.kernel.shape
    error = gamma(4 * (channels + 2) + 4 * math.prod(spatial) + 20)
    loss = error * float(taps.mass.max()) * math.sqrt(placed.multiplicity) * (1.0 + 8 * U)
    norms = 2.0 * gamma(2 * max(placed.shape) + 8)
    return max(0.0, round_down((long / short * (1.0 - norms) - loss) * (1.0 - norms)))


def _grid(taps: Taps, placed: Placed, circles: tuple[bool, ...], peak: Peak) -> Points | None:
    """Return the frequencies that bound the map at this size, or None where they are too many.

    Notes
    -----
    Cut into blocks of as many places as the stride, an axis holds input in the blocks
    b … e, and m windows of r blocks each read from block 0 on. Bend it into a circle of N
    blocks, N >= e + 1, N >= m, N >= m + r - 1 - b: a window that runs over the seam meets
    only blocks before b, which are zero. So the map is a part of a convolution on the
    circle, and of one that multiplies by a phase at every passage of the seam as well. The
    norm of that is the largest of the symbol's at the N-th parts of a turn, from any
    offset: no frequency between them counts. The offset taken, 0 or half a step, is the
    one that keeps away from the peak. Where padding wraps round, the circle is a real one,
    of N = n / s blocks, and the offset is 0.
    """
    lists: list[tuple[NDArray[np.int64], int]] = []
    moving = np.flatnonzero(taps.steps)
    for axis, turn in zip(moving.tolist(), peak.frequency.tolist(), strict=True):
        stride, windows, source = placed.strides[axis], placed.windows[axis], placed.sources[axis]
        reach = placed.dilations[axis] * (int(placed.kernel.shape[3 + axis]) - 1) // stride + 1
        if circles[axis]:
            count, offsets = placed.sizes[axis] // stride, [0]
        else:
            full = np.flatnonzero(source >= 0)
            before, last = int(full[0]) // stride, int(full[-1]) // stride
            count, offsets = max(last + 1, windows, windows + reach - 1 - before), [0, 1]
        steps = [int(taps.steps[axis]) * (2 * np.arange(count) + o) % (2 * count) for o in offsets]
        away = [float(np.abs((s / (2 * count) - turn + 0.5) % 1.0 - 0.5).min()) for s in steps]
        chosen = np.unique(steps[int(np.argmax(away))])
        if axis == moving[0] and not taps.is_complex:
            chosen = chosen[chosen <= count]  # the others are their conjugates
        lists.append((chosen, 2 * count))
    number = taps.groups * math.prod(chosen.size for chosen, _ in lists)
    work = number * len(taps.positions) * taps.rows * taps.columns**2
    if lists and number > _GRID_POINTS and work > _GRID_WORK:
        return None
    cells = np.array(list(itertools.product(*(chosen for chosen, _ in lists))), dtype=np.int64)
    cells = np.tile(cells.reshape(number // taps.groups, len(lists)), (taps.groups, 1))
    groups = np.repeat(np.arange(taps.groups), number // taps.groups)
    turns = np.broadcast_to(np.array([count for _, count in lists], dtype=np.int64), cells.shape)
    return Points(groups, cells, turns)


def _largest(taps: Taps, points: Points, start: float, rtol: float, seed: int) -> float:
    """Return a bound, tight to about rtol, of the symbol's norm at all of some points."""
    upper, samples, step = round_up(start * (1.0 + rtol / 4)), Samples(taps), rtol / 4
    while True:
        failed = samples.larger(points, np.full(len(points), upper))
        if not failed.any():
            return upper
        points = points.take(failed)
        some = np.random.default_rng(seed).permutation(len(points))[:16]
        highest = float(heights(taps, points.take(np.sort(some)), seed=seed).max())
        # What fails though nothing higher is found fails by rounding, which may be past rtol.
        step = step if highest > upper else 2.0 * step
        upper = round_up(max(upper, highest) * (1.0 + step))
