"""The supremum of a symbol over all frequencies and groups, bracketed and proved."""

import math

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import Bracket, round_up
from specaudit.norms.climb import Climb, Peak, climb, summit
from specaudit.norms.samples import Samples
from specaudit.norms.taps import Taps
from specaudit.norms.torus import Boxes, inflation, spares_middle

# Grids finer than for this width are reached by splitting boxes only.
_COARSEST_RTOL = 1e-2
# For a width up to this, climbs are rationed: each costs as much as hundreds of samples.
FINE_RTOL = 1e-3
# Cells within which a box is taken to fail on account of the peak.
_NEARBY = 4.0
# Up to this many columns more than was asked for costs milliseconds: there the upper end is
# within 1 % of the norm on an input of 64 x 64, too, if 1 % is asked for.
_CHEAP_COLUMNS = 64
# Multiply-adds of one pass: about a minute.
_MOST_WORK = 1e12
# A pass halves one axis: enough for a width of 1e-12 in three of them.
_MOST_PASSES = 64


def supremum(taps: Taps, first: Climb, *, rtol: float, seed: int) -> Bracket:
    """Return a bracket of ``max_g sup_w ||F_g(w)||``, in units of `Taps.values`.

    Parameters
    ----------
    taps : Taps
        With one axis at least.
    first : Climb
        What a climb in all groups found.
    rtol : float
        Wanted relative width. It is met unless rounding, or a surface too flat for the
        number of boxes, forbids; the bracket is then wider, and still proved.

    Notes
    -----
    A climb from several frequencies finds a peak, Newton's method its top where digits count;
    the bound to prove is the peak's height times 1 + rtol. A uniform grid, just fine enough
    for the surface at the peak to pass, is tested against it (`samples.failures`); boxes that
    fail are split, after a climb from some of them, which raises the bound where the first
    climb missed the highest peak.
    """
    if taps.columns <= _CHEAP_COLUMNS:
        rtol *= 0.6
    everyone = np.arange(taps.groups)
    peak, samples = first.peaks[0], Samples(taps)
    if rtol <= FINE_RTOL:
        peak = summit(taps, peak)
    rtol = max(rtol, 2.0 * samples.blur(peak.lower)) if peak.lower > 0.0 else rtol
    upper = _raised(peak.lower, rtol)
    mass = taps.mass
    groups = everyone[~(mass <= upper)]
    if groups.size == 0:
        return Bracket(peak.lower, max(peak.lower, min(upper, float(mass.max()))))
    counts = _counts(taps, peak, max(rtol, _COARSEST_RTOL), first.typical / upper)
    boxes = Boxes.uniform(groups, counts, half=not taps.is_complex)
    new = np.ones(len(boxes), dtype=np.bool_)
    for number in range(_MOST_PASSES):
        failed = np.zeros(len(boxes), dtype=np.bool_)
        failed[new] = samples.failures(boxes.take(new), upper)
        if not failed.any():
            return Bracket(peak.lower, upper)
        higher = _higher(taps, peak, boxes.take(failed), rtol, seed + number + 2)
        if higher.lower > peak.lower:
            peak, upper = higher, max(upper, _raised(higher.lower, rtol))
            failed[failed] = samples.failures(boxes.take(failed), upper)
            if not failed.any():
                return Bracket(peak.lower, upper)
        losses = boxes.ratios(taps.degrees) - 1.0
        if _affordable(taps, losses, failed, rtol):
            boxes, new = boxes.split(failed, _innermost(losses))
        else:
            rtol *= 4.0
            upper, new = max(upper, _raised(peak.lower, rtol)), failed
    return Bracket(peak.lower, max(peak.lower, float(mass.max())))  # it bounds every symbol


