"""The directory of a zip archive, read strictly: every byte belongs to one member, under one name.

Readers disagree about archives that are odd, and an attacker lives in the disagreement: a
member listed twice, a directory entry that points at another member's bytes, two archives in
one file. None of the writers of model files makes such archives, so they are refused.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from typing import Any, Final

from specaudit import limits
from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.background import in_background
from specaudit.formats.checksums import crc32
from specaudit.formats.files import ModelFile, read_exactly, shown
from specaudit.formats.regions import Region

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
SATURATED: Final = 0xFFFFFFFF

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")

DESCRIPTOR = 0x8  # sizes follow the data
READ_FLAGS = 0x2 | 0x4 | DESCRIPTOR | 0x800  # deflate's level, descriptor, UTF-8 names
DESCRIPTOR_SIZES = {12, 16, 20, 24}  # with or without signature, 32 or 64 bits


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the central directory."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    stored_size: int
    size: int
    header: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip archive whose directory has been checked against its members' own headers.

    Parameters
    ----------
    file : ModelFile
    members : Mapping of str to Region
        By full name, in the order of the directory; folders left out.
    checksums : Mapping of str to int
        The CRC-32 of each member; empty if the writer left them all out.
    """

    file: ModelFile
    members: Mapping[str, Region]
    checksums: Mapping[str, int]

    def root(self) -> str:
        """The one top folder that holds every member, with its slash; "" if there is none."""
        tops = {name.partition("/")[0] if "/" in name else "" for name in self.members}
        if len(tops) > 1:
            listed = ", ".join(shown(top) for top in sorted(tops)[:3])
            raise UnreadableModel(f"the archive has more than one top folder: {listed}")
        top = tops.pop() if tops else ""
        return f"{top}/" if top else ""

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a member of at most `limit` bytes, its checksum verified."""
        region = self.members[name]
        if region.size > limit:
            raise UnreadableModel(f"{region.label()} is larger than {limit} bytes")
        data = region.read()
        if name in self.checksums and crc32(data) != self.checksums[name]:
            raise UnreadableModel(f"{region.label()} is damaged: its checksum does not match")
        return data

    def verify(self) -> None:
        """Raise unless every member's checksum matches; on two threads, half of the bytes each."""
        shares: list[list[str]] = [[], []]
        sizes = [0, 0]
        for name in sorted(self.checksums, key=lambda name: -self.members[name].size):
            lighter = int(sizes[1] < sizes[0])
            shares[lighter].append(name)
            sizes[lighter] += self.members[name].size
        waits = [in_background(partial(self._verify, share)) for share in shares if share]
        for wait in waits:
            wait()

    def _verify(self, names: list[str]) -> None:
        with self.file.open() as file:
            for name in names:
                region = self.members[name]
                if checksum_of(region, file) != self.checksums[name]:
                    raise UnreadableModel(
                        f"{region.label()} is damaged: its checksum does not match"
                    )

    def nested(self, name: str) -> "Archive":
        """The archive that a member is."""
        region = self.members[name]
        if region.deflated:
            raise UnsupportedModel(f"{region.label()} is a deflated archive in an archive")
        return read_archive(region.file, region.offset, region.size)


def read_archive(file: ModelFile, start: int = 0, size: int | None = None) -> Archive:
    """Read the directory of the archive in `size` bytes of `file` from `start`.

    Raises
    ------
    UnreadableModel
        The archive is truncated, contradictory or ambiguous, or would inflate without bound.
    UnsupportedModel
        It is encrypted, or compressed by another method than deflate.
    """
    size = file.size - start if size is None else size
    with file.open() as opened:
        where, length, count = locate(opened, file, start, size)
        directory = read_exactly(opened, start + where, length, file.path)
        entries = parse_directory(directory, count)
        regions = [place(opened, file, entry, start) for entry in entries]
    check_layout(entries, regions, start, start + where)
    named = [(e, r) for e, r in zip(entries, regions, strict=True) if not e.raw_name.endswith(b"/")]
    crcs = {entry.name: entry.crc for entry, region in named if region.size}
    if not any(crcs.values()):  # torch.serialization.set_crc32_options(False)
        crcs = {}
    return Archive(file, {entry.name: region for entry, region in named}, crcs)


