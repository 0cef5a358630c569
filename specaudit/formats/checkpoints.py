"""A torch checkpoint, from its container to named weights; `pytorch` and `exported` share it."""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from specaudit import limits
from specaudit.errors import ModelError, UnreadableModel, UnsupportedModel
from specaudit.formats.callables import escaped
from specaudit.formats.composed import Inline, Quantised, Sparse
from specaudit.formats.containers import Describe, Role, walk
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.legacy import read_legacy, viewed
from specaudit.formats.machine import Ledger
from specaudit.formats.pickles import read_pickle
from specaudit.formats.records import Call, Global, Storage
from specaudit.formats.regions import Region
from specaudit.formats.safetensors import printable
from specaudit.formats.strided import Strided
from specaudit.formats.torch_tensors import STORAGE_SIZES, STORAGES, Missing, Store
from specaudit.formats.torchscript import describer
from specaudit.formats.zips import Archive
from specaudit.model import Format, Model, Weight

if TYPE_CHECKING:
    from specaudit.model import Tensor

Values: TypeAlias = Strided | Quantised | Sparse | Inline

LISTED: Final = 5
FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def door(where: str) -> Iterator[None]:
    """Let out nothing but errors a person can act on, each of which says where it arose.

    Every fault that damaged bytes are known to cause is met by a check of its own; this is for
    those that are not known. Thousands of mutated files are run against it.
    """
    try:
        yield
    except ModelError as error:
        error.where = error.where or where
        raise
    except FAULTS as error:
        reason = f"damaged, or of a kind that is not read ({type(error).__name__})"
        raise UnreadableModel(reason, where=where) from error


