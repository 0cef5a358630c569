"""Saving changes the bytes of the tensors that were replaced, and no others."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from specaudit.errors import UsageError
from specaudit.formats import FORMATS, load, save
from specaudit.formats.index import Shards
from specaudit.formats.onnx_tensors import TypedTensor
from specaudit.formats.strided import Strided
from specaudit.formats.tensors import StoredTensor
from specaudit.model import Model, Weight

SAMPLES = Path(__file__).parents[2] / "sample_models"
SHARED = Path(__file__).parents[2].parent / "shared" / "models"
NOT_MODELS = (".py", ".md", ".data")
DESCRIBED = 8  # the flag of a member whose checksum stands behind its data


def of_ours() -> list[Path]:
    return sorted(p for p in SAMPLES.iterdir() if p.suffix not in NOT_MODELS and p.name[0] != "_")


def of_others() -> list[Path]:
    found = sorted(SHARED.glob("*/*")) if SHARED.exists() else []
    return [p for p in found if p.is_file() and p.suffix not in NOT_MODELS]


every_model = pytest.mark.parametrize("path", of_ours(), ids=lambda path: path.name)
every_other = pytest.mark.parametrize("path", of_others(), ids=lambda path: path.name)


def test_there_are_models_to_try() -> None:
    formats = set(map(row_of, of_ours()))
    assert formats == {row.name for row in FORMATS}


@pytest.mark.models
def test_there_are_models_of_others() -> None:
    if not SHARED.exists():
        pytest.skip("../shared/models is not here")
    assert len(of_others()) > 10


@every_model
def test_load_after_save_is_identity(path: Path, tmp_path: Path) -> None:
    check_identity(path, tmp_path / path.name)


@every_model
def test_only_the_bytes_of_a_replaced_tensor_differ(path: Path, tmp_path: Path) -> None:
    check_surgery(path, tmp_path / path.name)


@pytest.mark.models
@every_other
def test_models_of_others_come_through(path: Path, tmp_path: Path) -> None:
    check_identity(path, tmp_path / "same")
    check_surgery(path, tmp_path / "changed")


@every_model
def test_every_tensor_can_be_replaced_at_once(path: Path, tmp_path: Path) -> None:
    model = load(str(path))
    new = {weight.name: halved(weight) for weight in floats(model)}
    save(model, new, tmp_path / path.name, verify=lambda written: check_values(written, new))
    names = [weight.name for weight in model.weights]
    assert [weight.name for weight in load(str(tmp_path / path.name)).weights] == names


def test_a_name_that_is_not_there_is_refused(tmp_path: Path) -> None:
    model = load(str(SAMPLES / "mlp.pt"))
    with pytest.raises(UsageError, match="no tensor 'nobody'"):
        save(model, {"nobody": np.zeros(1)}, tmp_path / "out.pt")
    assert not list(tmp_path.iterdir())


def check_identity(path: Path, out: Path) -> None:
    """With nothing replaced, every byte is as it was."""
    save(load(str(path)), {}, out)
    for before, after in pairs(path, out):
        assert before.read_bytes() == after.read_bytes()


def check_surgery(path: Path, out: Path) -> None:
    """With the largest tensor halved, its bytes and its checksums differ, nothing else."""
    model = load(str(path))
    weight = max(floats(model), key=lambda weight: weight.size)
    new = {weight.name: halved(weight)}
    seen: list[Model] = []
    save(model, new, out, verify=seen.append)
    assert len(seen) == 1
    check_values(load(str(out)), new)
    home = file_of(weight)
    for before, after in pairs(path, out):
        old = np.frombuffer(before.read_bytes(), np.uint8)
        fresh = np.frombuffer(after.read_bytes(), np.uint8)
        assert len(old) == len(fresh)
        differ = set(np.flatnonzero(old != fresh).tolist())
        if before.resolve() != home.resolve():
            assert not differ
            continue
        allowed = bytes_of(weight)
        assert len(differ & allowed) >= weight.size / 4  # most numbers have other bytes
        if old[:4].tobytes() == b"PK\x03\x04":
            hit = [spots for data, spots in members(before) if data & differ]
            assert hit
            allowed = allowed.union(*hit)
            check_archive(after.read_bytes())
        assert differ <= allowed


def check_values(model: Model, new: dict[str, NDArray[np.float64]]) -> None:
    found = {weight.name: weight for weight in model.weights}
    for name, values in new.items():
        stored = found[name].read()
        assert np.array_equal(stored, values.astype(stored.dtype))


def check_archive(data: bytes) -> None:
    """Python's own reader finds every checksum right, in archives within archives too."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            content = archive.read(info)
            if content[:4] == b"PK\x03\x04":
                check_archive(content)