def locate(file: BufferedReader, pinned: ModelFile, start: int, size: int) -> tuple[int, int, int]:
    """Offset, length and number of entries of the central directory.

    The end record must be the last 22 bytes: searching backwards for one finds those of
    archives nested in this one, and whatever a comment pretends to be.
    """
    if size < END.size:
        raise UnreadableModel("truncated")
    mark, disk, first_disk, here, count, length, where, comment = END.unpack(
        read_exactly(file, start + size - END.size, END.size, pinned.path)
    )
    if mark != b"PK\x05\x06" or comment:
        raise UnreadableModel("truncated, or there is something behind the end of the archive")
    end = size - END.size
    at = end - LOCATOR64.size
    if at >= 0:
        tail = read_exactly(file, start + at, LOCATOR64.size, pinned.path)
        if tail[:4] == b"PK\x06\x07":
            end, found = locate64(file, pinned, start, at, LOCATOR64.unpack(tail))
            declared = (here, count, length, where)
            marks = (0xFFFF, 0xFFFF, SATURATED, SATURATED)
            pairs = zip(declared, found, marks, strict=True)
            if any(small not in (large, mark) for small, large, mark in pairs):
                raise UnreadableModel("the two end records of the archive contradict each other")
            here, count, length, where = found
    if disk or first_disk or here != count or where + length != end or count > length // ENTRY.size:
        raise UnreadableModel("the end record of the archive does not fit the file")
    if count > limits.ARCHIVE_MEMBERS:
        raise UnreadableModel(f"the archive has more than {limits.ARCHIVE_MEMBERS} members")
    return where, length, count


def locate64(
    file: BufferedReader,
    pinned: ModelFile,
    start: int,
    at: int,
    locator: tuple[bytes, int, int, int],
) -> tuple[int, tuple[int, int, int, int]]:
    """Where the 64-bit end record begins, and its four numbers."""
    _, disk, where, disks = locator
    if disk or disks != 1 or where != at - END64.size:
        raise UnreadableModel("the end record of the archive does not fit the file")
    data = read_exactly(file, start + where, END64.size, pinned.path)
    mark, length, _, _, disk, first_disk, *numbers = END64.unpack(data)
    if mark != b"PK\x06\x06" or length != END64.size - 12 or disk or first_disk:
        raise UnreadableModel("the end record of the archive does not fit the file")
    here, count, directory_size, directory = numbers
    return where, (here, count, directory_size, directory)


def parse_directory(data: bytes, count: int) -> list[Entry]:
    """The entries of the central directory, each name once."""
    entries: list[Entry] = []
    seen: set[str] = set()
    at = 0
    for _ in range(count):
        if at + ENTRY.size > len(data):
            raise UnreadableModel("the directory of the archive is truncated")
        fields = ENTRY.unpack_from(data, at)
        lengths = fields[10:13]
        at += ENTRY.size
        raw_name, extra = data[at : at + lengths[0]], data[at + lengths[0] :][: lengths[1]]
        at += sum(lengths)
        if at > len(data):
            raise UnreadableModel("the directory of the archive is truncated")
        entry = parse_entry(fields, raw_name, extra)
        # torch finds members without regard to case; only source files differ by it
        key = entry.name if "/code/" in entry.name else entry.name.casefold()
        if key in seen:
            raise UnreadableModel(f"duplicate member {shown(entry.name)} in the archive")
        seen.add(key)
        entries.append(entry)
    if at != len(data):
        raise UnreadableModel("the directory of the archive is longer than its entries")
    return entries


def parse_entry(fields: tuple[Any, ...], raw_name: bytes, extra: bytes) -> Entry:
    """One entry, its 64-bit fields resolved."""
    mark, _, _, flags, method, _, _, crc, stored_size, size, *_rest = fields
    disk, header = fields[13], fields[16]
    if mark != b"PK\x01\x02" or disk:
        raise UnreadableModel("the directory of the archive is damaged")
    name = member_name(raw_name, flags)
    if flags & ~READ_FLAGS:
        raise UnsupportedModel(f"archive member {shown(name)} is encrypted or patched")
    if method not in (0, 8):
        raise UnsupportedModel(f"archive member {shown(name)} is compressed by method {method}")
    size, stored_size, header = widen(extra, [size, stored_size, header], name)
    if method == 0 and size != stored_size:
        raise UnreadableModel(f"archive member {shown(name)} has two sizes")
    return Entry(raw_name, name, flags, method, crc, stored_size, size, header)


