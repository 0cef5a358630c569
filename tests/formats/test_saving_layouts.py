"""Tensors are written through their strides, types and ties; what cannot be is refused whole."""

import zipfile
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from specaudit.errors import UnsupportedModel
from specaudit.formats import load, save
from specaudit.formats.encoding import encode, pack
from specaudit.formats.tensors import unpack

RNG = np.random.default_rng(2)
NARROW = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
          "float8_e5m2fnuz", "float8_e8m0fnu", "float32"]  # fmt: skip
TORCH = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
         torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int64,
         torch.bool]  # fmt: skip


def torch_file(folder: Path, content: object, *, legacy: bool = False) -> str:
    torch.save(content, folder / "in.pt", _use_new_zipfile_serialization=not legacy)
    return str(folder / "in.pt")


@pytest.mark.parametrize(
    ("dtype", "legacy"),
    # torch writes no legacy checkpoint of float8
    [(d, old) for d in TORCH for old in (False, True) if not (old and "float8" in str(d))],
    ids=str,
)
def test_every_type_of_torch(dtype: torch.dtype, legacy: bool, tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"w": torch.zeros(4, 3).to(dtype)}, legacy=legacy)
    wanted = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1]]).to(dtype)
    values = wanted.to(torch.complex128 if dtype.is_complex else torch.float64).numpy()
    save(load(path), {"w": values}, tmp_path / "out.pt")
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=True)["w"], wanted)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_views_are_written_through_their_strides(legacy: bool, tmp_path: Path) -> None:
    base = torch.arange(120.0).reshape(10, 12)
    content = {
        "transposed": base.T,
        "columns": torch.arange(60.0).reshape(6, 10)[:, 1::3],
        "middle": torch.arange(50.0)[10:30].reshape(4, 5),
        "channels_last": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "one": torch.tensor(3.0),
        "thin": torch.zeros(7, 1)[:, :1],
    }
    model = load(torch_file(tmp_path, content, legacy=legacy))
    new = {w.name: RNG.standard_normal(w.shape).astype(np.float32) for w in model.weights}
    save(model, new, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, values in new.items():
        assert np.array_equal(found[name].numpy(), values)
        assert found[name].stride() == content[name].stride()
    # what the views leave out of their storages is untouched
    gaps = found["columns"].untyped_storage().tolist()
    old = content["columns"].untyped_storage().tolist()
    kept = [i for i in range(240) if (i // 4 % 10 - 1) % 3]
    assert [gaps[i] for i in kept] == [old[i] for i in kept]


def test_interleaved_views_do_not_disturb_each_other(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    model = load(torch_file(tmp_path, {"even": base[:, ::2], "odd": base[:, 1::2]}))
    save(model, {"even": np.full((4, 3), -1.0)}, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(found["odd"], base[:, 1::2])
    assert (found["even"] == -1).all()


def test_conjugate_and_negative_views(tmp_path: Path) -> None:
    base = torch.complex(torch.ones(2, 2), torch.full((2, 2), 2.0))
    model = load(torch_file(tmp_path, {"w": base.conj(), "v": base.clone().conj().imag}))
    new = {"w": np.array([[1 + 1j, 2 - 3j], [0, 1j]]), "v": np.array([[1.0, 2], [3, -4]])}
    save(model, new, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, values in new.items():
        assert np.array_equal(found[name].resolve_conj().resolve_neg().numpy(), values)


def test_a_big_endian_checkpoint_stays_one(tmp_path: Path) -> None:
    path = torch_file(tmp_path, {"w": torch.arange(6.0).reshape(2, 3)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for info in old.infolist():
            order = info.filename.endswith("byteorder")
            new.writestr(info.filename, b"big" if order else old.read(info))
    wanted = RNG.standard_normal((2, 3)).astype(np.float32)
    save(load(str(tmp_path / "big.pt")), {"w": wanted}, tmp_path / "out.pt")
    assert np.array_equal(torch.load(tmp_path / "out.pt", weights_only=True)["w"], wanted)
    with zipfile.ZipFile(tmp_path / "out.pt") as archive:
        assert archive.read("in/data/0") == wanted.astype(">f4").tobytes()


def test_a_tie_is_kept(tmp_path: Path) -> None:
    """One name of two is enough; two names must agree."""
    w = torch.arange(12.0).reshape(3, 4)
    model = load(torch_file(tmp_path, {"a": w, "b": w, "t": w.T, "flat": w.view(-1)}))
    new = RNG.standard_normal((3, 4)).astype(np.float32)
    for replaced in ({"a": new}, {"t": new.T}, {"a": new, "b": new, "t": new.T}):
        save(model, replaced, tmp_path / "out.pt", force=True)
        found = torch.load(tmp_path / "out.pt", weights_only=True)
        assert np.array_equal(found["a"].numpy(), new)
        assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()
    before = (tmp_path / "out.pt").read_bytes()
    with pytest.raises(UnsupportedModel, match=r"[abt] shares bytes with [abt], which gets other"):
        save(model, {"a": new, "t": new.T + 1}, tmp_path / "out.pt", force=True)
    assert (tmp_path / "out.pt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.pt", "out.pt"]


def test_a_tensor_that_would_change_along_is_named(tmp_path: Path) -> None:
    base = torch.arange(20.0)
    content = {"all": base, "part": base[5:14].view(3, 3)}
    model = load(torch_file(tmp_path, content))
    with pytest.raises(UnsupportedModel, match="part shares bytes with all, which is not replaced"):
        save(model, {"part": np.zeros((3, 3))}, tmp_path / "out.pt")
    same = content["part"].numpy()
    save(model, {"part": same}, tmp_path / "out.pt")  # nothing changes: no harm done
    whole = np.arange(20.0) * 2
    save(model, {"part": same * 2, "all": whole}, tmp_path / "out.pt", force=True)
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert np.array_equal(found["all"].numpy(), whole)


def test_a_view_that_repeats_its_storage_takes_only_what_repeats(tmp_path: Path) -> None:
    model = load(torch_file(tmp_path, {"w": torch.ones(3, 1).expand(3, 4)}))
    rows = np.repeat(np.array([[1.0], [2.0], [3.0]]), 4, axis=1)
    save(model, {"w": rows}, tmp_path / "out.pt")
    assert np.array_equal(torch.load(tmp_path / "out.pt", weights_only=True)["w"].numpy(), rows)
    with pytest.raises(UnsupportedModel, match="w, which gets other values"):
        save(model, {"w": rows + np.arange(4)}, tmp_path / "out.pt", force=True)


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support:UserWarning")
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_sparse_tensors_keep_their_places(layout: str, tmp_path: Path) -> None:
    dense = torch.tensor([[0.0, 1, 0], [2, 0, 3]])
    sparse = dense.to_sparse() if layout == "coo" else getattr(dense, f"to_sparse_{layout}")()
    model = load(torch_file(tmp_path, {"w": sparse, "v": torch.ones(1)}))
    save(model, {"w": dense.numpy() * 3}, tmp_path / "out.pt")
    (found, _) = (weight.read() for weight in load(str(tmp_path / "out.pt")).weights)
    assert np.array_equal(found, dense.numpy() * 3)
    with pytest.raises(UnsupportedModel, match="sparse"):
        save(model, {"w": dense.numpy() + 1}, tmp_path / "out.pt", force=True)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")
def test_a_tensor_quantised_by_channel_is_scaled(tmp_path: Path) -> None:
    scales, zeros = torch.tensor([0.1, 0.5, 2.0]), torch.tensor([1, 0, -3])
    w = torch.quantize_per_channel(torch.randn(3, 8), scales, zeros, 0, torch.qint8)
    model = load(torch_file(tmp_path, {"w": w}))
    (weight,) = (weight for weight in model.weights if weight.name == "w")
    old = weight.read()
    save(model, {"w": old * 0.3}, tmp_path / "out.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)["w"]
    assert torch.equal(found.int_repr(), w.int_repr())
    np.testing.assert_allclose(found.dequantize().numpy(), old * 0.3, rtol=1e-6)
    with pytest.raises(UnsupportedModel, match="no scale"):
        save(model, {"w": old + 1}, tmp_path / "out.pt", force=True)


@pytest.mark.parametrize("bits", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_safetensors_of_every_width(bits: torch.dtype, tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.zeros(3, 5).to(bits)}, tmp_path / "in.safetensors")
    wanted = torch.randn(3, 5, dtype=torch.float64).to(bits)
    model = load(str(tmp_path / "in.safetensors"))
    save(model, {"w": wanted.to(torch.float64).numpy()}, tmp_path / "out.safetensors")
    found = safetensors.torch.load_file(tmp_path / "out.safetensors")["w"]
    assert torch.equal(found.to(torch.float64), wanted.to(torch.float64))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float16", [65520.0]),  # half way to what would be next: rounds to infinity
        ("float32", [1e300]),
        ("float8_e4m3fn", [1000.0]),
        ("float8_e8m0fnu", [-1.0]),
        ("float4_e2m1fn", [6.5]),
        ("int8", [1.5]),
        ("int8", [200.0]),
        ("bool", [2.0]),
        ("float32", [1j]),
    ],
)
def test_values_that_the_type_cannot_hold(dtype: str, values: list[complex]) -> None:
    with pytest.raises(UnsupportedModel, match="t"):
        encode(np.array(values), dtype, (1,), "")


def test_what_is_not_finite_stays_so() -> None:
    given = np.array([np.inf, -np.inf, np.nan, 1.0])
    for dtype in ("float16", "bfloat16", "float32", "float8_e5m2"):
        found = encode(given, dtype, (4,), "").astype(np.float64)
        assert np.array_equal(found, given, equal_nan=True)


def test_a_shape_is_not_broadcast() -> None:
    with pytest.raises(UnsupportedModel, match=r"\(1,\) for a tensor of shape \(2,\)"):
        encode(np.zeros(1), "float32", (2,), "")


@pytest.mark.parametrize("dtype", NARROW)
@given(st.data())
def test_rounding_is_to_nearest_and_once(dtype: str, data: st.DataObject) -> None:
    """No neighbour is nearer, by exact rationals, and of two as near the even one is taken.

    Values are drawn next to the middle of two neighbours, where rounding twice goes wrong.
    """
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    unsigned = np.dtype(f"u{kind.itemsize}")
    most = int(np.array(ml_dtypes.finfo(kind).max).astype(kind).view(unsigned)) - 1
    bits = data.draw(st.integers(1, most))
    low, high = (float(pattern(b, unsigned, kind)[0]) for b in (bits, bits + 1))
    middle = (low + high) / 2
    value = data.draw(
        st.sampled_from([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), low])
        | st.floats(low, high)
    )
    (found,) = encode(np.array([value]), dtype, (1,), "")
    near, far = sorted((low, high), key=lambda end: abs(Fraction(end) - Fraction(value)))
    if abs(Fraction(near) - Fraction(value)) < abs(Fraction(far) - Fraction(value)):
        assert float(found) == near
    elif dtype != "float8_e8m0fnu":  # it has no last bit to be even
        even = bits if bits % 2 == 0 else bits + 1
        assert float(found) == float(pattern(even, unsigned, kind)[0])


def pattern(
    bits: int, unsigned: np.dtype[np.generic], kind: np.dtype[np.generic]
) -> NDArray[np.generic]:
    return np.array([bits], dtype=unsigned).view(kind)


@given(st.sampled_from([2, 4, 6]), st.lists(st.integers(0, 3), max_size=40))
def test_packing_is_undone_by_unpacking(bits: int, few: list[int]) -> None:
    numbers = np.array(few, dtype=np.uint8) * ((1 << bits) // 4)
    assert np.array_equal(unpack(pack(numbers, bits), bits, len(numbers)), numbers)
