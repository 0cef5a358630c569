"""safetensors files, held against the format's own library."""

import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from specaudit.errors import SpecauditError
from specaudit.formats import load
from specaudit.formats.safetensors import TYPES
from tests.formats.mutants import mutants
from tests.formats.opening import expect, largest, read_all
from tests.hostile.cases import Case
from tests.hostile.safetensors_files import CASES, DIAGONAL, GOOD, entry, pack

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
SINGLE = [case for case in CASES if case.name.startswith("st_")]


@pytest.mark.parametrize("case", SINGLE, ids=repr)
def test_hostile_files(case: Case, tmp_path: Path) -> None:
    model = expect(case, tmp_path)
    if case.sigma is not None:
        assert model is not None
        assert largest(model) == pytest.approx(case.sigma, rel=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_bit_for_bit(kind: str, tmp_path: Path) -> None:
    dtype = np.dtype(getattr(ml_dtypes, TYPES[kind], TYPES[kind]))
    values = np.random.default_rng(3).integers(0, 2, (5, 3 * dtype.itemsize), dtype=np.uint8)
    if kind != "BOOL":
        values = np.random.default_rng(3).integers(0, 256, values.shape, dtype=np.uint8)
    path = tmp_path / "m.safetensors"
    header = {"w": {"dtype": kind, "shape": [5, 3], "data_offsets": [0, values.nbytes]}}
    path.write_bytes(pack(header, values.tobytes()))
    (weight,) = load(path).weights
    assert (weight.shape, weight.dtype) == ((5, 3), TYPES[kind])
    assert weight.read().dtype == dtype
    assert weight.read().tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int8", "uint16", "bool"]
)
def test_what_the_library_writes_is_read(dtype: str, tmp_path: Path) -> None:
    values = np.arange(-6, 6).reshape(3, 4).astype(getattr(ml_dtypes, dtype, dtype))
    tensors = {"a.b": values, "scalar": np.array(values[0, 0]), "none": values[:0]}
    path = tmp_path / "m.safetensors"
    save_file(tensors, path, metadata={"format": "np"})
    model = load(path)
    assert {weight.name for weight in model.weights} == set(tensors)
    for weight in model.weights:
        np.testing.assert_array_equal(weight.read(), tensors[weight.name])
    assert model.notes == model.missing == ()


@pytest.mark.models
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is not there")
def test_real_files_equal_the_library() -> None:
    paths = list(MODELS.rglob("*.safetensors"))
    assert paths
    for path in paths:
        theirs = load_file(path)
        ours = {weight.name: weight.read() for weight in load(path).weights}
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values)


def test_packed_types_are_listed_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(pack({"w": entry(dtype="F4", shape=[8, 16])}))
    model = load(path)
    assert model.weights == ()
    assert [name for name, _ in model.missing] == ["w"]


def test_a_tail_of_zeros_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    shape = entry(shape=[64, 4], data_offsets=[0, 1024])
    path.write_bytes(pack({"w": shape}, DIAGONAL * 4 + bytes(768)))
    ((_, reason),) = load(path).missing
    assert "zero" in reason
    path.write_bytes(pack({"w": shape}, DIAGONAL * 9 + bytes(448)))
    assert load(path).missing == ()


def test_mutants_are_read_or_refused_in_time(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensors = {f"w{i}": np.full((2, 3), i, dtype=np.float32) for i in range(3)}
    save_file(tensors, path)
    refused = 0
    for mutant in mutants(path.read_bytes(), 300, seed=11):
        path.write_bytes(mutant)
        start = time.perf_counter()
        try:
            read_all(load(path))
        except SpecauditError:
            refused += 1
        assert time.perf_counter() - start < 2
    assert refused > 50  # damage to the header shows; damage to the numbers cannot


def test_the_good_one_is_good(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(GOOD)
    (weight,) = load(path).weights
    assert weight.read().tobytes() == DIAGONAL
