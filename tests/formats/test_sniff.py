"""A file's format is told from its content, and what is no model is named."""

import pickle
from pathlib import Path

import pytest

from specaudit.errors import ModelError, UnreadableModel
from specaudit.formats import FORMATS, is_saved_audit, load, onnx, sniff
from tests.formats.opening import expect
from tests.hostile.cases import Case
from tests.hostile.plain_files import CASES, CONTENTS
from tests.hostile.safetensors_files import GOOD


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_paths_that_are_no_model(case: Case, tmp_path: Path) -> None:
    expect(case, tmp_path)


@pytest.mark.parametrize("label", [label for label, (_, said) in CONTENTS.items() if said])
@pytest.mark.parametrize("extension", [".pt", ".onnx", ".safetensors", ""])
def test_what_it_is_instead_is_said(label: str, extension: str, tmp_path: Path) -> None:
    content, said = CONTENTS[label]
    path = tmp_path / f"model{extension}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("name", "noted"),
    [("m.safetensors", False), ("M.SAFETENSORS", False), ("m", False), ("m.bin", False),
     ("m.pt", True), ("m.onnx", True), ("m.pt2", True)],
)  # fmt: skip
def test_a_name_that_says_otherwise_is_noted(name: str, noted: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(GOOD)
    model = load(path)
    assert model.format == "safetensors"
    assert any("but holds safetensors" in note for note in model.notes) == noted


def test_a_safetensors_header_that_looks_like_a_pickle(tmp_path: Path) -> None:
    header = GOOD[8:-64].ljust(0x0280)  # a length of 80 02 00 …, a pickle's first two bytes
    path = tmp_path / "model.pt"
    path.write_bytes(len(header).to_bytes(8, "little") + header + GOOD[-64:])
    assert load(path).format == "safetensors"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_every_protocol_go_to_the_pickle_reader(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol))  # torch's magic number
    assert sniff.is_pytorch(sniff.look(str(path)))


def test_an_unforeseen_error_leaves_the_door_as_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(path: str) -> None:
        raise RecursionError

    monkeypatch.setattr(onnx, "load", explode)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + bytes(3))
    with pytest.raises(UnreadableModel, match="RecursionError") as caught:
        load(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: str) -> None:
        raise error

    monkeypatch.setattr(onnx, "load", interrupt)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + bytes(3))
    with pytest.raises(error):
        load(path)


def test_saved_audits_are_known() -> None:
    assert is_saved_audit(b'{"schema": "specaudit.audit", "schema_version": "1.0"}')
    assert is_saved_audit(b' [\n {"schema":"specaudit.audit"')
    assert not is_saved_audit(b'{"schema": "specaudit.diff"}')
    assert not is_saved_audit(b"")


def test_every_format_has_its_own_extensions() -> None:
    extensions = [extension for row in FORMATS for extension in row.extensions]
    assert len(set(extensions)) == len(extensions)
    assert all(extension.startswith(".") and extension.islower() for extension in extensions)
