"""A zip archive whose members have changed: its checksums, sizes and offsets set right again."""

import struct
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, FileIO
from typing import Final

from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.checksums import crc32
from specaudit.formats.files import BLOCK, ModelFile, read_exactly
from specaudit.formats.splices import Moves, Splice
from specaudit.formats.zips import (
    DESCRIPTOR,
    END,
    END64,
    ENTRY,
    HEADER,
    LOCATOR64,
    SATURATED,
    Entry,
    locate,
    parse_entry,
)

DESCRIPTOR_MARK: Final = b"PK\x07\x08"
# Where the numbers stand in a line of the directory, a member's own header, the end records.
ENTRY_CRC, ENTRY_STORED, ENTRY_SIZE, ENTRY_HEADER = 16, 20, 24, 42
HEADER_CRC, HEADER_STORED, HEADER_SIZE = 14, 18, 22
END_OFFSET, END64_OFFSET, LOCATOR64_OFFSET = 16, 48, 8


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the directory: where it stands, where its member's header and data do."""

    entry: Entry
    at: int
    header: int
    data: int

    @property
    def end(self) -> int:
        """Past the last byte of the member."""
        return self.data + self.entry.stored_size


def reseal(
    source: ModelFile,
    target: FileIO,
    splices: Sequence[Splice],
    moves: Moves,
    leaves: Collection[tuple[int, int]],
) -> None:
    """Set right in `target` what a zip archive says of the members that were changed.

    Parameters
    ----------
    source : ModelFile
    target : file
        The copy, with `splices` made.
    moves : Moves
    leaves : collection of (offset, stored size)
        The members that hold tensors. Any other that has changed is an archive itself.
    """
    with source.open() as file:
        seal = Seal(source, file, target, sorted(s.offset for s in splices), moves, leaves)
        seal.archive(0, source.size)


