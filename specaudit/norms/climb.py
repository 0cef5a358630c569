"""Lower ends of a symbol's supremum: climbing in frequency and vector at once."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import round_down, round_up
from specaudit.norms.blocks import namespace, on_cpu
from specaudit.norms.gram import U, gamma
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Points, unit
from specaudit.operators import Array

# Frequencies that are reported are multiples of 2 pi / _TURN, whose phases are exact but for
# the sine; rounding to them costs the square of 1e-8.
_TURN = 1 << 26
_STEPS = 8
# How far around a point heights are sampled for a Newton step, in turns over the degree: less
# once a step stays within that.
_REACHES = (0.02, 0.007, 0.002, 0.001)
_NEWTON_STEPS = 12
_HALVINGS = 12
_FEW_TAPS = 64
# Groups in which the climb goes on after its first cycle.
_FEW_GROUPS = 64


@dataclass(frozen=True, slots=True)
class Peak:
    """A point where the symbol is proved large.

    Parameters
    ----------
    lower : float
        ``||F_group(frequency)||`` is not below it.
    group : int
    frequency : ndarray, shape (axes,)
        In turns.
    vector : ndarray, shape (columns,), complex128
        Of unit length, nearly the right singular vector.
    shares : ndarray, shape (taps,)
        What each tap adds to the singular value; they sum to about `lower`.
    """

    lower: float
    group: int
    frequency: NDArray[np.float64]
    vector: NDArray[np.complex128]
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Climb:
    """Peaks found, the highest first, and what the symbol is like where nobody climbed."""

    peaks: tuple[Peak, ...]
    typical: float


def climb(
    taps: Taps,
    groups: NDArray[np.int64],
    starts: NDArray[np.float64],
    *,
    rtol: float,
    seed: int,
    cycles: int = 5,
) -> Climb:
    """Climb from some frequencies, in each of some groups.

    Parameters
    ----------
    groups : ndarray, shape (groups,)
    starts : ndarray, shape (groups, starts, axes)
        In turns.
    rtol : float
        Stop once a cycle gains less than an eighth of it.

    Notes
    -----
    A cycle is a few Lanczos steps on F* F at the frequency, from the vector at hand, and a
    pattern search of ``||F(.) v||``, a trigonometric polynomial whose coefficients are a
    small matrix, for the vector v that came out. Both only ever climb. Nothing here needs
    to be right: what is reported is evaluated again with its rounding.
    """
    library = namespace(taps.values)
    # Single precision is enough to climb with, and twice as fast.
    rough = rtol > 1e-4 and not taps.is_complex and taps.columns >= 64
    values = taps.values if groups.size == taps.groups else taps.values[taps.like(groups)]
    if rough:
        values = library.astype(values, library.float32)
    rng = np.random.default_rng(seed)
    shape = (groups.size, taps.columns, starts.shape[1])
    vectors = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    kind = library.complex64 if rough else library.complex128
    vectors = library.astype(taps.like(vectors), kind)
    turns, best, typical = starts.astype(np.float64), 0.0, 0.0
    for cycle in range(cycles):
        heights, vectors = _lanczos(values, taps.positions, turns, vectors)
        if cycle == 0:
            typical = float(np.median(heights.max(axis=0)))
        heights, turns = _search(values, taps, turns, vectors)
        if heights.max() <= best * (1.0 + rtol / 8):
            break
        best = float(heights.max())
        if groups.size > _FEW_GROUPS:
            kept = np.sort(np.argsort(-heights.max(axis=1))[:_FEW_GROUPS])
            groups, turns, heights = groups[kept], turns[kept], heights[kept]
            on_device = taps.like(kept)
            values, vectors = values[on_device], vectors[on_device]
    chosen = _highest(heights)
    peaks = [_peak(taps, int(groups[g]), turns[g, s], on_cpu(vectors[g, :, s])) for g, s in chosen]
    return Climb(tuple(sorted(peaks, key=lambda peak: -peak.lower)), typical)


def explore(taps: Taps, *, rtol: float, seed: int) -> Climb:
    """Climb in every group, from the real frequencies (0 and 1/2 a turn) and a few others."""
    starts = _starting_points(taps, taps.groups, seed)
    return climb(taps, np.arange(taps.groups), starts, rtol=rtol, seed=seed)


def summit(taps: Taps, peak: Peak) -> Peak:
    """Return the top of the hill that a peak is on, or the peak where that is no higher.

    Notes
    -----
    Newton's method, from the quadratic that fits the heights around a point best; a climb
    that changes frequency and vector by turns takes dozens of cycles for the same digits.
    The height is evaluated again with its rounding, so that nothing here needs to be right.
    """
    values = taps.values[peak.group : peak.group + 1]
    moves = np.array(list(product((0.0, -1.0, 1.0), repeat=taps.axes)))
    upper = np.triu_indices(taps.axes)
    terms = [np.ones((len(moves), 1)), moves, moves[:, upper[0]] * moves[:, upper[1]]]
    fit = np.linalg.pinv(np.hstack(terms))
    turns, vector = peak.frequency, taps.like(peak.vector[None, :, None])
    narrowed = 0
    for _ in range(_NEWTON_STEPS):
        reach = _REACHES[narrowed]
        around = turns + moves * (reach / taps.degrees)
        start = namespace(vector).tile(vector, (1, 1, len(moves)))
        heights, vectors = _lanczos(values, taps.positions, around[None], start)
        coefficients = fit @ heights[0]
        curvature = np.zeros((taps.axes, taps.axes))
        curvature[upper] = coefficients[taps.axes + 1 :]
        curvature += curvature.T
        bends, axes = np.linalg.eigh(curvature)
        slopes = axes.T @ coefficients[1 : taps.axes + 1]
        # Where it does not bend down, or hardly, uphill as far as it was looked at.
        steps = np.clip(slopes / np.maximum(-bends, np.abs(slopes) / 2 + 1e-300), -2.0, 2.0)
        turns = turns + (axes @ steps) * (reach / taps.degrees)
        vector = vectors[:, :, :1]
        narrowed += bool(np.abs(steps).max() <= 1.0)
        if narrowed == len(_REACHES):
            break
    _, vector = _lanczos(values, taps.positions, turns[None, None], vector)
    found = _peak(taps, peak.group, turns, on_cpu(vector[0, :, 0]))
    return found if found.lower > peak.lower else peak


def heights(taps: Taps, points: Points, *, seed: int) -> NDArray[np.float64]:
    """Estimate the norm of the symbol at a few points, from below."""
    result = np.empty(len(points))
    rng = np.random.default_rng(seed)
    for group in np.unique(points.group):
        mine = np.flatnonzero(points.group == group)
        shape = (1, taps.columns, mine.size)
        start = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        turns = (points.steps[mine] / points.turns[mine])[None]
        values = taps.values[int(group) : int(group) + 1]
        _, vectors = _lanczos(values, taps.positions, turns, taps.like(start))
        result[mine] = _lanczos(values, taps.positions, turns, vectors)[0][0]
    return result


def _starting_points(taps: Taps, groups: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed + 1)
    special = np.array(list(product((0.0, 0.5), repeat=taps.axes))).reshape(2**taps.axes, -1)
    number = 2 if groups > 1 else 8 if taps.axes else 1
    others = rng.uniform(-0.5, 0.5, (groups, number, taps.axes))
    return np.concatenate([np.broadcast_to(special, (groups, *special.shape)), others], axis=1)


def _lanczos(
    values: Array, positions: NDArray[np.int64], turns: NDArray[np.float64], start: Array
) -> tuple[NDArray[np.float64], Array]:
    """Return the top singular value of every F at its frequency, roughly, and its vector."""
    library = namespace(values)
    phases = np.exp(-2j * np.pi * np.einsum("gsa,ta->gts", turns, positions))
    phases = library.astype(library.asarray(phases, device=values.device), start.dtype)
    basis, images = [], []
    vector = start / _lengths(start)[:, None, :]
    for _ in range(min(_STEPS, start.shape[1])):
        basis.append(vector)
        image = _adjoint(values, _apply(values, vector, phases), phases)
        images.append(image)
        for _ in range(2):
            for old in basis:
                image = image - old * library.sum(library.conj(old) * image, axis=1)[:, None, :]
        vector = image / _lengths(image)[:, None, :]
    gram = [[on_cpu(library.sum(library.conj(b) * i, axis=1)) for i in images] for b in basis]
    small = np.moveaxis(np.array(gram), (0, 1), (-2, -1))
    squares, rotations = np.linalg.eigh((small + small.conj().swapaxes(-1, -2)) / 2)
    top = library.asarray(rotations[..., -1], device=values.device)
    best = sum(b * top[:, None, :, k] for k, b in enumerate(basis))
    return np.sqrt(np.maximum(squares[..., -1], 0.0)).astype(np.float64), best / _lengths(best)[
        :, None, :
    ]


def _lengths(vectors: Array) -> Array:
    library = namespace(vectors)
    squares = library.sum(library.real(vectors) ** 2 + library.imag(vectors) ** 2, axis=1)
    return library.sqrt(squares) + 1e-30  # a Krylov space may end: the rest is zero


def _images(values: Array, vectors: Array) -> Array:
    """Return ``values[g, t] @ vectors[g]``, shape (groups, taps, rows, starts)."""
    groups, number, rows, columns = values.shape
    library = namespace(values)
    product_ = _times(library.reshape(values, (groups, number * rows, columns)), vectors)
    return library.reshape(product_, (groups, number, rows, -1))


def _apply(values: Array, vectors: Array, phases: Array) -> Array:
    return namespace(values).sum(_images(values, vectors) * phases[:, :, None, :], axis=1)


def _adjoint(values: Array, vectors: Array, phases: Array) -> Array:
    library = namespace(values)
    groups, number, rows, columns = values.shape
    turned = library.reshape(
        vectors[:, None] * library.conj(phases)[:, :, None, :], (groups, number * rows, -1)
    )
    flat = library.permute_dims(
        library.reshape(values, (groups, number * rows, columns)), (0, 2, 1)
    )
    return _times(library.conj(flat) if "complex" in str(flat.dtype) else flat, turned)


def _times(matrix: Array, vectors: Array) -> Array:
    """Return a product of a real or complex matrix and complex columns."""
    if "complex" in str(matrix.dtype):
        return matrix @ vectors
    library = namespace(matrix)
    count = vectors.shape[-1]
    both = matrix @ library.concat([library.real(vectors), library.imag(vectors)], axis=-1)
    return both[..., :count] + 1j * both[..., count:]


def _search(
    values: Array, taps: Taps, turns: NDArray[np.float64], vectors: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``||F(.) v||`` and where it is a local maximum, from every frequency."""
    library = namespace(values)
    images = on_cpu(library.permute_dims(_images(values, vectors), (0, 3, 1, 2)))
    # The images of v under the taps, or, where those are long, their Gram matrix.
    long = images.shape[-1] > images.shape[-2] <= _FEW_TAPS
    small = images @ images.conj().swapaxes(-1, -2) if long else images
    moves = np.array(list(product((0.0, -1.0, 1.0), repeat=taps.axes)))
    waves = np.exp(-2j * np.pi * (turns @ taps.positions.T))
    where, squares = turns, np.zeros(turns.shape[:2])
    for halving in range(_HALVINGS if taps.axes else 1):
        reach = 0.25 / np.maximum(taps.degrees, 1) / 2.0**halving
        around = waves[:, :, None] * np.exp(-2j * np.pi * ((moves * reach) @ taps.positions.T))
        mixed = around @ small
        heights = np.sum((mixed * (around if long else mixed).conj()).real, axis=-1)
        at = heights.argmax(axis=-1)
        squares = np.take_along_axis(heights, at[..., None], axis=-1)[..., 0]
        waves = np.take_along_axis(around, at[..., None, None], axis=-2)[:, :, 0]
        where = where + moves[at] * reach
    return np.sqrt(np.maximum(squares, 0.0)), where