def member_name(raw: bytes, flags: int) -> str:
    """The name as text; one that leads out of the archive is refused, though none is extracted."""
    try:
        name = raw.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError as error:
        raise UnreadableModel("an archive member's name is not UTF-8") from error
    bad = not name or name.startswith("/") or "\0" in name or ".." in name.split("/")
    if bad:
        raise UnreadableModel(f"archive member {shown(name)} has a name that leads out of it")
    return name


def widen(extra: bytes, values: list[int], name: str) -> list[int]:
    """Replace the saturated 32-bit values by those of the 64-bit extra field."""
    wide = b""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    needed = [i for i, value in enumerate(values) if value == SATURATED]
    if len(wide) < 8 * len(needed):
        raise UnreadableModel(f"archive member {shown(name)} lacks its 64-bit sizes")
    for position, i in enumerate(needed):
        (values[i],) = struct.unpack_from("<Q", wide, 8 * position)
    return values


def place(file: BufferedReader, pinned: ModelFile, entry: Entry, start: int) -> Region:
    """Where the entry's bytes lie, after its own header has confirmed what the directory says."""
    at = start + entry.header
    header = read_exactly(file, at, HEADER.size + len(entry.raw_name), pinned.path)
    mark, _, flags, method, _, _, crc, stored_size, size, name_length, extra_length = (
        HEADER.unpack_from(header)
    )
    if mark != b"PK\x03\x04" or (flags ^ entry.flags) & ~0x6 or method != entry.method:
        raise UnreadableModel(f"archive member {shown(entry.name)} is not where the directory says")
    if name_length != len(entry.raw_name) or header[HEADER.size :] != entry.raw_name:
        raise UnreadableModel(
            f"archive member {shown(entry.name)} goes by another name in its own header"
        )
    absent = {0, SATURATED} if flags & DESCRIPTOR else {SATURATED}
    declared = zip(
        (crc, stored_size, size), (entry.crc, entry.stored_size, entry.size), strict=True
    )
    if any(local != central and local not in absent for local, central in declared):
        raise UnreadableModel(f"archive member {shown(entry.name)} has two sizes or checksums")
    offset = at + len(header) + extra_length
    return Region(
        pinned, entry.name, offset, entry.size, entry.stored_size, deflated=entry.method == 8
    )


def check_layout(entries: list[Entry], regions: list[Region], start: int, end: int) -> None:
    """Raise unless the members fill the archive from `start` to `end` one behind the other."""
    if not entries:
        raise UnreadableModel("the archive is empty")
    at, allowed = start, {0}
    placed = sorted(zip(entries, regions, strict=True), key=lambda pair: pair[0].header)
    for entry, region in placed:
        gap = start + entry.header - at
        if gap < 0:
            raise UnreadableModel(f"overlapping members in the archive, at {shown(entry.name)}")
        if gap not in allowed:
            raise UnreadableModel(f"bytes before {shown(entry.name)} belong to no archive member")
        at = region.offset + region.stored_size
        allowed = DESCRIPTOR_SIZES if entry.flags & DESCRIPTOR else {0}
    if end - at < 0:
        raise UnreadableModel("truncated, or the last archive member overlaps the directory")
    if end - at not in allowed:
        raise UnreadableModel("bytes before the directory belong to no archive member")
    inflated = sum(region.size for region in regions if region.deflated)
    if inflated > limits.scaled(limits.INFLATED_BYTES) + limits.INFLATION * (end - start):
        raise UnreadableModel(f"archive bomb: {end - start} bytes inflate to {inflated}")


def checksum_of(region: Region, file: BufferedReader) -> int:
    """CRC-32 of the bytes that a region holds."""
    checksum = 0
    for block in region.blocks(file):
        checksum = crc32(block, checksum)
    return checksum
