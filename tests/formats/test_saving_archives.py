"""Archives are sealed again after a change: stored, deflated, 64-bit, nested, without checksums."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from specaudit.errors import UnsupportedModel
from specaudit.formats import load, save
from tests.formats.test_saving import check_archive

RNG = np.random.default_rng(11)


def state(seed: int = 3) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {name: torch.randn(8, 5, generator=made) for name in ("first", "second", "third")}


def checkpoint(path: Path, content: object = None) -> Path:
    torch.save(state() if content is None else content, path)
    return path


def rezipped(
    source: Path, target: Path, method: int = zipfile.ZIP_DEFLATED, *, wide: bool = False,
    piped: bool = False,
) -> Path:  # fmt: skip
    """The same members, packed by Python's writer: with 64-bit sizes, or to a pipe."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, block: object) -> int:
            self.data += bytes(block)  # type: ignore[call-overload]
            return len(bytes(block))  # type: ignore[call-overload]

    stream = Pipe() if piped else io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(stream, "w", method) as new:
        for info in old.infolist():
            made = zipfile.ZipInfo(info.filename)
            made.compress_type = method
            with new.open(made, "w", force_zip64=wide) as member:
                member.write(old.read(info))
    target.write_bytes(bytes(stream.data) if isinstance(stream, Pipe) else stream.getvalue())
    return target


@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
@pytest.mark.parametrize("piped", [False, True], ids=["sizes first", "sizes behind"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_members_that_change_their_size(
    kind: str, method: int, piped: bool, wide: bool, tmp_path: Path
) -> None:
    """zipfile, torch and this reader find the new values, and the old ones elsewhere."""
    path = rezipped(
        checkpoint(tmp_path / "a.pt"), tmp_path / "b.pt", method, piped=piped, wide=wide
    )
    out = tmp_path / "c.pt"
    noise = RNG.standard_normal((8, 5)).astype(np.float32)
    wanted = np.zeros((8, 5), np.float32) if kind == "zeros" else noise
    save(load(str(path)), {"second": wanted, "third": wanted}, out)
    check_archive(out.read_bytes())
    for found in (
        torch.load(out, weights_only=True),
        {weight.name: weight.read() for weight in load(str(out)).weights},
    ):
        assert np.array_equal(np.asarray(found["second"]), wanted)
        assert np.array_equal(np.asarray(found["third"]), wanted)
        assert np.array_equal(np.asarray(found["first"]), state()["first"].numpy())
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out) as new:
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            assert (before.filename, before.date_time) == (after.filename, after.date_time)
            if not after.filename.endswith(("data/1", "data/2")):
                assert old.read(before) == new.read(after)
    again = tmp_path / "d.pt"
    save(load(str(out)), {}, again)
    assert again.read_bytes() == out.read_bytes()


def test_an_archive_without_checksums_gets_none(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = checkpoint(tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    wanted = RNG.standard_normal((8, 5)).astype(np.float32)
    save(load(str(path)), {"first": wanted}, tmp_path / "b.pt")
    before, after = path.read_bytes(), (tmp_path / "b.pt").read_bytes()
    differ = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert differ[-1] - differ[0] < wanted.nbytes
    assert np.array_equal(torch.load(tmp_path / "b.pt", weights_only=True)["first"], wanted)


def test_a_checkpoint_in_an_archive(tmp_path: Path) -> None:
    """Older exported programs keep one: its checksums, and then that of the whole of it."""
    checkpoint(tmp_path / "inner.pt")
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.write(tmp_path / "inner.pt", "serialized_state_dict.pt")
        archive.writestr("version", "1")
    wanted = RNG.standard_normal((8, 5)).astype(np.float32)
    save(load(str(path)), {"second": wanted}, tmp_path / "b.pt2")
    check_archive((tmp_path / "b.pt2").read_bytes())
    with zipfile.ZipFile(tmp_path / "b.pt2") as archive:
        found = torch.load(archive.open("serialized_state_dict.pt"), weights_only=True)
    assert np.array_equal(found["second"], wanted)
    assert np.array_equal(found["first"], state()["first"])


def test_a_program_that_torch_exports_runs_with_the_new_weight(tmp_path: Path) -> None:
    layer = torch.nn.Linear(4, 3, bias=False)
    program = torch.export.export(layer, (torch.ones(4, 4),))
    path = tmp_path / "a.pt2"
    torch.export.save(program, path)
    wanted = RNG.standard_normal((3, 4)).astype(np.float32)
    save(load(str(path)), {"weight": wanted}, tmp_path / "b.pt2")
    made = torch.export.load(tmp_path / "b.pt2").module()(torch.eye(4))
    assert np.array_equal(made.detach().numpy(), wanted.T)


def test_a_script_runs_with_the_new_weight(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(4, 3, bias=False)).save(str(tmp_path / "a.pt"))
    wanted = RNG.standard_normal((3, 4)).astype(np.float32)
    save(load(str(tmp_path / "a.pt")), {"weight": wanted}, tmp_path / "b.pt")
    made = torch.jit.load(str(tmp_path / "b.pt"))(torch.eye(4))
    assert np.array_equal(made.detach().numpy(), wanted.T)


def test_a_whole_module_and_its_optimizer_come_back(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    content = {"model": module, "optimizer": optimizer.state_dict(), "epoch": 3}
    for legacy in (False, True):
        path, out = tmp_path / f"a{legacy}.pt", tmp_path / f"b{legacy}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        wanted = RNG.standard_normal((3, 4)).astype(np.float32)
        save(load(str(path)), {"model.0.weight": wanted}, out)
        found = torch.load(out, weights_only=False)
        assert np.array_equal(found["model"][0].weight.detach(), wanted)
        assert torch.equal(found["model"][2].weight, module[2].weight)
        assert found["epoch"] == 3
        moments = found["optimizer"]["state"][0]["exp_avg"]
        assert torch.equal(moments, optimizer.state_dict()["state"][0]["exp_avg"])


def test_numbers_inside_a_pickle_are_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pt", {"w": np.eye(3), "v": torch.eye(3)})
    model = load(str(path))
    with pytest.raises(UnsupportedModel, match=r"w cannot be written.*pickle"):
        save(model, {"w": np.zeros((3, 3))}, tmp_path / "b.pt")
    save(model, {"v": np.zeros((3, 3))}, tmp_path / "b.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pt"]
