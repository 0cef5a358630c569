"""The strict zip directory, held against archives of Python's own writer."""

import io
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specaudit.errors import ModelError, UnreadableModel
from specaudit.formats.files import ModelFile
from specaudit.formats.zips import Archive, read_archive
from tests.formats.mutants import mutants
from tests.hostile.zipping import Member, archive

TEXT = b"All work and no play makes Jack a dull boy. " * 50


def opened(content: bytes, folder: Path) -> Archive:
    path = folder / "a.zip"
    path.write_bytes(content)
    return read_archive(ModelFile.at(str(path)))


def contents(found: Archive) -> dict[str, bytes]:
    found.verify()
    return {name: region.read() for name, region in found.members.items()}


@pytest.mark.parametrize("wide", [False, True], ids=["zip32", "zip64"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_of_the_standard_library(method: int, wide: bool, tmp_path: Path) -> None:
    expected = {"a/x": TEXT, "a/ü": b"", "a/b/random": bytes(range(256)) * 9000}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as written:
        for name, data in expected.items():
            with written.open(name, "w", force_zip64=wide) as member:
                member.write(data)
    assert contents(opened(buffer.getvalue(), tmp_path)) == expected


def test_archives_written_to_a_stream(tmp_path: Path) -> None:
    """Sizes then follow the data, as torch writes them."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.parts.append(bytes(data))  # type: ignore[call-overload]
            return len(self.parts[-1])

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("a/x", TEXT)
        written.writestr("a/y", b"")
    assert contents(opened(b"".join(stream.parts), tmp_path)) == {"a/x": TEXT, "a/y": b""}


def test_the_other_reader_agrees_on_our_writer() -> None:
    content = archive([Member("a/x", TEXT), Member("a/y", TEXT, deflate=True)])
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        assert read.testzip() is None
        assert read.read("a/y") == TEXT


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000), st.integers(0, 3000), st.booleans())
def test_any_stretch_of_a_member(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, first: int, last: int, deflate: bool
) -> None:
    folder = tmp_path_factory.mktemp("zips")
    region = opened(archive([Member("a/x", data, deflate=deflate)]), folder).members["a/x"]
    if first <= last <= len(data):
        assert region.array(first, last).tobytes() == data[first:last]
    else:
        with pytest.raises(UnreadableModel):
            region.array(first, last)


def test_a_deflated_member_yields_no_more_than_it_declares(tmp_path: Path) -> None:
    squeezed = Member("a/x", bytes(1 << 20), deflate=True, size=1000, crc=zlib.crc32(bytes(1000)))
    found = opened(archive([squeezed]), tmp_path)
    with pytest.raises(UnreadableModel, match="declared size"):
        found.members["a/x"].read()
    with pytest.raises(UnreadableModel, match="declared size"):
        found.members["a/x"].array(0, 10)


def test_nested_archives_are_read_in_place(tmp_path: Path) -> None:
    inner = archive([Member("b/x", TEXT)])
    found = opened(archive([Member("a/pad", b"123"), Member("a/inner", inner)]), tmp_path)
    nested = found.nested("a/inner")
    assert contents(nested) == {"b/x": TEXT}
    assert nested.root() == "b/"


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    """But where nothing depends on it: versions, dates, attributes, the descriptors' copies."""
    members = [Member("a/x", TEXT), Member("a/y", bytes(range(256)), deflate=True)]
    whole = archive(members)
    expected = contents(opened(whole, tmp_path))
    for at in range(len(whole)):
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        try:
            read = contents(opened(flipped, tmp_path))
        except ModelError:
            continue
        assert list(read.values()) == list(expected.values())


def test_damaged_archives(tmp_path: Path) -> None:
    whole = archive([Member("a/x", TEXT), Member("a/y", TEXT, deflate=True)])
    for content in mutants(whole, 300, 5):
        try:
            contents(opened(content, tmp_path))
        except ModelError as error:
            refused = error
            assert refused.exit_code == 3
