"""Whatever goes wrong: the input is as it was, the output is the old file or the whole new one."""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from specaudit.errors import OutputError, UnreadableModel, UnsupportedModel, UsageError
from specaudit.formats import load, save
from specaudit.model import Model
from tests.formats.mutants import mutants
from tests.formats.test_saving_onnx import external

SAMPLES = Path(__file__).parents[2] / "sample_models"
Contents = dict[str, bytes]


def contents(folder: Path) -> Contents:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def model_in(folder: Path, name: str = "mlp.pt") -> tuple[Path, Model, dict[str, np.ndarray]]:
    """A copy of a sample, and its matrices halved."""
    folder.mkdir(exist_ok=True)
    source = SAMPLES / name
    path = folder / name
    shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    model = load(str(path))
    new = {w.name: w.read() / 2 for w in model.weights if len(w.shape) == 2}
    return path, model, new


@pytest.mark.parametrize("how", ["same", "dotted", "hard link", "symbolic link", "folder link"])
def test_the_input_is_never_written(how: str, tmp_path: Path) -> None:
    path, model, new = model_in(tmp_path / "in")
    out = path
    if how == "dotted":
        out = Path(f"{path.parent}/../in/./{path.name}")
    elif how == "hard link":
        out = tmp_path / "out"
        os.link(path, out)
    elif how == "symbolic link":
        out = tmp_path / "out"
        out.symlink_to(path)
    elif how == "folder link":
        (tmp_path / "elsewhere").symlink_to(path.parent)
        out = tmp_path / "elsewhere" / path.name
    before = contents(tmp_path)
    for force in (False, True):
        with pytest.raises(UsageError, match="the output is the input"):
            save(model, new, out, force=force)
    assert contents(tmp_path) == before


def test_neither_are_data_files_and_shards(tmp_path: Path) -> None:
    path, _ = external(tmp_path / "in")
    shards, model, new = model_in(tmp_path / "shards", "transformer_shards")
    before = contents(tmp_path)
    one = load(str(path))
    with pytest.raises(UsageError, match="the output is the input"):
        save(one, {}, path.with_name("part0.bin"), force=True)
    for out in (shards, next(shards.glob("*.json")), next(shards.glob("*1-of*"))):
        with pytest.raises((UsageError, OutputError)):
            save(model, new, out, force=True)
    with pytest.raises(UsageError, match="the output is the input"):
        save(model, new, shards / "other.safetensors.index.json", force=True)
    assert contents(tmp_path) == before


def test_what_is_there_stays_without_force(tmp_path: Path) -> None:
    _path, model, new = model_in(tmp_path / "in")
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists"):
        save(model, new, out)
    assert out.read_bytes() == b"old"
    save(model, new, out, force=True)
    assert load(str(out)).weights
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    _path, model, new = model_in(tmp_path / "in")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"old")
    bad = ["folder", "folder/", "pipe", "socket", "broken", "file/below", "none/below"]
    for name in [*(f"{tmp_path}/{name}" for name in bad), "/dev/null", "/dev/full", ""]:
        for force in (False, True):
            with pytest.raises((UsageError, OutputError)):
                save(model, new, name, force=force)
    assert not (tmp_path / "nowhere").exists()
    assert len(list(tmp_path.iterdir())) == 6
    assert not list((tmp_path / "folder").iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    _path, model, new = model_in(tmp_path / "in")
    if os.geteuid() == 0:  # to whom no folder is closed but those that the kernel makes up
        with pytest.raises(OutputError, match="cannot write"):
            save(model, new, "/proc/out.pt")
        return
    folder = tmp_path / "closed"
    folder.mkdir(0o500)
    with pytest.raises(OutputError, match="cannot write"):
        save(model, new, folder / "out.pt")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond `size`, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["mlp.pt", "cnn_external.onnx", "transformer_shards"])
