"""Where bytes lie in a model file: as they are, or deflated."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING

from specaudit.errors import UnreadableModel
from specaudit.formats.files import ModelFile, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a file: a member of an archive, or a storage of a legacy checkpoint.

    Parameters
    ----------
    file : ModelFile
    name : str
        The member's full name in the archive; "" where there is no archive.
    offset : int
        Of the first stored byte, counted from the start of the file.
    size : int
        Bytes it holds.
    stored_size : int
        Bytes it takes in the file: `size`, unless it is deflated.
    deflated : bool
    """

    file: ModelFile
    name: str
    offset: int
    size: int
    stored_size: int
    deflated: bool = False

    def array(self, first: int, last: int) -> "NDArray[np.uint8]":
        """Bytes `first` to `last` (exclusive) as a fresh writable array."""
        if not 0 <= first <= last <= self.size:
            raise UnreadableModel(f"bytes {first} to {last} lie outside {self.label()}")
        if not self.deflated:
            return self.file.array(self.offset + first, last - first)
        import numpy as np  # late: opening a file must not cost NumPy's import

        buffer = bytearray(self.size)
        with self.file.open() as file:
            done = 0
            for block in self.blocks(file):
                if done + len(block) > self.size:
                    raise UnreadableModel(f"{self.label()} inflates beyond its declared size")
                buffer[done : done + len(block)] = block
                done += len(block)
        return np.frombuffer(buffer, dtype=np.uint8)[first:last]

    def read(self) -> bytes:
        """All its bytes."""
        with self.file.open() as file:
            return b"".join(bytes(block) for block in self.blocks(file))

    def blocks(self, file: BufferedReader) -> Iterator[bytes | memoryview]:
        """Its bytes, a block at a time; a block is valid until the next is asked for."""
        if not self.deflated:
            yield from self.stored_blocks(file)
            return
        try:
            yield from self.inflated_blocks(file)
        except zlib.error as error:
            raise UnreadableModel(f"{self.label()} is damaged: it does not inflate") from error

    def inflated_blocks(self, file: BufferedReader) -> Iterator[bytes]:
        """The bytes, inflated; never asks zlib for more than is declared."""
        inflater = zlib.decompressobj(-15)
        left = self.size
        for stored in self.stored_blocks(file):
            piece: bytes | memoryview = stored
            while piece and not inflater.eof:
                block = inflater.decompress(piece, min(BLOCK, left + 1))
                left -= len(block)
                if left < 0:
                    raise UnreadableModel(f"{self.label()} inflates beyond its declared size")
                piece = inflater.unconsumed_tail
                yield block
            if inflater.eof:
                break
        rest = inflater.flush()  # at most one match that the last block did not ask for
        yield rest
        if left != len(rest) or not inflater.eof or inflater.unused_data:
            raise UnreadableModel(f"{self.label()} does not inflate to its declared size")

    def stored_blocks(self, file: BufferedReader) -> Iterator[memoryview]:
        """The bytes as they stand in the file."""
        file.seek(self.offset)
        buffer = memoryview(bytearray(min(BLOCK, self.stored_size)))
        left = self.stored_size
        while left:
            step = file.readinto(buffer[: min(left, BLOCK)])
            if not step:
                raise UnreadableModel("truncated", where=self.file.path)
            yield buffer[:step]
            left -= step

    def label(self) -> str:
        """How an error message calls it."""
        return f"archive member {shown(self.name)}" if self.name else "the storage"
