"""Checkpoints as torch wrote them before 1.6: five pickles, then the storages one by one."""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.files import ModelFile, read_exactly, shown
from specaudit.formats.machine import Ledger, TruncatedPickle
from specaudit.formats.pickles import read_pickle
from specaudit.formats.records import Storage
from specaudit.formats.regions import Region
from specaudit.formats.torch_tensors import STORAGE_SIZES, Store

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
FIRST_READ: Final = 1 << 20


def read_legacy(
    file: ModelFile, persistent: Callable[[object], object], declared: dict[str, Storage]
) -> tuple[object, Store, Ledger, list[str]]:
    """The top object, the storages, what the pickles cost, and notes.

    `persistent` collects in `declared` the storages that the pickles refer to.
    """
    length = min(FIRST_READ, file.size)
    while True:
        try:
            declared.clear()
            ledger = Ledger()
            top, keys, end = read_pickles(file.read(0, length), persistent, ledger)
            break
        except TruncatedPickle:
            if length >= min(file.size, limits.scaled(limits.PICKLE_BYTES)):
                raise
            length = min(file.size, 16 * length, limits.scaled(limits.PICKLE_BYTES))
    regions, end = read_storages(file, keys, declared, end)
    notes = [] if end == file.size else [f"{file.size - end} bytes behind the last storage"]
    return top, Store(regions), ledger, notes


def read_pickles(
    data: bytes, persistent: Callable[[object], object], ledger: Ledger
) -> tuple[object, list[str], int]:
    """The fourth pickle's object, the fifth's keys, and where the storages begin."""
    magic, at = read_pickle(data, persistent, ledger)
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise UnreadableModel(
            "a bare pickle, not a checkpoint that torch.save wrote",
            help="save the state dict with torch.save or as safetensors",
        )
    protocol, at = read_pickle(data, persistent, ledger, at)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise UnreadableModel("legacy checkpoint of an unknown protocol version")
    _, at = read_pickle(data, persistent, ledger, at)  # sizes of C types on the writer's machine
    top, at = read_pickle(data, persistent, ledger, at)
    keys, at = read_pickle(data, persistent, ledger, at)
    if not isinstance(keys, list) or any(type(key) not in (str, int) for key in keys):
        raise UnreadableModel("legacy checkpoint without a list of its storages")
    return top, [str(key) for key in keys], at


def read_storages(
    file: ModelFile, keys: list[str], declared: dict[str, Storage], at: int
) -> tuple[dict[str, Region], int]:
    """Where each storage lies: its length in eight bytes, then its elements, little-endian."""
    regions: dict[str, Region] = {}
    with file.open() as opened:
        for key in keys:
            if key in regions or key not in declared:
                raise UnreadableModel(f"storage {shown(key)} is listed twice, or not used")
            (count,) = struct.unpack("<q", read_exactly(opened, at, 8, file.path))
            if count != declared[key].count:
                raise UnreadableModel(
                    f"storage {shown(key)} has {count} elements, not {declared[key].count}"
                )
            size = count * STORAGE_SIZES[declared[key].kind]
            at += 8
            if at + size > file.size:
                raise UnreadableModel(f"truncated: storage {shown(key)} is cut off")
            regions[key] = Region(file, "", at, size, size)
            at += size
    missing = declared.keys() - regions.keys()
    if missing:
        raise UnreadableModel(f"storage {shown(min(missing))} is used, but its data is not there")
    return regions, at


def viewed(storage: Storage, view: object) -> Storage:
    """The part of a storage that ``(key, offset, size)`` names."""
    match view:
        case (_, int(offset), int(size)) if 0 <= offset <= offset + size <= storage.count:
            return replace(storage, count=size, offset=offset)
        case _:
            raise UnreadableModel("a view of a storage lies outside it")
