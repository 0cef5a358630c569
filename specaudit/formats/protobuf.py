"""Protobuf's wire format, read by seeking: big fields are remembered by position, never loaded.

The official parsers hold a whole message in memory, let the last of two contradictory
fields win, and keep no positions. Reference: protobuf.dev, "Encoding".
"""

import struct
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeVar, dataclass_transform

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.files import ModelFile, read_exactly

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WINDOW: Final = 1 << 16

Kind = Literal["int", "float", "text", "bytes", "data"] | str
T = TypeVar("T")


class Span(NamedTuple):
    """Where a field's content lies in the file, and how it is coded there."""

    offset: int
    length: int
    wire: int = BYTES


class Slot(NamedTuple):
    """One row of a message's table: the attribute a field goes to, and its kind."""

    name: str
    kind: Kind
    repeated: bool


MESSAGES: dict[str, type] = {}
TABLES: dict[type, dict[int, Slot]] = {}
WIRES = {"int": VARINT, "float": FIXED32}
FIXED = {FIXED32: 4, FIXED64: 8}


def one(number: int, kind: Kind) -> Any:
    """Declare a field that may be there once; None where it is not. Twice is an error."""
    return field(default=None, metadata={"wire": (number, kind, False)})


def many(number: int, kind: Kind) -> Any:
    """Declare a repeated field: a list."""
    return field(default_factory=list, metadata={"wire": (number, kind, True)})


@dataclass_transform(field_specifiers=(one, many))
def message(cls: type[T]) -> type[T]:
    """Make a message class of declarations by `one` and `many`.

    A kind is ``int`` (any varint, as a signed 64-bit number), ``float``, ``text`` (UTF-8),
    ``bytes`` (a `Span` instead when over a megabyte), ``data`` (always a `Span`: numbers
    packed or one by one, or raw bytes), or the name of another message.
    """
    made = dataclass(slots=True)(cls)
    table = {}
    for name, declared in made.__dataclass_fields__.items():  # type: ignore[attr-defined]
        number, kind, repeated = declared.metadata["wire"]
        table[number] = Slot(name, kind, repeated)
    MESSAGES[cls.__name__] = made
    TABLES[made] = table
    return made


class Scanner:
    """Reads messages from a file through one small window that slides forward.

    Parameters
    ----------
    file : ModelFile
    """

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self._stream = file.open()
        self._data = b""
        self._base = 0
        self._fields = 0

    def __enter__(self) -> "Scanner":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, cls: type[T]) -> T:
        """The file as one message of class `cls`."""
        return self._message(cls, 0, self._file.size, 0)

    def _message(self, cls: type[T], position: int, end: int, depth: int) -> T:
        if depth > limits.PROTOBUF_DEPTH:
            self._refuse(cls, "nested too deeply")
        found = cls()
        table = TABLES[cls]
        while position < end:
            data, at = self._at(position)
            base = position - at
            tag, at = self._varint(data, at)
            number, wire = tag >> 3, tag & 7
            start, value, length = base + at, 0, FIXED.get(wire, 0)
            if wire == VARINT:
                value, past = self._varint(data, at)
                length = past - at
            elif wire == BYTES:
                length, at = self._varint(data, at)
                start = base + at
            elif not length:
                self._refuse(cls, f"wire type {wire} is not in use")
            position = start + length
            if position > end or not 0 < number < 1 << 29:
                self._refuse(cls, "truncated or damaged: a field runs past the end")
            self._count(cls, 1)
            slot = table.get(number)
            if slot is not None:
                self._store(found, slot, Span(start, length, wire), value, depth)
        return found

    def _store(self, found: object, slot: Slot, span: Span, value: int, depth: int) -> None:
        name, kind, repeated = slot
        if not repeated:
            if getattr(found, name) is not None:
                self._refuse(type(found), f"field {name} is there twice")
            setattr(found, name, self._value(found, slot, span, value, depth))
            return
        items: list[object] = getattr(found, name)
        if kind == "data":
            # A tensor whose numbers come one by one would cost an object each; every
            # writer packs them.
            if len(items) >= limits.PROTOBUF_SPANS:
                self._refuse(type(found), f"field {name} is scattered over too many places")
            items.append(span)
        elif span.wire == BYTES and kind in WIRES:
            items.extend(self._packed(found, slot, span))
        else:
            items.append(self._value(found, slot, span, value, depth))

    def _value(self, found: object, slot: Slot, span: Span, value: int, depth: int) -> object:
        name, kind, _ = slot
        start, length, wire = span
        if wire != WIRES.get(kind, BYTES):
            self._refuse(type(found), f"field {name} has wire type {wire}")
        if kind == "int":
            return signed(value)
        if kind == "float":
            return struct.unpack("<f", self._bytes(start, 4))[0]
        if kind == "data":
            return span
        if kind == "bytes":
            return self._bytes(start, length) if length <= limits.PROTOBUF_TEXT else span
        if kind == "text":
            return self._text(found, name, span)
        return self._message(MESSAGES[kind], start, start + length, depth + 1)

    def _text(self, found: object, name: str, span: Span) -> str:
        if span.length > limits.PROTOBUF_TEXT:
            self._refuse(type(found), f"field {name} is {span.length} bytes long")
        try:
            return self._bytes(span.offset, span.length).decode()
        except UnicodeDecodeError:
            self._refuse(type(found), f"field {name} is not UTF-8")

    def _packed(self, found: object, slot: Slot, span: Span) -> list[int | float]:
        length = span.length
        self._count(type(found), length if slot.kind == "int" else length // 4)
        data = self._bytes(span.offset, length)
        if slot.kind == "float":
            if length % 4:
                self._refuse(type(found), f"field {slot.name} is cut")
            return list(struct.unpack(f"<{length // 4}f", data))
        values: list[int | float] = []
        at = 0
        while at < length:
            value, at = self._varint(data, at)
            values.append(signed(value))
        return values

    def _count(self, cls: type, number: int) -> None:
        self._fields += number
        if self._fields > limits.PROTOBUF_FIELDS:
            self._refuse(cls, f"more than {limits.PROTOBUF_FIELDS} fields")

    def _at(self, position: int) -> tuple[bytes, int]:
        """The window, holding at least 20 bytes from `position` (zeros past the file's end)."""
        at = position - self._base
        if at < 0 or at + 20 > len(self._data):
            length = min(WINDOW, self._file.size - position)
            self._data = read_exactly(self._stream, position, length, self._file.path)
            if position + length == self._file.size:
                self._data += bytes(20)
            self._base = position
            at = 0
        return self._data, at

    def _bytes(self, start: int, length: int) -> bytes:
        at = start - self._base
        if at >= 0 and at + length <= len(self._data):
            return self._data[at : at + length]
        return read_exactly(self._stream, start, length, self._file.path)

    def _varint(self, data: bytes, at: int) -> tuple[int, int]:
        value = data[at]
        if value < 0x80:  # nine in ten
            return value, at + 1
        value = shift = 0
        for byte in data[at : at + 10]:
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        return self._refuse(None, "truncated or damaged: a number without an end")

    def _refuse(self, cls: type | None, reason: str) -> NoReturn:
        place = f"{cls.__name__}: " if cls else ""
        raise UnreadableModel(f"{place}{reason}", where=self._file.path)


def signed(value: int) -> int:
    """A varint's 64 bits as two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value