def test_a_full_disk_leaves_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    if name.endswith("external.onnx"):
        folder.mkdir()
        shutil.copy(SAMPLES / f"{name}.data", folder)
    _path, model, new = model_in(folder, name)
    before = contents(tmp_path)
    for size in (0, 100, 4000, 20000):
        with files_of_at_most(size), pytest.raises(OutputError, match="cannot write"):
            save(model, new, tmp_path / "out")
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("name", ["mlp.pt", "cnn_external.onnx", "transformer_shards"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UnsupportedModel])
def test_what_verify_raises_undoes_everything(
    name: str, error: type[BaseException], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    if name.endswith("external.onnx"):
        folder.mkdir()
        shutil.copy(SAMPLES / f"{name}.data", folder)
    _path, model, new = model_in(folder, name)
    before = contents(tmp_path)
    seen = []

    def refuse(written: Model) -> None:
        """See the new values, and say no."""
        found = {weight.name: weight for weight in written.weights}
        seen.extend(np.array_equal(found[name].read(), values) for name, values in new.items())
        raise error("no")

    with pytest.raises(error, match="no"):
        save(model, new, tmp_path / "out", verify=refuse)
    assert seen
    assert all(seen)
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_an_input_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path, model, new = model_in(tmp_path / "in")
    os.utime(path, (0, 0))
    with pytest.raises(UnreadableModel, match="changed"):
        save(model, new, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_values_that_cannot_be_had_undo_everything(tmp_path: Path) -> None:
    _path, model, new = model_in(tmp_path / "in")
    name = list(new)[-1]
    for bad, error in (
        ({name: np.full((1, 1), 1.0)}, UnsupportedModel),
        (Broken(name), ValueError),
    ):
        with pytest.raises(error):
            save(model, bad, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


class Broken(dict[str, np.ndarray]):
    """A mapping whose value cannot be computed."""

    def __init__(self, name: str) -> None:
        super().__init__({name: np.zeros(0)})

    def __getitem__(self, name: str) -> np.ndarray:
        raise ValueError("no value")


def test_a_set_that_replaces_one_is_never_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every rename the folder holds the old set, the new one, or one without an index."""
    _path, model, new = model_in(tmp_path / "in", "transformer_shards")
    out = tmp_path / "out"
    files = save(model, {}, out)
    old = {name: weight.read().tobytes() for name, weight in by_name(load(str(out)), new)}
    (out / "config.json").write_text("{}")
    states = []
    rename = os.rename

    def watched(before: str, after: str) -> None:
        rename(before, after)
        index = list(out.glob("*.index.json"))
        if index:
            found = by_name(load(str(index[0])), new)
            states.append({name: weight.read().tobytes() for name, weight in found})

    monkeypatch.setattr(os, "rename", watched)
    assert save(model, new, out, force=True) == files
    wanted = {name: values.tobytes() for name, values in new.items()}
    assert wanted != old
    assert states == [wanted]
    assert (out / "config.json").exists()


def by_name(model: Model, names: dict[str, np.ndarray]) -> list[tuple[str, "object"]]:
    return [(weight.name, weight) for weight in model.weights if weight.name in names]  # type: ignore[misc]


def test_a_long_name(tmp_path: Path) -> None:
    """255 bytes are 63 characters of four; the temporary name must not be longer."""
    _path, model, new = model_in(tmp_path / "in")
    out = tmp_path / ("𝜎" * 63)
    save(model, new, out)
    assert load(str(out)).weights


# archives are not among them: their checksums leave no damaged one that can be read
UNSEALED = ["mlp.onnx", "cnn_plain.onnx", "lstm_legacy.pth", "cnn.safetensors"]


@pytest.mark.parametrize("name", UNSEALED)
def test_damaged_files_that_can_be_read_can_be_saved(name: str, tmp_path: Path) -> None:
    """Byte for byte if nothing is replaced; and with the new values if something is."""
    path, out = tmp_path / name, tmp_path / f"out{name}"
    saved = 0
    for content in mutants((SAMPLES / name).read_bytes(), 40, seed=21):
        path.write_bytes(content)
        try:
            model = load(str(path))
        except UnreadableModel:
            continue
        save(model, {}, out, force=True)
        assert out.read_bytes() == content
        new = {w.name: np.zeros(w.shape) for w in model.weights if w.dtype == "float32"}
        save(model, new, out, force=True)
        written = {weight.name: weight.read() for weight in load(str(out)).weights}
        assert not any(written[weight].any() for weight in new)
        saved += 1
    assert saved


KILLED = """
import sys
import numpy as np
from specaudit.formats import load, save
model = load(sys.argv[1])
new = {w.name: np.full(w.shape, 2.0, np.float32) for w in model.weights}
print("ready", flush=True)
sys.stdin.readline()
while True:
    save(model, new, sys.argv[2], force=True, verify=lambda written: None)
    print("saved", flush=True)
"""


def pieces(folder: Path, *, data: bool) -> Path:
    """A model of 8 MB with every number one."""
    if data:
        import onnx
        from onnx import helper, numpy_helper

        tensors = [
            numpy_helper.from_array(np.ones((700, 700), np.float32), f"w{i}") for i in range(4)
        ]
        given = helper.make_tensor_value_info("w0", 1, [700, 700])
        graph = helper.make_graph([], "g", [], [given], tensors)
        onnx.save(
            helper.make_model(graph, ir_version=10), folder / "in.onnx", save_as_external_data=True
        )
        return folder / "in.onnx"
    tensors = {f"w{i}": np.ones((700, 700), np.float32) for i in range(4)}
    safetensors.numpy.save_file(tensors, folder / "in.safetensors")
    return folder / "in.safetensors"


def whole(path: Path) -> float:
    """The one number that all tensors consist of."""
    values = {float(v) for w in load(str(path)).weights for v in np.unique(w.read())}
    assert len(values) == 1
    return values.pop()


@pytest.mark.parametrize("data", [False, True], ids=["one file", "with data beside it"])
def test_killed_at_any_moment(data: bool, tmp_path: Path) -> None:
    """After each of many kills the output is the old file or the new, never a part of one."""
    (tmp_path / "in").mkdir()
    path = pieces(tmp_path / "in", data=data)
    before = contents(tmp_path / "in")
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / path.name
    save(load(str(path)), {}, out)
    moments = random.Random(7)
    for attempt in range(12):
        command = [sys.executable, "-c", KILLED, str(path), str(out)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdout.readline()
            child.stdin.write(b"go\n")
            child.stdin.flush()
            if attempt % 2:
                assert child.stdout.readline() == b"saved\n"
            time.sleep(moments.random() * 0.1)
            child.send_signal(signal.SIGKILL)
        assert whole(out) == 2.0 or (attempt % 2 == 0 and whole(out) == 1.0)
        save(load(str(path)), {}, out, force=True)
        assert whole(out) == 1.0
    assert contents(tmp_path / "in") == before


def test_memory_stays_at_the_largest_tensor(tmp_path: Path) -> None:
    """Copying 200 MB with a tensor of 4 MB replaced takes no more than a few such tensors."""
    tensors = {f"w{i}": np.zeros((1024, 1024), np.float32) for i in range(50)}
    safetensors.numpy.save_file(tensors, tmp_path / "in.safetensors")
    program = (
        "import resource, sys; import numpy as np; from specaudit.formats import load, save\n"
        "from specaudit.formats import saving, onnx_saving\n"
        "model = load(sys.argv[1]); model.weights[0].read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "class New(dict):\n"
        "    def __getitem__(self, name): return np.ones((1024, 1024))\n"
        "save(model, New.fromkeys(w.name for w in model.weights), sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [
        sys.executable,
        "-c",
        program,
        str(tmp_path / "in.safetensors"),
        str(tmp_path / "out"),
    ]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    # of one tensor: 8 MB as given, 4 MB rounded, 4 MB read, its bytes compared; twice at most
    assert int(ran.stdout) * 1024 < 12 * 4 * 1024**2
