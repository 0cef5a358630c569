"""Padding that repeats the input: index maps, and what they do to a norm."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specaudit.bracket import round_up

# Sizes up to which every one is tried.
_TRIED = 2048


def index_map(size: int, before: int, after: int, mode: str) -> NDArray[np.int64]:
    """Return, for every place of a padded axis, the place it is read from; -1 reads zero.

    Parameters
    ----------
    size : int
        Of the axis before padding, at least 1.
    before, after : int
        Places added; negative ones are cut off.
    mode : {"constant", "reflect", "edge", "wrap"}

    Examples
    --------
    >>> index_map(3, 2, 1, "reflect").tolist()
    [2, 1, 0, 1, 2, 1]
    """
    places = np.arange(-before, size + after, dtype=np.int64)
    if mode == "edge":
        return np.clip(places, 0, size - 1)
    if mode == "wrap":
        return places % size
    if mode == "reflect":
        period = max(1, 2 * (size - 1))
        return np.minimum(places % period, -places % period)
    return np.where((places >= 0) & (places < size), places, -1)


def multiplicity(sources: NDArray[np.int64]) -> int:
    """Return how often the most read place is read: the squared norm of the padding."""
    read = sources[sources >= 0]
    return int(np.bincount(read).max()) if read.size else 0


def worst_multiplicity(before: int, after: int, mode: str, smallest: int) -> int:
    """Return the largest multiplicity over all sizes from `smallest` on.

    Notes
    -----
    From size ``before + after + 2`` on, nothing changes any more but for the places in the
    middle, which are read once: the two ends no longer meet.
    """
    if before + after > _TRIED:  # a place is read once, and once more for each place added
        return before + after + 1
    sizes = range(max(1, smallest), max(1, smallest, before + after + 2) + 1)
    return max(multiplicity(index_map(size, before, after, mode)) for size in sizes)


def is_circulant(size: int, windows: int, stride: int) -> bool:
    """Whether a wrapped axis makes the convolution a part of a circulant one.

    Notes
    -----
    If the stride s divides the size n, the convolution of n / s windows on the circle is
    block diagonal in frequency, with the symbol's values at the (n / s)-th parts of a turn
    as its blocks. With no more than n / s windows, each of its rows occurs once at most.
    Where s does not divide n, the windows that wrap fall between those that do not, and
    the norm can exceed the supremum: taps at 0 and 3, s = 2, two windows on 5 places have
    norm sqrt(3), the symbol sqrt(2).
    """
    return size % stride == 0 and windows * stride <= size


def factor(multiplicities: Sequence[int]) -> float:
    """Return at least the norm of a padding: the root of the product over the axes."""
    product = math.prod(multiplicities)
    root = math.isqrt(product)
    return float(root) if root * root == product else round_up(math.sqrt(product))
