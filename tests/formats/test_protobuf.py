"""The wire format: positions are right, ambiguity is refused, memory stays small."""

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.files import ModelFile
from specaudit.formats.protobuf import Scanner, Span, many, message, one, signed
from tests.hostile.onnx_files import field, varint


@message
class Tree:
    number: int | None = one(1, "int")
    numbers: list[int] = many(2, "int")
    real: float | None = one(3, "float")
    reals: list[float] = many(4, "float")
    text: str | None = one(5, "text")
    texts: list[str] = many(6, "text")
    blob: bytes | Span | None = one(7, "bytes")
    data: Span | None = one(8, "data")
    parts: list[Span] = many(9, "data")
    child: "Tree | None" = one(10, "Tree")
    children: "list[Tree]" = many(11, "Tree")


def scan(content: bytes, folder: Path) -> Tree:
    path = folder / "message"
    path.write_bytes(content)
    with Scanner(ModelFile.at(str(path))) as scanner:
        return scanner.read(Tree)


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def test_every_kind(tmp_path: Path) -> None:
    content = (
        integer(1, -5)
        + integer(2, 1)
        + field(2, varint(300) + varint(2**64 - 1))
        + b"\x1d"
        + struct.pack("<f", 0.5)
        + field(4, struct.pack("<2f", 1.5, -2.5))
        + b"\x25"
        + struct.pack("<f", 3.5)
        + field(5, "ü".encode())
        + field(6, b"a")
        + field(6, b"")
        + field(7, b"\xff")
        + field(10, integer(1, 7))
        + field(11, b"")
        + field(11, field(5, b"deep"))
    )
    found = scan(content, tmp_path)
    child = Tree(number=7)
    assert found == Tree(
        -5, [1, 300, -1], 0.5, [1.5, -2.5, 3.5], "ü", ["a", ""], b"\xff",
        child=child, children=[Tree(), Tree(text="deep")],
    )  # fmt: skip


def test_positions_are_where_the_bytes_are(tmp_path: Path) -> None:
    content = field(5, b"x" * 100) + field(8, b"precious") + field(9, b"one") + integer(9, 300)
    found = scan(content, tmp_path)
    assert found.data is not None
    assert content[found.data.offset :][: found.data.length] == b"precious"
    packed, single = found.parts
    assert content[packed.offset :][: packed.length] == b"one"
    assert content[single.offset :][: single.length] == varint(300)
    assert (packed.wire, single.wire) == (2, 0)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.booleans())
def test_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, values: list[int],
                           packed: bool) -> None:  # fmt: skip
    raw = [varint(value & 0xFFFF_FFFF_FFFF_FFFF) for value in values]
    content = field(2, b"".join(raw)) if packed else b"".join(integer(2, v) for v in values)
    assert scan(content, tmp_path_factory.mktemp("scan")).numbers == values


def test_fields_across_the_edge_of_the_window(tmp_path: Path) -> None:
    texts = [b"t" * (size % 90) for size in range(3000)]
    found = scan(b"".join(field(6, text) for text in texts), tmp_path)
    assert found.texts == [text.decode() for text in texts]


DAMAGED = {
    "twice": integer(1, 1) + integer(1, 1),
    "child twice": field(10, b"") + field(10, b""),
    "wrong wire": field(1, b"x"),
    "text as number": integer(5, 1),
    "cut float": b"\x1d\x00\x00",
    "cut packed floats": field(4, b"\0" * 5),
    "cut packed numbers": field(2, b"\x80"),
    "cut length": b"\x2a",
    "cut tag": b"\x80",
    "past the end": b"\x2a\x05abc",
    "past the parent": field(11, b"\x2a\x05abc") + b"defg",
    "group": b"\x0b\x0c",
    "wire 6": b"\x0e",
    "wire 7": b"\x0f",
    "field 0": b"\x00\x01",
    "field 2^29": varint(1 << 32) + b"\x01",
    "eleven bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "not utf-8": field(5, b"\xff"),
    "surrogate": field(5, b"\xed\xa0\x80"),
    "long name": field(5, b"x" * ((1 << 20) + 1)),
    "length of 2^64": b"\x2a" + b"\xff" * 9 + b"\x01",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_or_ambiguous_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel):
        scan(content, tmp_path)


def test_depth_is_bounded(tmp_path: Path) -> None:
    content = b""
    for _ in range(limits.PROTOBUF_DEPTH):
        content = field(10, content)
    scan(content, tmp_path)
    with pytest.raises(UnreadableModel, match="deep"):
        scan(field(10, content), tmp_path)


def test_the_number_of_fields_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specaudit.limits.PROTOBUF_FIELDS", 1000)
    scan(integer(99, 1) * 1000, tmp_path)
    for content in (integer(99, 1) * 1001, field(2, bytes(1001)), field(4, bytes(4004))):
        with pytest.raises(UnreadableModel, match="more than 1000 fields"):
            scan(content, tmp_path)


def test_big_content_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "message"
    size = 1 << 28
    with path.open("wb") as file:  # sparse: takes no room on disk
        file.write(varint(8 << 3 | 2) + varint(size))
        start = file.tell()
        file.seek(size, 1)
        file.write(field(7, b"y" * (1 << 21)) + integer(1, 3))
    tracemalloc.start()
    try:
        with Scanner(ModelFile.at(str(path))) as scanner:
            found = scanner.read(Tree)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert found.data == Span(start, size)
    assert isinstance(found.blob, Span)
    assert found.number == 3


@given(st.integers(-(2**63), 2**63 - 1))
def test_two_s_complement(value: int) -> None:
    assert signed(value & 0xFFFF_FFFF_FFFF_FFFF) == value
