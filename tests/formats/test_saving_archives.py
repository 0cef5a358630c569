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


@pytest.mark.parametrize("kind", ["zip", "deflated", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_inside_a_pickle(kind: str, protocol: int, tmp_path: Path) -> None:
    """Up to protocol 2 their bytes are text, and its length changes with them."""
    old = {
        "array": RNG.standard_normal((30, 20)),
        "tensor": torch.ones(3, 3),
        "fortran": np.asfortranarray(RNG.standard_normal((4, 5)).astype(np.float32)),
        "big": RNG.standard_normal((4, 5)).astype(">f4"),
    }
    path, out = tmp_path / "a.pt", tmp_path / "b.pt"
    legacy = kind == "legacy"
    torch.save(old, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    if kind == "deflated":
        path = rezipped(path, tmp_path / "c.pt")
    model = load(str(path))
    new = {w.name: RNG.standard_normal(w.shape).astype(np.float32) for w in model.weights}
    save(model, new, out)
    if not legacy:
        check_archive(out.read_bytes())
    written = {weight.name: weight.read() for weight in load(str(out)).weights}
    found = torch.load(out, weights_only=False)
    for name, wanted in new.items():
        assert np.array_equal(np.asarray(found[name]), wanted)
        assert np.array_equal(written[name], wanted)
    assert found["fortran"].flags.f_contiguous
    save(
        load(str(out)), {name: np.asarray(values) for name, values in old.items()}, path, force=True
    )
    again = load(str(path))
    assert all(np.array_equal(w.read(), np.asarray(old[w.name])) for w in again.weights)


def test_an_array_that_stands_twice_in_a_pickle_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pt", {"w": np.eye(3), "u": np.eye(3), "v": torch.eye(3)})
    with pytest.raises(UnsupportedModel, match=r"w cannot be written: its bytes stand 2 times"):
        save(load(str(path)), {"w": np.zeros((3, 3))}, tmp_path / "b.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_tensor_quantised_as_a_whole_is_scaled(legacy: bool, tmp_path: Path) -> None:
    w = torch.quantize_per_tensor(torch.randn(6, 8), 0.037, 3, torch.quint8)
    path, out = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save({"w": w, "v": torch.ones(2)}, path, _use_new_zipfile_serialization=not legacy)
    model = load(str(path))
    old = model.weights[0].read()
    save(model, {"w": old * 0.3}, out)
    found = torch.load(out, weights_only=True)["w"]
    assert torch.equal(found.int_repr(), w.int_repr())
    assert found.q_scale() == pytest.approx(0.037 * 0.3, rel=1e-15)
    assert path.stat().st_size == out.stat().st_size
    with pytest.raises(UnsupportedModel, match="no scale"):
        save(model, {"w": old + 1}, out, force=True)
