"""A convolution at its input size: the map itself, without a matrix."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnreadableModel
from specaudit.norms.blocks import namespace
from specaudit.norms.padding import index_map, multiplicity
from specaudit.operators import Array, LinearOperator
from specaudit.report import Geometry


def entries(shape: Sequence[int], geometry: Geometry, *, transposed: bool) -> int:
    """Return how many numbers a padded input and its image are, without making anything."""
    assert geometry.input is not None
    rank = len(geometry.strides)
    padded, places = [], []
    for j, given in enumerate(geometry.input):
        ends = geometry.pads[j] + geometry.pads[rank + j]
        stride, extent = geometry.strides[j], geometry.dilations[j] * (shape[2 + j] - 1) + 1
        padded.append(stride * given + extent if transposed else given + ends)
        places.append(given if transposed else (given + ends) // stride)
    return geometry.group * shape[1] * math.prod(padded) + shape[0] * math.prod(places)


@dataclass(frozen=True, slots=True)
class Placed:
    """A convolution on inputs of one size; a transposed one is the adjoint of it.

    Parameters
    ----------
    kernel : ndarray or tensor, shape (group, out/group, in/group, k…), float64 or complex128
    sources : tuple of ndarray
        For each axis, the place that each place of the padded input is read from, or -1.
    sizes : tuple of int
        Of the input, before padding.
    windows : tuple of int
        Places of the output along each axis.
    strides, dilations : tuple of int
    """

    kernel: Array
    sources: tuple[NDArray[np.int64], ...]
    sizes: tuple[int, ...]
    windows: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @classmethod
    def of(cls, kernel: Array, geometry: Geometry, *, transposed: bool) -> "Placed":
        """Return the convolution that a layer is, or is the adjoint of.

        Parameters
        ----------
        kernel : ndarray or tensor, shape (out, in/group, k…), or (in, out/group, k…)
            Of a transposed layer, the second: as the adjoint's, its axes 0 and 1 are the
            channels of what comes out and goes in again.

        Raises
        ------
        UnreadableModel
            If the kernel does not fit into the padded input.
        """
        assert geometry.input is not None
        rank = len(geometry.strides)
        extents = [
            d * (k - 1) + 1 for k, d in zip(kernel.shape[2:], geometry.dilations, strict=True)
        ]
        before, after = geometry.pads[:rank], geometry.pads[rank:]
        extra = geometry.output_padding or (0,) * rank
        sizes, windows, sources = [], [], []
        for j, given in enumerate(geometry.input):
            stride, ends = geometry.strides[j], before[j] + after[j]
            if transposed:
                size = stride * (given - 1) + extents[j] + extra[j] - ends
                count = given
            else:
                size = given
                count = (given + ends - extents[j]) // stride + 1
            if size < 1 or count < 1:
                raise UnreadableModel(
                    f"the kernel covers {extents[j]} places along axis {j}, which do not fit into "
                    f"an input of {given} with padding {before[j]} and {after[j]}",
                    help="give the input's real shape with --input-shape",
                )
            sizes.append(size)
            windows.append(count)
            sources.append(index_map(size, before[j], after[j], geometry.padding_mode))
        shape = (geometry.group, kernel.shape[0] // geometry.group, *kernel.shape[1:])
        return cls(
            namespace(kernel).reshape(kernel, shape),
            tuple(sources),
            tuple(sizes),
            tuple(windows),
            geometry.strides,
            geometry.dilations,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map, all groups together."""
        group, out, channels, *_ = self.kernel.shape
        return group * out * math.prod(self.windows), group * channels * math.prod(self.sizes)

    @property
    def multiplicity(self) -> int:
        """How often the most read place of the input occurs in the padded one."""
        return math.prod(multiplicity(source) for source in self.sources)

    @property
    def has_full_window(self) -> bool:
        """Whether some window reads input only, and no place of it twice."""
        for source, size, extent, stride, count in zip(
            self.sources, self.sizes, self._extents(), self.strides, self.windows, strict=True
        ):
            starts = stride * np.arange(count)
            reads = source[starts[:, None] + np.arange(extent)]
            steps = np.diff(reads, axis=1)
            if not np.any((reads[:, 0] >= 0) & (steps == 1).all(axis=1) & (reads[:, -1] < size)):
                return False
        return True

    def part(self, group: int) -> "Placed":
        """Return the map of one group alone."""
        kernel = self.kernel[group : group + 1]
        return Placed(kernel, self.sources, self.sizes, self.windows, self.strides, self.dilations)

    def apply(self, block: Array) -> Array:
        """Return the images of some inputs, shape (count, columns) to (count, rows)."""
        library = namespace(block)
        group, _, channels, *_ = self.kernel.shape
        inputs = library.reshape(block, (-1, group, channels, *self.sizes))
        for axis, source in enumerate(self.sources):
            inputs = _pad(inputs, axis + 3, source)
        total = 0.0
        for tap, window in self._taps():
            patch = library.reshape(
                inputs[(..., *window)], (-1, group, channels, math.prod(self.windows))
            )
            total = total + tap @ patch
        return library.reshape(total, (inputs.shape[0], -1))

    def adjoint(self, block: Array) -> Array:
        """Return what the adjoint makes of some outputs: (count, rows) to (count, columns)."""
        library = namespace(block)
        group, out, channels, *_ = self.kernel.shape
        outputs = library.reshape(block, (-1, group, out, math.prod(self.windows)))
        padded = tuple(source.size for source in self.sources)
        total = library.zeros(
            (outputs.shape[0], group, channels, *padded), dtype=outputs.dtype, device=block.device
        )
        for tap, window in self._taps():
            turned = library.permute_dims(tap, (0, 2, 1))
            turned = library.conj(turned) if "complex" in str(turned.dtype) else turned
            patch = turned @ outputs
            total[(..., *window)] += library.reshape(patch, (-1, group, channels, *self.windows))
        for axis, (source, size) in enumerate(zip(self.sources, self.sizes, strict=True)):
            total = _unpad(total, axis + 3, source, size)
        return library.reshape(total, (outputs.shape[0], -1))

    def operator(self) -> LinearOperator:
        """Return the map of complex vectors."""
        return LinearOperator(
            self.shape,
            "complex128",
            lambda vector: self._of_complex(vector, self.apply),
            lambda vector: self._of_complex(vector, self.adjoint),
        )

    def magnitude(self) -> "Placed":
        """Return the map with absolute values for entries of the kernel."""
        kernel = namespace(self.kernel).abs(self.kernel)
        return Placed(kernel, self.sources, self.sizes, self.windows, self.strides, self.dilations)

    def matrix(self, group: int) -> Array:
        """Return one group's map, written out, or its transpose: whichever takes fewer images."""
        part = self.part(group)
        rows, columns = part.shape
        library = namespace(self.kernel)
        short = min(rows, columns)
        basis = library.eye(short, dtype=self.kernel.dtype, device=self.kernel.device)
        return part.apply(basis) if short == columns else part.adjoint(basis)

    def _extents(self) -> list[int]:
        taps = self.kernel.shape[3:]
        return [d * (int(k) - 1) + 1 for k, d in zip(taps, self.dilations, strict=True)]

    def _taps(self) -> Iterator[tuple[Array, tuple[slice, ...]]]:
        """Yield each tap, a matrix for each group, and the part of the padded input it reads."""
        for offset in np.ndindex(*(int(k) for k in self.kernel.shape[3:])):
            window = tuple(
                slice(d * j, d * j + s * (count - 1) + 1, s)
                for d, j, s, count in zip(
                    self.dilations, offset, self.strides, self.windows, strict=True
                )
            )
            yield self.kernel[(slice(None), slice(None), slice(None), *offset)], window

    def _of_complex(self, vector: Array, product: Callable[[Array], Array]) -> Array:
        library = namespace(vector)
        if "complex" in str(self.kernel.dtype):
            return product(vector[None])[0]
        both = product(library.stack([library.real(vector), library.imag(vector)]))
        return both[0] + 1j * both[1]


