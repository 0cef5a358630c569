"""Tensors back onto the bytes they were read from, however they are laid over them."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnsupportedModel
from specaudit.formats.encoding import encode, patterns
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.regions import Region
from specaudit.formats.splices import Buffer, Splice
from specaudit.formats.strided import Strided, contiguous
from specaudit.formats.tensors import BITS, StoredTensor

Values: TypeAlias = Callable[[], NDArray[np.generic]]
Piece: TypeAlias = Strided | StoredTensor


@dataclass(frozen=True, slots=True)
class Patch:
    """A tensor that lies on bytes of a file, and its new values; None if it keeps its own."""

    name: str
    piece: Piece
    values: Values | None

    @property
    def file(self) -> ModelFile:
        """The file that holds it."""
        return self.piece.region.file if isinstance(self.piece, Strided) else self.piece.file

    @property
    def region(self) -> Region | None:
        """The deflated member it is in, if it is in one."""
        region = self.piece.region if isinstance(self.piece, Strided) else None
        return region if region is not None and region.deflated else None

    @property
    def span(self) -> tuple[int, int]:
        """First and past-the-last byte it touches, as if nothing in the file were deflated."""
        if isinstance(self.piece, Strided):
            first, last = self.piece.extent
            return self.piece.region.offset + first, self.piece.region.offset + last
        return self.piece.offset, self.piece.offset + self.piece.size

    @property
    def reach(self) -> tuple[int, int]:
        """The bytes of the file that change with it: all of a member that is deflated."""
        if self.region is None:
            return self.span
        return self.region.offset, self.region.offset + self.region.stored_size

    def view(self, data: NDArray[np.uint8], base: int) -> NDArray[np.uint8]:
        """Its bytes within `data`, which begins at byte `base`: a view to be written to."""
        first, last = self.span
        within = data[first - base : last - base]
        piece = self.piece
        if BITS[piece.dtype] < 8:
            return within
        size = BITS[piece.dtype] // 8
        steps = contiguous(piece.shape) if isinstance(piece, StoredTensor) else piece.strides
        pairs = zip(piece.shape, steps, strict=True)
        strides = [step * size if length > 1 else 0 for length, step in pairs]
        return np.lib.stride_tricks.as_strided(within, (*piece.shape, size), (*strides, 1))

    def bytes(self, where: str) -> NDArray[np.uint8]:
        """What `view` must come to hold."""
        assert self.values is not None
        piece = self.piece
        values = encode(self.values(), piece.dtype, piece.shape, f"{where} › {self.label}")
        if isinstance(piece, StoredTensor):
            return patterns(values, piece.dtype)
        values = values.conj() if piece.conjugate else values
        values = np.negative(values) if piece.negative else values
        return patterns(values, piece.dtype, big_endian=piece.big_endian)

    @property
    def label(self) -> str:
        """Its name, for an error message."""
        return shown(self.name)[1:-1]

    def ties(self, other: "Patch") -> bool:
        """Whether the other is this very tensor: the same elements, in whatever order."""
        same = self.span == other.span and self.piece.dtype == other.piece.dtype
        return same and footprint(self.piece) == footprint(other.piece)


def footprint(piece: Piece) -> list[tuple[int, int]]:
    """Which elements a tensor touches: steps and counts, neighbouring dimensions joined."""
    steps = contiguous(piece.shape) if isinstance(piece, StoredTensor) else piece.strides
    joined: list[tuple[int, int]] = []
    for step, count in sorted(zip(steps, piece.shape, strict=True)):
        if count == 1 or step == 0:
            continue
        if joined and joined[-1][0] * joined[-1][1] == step:
            joined[-1] = (joined[-1][0], joined[-1][1] * count)
        else:
            joined.append((step, count))
    return joined


@dataclass(frozen=True, slots=True)
class Canvas:
    """A stretch of a file with the tensors that overlap on it, one of them changed at least."""

    first: int
    last: int
    patches: tuple[Patch, ...]

    @property
    def is_filled(self) -> bool:
        """Whether it is all one changed tensor, so that nothing of what was there stays."""
        patch = self.patches[0]
        if len(self.patches) > 1 or patch.region is not None or BITS[patch.piece.dtype] < 8:
            return False
        dense = contiguous(patch.piece.shape)
        return isinstance(patch.piece, StoredTensor) or patch.piece.strides == dense

    def splice(self) -> Splice:
        """The stretch with the changes made."""
        region = self.patches[0].region
        if region is not None:
            return Splice(region.offset, region.stored_size, self.deflate, None)
        size = self.last - self.first
        return Splice(self.first, size, self.paint, size)

    def deflate(self) -> bytes:
        """The changed member, compressed again."""
        return deflated(self.paint())

    def paint(self) -> Buffer:
        """The changed bytes.

        Raises
        ------
        UnsupportedModel
            Two tensors want different values on one byte, or one that keeps its values would
            lose some of them.
        """
        file, region = self.patches[0].file, self.patches[0].region
        base = self.first if region is None else region.offset
        if self.is_filled:
            return self.patches[0].bytes(file.path).reshape(-1).data
        if region is None:
            data = file.array(self.first, self.last - self.first)
        else:
            data = region.array(0, region.size)
        kept = [patch for patch in self.patches if not patch.values]
        before = [patch.view(data, base).copy() for patch in kept]
        changed = [(p, p.bytes(file.path)) for p in self.patches if p.values]
        for patch, wanted in changed:
            patch.view(data, base)[...] = wanted
        for patch, wanted in changed:
            if not np.array_equal(patch.view(data, base), wanted):
                self.refuse(patch, "which gets other values")
        for patch, old in zip(kept, before, strict=True):
            tied = any(patch.ties(other) for other, _ in changed)
            if not tied and not np.array_equal(patch.view(data, base), old):
                self.refuse(patch, "which is not replaced")
        return data.data

    def refuse(self, patch: Patch, why: str) -> NoReturn:
        """Raise an error that names `patch` and one that it overlaps with."""
        first, last = patch.span
        others = (
            p.label
            for p in self.patches
            if p is not patch and p.values and p.span[0] < last and first < p.span[1]
        )
        with_whom = next(others, "itself")
        raise UnsupportedModel(
            f"{with_whom} shares bytes with {patch.label}, {why}",
            where=patch.file.path,
            help="save the model with these tensors cloned, or leave them out",
        )


def deflated(data: Buffer) -> bytes:
    """`data` compressed, as a member of an archive is."""
    packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def splices(parts: Iterable[Patch]) -> Iterator[Splice]:
    """The stretches of their file that change, one after another.

    Parameters
    ----------
    parts : iterable of Patch
        Every tensor of one file, whether it changes or not.
    """
    group: list[Patch] = []
    last = -1
    for patch in sorted((p for p in parts if p.reach[0] < p.reach[1]), key=lambda p: p.reach):
        start, end = patch.reach
        if start >= last:
            yield from painted(group)
            group = []
        group.append(patch)
        last = max(last, end)
    yield from painted(group)


def painted(group: list[Patch]) -> Iterator[Splice]:
    """The splice of tensors that overlap, if one of them changes."""
    if any(patch.values for patch in group):
        first, last = min(p.reach[0] for p in group), max(p.reach[1] for p in group)
        yield Canvas(first, last, tuple(group)).splice()
