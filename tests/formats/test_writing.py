"""A file is written whole or not at all, and nothing else is touched."""

import os
import stat
from pathlib import Path

import pytest

from specaudit.errors import OutputError, UsageError
from specaudit.formats.writing import replacing


def write(target: Path, content: bytes = b"new", **options: object) -> None:
    with replacing(str(target), **{"force": False, **options}) as file:  # type: ignore[arg-type]
        file.write(content)


def test_writes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["out"]


def test_an_existing_file_needs_force_and_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with pytest.raises(UsageError, match="exists"):
        write(target)
    assert target.read_bytes() == b"old"
    write(target, force=True)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_failure_inside_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")

    def fail() -> None:
        with replacing(str(target), force=True) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_input_is_never_the_output(tmp_path: Path, link: object) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"input")
    link(source, target)  # type: ignore[operator]
    with pytest.raises(UsageError, match="is the input"):
        write(target, inputs=[str(source)], force=True)
    assert source.read_bytes() == b"input"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("fifo", "broken", "."):
        with pytest.raises(OutputError):
            write(tmp_path / name, force=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file") as caught:
        write(tmp_path / "none" / "out")
    assert "none" in caught.value.where


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def race() -> None:
        with replacing(str(target), force=False) as file:
            file.write(b"ours")
            target.write_bytes(b"theirs")

    with pytest.raises(UsageError, match="exists"):
        race()
    assert target.read_bytes() == b"theirs"