def pairs(source: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Each file of a model and its copy."""
    if not source.is_dir():
        yield source, out
        for data in source.parent.glob(f"{source.name}.data"):
            yield data, out.with_name(data.name)
        return
    assert {path.name for path in out.iterdir()} == {path.name for path in source.iterdir()}
    yield from ((source / path.name, path) for path in sorted(out.iterdir()))


def members(path: Path) -> Iterator[tuple[set[int], set[int]]]:
    """The bytes of each member, and those of its checksum, wherever it stands.

    Found by Python's own reader of archives. Of a member that is an archive, its members too.
    """
    whole = path.read_bytes()
    stack = [(0, len(whole))]
    while stack:
        start, size = stack.pop()
        data = whole[start : start + size]
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            line, entries = archive.start_dir, archive.infolist()
        for info in entries:  # in the order of the directory
            at = info.header_offset
            begin = at + 30 + number(data, at + 26) + number(data, at + 28)
            end = begin + info.compress_size
            spots = [line + 16, at + 14]
            if info.flag_bits & DESCRIBED:
                assert data[end : end + 4] == b"PK\x07\x08"
                spots.append(end + 4)
            checksum = {start + spot + i for spot in spots for i in range(4)}
            yield set(range(start + begin, start + end)), checksum
            line += 46 + sum(number(data, line + at) for at in (28, 30, 32))
            if data[begin:end][:4] == b"PK\x03\x04":
                stack.append((start + begin, info.compress_size))


def number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def bytes_of(weight: Weight) -> set[int]:
    """The bytes of the file that hold a weight's numbers, element by element."""
    source = weight.source
    if isinstance(source, StoredTensor):
        return set(range(source.offset, source.offset + source.size))
    if isinstance(source, TypedTensor):
        return {at for s in source.spans for at in range(s.offset, s.offset + s.length)}
    assert isinstance(source, Strided)
    places = np.array([source.storage_offset])
    for size, stride in zip(source.shape, source.strides, strict=True):
        places = (places[:, None] + np.arange(size) * stride).reshape(-1)
    first = places * source.item_size + source.region.offset
    return set((first[:, None] + np.arange(source.item_size)).reshape(-1).tolist())


def file_of(weight: Weight) -> Path:
    source = weight.source
    assert isinstance(source, StoredTensor | TypedTensor | Strided)
    return Path((source.region if isinstance(source, Strided) else source).file.path)


def floats(model: Model) -> list[Weight]:
    """What can be clamped and is kept as plain numbers; of tied ones the first."""
    found: dict[object, Weight] = {}
    for weight in model.weights:
        plain = isinstance(weight.source, StoredTensor | TypedTensor | Strided)
        if plain and weight.dtype.startswith(("float", "bfloat")) and weight.size > 1:
            key = (weight.storage, weight.extent) if weight.storage else weight.name
            found.setdefault(key, weight)
    return list(found.values())


def halved(weight: Weight) -> NDArray[np.float64]:
    return weight.read().astype(np.float64) * 0.5


def row_of(path: Path) -> str:
    model = load(str(path))
    if isinstance(model.source, Shards):
        return "index"
    return {"torchscript": "pytorch"}.get(model.format, model.format)
