"""ONNX files written back: numbers in place, and where they cannot be, the wire set right around.

Numbers that protobuf codes as varints take other lengths when they change, and a data file
beside the output may have another name. Each such edit changes the length of every message
around it, which stands before that message; all other bytes are kept.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import SpecauditError
from specaudit.formats import canvas
from specaudit.formats.canvas import Patch, Values
from specaudit.formats.encoding import encode, patterns
from specaudit.formats.files import ModelFile, contained
from specaudit.formats.onnx_schema import (
    ModelProto,
    StringStringEntryProto,
    TensorProto,
)
from specaudit.formats.onnx_tensors import WIDTHS, TypedTensor, number_ends
from specaudit.formats.parts import parts_of
from specaudit.formats.protobuf import BYTES, FIXED, MESSAGES, TABLES, VARINT, Scanner
from specaudit.formats.saving import Output
from specaudit.formats.splices import Buffer, Splice, blocks_of, fixed
from specaudit.formats.strided import Strided
from specaudit.formats.tensors import BITS
from specaudit.model import Model

KEY, VALUE = 1, 2
SHA1_DIGITS = 40
OWN = r"(\.\d+)?\.data"  # how a data file is called after its model


def outputs(model: Model, values: Mapping[str, Values], out: str) -> list[Output]:
    """The data files beside `out`, then the model itself."""
    assert isinstance(model.source, ModelFile)
    file = model.source
    patches: dict[str, list[Patch]] = {}
    edits: list[Splice] = []
    for weight in model.weights:
        for piece, new in parts_of(weight, values.get(weight.name)):
            if isinstance(piece, TypedTensor):
                edits.extend(retyped(piece, new) if new else ())
            elif not isinstance(piece, Strided):
                patches.setdefault(piece.file.path, []).append(Patch(weight.name, piece, new))
    within = list(canvas.splices(patches.pop(file.path, [])))
    written = []
    if patches or any(edit.size != edit.length for edit in edits):
        with file.open() as stream:
            places = Map(stream)
            places.read(ModelProto, 0, file.size, ())
        names = new_names(places.locations(), file, out)
        by_name = {}
        for location, name in names.items():
            data = ModelFile.at(contained(file.path, location))
            output = Output(name, data, list(canvas.splices(patches.get(data.path, []))))
            by_name[location] = output
            written.append(output)
        edits.extend(places.renamed(by_name))
        edits.extend(places.lengths(edits))
    inputs = [file, *(output.source for output in written)]
    main = Output(
        os.path.basename(out), file, [*within, *edits], obsolete=tuple(obsolete(out, inputs))
    )
    return [*written, main]


def retyped(tensor: TypedTensor, values: Values) -> Iterator[Splice]:
    """The new numbers of a tensor that holds them as protobuf numbers."""
    stored = patterns(
        encode(values(), tensor.dtype, tensor.shape, tensor.where), tensor.dtype
    ).reshape(-1)
    width = WIDTHS.get(tensor.encoding, (VARINT, 0))[1]
    done = 0
    if width:
        for span in tensor.spans:
            yield fixed(span.offset, stored[done : done + span.length].tobytes())
            done += span.length
        return
    numbers = as_numbers(stored, tensor.dtype)
    for span in tensor.spans:
        count = len(number_ends(tensor.file.array(span.offset, span.length)))
        coded = varints(numbers[done : done + count])
        done += count
        yield Splice(span.offset, span.length, partial(bytes, coded), len(coded))


def as_numbers(stored: NDArray[np.uint8], dtype: str) -> NDArray[np.uint64]:
    """What a typed field holds for each element: its bits, or its value if it is signed."""
    size = max(8, BITS[dtype]) // 8
    signed = dtype in ("int8", "int16", "int32", "int64")
    numbers = stored.view(f"{'i' if signed else 'u'}{size}")
    return numbers.astype(np.int64).view(np.uint64) if signed else numbers.astype(np.uint64)


def varints(numbers: NDArray[np.uint64]) -> bytes:
    """Numbers as protobuf codes them, one behind the other."""
    groups = np.empty((len(numbers), 10), dtype=np.uint8)
    for index in range(10):
        groups[:, index] = (numbers >> np.uint64(7 * index)) & np.uint64(0x7F)
    lengths = 10 - (groups[:, ::-1] != 0).argmax(axis=1)
    lengths[numbers == 0] = 1
    places = np.arange(10)[None, :]
    groups |= (places < lengths[:, None] - 1).astype(np.uint8) << 7
    coded: bytes = groups[places < lengths[:, None]].tobytes()
    return coded


class Prefix(NamedTuple):
    """The length that stands before a field: where, in how many bytes, and of how many."""

    at: int
    width: int
    length: int

    @property
    def start(self) -> int:
        """Where the field's content begins."""
        return self.at + self.width


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a tensor's external data, and where its value stands."""

    key: str
    value: str
    start: int
    length: int
    tensor: int


