"""Zip archives, field by field: what no archiver would write."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.hostile.pickling import dict_of, program, tensor
from tests.hostile.safetensors_files import DIAGONAL


@dataclass(frozen=True)
class Member:
    """A member; a field that is None is what it should be, any other is written as it stands."""

    name: str
    data: bytes = b""
    deflate: bool = False
    method: int | None = None
    flags: int = 0x808
    crc: int | None = None
    size: int | None = None
    stored_size: int | None = None
    local_name: str | None = None
    header: int | None = None
    attributes: int = 0
    extra: bytes = b""

    def stored(self) -> bytes:
        if not self.deflate:
            return self.data
        squeezer = zlib.compressobj(9, wbits=-15)
        return squeezer.compress(self.data) + squeezer.flush()


def archive(
    members: Iterable[Member], *, zip64: bool = True, comment: bytes = b"", **end: int
) -> bytes:
    """An archive of these members, laid out as torch does; `end` overrides its end records."""
    out, directory, count = bytearray(), bytearray(), 0
    for member in members:
        at = len(out) if member.header is None else member.header
        name, stored = member.name.encode(), member.stored()
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        size = len(member.data) if member.size is None else member.size
        stored_size = len(stored) if member.stored_size is None else member.stored_size
        method = (8 if member.deflate else 0) if member.method is None else member.method
        if member.header is None:
            local = name if member.local_name is None else member.local_name.encode()
            header = (b"PK\x03\x04", 0, member.flags, method, 0, 0, 0, 0, 0, len(local), 0)
            out += struct.pack("<4s5H3L2H", *header) + local + stored
            if member.flags & 8:
                out += struct.pack("<4s3L", b"PK\x07\x08", crc, stored_size, size)
        sizes = (
            crc,
            stored_size,
            size,
            len(name),
            len(member.extra),
            0,
            0,
            0,
            member.attributes,
            at,
        )
        fields = (b"PK\x01\x02", 0, 0, member.flags, method, 0, 0, *sizes)
        directory += struct.pack("<4s6H3L5H2L", *fields) + name + member.extra
        count += 1
    where = end.get("where", len(out))
    count = end.get("count", count)
    length = end.get("length", len(directory))
    out += directory
    if zip64:
        at = len(out)
        wide = (b"PK\x06\x06", 44, 798, 45, 0, 0, count, count, length, where)
        out += struct.pack("<4sQ2H2L4Q", *wide) + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    where = min(where, 0xFFFFFFFF)
    small = (b"PK\x05\x06", 0, 0, count, count, length, where, len(comment))
    return bytes(out + struct.pack("<4s4H2LH", *small) + comment)


def checkpoint(
    pickle: bytes | None = None,
    storages: Mapping[str, bytes] | None = None,
    **records: bytes,
) -> list[Member]:
    """The members of a checkpoint; as it stands, of one matrix, its spectral norm 3."""
    pickle = program(dict_of(w=tensor())) if pickle is None else pickle
    storages = {"0": DIAGONAL} if storages is None else storages
    data = [Member(f"archive/data/{key}", value) for key, value in storages.items()]
    given = {"byteorder": b"little", **{f".{k}": v for k, v in records.items()}}
    given["byteorder"] = given.pop(".byteorder", given["byteorder"])
    given["version"] = given.pop(".version", b"3\n")
    beside = [Member(f"archive/{name}", value) for name, value in given.items()]
    return [Member("archive/data.pkl", pickle), *data, *beside]


def altered(members: list[Member], name: str, **changes: Any) -> list[Member]:
    """The same members, one of them changed."""
    return [replace(m, **changes) if m.name == f"archive/{name}" else m for m in members]