def _highest(heights: NDArray[np.float64], count: int = 4) -> list[tuple[int, int]]:
    order = np.argsort(-heights, axis=None)[:count]
    return [(int(g), int(s)) for g, s in zip(*np.unravel_index(order, heights.shape), strict=True)]


def _peak(taps: Taps, group: int, turns: NDArray[np.float64], vector: Array) -> Peak:
    """Evaluate a point again, in float64, with a bound of the rounding.

    Notes
    -----
    ``y = fl(sum_t z_t K_t v)`` is within ``c |K|_+ |v|`` of the exact sum, entry by entry,
    where |K|_+ = sum_t |K_t| and c counts the roundings of a complex product over the
    columns, a sum over the taps and the phases. `Taps.mass` bounds the norm of |K|_+.
    """
    steps = np.round((turns - np.round(turns)) * _TURN).astype(np.int64)
    total = (taps.positions @ steps + _TURN // 2) % _TURN - _TURN // 2
    phases = unit(total / _TURN)
    vector = vector.astype(np.complex128)
    vector /= np.linalg.norm(vector) or 1.0  # a group may be all zeros, and so its vector
    column = taps.like(vector[None, :, None])
    images = on_cpu(_images(taps.values[group : group + 1], column))[0, :, :, 0]
    image = phases @ images
    height = float(np.linalg.norm(image))
    error = gamma(4 * (taps.columns + 2) + 4 * (len(taps.positions) + 2) + 60)
    one = taps.columns + taps.rows + 8
    loss = round_up(error * float(taps.mass[group])) * (1.0 + 2.0 * gamma(2 * one))
    lower = (height * (1.0 - gamma(2 * one)) - loss) * (1.0 - gamma(2 * one) - 8 * U)
    shares = ((images @ (image / height if height else image).conj()) * phases).real
    return Peak(max(0.0, round_down(lower)), group, steps / _TURN, vector, shares)