class Map:
    """Where a model's messages lie, one inside the other.

    Parameters
    ----------
    stream : file
        The model, which a reader has found to be in order.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._around: dict[int, tuple[Prefix, ...]] = {}
        self._entries: list[Entry] = []

    def read(self, cls: type, start: int, end: int, around: tuple[Prefix, ...]) -> None:
        """Note the fields of a message of class `cls`, and of those inside it."""
        table = TABLES[cls]
        spans: dict[int, tuple[int, int]] = {}
        for number, wire, prefix, at, length in self._fields(start, end):
            chain = around if prefix is None else (*around, prefix)
            slot = table.get(number)
            if slot is None:
                continue
            spans[number] = (at, length)
            if slot.kind in MESSAGES and wire == BYTES:
                self.read(MESSAGES[slot.kind], at, at + length, chain)
            elif slot.kind in ("data", "text") and cls in (TensorProto, StringStringEntryProto):
                self._around[at] = chain
        if cls is StringStringEntryProto:
            self._entry(spans, start, around)

    def _entry(
        self, spans: dict[int, tuple[int, int]], start: int, around: tuple[Prefix, ...]
    ) -> None:
        if VALUE in spans:
            key, value = self._text(*spans.get(KEY, (0, 0))), self._text(*spans[VALUE])
            self._entries.append(Entry(key, value, *spans[VALUE], around[-2].start))

    def locations(self) -> list[str]:
        """The data files that tensors name, each once."""
        return list(dict.fromkeys(e.value for e in self._entries if e.key == "location"))

    def renamed(self, files: Mapping[str, Output]) -> Iterator[Splice]:
        """The names and checksums of data files, as they are to be."""
        homes = {e.tensor: files[e.value] for e in self._entries if e.key == "location"}
        for entry in self._entries:
            file = homes.get(entry.tensor)
            if file is None:
                continue
            if entry.key == "location" and entry.value != file.name:
                name = file.name.encode()
                yield Splice(entry.start, entry.length, partial(bytes, name), len(name))
            elif entry.key == "checksum" and file.splices and entry.length == SHA1_DIGITS:
                yield Splice(entry.start, entry.length, partial(sha1, file), SHA1_DIGITS)

    def lengths(self, edits: Iterable[Splice]) -> list[Splice]:
        """The lengths that stand before the messages around `edits`, set right."""
        grown: dict[tuple[Prefix, ...], int] = {}
        for edit in edits:
            assert edit.size is not None
            chain = self._around.get(edit.offset, ())
            grown[chain] = grown.get(chain, 0) + edit.size - edit.length
        found = []
        deepest = max(map(len, grown), default=0)
        for depth in range(deepest, 0, -1):
            for chain in [chain for chain in grown if len(chain) == depth]:
                prefix, growth = chain[-1], grown[chain]
                if growth:
                    coded = padded(prefix.length + growth, prefix.width)
                    found.append(Splice(prefix.at, prefix.width, partial(bytes, coded), len(coded)))
                    growth += len(coded) - prefix.width
                grown[chain[:-1]] = grown.get(chain[:-1], 0) + growth
        return found

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, Prefix | None, int, int]]:
        """Number, wire type, length prefix, and place of each field of a message."""
        at = start
        while at < end:
            tag, at = self._varint(at)
            number, wire = tag >> 3, tag & 7
            prefix = None
            if wire == BYTES:
                length, content = self._varint(at)
                prefix = Prefix(at, content - at, length)
                at = content
            else:
                length = FIXED.get(wire) or self._varint(at)[1] - at
            yield number, wire, prefix, at, length
            at += length

    def _varint(self, at: int) -> tuple[int, int]:
        self._stream.seek(at)
        value = shift = 0
        for byte in self._stream.read(10):
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        return value, at

    def _text(self, at: int, length: int) -> str:
        self._stream.seek(at)
        return self._stream.read(length).decode()


def padded(number: int, width: int) -> bytes:
    """`number` as a varint of `width` bytes, or of more if it needs them."""
    coded = bytearray()
    while number >= 0x80 or len(coded) + 1 < width:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    coded.append(number)
    return bytes(coded)


def sha1(output: Output) -> Buffer:
    """The SHA-1 of a data file as it will be written, in hexadecimal digits."""
    hasher = hashlib.sha1(usedforsecurity=False)
    for block in blocks_of(output.source, output.splices):
        hasher.update(block)
    return hasher.hexdigest().encode()


def new_names(locations: list[str], model: ModelFile, out: str) -> dict[str, str]:
    """What each data file is called beside `out`: as before, unless something is there.

    Nothing but `out` is ever replaced: not the data of the model that is read, and not those
    of one that stands at `out`, which stay whole until `out` itself is.
    """
    folder, main = os.path.split(out)
    taken = {location for location in locations if not free(folder, location)} | {main}
    names = {location: location for location in locations if location not in taken}
    for location in locations:
        if location not in names:
            number = 0
            while True:
                name = f"{main}.{number}.data" if number else f"{main}.data"
                if name not in names.values() and free(folder, name):
                    break
                number += 1
            names[location] = name
    return names


def obsolete(out: str, inputs: list[ModelFile]) -> Iterator[str]:
    """The data files that the model at `out` names and that are named after it alone."""
    try:
        old = ModelFile.at(out)
        with Scanner(old) as scanner:
            scanner.read(ModelProto)  # for its checks: there may be anything at `out`
        with old.open() as stream:
            places = Map(stream)
            places.read(ModelProto, 0, old.size, ())
    except SpecauditError:
        return
    folder, main = os.path.split(out)
    for name in places.locations():
        path = os.path.join(folder, name)
        if not re.fullmatch(re.escape(main) + OWN, name) or not os.path.isfile(path):
            continue
        if not any(ModelFile.at(path).same_file(file) for file in inputs):
            yield path


def free(folder: str, name: str) -> bool:
    """Whether nothing is called so."""
    return not os.path.lexists(os.path.join(folder, name))
