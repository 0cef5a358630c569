"""What is written: never the input, never through a link or onto a device, whole or not at all."""

import os
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.cases import CANARY
from tests.hostile.damaged_files import HIJACK, cwd_hijack
from tests.hostile.jail import Jail, Outcome
from tests.hostile.rows import OUTPUT_ROWS
from tests.hostile.safetensors_files import GOOD
from tests.hostile.watching import refused, snapshot, well_behaved

Target = Callable[[Path], Path]
COMMANDS = {
    "clamp": lambda out: ["clamp", "--max", "1", "-o", str(out)],
    "clamp_force": lambda out: ["clamp", "--max", "1", "--force", "-o", str(out)],
    "report": lambda out: ["check", "-r", f"json={out}"],
    "report_of_diff": lambda out: ["diff", "-r", f"json={out}", str(out.parent / "m.safetensors")],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    (made / "m.safetensors").write_bytes(GOOD)
    return made


def run(jail: Jail, folder: Path, command: str, out: Path, **how: object) -> Outcome:
    arguments = [*COMMANDS[command](out), str(folder / "m.safetensors")]
    outcome = jail.run(arguments, workplace=folder.parent, **how)
    well_behaved(outcome)
    return outcome


def same(folder: Path) -> Path:
    return folder / "m.safetensors"


def same_dotted(folder: Path) -> Path:
    return folder / "." / ".." / folder.name / "m.safetensors"


def hard_link(folder: Path) -> Path:
    os.link(folder / "m.safetensors", folder / "out")
    return folder / "out"


def link_to_input(folder: Path) -> Path:
    (folder / "out").symlink_to("m.safetensors")
    return folder / "out"


def link_outside(folder: Path) -> Path:
    (folder.parent / "precious").write_text("precious")
    (folder / "out").symlink_to(folder.parent / "precious")
    return folder / "out"


def broken_link(folder: Path) -> Path:
    (folder / "out").symlink_to(folder.parent / "nowhere")
    return folder / "out"


def a_folder(folder: Path) -> Path:
    (folder / "out").mkdir()
    return folder / "out"


def folder_missing(folder: Path) -> Path:
    return folder / "none" / "out"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "out")
    return folder / "out"


def device(folder: Path, minor: int) -> Path:
    path = folder / "out"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("device nodes are root's to make")
    return path


def dev_null(folder: Path) -> Path:
    return device(folder, 3)


def dev_full(folder: Path) -> Path:
    return device(folder, 7)


REFUSED = (
    same, same_dotted, hard_link, link_to_input, link_outside, broken_link, a_folder,
    folder_missing, pipe, dev_null, dev_full,
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("target", REFUSED)
def test_refused_before_anything_is_written(
    target: Target, command: str, folder: Path, jail: Jail
) -> None:
    out = target(folder)
    before = snapshot(folder.parent)
    outcome = run(jail, folder, command, out)
    assert outcome.code in (2, 3)
    refused(outcome)
    assert snapshot(folder.parent) == before


def test_every_row_has_its_targets_and_tests() -> None:
    here = {target.__name__ for target in REFUSED} | {n for n in globals() if n[:5] == "test_"}
    named = {name for _, text in OUTPUT_ROWS.values() for name in text.split()}
    assert named <= here
    assert {target.__name__ for target in REFUSED} <= named


def test_an_output_that_exists_is_replaced_only_by_force(folder: Path, jail: Jail) -> None:
    out = folder / "out.safetensors"
    out.write_bytes(b"old")
    out.chmod(0o640)
    assert run(jail, folder, "clamp", out).code == 2
    assert out.read_bytes() == b"old"
    assert run(jail, folder, "clamp_force", out).code == 0
    assert out.read_bytes() != b"old"
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert (folder / "m.safetensors").read_bytes() == GOOD
    assert sorted(path.name for path in folder.iterdir()) == ["m.safetensors", "out.safetensors"]


@pytest.mark.parametrize("command", ["clamp", "clamp_force", "report"])
def test_a_folder_that_cannot_be_written(command: str, folder: Path, jail: Jail) -> None:
    inner = folder / "inner"
    inner.mkdir()
    inner.chmod(0o555)
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    outcome = run(jail, folder, command, inner / "out", unprivileged=True)
    inner.chmod(0o755)
    assert outcome.code == 3
    assert outcome.stdout == b"" or command == "report"
    assert list(inner.iterdir()) == []


def test_planted_links_are_not_followed(folder: Path, jail: Jail) -> None:
    """Names of temporary files that somebody could guess lead elsewhere."""
    (folder.parent / "precious").write_text("precious")
    for name in ("out.safetensors.tmp", ".out.safetensors.tmp", "tmp", ".out.safetensors.part"):
        (folder / name).symlink_to(folder.parent / "precious")
    assert run(jail, folder, "clamp", folder / "out.safetensors").code == 0
    assert (folder.parent / "precious").read_text() == "precious"
    assert not (folder / "out.safetensors").is_symlink()


@pytest.mark.parametrize("kind", ["text", "json", "html"])
def test_a_full_standard_output(kind: str, folder: Path, jail: Jail) -> None:
    model = str(folder / "m.safetensors")
    outcome = jail.run(
        ["inspect", "-f", kind, model], workplace=folder.parent, stdout=Path("/dev/full")
    )
    assert outcome.code == 3
    assert b"Traceback" not in outcome.stderr
    assert outcome.stderr.startswith(b"error: cannot write")


def started(*arguments: str, cwd: Path, python: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run as a user would: the console script, or ``python -m``."""
    script = [str(Path(sysconfig.get_path("scripts")) / "specaudit")]
    command = [sys.executable, "-m", "specaudit"] if python else script
    return subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, check=False)


def test_code_beside_the_model_is_not_imported(tmp_path: Path) -> None:
    model = cwd_hijack(tmp_path)
    done = started("inspect", "-f", "json", model.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / CANARY).exists()


def test_python_m_does_not_import_from_the_working_directory(tmp_path: Path) -> None:
    model = cwd_hijack(tmp_path)
    (tmp_path / "specaudit.py").unlink()  # this one stands for the program itself
    assert (tmp_path / f"{HIJACK[0]}.py").exists()
    done = started("inspect", "-f", "json", model.name, cwd=tmp_path, python=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / CANARY).exists()


def test_a_broken_pipe(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(GOOD)
    script = str(Path(sysconfig.get_path("scripts")) / "specaudit")
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [script, "inspect", "m.safetensors"],
        cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == b""
