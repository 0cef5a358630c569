"""A convolution's kernel as the taps of its symbol: stride, dilation and groups resolved."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from specaudit.norms.blocks import namespace, on_cpu
from specaudit.norms.gram import gamma
from specaudit.operators import Array


@dataclass(frozen=True, slots=True)
class Taps:
    """The symbol ``F_g(w) = sum_t values[g, t] exp(-i <positions[t], w>)``, for each group g.

    Parameters
    ----------
    values : ndarray or tensor, shape (groups, taps, rows, columns), rows >= columns
        float64 or complex128.
    positions : ndarray, shape (taps, axes), int64
        In lexicographic order; along every axis from 0 to at least 1.
    steps : ndarray, shape (spatial axes,), int64
        F at frequency w of the convolution is F here at ``steps * w``, up to phases of its
        columns; 0 for an axis that F does not depend on.
    mass : ndarray, shape (groups,)
        At least ``|| sum_t |values_t| ||_F``: it bounds the norm of the symbol at every
        frequency, and the size of every sum that is formed on the way to it.
    is_transposed : bool
        Whether `values` hold the transposes: the convolution has fewer output channels than
        input channels times residues.
    """

    values: Array
    positions: NDArray[np.int64]
    steps: NDArray[np.int64]
    mass: NDArray[np.float64]
    is_transposed: bool

    @classmethod
    def of(
        cls, kernel: Array, *, strides: Sequence[int], dilations: Sequence[int], group: int
    ) -> "Taps":
        """Return the taps of a kernel (out, in/group, k…) in float64, finite and not all zero.

        Notes
        -----
        The map is periodic with the stride, so on the input sorted by residue (space to
        depth, a permutation) it is a convolution of stride 1 whose channels are pairs of
        channel and residue: tap j of an axis goes to residue ``d j mod s``, position
        ``d j div s``. Shifting the positions of one residue multiplies columns of F by
        phases, and dividing all positions of an axis by a common factor g replaces F(w) by
        F(g w): neither moves the supremum of ||F||. So a dilation without a stride
        vanishes, and a kernel that its stride does not let overlap becomes a single matrix.
        """
        library = namespace(kernel)
        out, channels, *spatial = kernel.shape
        axes = [_polyphase(*axis) for axis in zip(spatial, strides, dilations, strict=True)]
        phases = [int(residues.max()) + 1 for _, residues in axes]
        kind = library.complex128 if "complex" in str(kernel.dtype) else library.float64
        used = sorted(product(*(sorted(set(p.tolist())) for p, _ in axes)))
        index = {position: t for t, position in enumerate(used)}
        values = library.zeros(
            (len(used), math.prod(phases), out, channels), dtype=kind, device=kernel.device
        )
        for offset in product(*(range(size) for size in spatial)):
            position = tuple(int(p[j]) for (p, _), j in zip(axes, offset, strict=True))
            residue = 0
            for (_, residues), count, j in zip(axes, phases, offset, strict=True):
                residue = residue * count + int(residues[j])
            values[index[position], residue] = kernel[(slice(None), slice(None), *offset)]
        shape = (len(used), math.prod(phases), group, out // group, channels)
        values = library.permute_dims(library.reshape(values, shape), (2, 0, 3, 1, 4))
        values = library.reshape(values, (group, len(used), out // group, -1))
        is_transposed = bool(values.shape[2] < values.shape[3])
        if is_transposed:
            values = library.permute_dims(values, (0, 1, 3, 2))  # F and its transpose: one norm
        positions = np.array(used, dtype=np.int64).reshape(len(used), -1)
        present = on_cpu(
            library.any(library.reshape(values != 0.0, (group, len(used), -1)), axis=-1)
        )
        kept = np.flatnonzero(present.any(axis=0))
        values = values[:, library.asarray(kept, device=values.device)]
        values = library.reshape(library.reshape(values, (-1,)), values.shape)  # row by row
        positions = positions[kept] - positions[kept].min(axis=0)
        steps = np.gcd.reduce(positions, axis=0)
        moving = np.flatnonzero(steps)
        positions = positions[:, moving] // steps[moving]
        return cls(values, positions, steps, _mass(values), is_transposed)

    @property
    def groups(self) -> int:
        """Number of independent blocks."""
        return int(self.values.shape[0])

    @property
    def rows(self) -> int:
        """Length of the long side of the symbol."""
        return int(self.values.shape[2])

    @property
    def columns(self) -> int:
        """Length of the short side of the symbol."""
        return int(self.values.shape[3])

    @property
    def axes(self) -> int:
        """Number of frequencies that the symbol depends on."""
        return int(self.positions.shape[1])

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Largest position along each axis: the degree of the Gram matrix of the symbol."""
        return np.asarray(self.positions.max(axis=0), dtype=np.int64)

    @property
    def is_complex(self) -> bool:
        """Whether the kernel is complex."""
        return "complex" in str(self.values.dtype)

    def like(self, array: Array) -> Array:
        """Return a NumPy array in the library and on the device of the taps."""
        return namespace(self.values).asarray(array, device=self.values.device)


def _mass(values: Array) -> NDArray[np.float64]:
    library = namespace(values)
    _, number, rows, columns = values.shape
    total = library.zeros_like(library.abs(values[:, 0]))
    for t in range(number):
        total = total + library.abs(values[:, t])
    squares = on_cpu(library.sum(total * total, axis=(1, 2)))
    count = rows * columns + 4 * number + 8
    return np.asarray(np.sqrt(squares) * (1.0 + 2.0 * gamma(count)), dtype=np.float64)


def _polyphase(
    size: int, stride: int, dilation: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return position and residue of the taps of one axis, both counted from 0 without gaps."""
    offsets = dilation * np.arange(size, dtype=np.int64)
    positions, residues = offsets // stride, offsets % stride
    names, residues = np.unique(residues, return_inverse=True)
    for name in range(names.size):
        positions[residues == name] -= positions[residues == name].min()
    return positions, residues
