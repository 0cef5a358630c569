"""A copy of a file with some stretches of it replaced; the rest goes over unseen."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, FileIO
from itertools import pairwise
from typing import TypeAlias

from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.background import ahead
from specaudit.formats.files import BLOCK, ModelFile

# What a kernel or file system answers that cannot copy between two files by itself.
NOT_HERE = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
# Bytes of a splice up to which the next one is made while it is written.
AHEAD = 1 << 26
Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Splice:
    """Bytes `offset` to ``offset + length`` of a file, and what comes in their place.

    `make` is called when its turn comes, in the order of the file, and its result is not
    kept: no more than one is in memory, or two small ones. `size` is what it will give; None
    if that is not known before.
    """

    offset: int
    length: int
    make: Callable[[], Buffer]
    size: int | None

    @property
    def end(self) -> int:
        """Where the file goes on."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Moves:
    """By how much the bytes behind each splice have moved."""

    steps: tuple[tuple[int, int], ...]

    def __bool__(self) -> bool:
        return any(shift for _, shift in self.steps)

    def __call__(self, offset: int) -> int:
        """Where the byte at `offset` of the source is now."""
        shift = 0
        for end, moved in self.steps:
            if end > offset:
                break
            shift = moved
        return offset + shift


def fixed(offset: int, data: Buffer) -> Splice:
    """A splice of as many bytes as there were, known already."""
    return Splice(offset, len(data), lambda: data, len(data))


def write_spliced(source: ModelFile, splices: Sequence[Splice], target: FileIO) -> Moves:
    """Write `source` to the empty file `target` with every splice made.

    Raises
    ------
    UnsupportedModel
        Two splices share bytes.
    UnreadableModel
        The source changed meanwhile.
    """
    steps = []
    at = shift = 0
    ordered = in_order(splices, source)
    makes = [splice.make for splice in ordered]
    is_small = max((splice.length for splice in ordered), default=0) <= AHEAD
    with source.open() as file:
        made_in_turn = ahead(makes) if is_small else (make() for make in makes)
        for splice, made in zip(ordered, made_in_turn, strict=True):
            copy(file, target, at, splice.offset - at, source.path)
            data = memoryview(made).cast("B")
            if splice.size not in (None, len(data)):
                raise AssertionError(f"{len(data)} bytes were made, {splice.size} were announced")
            write(target, data)
            at = splice.end
            shift += len(data) - splice.length
            steps.append((at, shift))
            del made, data  # before the one after the next is begun
        copy(file, target, at, source.size - at, source.path)
    source.open().close()  # it is still the file that it was
    return Moves(tuple(steps))


def in_order(splices: Sequence[Splice], source: ModelFile) -> list[Splice]:
    """By offset; raises if two overlap."""
    ordered = sorted(splices, key=lambda splice: (splice.offset, splice.end))
    for before, after in pairwise(ordered):
        if before.end > after.offset:
            raise UnsupportedModel(
                f"two changed tensors share byte {after.offset}", where=source.path
            )
    return ordered


def blocks_of(source: ModelFile, splices: Sequence[Splice]) -> Iterator[Buffer]:
    """What `write_spliced` would write, piece by piece."""
    at = 0
    with source.open() as file:
        for splice in [*in_order(splices, source), Splice(source.size, 0, bytes, 0)]:
            file.seek(at)
            left = splice.offset - at
            while left:
                block = file.read(min(left, BLOCK))
                if not block:
                    raise UnreadableModel("truncated", where=source.path)
                left -= len(block)
                yield block
            yield splice.make()
            at = splice.end


def copy(source: BufferedReader, target: FileIO, offset: int, count: int, path: str) -> None:
    """Copy `count` bytes from `offset` to where `target` stands, in the kernel where it can."""
    done = 0
    try:
        while done < count:
            step = os.copy_file_range(
                source.fileno(), target.fileno(), count - done, offset_src=offset + done
            )
            if not step:
                break  # some file systems say so of files that they make up as they are read
            done += step
    except AttributeError:
        pass  # not Linux
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
    source.seek(offset + done)
    while done < count:
        block = source.read(min(count - done, BLOCK))
        if not block:
            raise UnreadableModel("truncated", where=path)
        write(target, block)
        done += len(block)


def write(target: FileIO, data: Buffer) -> None:
    """Write all of `data`; the system may take it in parts."""
    view = memoryview(data)
    while view:
        view = view[target.write(view) or 0 :]