def _pad(inputs: Array, axis: int, source: NDArray[np.int64]) -> Array:
    """Return an axis padded: a place reads its source, or zero."""
    library = namespace(inputs)
    if np.array_equal(source, np.arange(inputs.shape[axis])):
        return inputs
    where = library.asarray(np.maximum(source, 0), device=inputs.device)
    padded = library.take(inputs, where, axis=axis)
    if (source < 0).any():
        outside = library.asarray(np.flatnonzero(source < 0), device=inputs.device)
        padded[(slice(None),) * axis + (outside,)] = 0.0
    return padded


def _unpad(padded: Array, axis: int, source: NDArray[np.int64], size: int) -> Array:
    """Return the adjoint of `_pad`: a place gets the sum of those that read it."""
    library = namespace(padded)
    places = np.flatnonzero(source >= 0)
    if np.array_equal(source[places], np.arange(size)) and places[-1] - places[0] == size - 1:
        return padded[(slice(None),) * axis + (slice(int(places[0]), int(places[-1]) + 1),)]
    gather = np.zeros((source.size, size))
    gather[places, source[places]] = 1.0
    kind = library.asarray(gather, dtype=padded.dtype, device=padded.device)
    return library.moveaxis(library.moveaxis(padded, axis, -1) @ kind, -1, axis)