def _innermost(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the last axis along which a box loses no less than half of the most.

    To halve along a later axis leaves more of the tiling as it is.
    """
    large = losses >= 0.5 * losses.max(axis=1, keepdims=True)
    return np.asarray(losses.shape[1] - 1 - large[:, ::-1].argmax(axis=1), dtype=np.int64)


def _affordable(
    taps: Taps, losses: NDArray[np.float64], failed: NDArray[np.bool_], rtol: float
) -> bool:
    """Whether halving the boxes that failed can help, and at what price.

    Once a sample is inflated by much less than rtol, what fails does so because the sample
    itself is too large, or rounding is: no finer box will pass.
    """
    hopeless = losses[failed].sum(axis=1).min() < rtol / 64
    price = 4.0 * len(losses) * max(taps.columns, 8) ** 2 * taps.rows
    return not hopeless and price < _MOST_WORK


def _raised(lower: float, rtol: float) -> float:
    # A little less than asked, so that the relative width comes out as asked after rounding.
    return round_up(lower * (1.0 + rtol * (1.0 - 2.0**-20)))


def _higher(taps: Taps, peak: Peak, failed: Boxes, rtol: float, seed: int) -> Peak:
    """Return the highest peak reached from some of the boxes that failed, or the old one."""
    is_fine, coarse = rtol <= FINE_RTOL, max(rtol, FINE_RTOL)
    if is_fine:
        failed = failed.take(_unexplained(taps, peak, failed, rtol))
        if len(failed) == 0:
            return peak
    rng = np.random.default_rng(seed)
    chosen = failed.take(np.sort(rng.permutation(len(failed))[:6]))
    centres = (chosen.index + 0.5) / chosen.counts
    groups = np.unique(chosen.group)
    most = max(int(np.count_nonzero(chosen.group == group)) for group in groups)
    starts = np.stack(
        [np.resize(centres[chosen.group == group], (most, taps.axes)) for group in groups]
    )
    found = climb(taps, groups, starts, rtol=coarse, seed=seed, cycles=2).peaks[0]
    if is_fine and found.lower > peak.lower * (1.0 - coarse):
        found = summit(taps, found)
    return found if found.lower > peak.lower else peak


def _unexplained(taps: Taps, peak: Peak, failed: Boxes, rtol: float) -> NDArray[np.bool_]:
    """Return from which of the boxes that failed a climb may find something.

    Those about the peak fail by its height, and will until they are as fine as rtol asks
    for; if they fail once they are finer, it is the peak that is not at its top.
    """
    centres = (failed.index + 0.5) / failed.counts
    is_near = np.zeros(len(failed), dtype=np.bool_)
    for place in (peak.frequency,) if taps.is_complex else (peak.frequency, -peak.frequency):
        apart = np.abs((centres - place + 0.5) % 1.0 - 0.5) * failed.counts
        is_near |= (apart <= _NEARBY).all(axis=1)
    is_near &= failed.group == peak.group
    losses = failed.ratios(taps.degrees) - 1.0
    return np.asarray(~is_near | (losses.sum(axis=1) < rtol / 8), dtype=np.bool_)


def _counts(taps: Taps, peak: Peak, rtol: float, typical: float) -> NDArray[np.int64]:
    """Return the grid to begin with.

    Notes
    -----
    What inflation along an axis does to the height of the peak is the share in it of the
    taps that are inflated; the grid on which the peak would just pass, each axis taking its
    part of rtol, is the finest to begin with. The last axis starts at half of that, since
    its boxes are halved one by one: on random kernels of 64 to 512 channels, a third fewer
    samples than with equal parts and no halving. Where the symbol is `typical` times the
    bound, and passes on a grid that is coarser still, that is where to start.
    """
    parts = [1.0] if taps.axes == 1 else [0.7 / (taps.axes - 1)] * (taps.axes - 1) + [0.3]
    counts = np.empty(taps.axes, dtype=np.int64)
    total = float(peak.shares.sum())
    for axis, degree in enumerate(taps.degrees.tolist()):
        share, loss = 1.0, rtol * parts[axis]
        if spares_middle(degree):
            middle = float(peak.shares[2 * taps.positions[:, axis] == degree].sum())
            share = min(1.0, max(0.25, 1.0 - middle / total))
        # cos x > 1 - x**2 / 2 in the inflation, solved for the number of cells, then tried.
        guess = math.pi * degree / 2 / math.sqrt(2.0 * loss / share)
        sizes = np.arange(max(degree + 1, int(guess / 2)), int(2.0 * guess) + 2 * degree + 8)
        counts[axis] = sizes[share * (inflation(degree, sizes) - 1.0) <= loss][0]
    counts[-1] = max(taps.degrees[-1] + 1, -(-counts[-1] // 2))
    for halvings in (3, 2, 1):
        coarse = np.maximum(-(-counts // 2**halvings), taps.degrees + 1)
        ratios = [inflation(d, c) for d, c in zip(taps.degrees.tolist(), coarse, strict=True)]
        # Of many groups, most are far below the highest: they need not be looked at closely.
        sorts_out = taps.groups > 1 and halvings == 2
        if sorts_out or typical * 1.05 * float(np.prod(ratios)) <= 1.0:
            return coarse
    return counts
