"""Files are opened by kind, pinned, and stay in their folder."""

import hashlib
import os
import pickle
import tempfile
import threading
from pathlib import Path

import pytest

from specaudit.errors import UnreadableModel, UsageError
from specaudit.formats.files import ModelFile, contained, open_regular, sha256

NOBODY = 65534


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with open_regular(str(path)) as file:
        assert file.read() == b"0123456789"
    pinned = ModelFile.at(str(path))
    assert pinned.read(2, 3) == b"234"
    assert pinned.array(2, 3).tobytes() == b"234"
    assert pickle.loads(pickle.dumps(pinned)) == pinned


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            open_regular(str(path))
        except UnreadableModel as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert "named pipe" in str(failures[0])


@pytest.mark.parametrize(("path", "reason"), [("/dev/zero", "a device"), ("/", "a directory")])
def test_special_files_are_refused(path: str, reason: str) -> None:
    with pytest.raises(UnreadableModel, match=reason):
        open_regular(path)


@pytest.mark.parametrize("path", ["nowhere", "nowhere/f", "n" * 5000, "a\0b", __file__ + "/f"])
def test_what_is_not_there_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError):
        open_regular(path)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    loop, broken = tmp_path / "loop", tmp_path / "broken"
    loop.symlink_to(loop)
    broken.symlink_to(tmp_path / "none")
    with pytest.raises(UnreadableModel):
        open_regular(str(loop))
    with pytest.raises(UsageError, match="broken"):
        open_regular(str(broken))


def test_what_may_not_be_read() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "f")
        path.touch(mode=0)
        try:
            if user == 0:
                os.seteuid(NOBODY)  # root may read everything
            with pytest.raises(UnreadableModel, match="cannot be read"):
                open_regular(str(path))
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("content", [b"other12345", b"short", b"longer than before"])
def test_a_file_that_changed_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    pinned = ModelFile.at(str(path))
    path.write_bytes(content)
    os.utime(path, ns=(0, pinned.changed_ns + 1))  # two writes may fall into one clock tick
    with pytest.raises(UnreadableModel, match="changed"):
        pinned.read(0, 1)


def test_a_file_that_changes_while_it_is_open_is_refused(tmp_path: Path) -> None:
    """A digest or a tensor of half the old bytes and half the new ones is of no file."""
    path = tmp_path / "f"
    path.write_bytes(bytes(1 << 20))
    pinned = ModelFile.at(str(path))

    def read_half() -> None:
        with pinned.open() as file:
            file.read(1)
            with open(path, "r+b") as other:
                other.write(b"1")
            os.utime(path, ns=(0, pinned.changed_ns + 1))  # both may fall into one clock tick

    with pytest.raises(UnreadableModel, match="changed"):
        read_half()


def test_no_bytes_are_read_without_opening_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of 10 MB names a hundred thousand empty tensors: three system calls for each."""
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    pinned = ModelFile.at(str(path))
    monkeypatch.setattr("specaudit.formats.files.open_regular", None)
    assert pinned.array(3, 0).size == 0
    with pytest.raises(UnreadableModel, match="truncated"):
        pinned.array(11, 0)


def test_that_a_file_changed_hides_no_other_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")

    def fail() -> None:
        with ModelFile.at(str(path)).open():
            path.write_bytes(b"")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (11, 0), (-1, 1), (5, -1), (1 << 62, 1)])
def test_reading_past_the_end_allocates_nothing(tmp_path: Path, offset: int, length: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    pinned = ModelFile.at(str(path))
    for read in (pinned.read, pinned.array):
        with pytest.raises(UnreadableModel, match="truncated"):
            read(offset, length)


@pytest.mark.parametrize("zeros", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("content", [b"", b"x", b"x" * (1 << 20), b"\0x\0\0x"])
def test_digest_and_trailing_zeros(tmp_path: Path, content: bytes, zeros: int) -> None:
    path = tmp_path / "f"
    whole = content + bytes(zeros)
    path.write_bytes(whole)
    file = ModelFile.at(str(path))
    assert file.digest() == sha256(str(path)) == hashlib.sha256(whole).hexdigest()
    assert file.trailing_zeros() == zeros


@pytest.mark.parametrize(
    "location",
    ["", "/etc/passwd", "../f", "a/../../f", "a\\..\\f", "file:///f", "https://h/f", "a\0b", "C:f",
     "n" * 5000, ".", "folder", "pipe", "none", "out", "via/f", "~/f"],
)  # fmt: skip
def test_locations_that_lead_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    os.mkfifo(home / "pipe")
    (tmp_path / "f").write_bytes(b"secret")
    (home / "out").symlink_to(tmp_path / "f")
    (home / "via").symlink_to(tmp_path)
    (home / "model").write_bytes(b"")
    with pytest.raises(UnreadableModel) as caught:
        contained(str(home / "model"), location)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("location", ["f", "./f", "folder/f", "inside", "folder/up"])
def test_locations_inside_are_found(tmp_path: Path, location: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "folder" / "f").write_bytes(b"")
    (tmp_path / "inside").symlink_to("folder/f")
    (tmp_path / "folder" / "up").symlink_to("../f")
    found = contained(str(tmp_path / "model"), location)
    assert Path(found).parent in (tmp_path, tmp_path / "folder")
    assert not Path(found).is_symlink()


def test_a_model_without_a_folder_in_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_bytes(b"")
    assert contained("model", "f") == str(tmp_path / "f")


def test_a_hugging_face_cache_is_one_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "x"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name in ("model", "data"):
        (blobs / name).write_bytes(b"")
        (snapshot / name).symlink_to(blobs / name)
    (snapshot / "secret").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_bytes(b"")
    assert contained(str(snapshot / "model"), "data") == str(blobs / "data")
    with pytest.raises(UnreadableModel, match="leads out"):
        contained(str(snapshot / "model"), "secret")