@dataclass(frozen=True, slots=True)
class Seal:
    """The source, the copy, and what was done to it."""

    source: ModelFile
    file: BufferedReader
    target: FileIO
    changes: list[int]
    moves: Moves
    leaves: Collection[tuple[int, int]]

    def archive(self, start: int, size: int) -> None:
        """Set right the archive in `size` bytes of the source from `start`."""
        lines = list(self.lines(start, size))
        checked = any(line.entry.crc for line in lines)
        for line in lines:
            if not self.is_changed(line):
                continue
            if (line.data, line.entry.stored_size) not in self.leaves:
                if self.moves(line.end) - self.moves(line.data) != line.entry.stored_size:
                    raise UnsupportedModel(
                        f"{line.entry.name} is a compressed archive in an archive"
                    )
                self.archive(line.data, line.entry.size)
            checksum, member_size = self.measure(line)
            if checked:
                self.write_checksum(line, struct.pack("<L", checksum))
            self.write_sizes(line, member_size)
        if self.moves:
            self.write_offsets(lines, start, size)

    def is_changed(self, line: Line) -> bool:
        """Whether a change lies in its data."""
        first = bisect_left(self.changes, line.data)
        return first < len(self.changes) and self.changes[first] < line.end

    def lines(self, start: int, size: int) -> Iterator[Line]:
        """The lines of the directory, which the reader has checked already."""
        at, length, count = locate(self.file, self.source, start, size)
        at += start
        data = read_exactly(self.file, at, length, self.source.path)
        offset = 0
        for _ in range(count):
            fields = ENTRY.unpack_from(data, offset)
            name_length, extra_length, comment = fields[10:13]
            name_at = offset + ENTRY.size
            extra_at = name_at + name_length
            entry = parse_entry(
                fields, data[name_at:extra_at], data[extra_at : extra_at + extra_length]
            )
            header = start + entry.header
            own = HEADER.unpack(read_exactly(self.file, header, HEADER.size, self.source.path))
            yield Line(entry, at + offset, header, header + HEADER.size + own[9] + own[10])
            offset = extra_at + extra_length + comment

    def write_checksum(self, line: Line, checksum: bytes) -> None:
        """Its CRC-32 in the directory, in its header and behind its data, where it stands."""
        old = struct.pack("<L", line.entry.crc)
        self.write(self.moves(line.at) + ENTRY_CRC, checksum)
        at = self.moves(line.header) + HEADER_CRC
        described = line.entry.flags & DESCRIPTOR
        if not described or (line.entry.crc and self.read(at, 4) == old):
            self.write(at, checksum)
        if described:
            at = self.descriptor(line)
            if self.read(at, 4) != old:
                raise UnreadableModel("an archive member's two checksums contradict each other")
            self.write(at, checksum)

    def descriptor(self, line: Line) -> int:
        """Where the checksum behind its data stands, with or without a mark before it."""
        at = self.moves(line.end)
        return at + 4 if self.read(at, 4) == DESCRIPTOR_MARK else at

    def measure(self, line: Line) -> tuple[int, int]:
        """CRC-32 and number of the bytes that the member now holds."""
        position, end = self.moves(line.data), self.moves(line.end)
        inflater = zlib.decompressobj(-15) if line.entry.method else None
        checksum = size = 0
        while position < end:
            block = self.read(position, min(BLOCK, end - position))
            position += len(block)
            held = inflater.decompress(block) if inflater else block
            checksum = crc32(held, checksum)
            size += len(held)
        return checksum, size

    def write_sizes(self, line: Line, size: int) -> None:
        """How many bytes it holds and takes, if these are other numbers now."""
        stored = self.moves(line.end) - self.moves(line.data)
        old = line.entry
        if (stored, size) == (old.stored_size, old.size):
            return
        at = self.moves(line.at)
        self.renumber(at + ENTRY_SIZE, self.wide(at, ENTRY, ENTRY_SIZE), size)
        self.renumber(at + ENTRY_STORED, self.wide(at, ENTRY, ENTRY_SIZE, ENTRY_STORED), stored)
        at = self.moves(line.header)
        if self.read(at + HEADER_STORED, 8) != bytes(8):  # else they only stand behind the data
            self.renumber(at + HEADER_SIZE, self.wide(at, HEADER, HEADER_SIZE), size)
            wide = self.wide(at, HEADER, HEADER_SIZE, HEADER_STORED)
            self.renumber(at + HEADER_STORED, wide, stored)
        if old.flags & DESCRIPTOR:
            at = self.descriptor(line) + 4
            narrow = self.read(at, 8) == struct.pack(
                "<2L", old.stored_size & SATURATED, old.size & SATURATED
            )
            self.write(at, struct.pack("<2L" if narrow else "<2Q", stored, size))

    def write_offsets(self, lines: list[Line], start: int, size: int) -> None:
        """Where each member is, and where the directory."""
        origin = self.moves(start)
        for line in lines:
            at = self.moves(line.at)
            field = self.wide(at, ENTRY, ENTRY_SIZE, ENTRY_STORED, ENTRY_HEADER)
            self.renumber(at + ENTRY_HEADER, field, self.moves(line.header) - origin)
        directory = self.moves(lines[0].at) - origin
        end = self.moves(start + size) - END.size
        if self.read(end + END_OFFSET, 4) != struct.pack("<L", SATURATED):
            self.write(end + END_OFFSET, struct.pack("<L", directory))
        locator = end - LOCATOR64.size
        if self.read(locator, 4) == b"PK\x06\x07":
            end64 = locator - END64.size
            self.write(end64 + END64_OFFSET, struct.pack("<Q", directory))
            self.write(locator + LOCATOR64_OFFSET, struct.pack("<Q", end64 - origin))

    def wide(self, at: int, record: struct.Struct, *fields: int) -> int:
        """Where the last of `fields` stands in the 64-bit extra field, if it is there."""
        name_length, extra_length = struct.unpack("<2H", self.read(at + LENGTHS[record.size], 4))
        extra: int = at + record.size + name_length
        before = sum(self.read(at + f, 4) == struct.pack("<L", SATURATED) for f in fields[:-1])
        end: int = extra + extra_length
        while extra + 4 <= end:
            kind, length = struct.unpack("<2H", self.read(extra, 4))
            if kind == 1:
                return extra + 4 + 8 * before
            extra += 4 + length
        return end

    def renumber(self, at: int, wide: int, number: int) -> None:
        """Write a number of 32 bits at `at`; of 64 at `wide` if the first is saturated."""
        if self.read(at, 4) == struct.pack("<L", SATURATED):
            self.write(wide, struct.pack("<Q", number))
        elif number < SATURATED:
            self.write(at, struct.pack("<L", number))
        else:
            raise UnsupportedModel("the archive would grow beyond what its directory can say")

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the copy."""
        self.target.seek(offset)
        data = bytearray()
        while len(data) < length and (part := self.target.read(length - len(data))):
            data += part
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Write over bytes of the copy."""
        self.target.seek(offset)
        if self.target.write(data) != len(data):
            raise OSError("a few bytes could not be written")


LENGTHS: Final = {ENTRY.size: 28, HEADER.size: 26}  # where a record has those of its name and extra