@dataclass(slots=True)
class Contents:
    """What has been found in a checkpoint so far."""

    path: str
    weights: list[Weight] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attributes: dict[str, Mapping[str, object]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def add(
        self, name: str, tensor: Values | Missing, role: Role, *, root: str = "", scope: str = ""
    ) -> None:
        """Name a tensor; of two with one name the second is numbered, so that none vanishes.

        A storage is called after its member in the folder `root`; `scope` tells those apart
        that have one key in different archives.
        """
        name = printable(name)
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        unique = name
        while count and unique in self.names:
            count += 1
            unique = f"{name}#{count}"
        if unique != name:
            self.names[unique] = 1
            self.notes.append(f"name {shown(name)} is given twice; the second is {shown(unique)}")
        if isinstance(tensor, Missing):
            self.missing.append((unique, tensor.reason))
            return
        notes: tuple[str, ...] = ()
        storage, extent = "", (0, 0)
        strided = tensor.integers if isinstance(tensor, Quantised) else tensor
        if isinstance(strided, Strided):
            member = strided.region.name.removeprefix(root)
            storage = scope + (member or f"storage at {strided.region.offset}")
            extent = strided.extent
        if isinstance(tensor, Quantised):
            notes = (f"stored quantised, as {tensor.integers.dtype}",)
        weight = Weight(
            name=unique,
            shape=tensor.shape,
            dtype=tensor.dtype,
            read=partial(read_tensor, tensor, f"{self.path} › {escaped(unique)}"),
            storage=storage,
            extent=extent,
            role=role,
            source=tensor,
            notes=notes,
        )
        self.weights.append(weight)

    def model(self, kind: Format, digest: Callable[[], str], source: object) -> Model:
        """The model; raises if there is nothing in it to audit."""
        if not self.weights:
            name, reason = self.missing[0] if self.missing else ("", "")
            because = f": {escaped(name)} is {reason}" if name else ""
            raise UnreadableModel(f"no tensors in this file{because}", where=self.path)
        return Model(
            path=self.path,
            format=kind,
            digest=digest,
            weights=tuple(self.weights),
            notes=tuple(dict.fromkeys(self.notes)),
            missing=tuple(self.missing),
            attributes=self.attributes,
            source=source,
        )


def read_tensor(tensor: Values, where: str) -> "Tensor":
    """The values of a tensor; a failure says which."""
    with door(where):
        return tensor.read()


@dataclass(slots=True)
class Declared:
    """The storages that pickles refer to, by key."""

    storages: dict[str, Storage] = field(default_factory=dict)

    def persistent(self, identity: object) -> object:
        """What a persistent id stands for: a storage, or a class with its source beside it."""
        if isinstance(identity, tuple) and len(identity) in (4, 5, 6):
            tag, kind, *rest = identity
            tag = tag.decode("latin-1") if isinstance(tag, bytes) else tag
            if type(kind) is Global and tag == "module":
                return kind
            if type(kind) is Global and tag == "storage" and len(rest) >= 3:
                return self.storage(kind, *rest)
        raise UnreadableModel("refused: pickle refers to something outside itself")

    def storage(
        self, kind: Global, key: object, location: object, count: object, view: object = None
    ) -> Storage:
        """A storage, the same whenever its key is met again."""
        name = STORAGES.get(kind.name, "") if kind.module.startswith("torch") else ""
        if not name:
            raise UnsupportedModel(f"storage class {escaped(str(kind))} is not known")
        if isinstance(key, bool) or not isinstance(key, str | int) or type(count) is not int:
            raise UnreadableModel("a storage's key or size is of the wrong type")
        location = location.decode("latin-1") if isinstance(location, bytes) else location
        found = Storage(str(key), name, str(location) if type(location) is str else "", count)
        known = self.storages.setdefault(found.key, found)
        if count < 0 or (known.kind, known.count) != (name, count):
            raise UnreadableModel(f"storage {shown(found.key)} is declared in two ways")
        return known if view is None else viewed(known, view)


def read_zip(archive: Archive, contents: Contents, *, scope: str = "", prefix: str = "") -> bool:
    """Add what a zip checkpoint holds to `contents`; say whether it is TorchScript."""
    root = archive.root()
    if f"{root}data.pkl" not in archive.members:
        raise UnsupportedModel("a zip archive without data.pkl, not a PyTorch checkpoint")
    check_records(archive, root)
    scripted = f"{root}constants.pkl" in archive.members
    member = Member(archive, root, "data", prefix, scope)
    member.read(contents, describer(archive, root) if scripted else silent)
    if scripted:
        replace(member, stem="constants", prefix="constants").read(contents, silent)
    return scripted


def silent(_: Call) -> None:
    """Nothing is known of an instance but what it holds."""


@dataclass(frozen=True, slots=True)
class Member:
    """The pickle ``<stem>.pkl`` of an archive, its storages being the members ``<stem>/<key>``."""

    archive: Archive
    root: str
    stem: str
    prefix: str
    scope: str

    def read(self, contents: Contents, describe: Describe) -> None:
        """Add what it holds to `contents`."""
        declared, ledger = Declared(), Ledger()
        data = self.archive.read(f"{self.root}{self.stem}.pkl", limits.scaled(limits.PICKLE_BYTES))
        top, end = read_pickle(data, declared.persistent, ledger)
        if end != len(data):
            raise UnreadableModel(f"{len(data) - end} bytes behind the end of {self.stem}.pkl")
        members = self.storages()
        for key in members.keys() & declared.storages.keys():
            storage = declared.storages[key]
            beyond = members[key].size - storage.count * STORAGE_SIZES[storage.kind]
            if beyond > 0:
                reason = f"{beyond} bytes of this storage lie behind its declared end"
                contents.missing.append((f"{self.stem}/{key}", reason))
        unused = len(members.keys() - declared.storages.keys())
        if unused:
            contents.notes.append(f"{unused} storages in {self.stem}/ belong to no tensor")
        store = Store(members, big_endian=byte_order(self.archive, self.root) == b"big")
        origin = Origin(self.prefix, self.root, self.scope)
        add_tensors(top, store, ledger, contents, describe, origin)

    def storages(self) -> dict[str, Region]:
        """The members that are storages of this pickle, by key."""
        folder = f"{self.root}{self.stem}/"
        return {
            name[len(folder) :]: region
            for name, region in self.archive.members.items()
            if name.startswith(folder)
        }


@dataclass(frozen=True, slots=True)
class Origin:
    """What names begin with, and where storages lie."""

    prefix: str = ""
    root: str = ""
    scope: str = ""


def add_tensors(
    top: object,
    store: Store,
    ledger: Ledger,
    contents: Contents,
    describe: Describe = silent,
    origin: Origin = Origin(),
) -> None:
    """Add every tensor below `top`."""
    inventory = walk(top, describe=describe, objects=ledger.objects)
    for found in inventory.tensors:
        name = ".".join(part for part in (origin.prefix, found.name) if part) or "tensor"
        with door(f"{contents.path} › {escaped(name)}"):
            tensor = store.tensor(found.record)
        if tensor is not None:
            parameter = found.role == "unknown" and is_parameter(found.record)
            role = "parameter" if parameter else found.role
            contents.add(name, tensor, role, root=origin.root, scope=origin.scope)
    contents.attributes.update(inventory.attributes)
    contents.notes.extend(inventory.notes)
    called = [escaped(name) for name in ledger.foreign]
    if called:
        more = f" and {len(called) - LISTED} more" if len(called) > LISTED else ""
        listed = ", ".join(called[:LISTED])
        contents.notes.append(f"torch would call {listed}{more} to load it; not called here")


def is_parameter(record: object) -> bool:
    """Whether the pickle makes it a Parameter."""
    name = record.callee.name if type(record) is Call else ""
    return name == "Parameter" or name.startswith("_rebuild_parameter")


def check_records(archive: Archive, root: str) -> None:
    """Raise unless the small records beside the pickle are what torch writes."""
    for record in ("version", ".data/version", ".format_version", ".storage_alignment"):
        name = root + record
        if name in archive.members:
            text = archive.read(name, 64).strip()
            if not text.isdigit() or len(text) > 8:
                raise UnreadableModel(f"record {record} of the archive is not a number")
    if byte_order(archive, root) not in (b"little", b"big"):
        raise UnreadableModel("record byteorder of the archive is neither little nor big")


def byte_order(archive: Archive, root: str) -> bytes:
    """How the storages' bytes are ordered; not said before torch 2.1, and then little."""
    name = f"{root}byteorder"
    return archive.read(name, 64) if name in archive.members else b"little"


def read_old(file: ModelFile, contents: Contents) -> None:
    """Add what a checkpoint of before torch 1.6 holds."""
    declared = Declared()
    top, store, ledger, notes = read_legacy(file, declared.persistent, declared.storages)
    contents.notes.extend(notes)
    add_tensors(top, store, ledger, contents)
