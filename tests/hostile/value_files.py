"""Sound files of odd values: not finite, beyond binary64, degenerate, shared, of every type."""

import io
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

from tests.hostile.cases import Case, Collection
from tests.hostile.safetensors_files import pack

CASES = Collection()
DIAGONAL = np.diag([3.0, 2.0, 1.0, 0.5])
SAFETENSORS_TYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip


def file_case(
    name: str, outcomes: str, extension: str, content: Callable[[], bytes], sigma: float | None
) -> None:
    def make(folder: Path) -> Path:
        path = folder / f"model{extension}"
        path.write_bytes(content())
        return path

    CASES.append(Case(f"v_{name}", outcomes, make, sigma))


def packed(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file of these arrays."""
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": SAFETENSORS_TYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return pack(header, data)


def arrays(name: str, outcomes: str, sigma: float | None = None, **tensors: object) -> None:
    """Register a safetensors file; a double underscore in a name stands for a dot."""
    named = {key.replace("__", "."): np.asarray(value) for key, value in tensors.items()}
    file_case(name, outcomes, ".safetensors", lambda: packed(named), sigma)


def pickled(
    name: str, outcomes: str, build: Callable[[], object], sigma: float | None = None, **how: object
) -> None:
    """Register what ``torch.save`` makes of an object."""

    def content() -> bytes:
        buffer = io.BytesIO()
        torch.save(build(), buffer, **how)
        return buffer.getvalue()

    file_case(name, outcomes, ".pt", content, sigma)


def single(values: object) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


W = single(DIAGONAL)
T = torch.tensor(W)


def spoiled(value: float, kind: object = np.float32) -> np.ndarray:
    return np.where(np.eye(4) > 0, value, 1.0).astype(kind)


# Not finite -----------------------------------------------------------------------------------

arrays("nan", "G", w=spoiled(np.nan))
arrays("inf", "G", w=spoiled(np.inf))
arrays("ninf", "G", w=spoiled(-np.inf))
arrays("nan_bias", "G", fc__weight=W, fc__bias=single([np.nan, 1, 1, 1]))
arrays("nan_bf16", "G", w=spoiled(np.nan, ml_dtypes.bfloat16))
arrays("nan_float8", "G", w=spoiled(np.nan, ml_dtypes.float8_e4m3fn))
arrays("nan_last_of_many", "G", **{f"w{i}": W for i in range(50)}, z=spoiled(np.nan))
pickled("nan_optimizer_only", "W", lambda: {
    "state_dict": {"fc.weight": T},
    "optimizer_state": {"state": {0: {"exp_avg": torch.full((4, 4), torch.nan)}},
                        "param_groups": [{"params": [0]}]}})  # fmt: skip
arrays("nan_bn_stat", "G", bn__weight=W[0], bn__bias=W[0], bn__running_mean=W[0] * np.nan,
       bn__running_var=np.ones(4, np.float32), fc__weight=W)  # fmt: skip
arrays("bn_negvar", "G", bn__weight=W[0], bn__bias=W[0], bn__running_mean=W[0],
       bn__running_var=-np.ones(4, np.float32), fc__weight=W)  # fmt: skip

# Scale ----------------------------------------------------------------------------------------

arrays("fp32_overflow", "O", 1.2e39, w=np.full((4, 4), 3e38, np.float32))
arrays("fp64_1e300", "O", 3e300, w=DIAGONAL * 1e300)
arrays("fp16_65504", "O", 4 * 65504.0, w=np.full((4, 4), 65504, np.float16))
arrays("mixed_scale", "O", 1e30, w=np.diag([1e30, 1.0, 1e-30, 1e-38]).astype(np.float32))
arrays("mixed_scale_f64", "O", 1e200, w=np.diag([1e200, 1.0, 1e-200, 1e-300]))
arrays("subnormal", "O", w=(W * np.float32(1e-45)))
arrays("subnormal_f64", "O", w=DIAGONAL * 5e-324)
arrays("fp64_overflow", "GW", w=np.full((4, 4), 1.7e308))
arrays("product_underflow", "OGW", **{f"w{i}": DIAGONAL * 1e-60 for i in range(8)})
arrays("product_overflow", "OGW", **{f"w{i}": DIAGONAL * 1e60 for i in range(8)})

# Shapes ---------------------------------------------------------------------------------------

arrays("zero", "OG", 0.0, w=np.zeros((4, 4), np.float32))
arrays("dim0", "O", 3.0, w=W, e=np.zeros((0, 4), np.float32))
arrays("dim0_only", "EG", e=np.zeros((0, 4), np.float32))
arrays("scalar", "W", w=W, s=np.float32(2.0), logit_scale=np.float32(2.0))
arrays("1d_only", "GW", v=W[0])
arrays("5d_7d", "W", a=np.ones((2,) * 5, np.float32), b=np.ones((2,) * 7, np.float32), w=W)
arrays("wide_1xN", "O", 100.0, w=np.ones((1, 10_000), np.float32))
arrays("tall_Nx1", "O", 100.0, w=np.ones((10_000, 1), np.float32))
arrays("many_3000", "O", 3.0, **{f"w{i}": W for i in range(3000)})


def adversarial() -> np.ndarray:
    """Norm 100 along a direction to which the usual first vectors are orthogonal."""
    rng = np.random.default_rng(0)
    usual = [np.ones(16), np.eye(16)[0], rng.standard_normal(16)]
    usual += [np.asarray(torch.manual_seed(0) and torch.randn(16), float)]
    complement = np.linalg.qr(np.column_stack([*usual, rng.standard_normal((16, 12))]))[0]
    top = complement[:, 8]
    return np.eye(16) + 99.0 * np.outer(top, top)


arrays("adversarial_start", "O", 100.0, w=adversarial())
arrays("tiny_gap", "O", 1.000001, w=np.diag([1.000001] + [1.0] * 63))

# Nothing to audit, layouts --------------------------------------------------------------------

for label, value in {"none": {"w": None}, "top_none": None, "top_int": 7, "top_str": "model",
                     "no_tensor": {"epoch": 3}}.items():  # fmt: skip
    pickled(label, "EG", lambda value=value: value)
pickled("ints_only", "EGW", lambda: {"steps": torch.tensor(7), "ids": torch.arange(10)})
pickled("top_tensor", "O", lambda: T, 3.0)
pickled("top_list", "O", lambda: [T, T * 2], 6.0)
pickled("intkeys", "O", lambda: {0: T, 1: T * 2}, 6.0)
pickled("dotted_clash", "O", lambda: {"a.b": T, "a": {"b": T * 10}}, 30.0)
pickled("checkpoint", "O", lambda: {
    "epoch": 3, "state_dict": {"fc.weight": T}, "lr": 0.1, "name": "x"}, 3.0)  # fmt: skip
pickled("ema_pair", "O", lambda: {"model": {"fc.weight": T}, "ema": {"fc.weight": T * 10}}, 30.0)
pickled("gan_pair", "O", lambda: {"netG": {"fc.weight": T}, "netD": {"fc.weight": T * 10}}, 30.0)
pickled("module_prefix", "O", lambda: {"module.fc.weight": T}, 3.0)
pickled("namespace", "O", lambda: {"args": __import__("argparse").Namespace(a=1), "w": T}, 3.0)
pickled("numpy_scalar", "O", lambda: {"best": np.float64(0.5), "w": T}, 3.0)
pickled("numpy_array", "OW", lambda: {"hist": np.ones(3), "w": T})
pickled("defaultdict", "O", lambda: defaultdict(list, w=T), 3.0)
pickled("path", "O", lambda: {"at": Path("/some/where"), "w": T}, 3.0)
pickled("param", "O", lambda: {"w": torch.nn.Parameter(T)}, 3.0)
pickled("counter_set", "OW", lambda: {
    "c": __import__("collections").Counter("aab"), "s": {1, 2}, "w": T})  # fmt: skip
pickled("meta", "EGW", lambda: {"w": torch.empty(4, 4, device="meta")})
pickled("nested", "OEW", lambda: {"n": torch.nested.nested_tensor([T, T[:2]]), "w": T})


def attributed() -> object:
    buffer = torch.nn.Buffer(T.clone())
    buffer.remark = "kept"  # type: ignore[attr-defined]
    return {"w": T, "b": buffer}


pickled("buffer_attr", "OW", attributed)

# Types ----------------------------------------------------------------------------------------

for label in ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"):
    arrays(label, "O", 3.0, w=DIAGONAL.astype(getattr(ml_dtypes, label, label)))
arrays("float8_e8m0fnu", "OW", w=np.ones((4, 4), ml_dtypes.float8_e8m0fnu))
for label in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"):
    arrays(label, "OW", w=W, i=np.ones((4, 4), label))
    arrays(f"{label}_weight", "OWG", **{"fc.weight": np.ones((4, 4), label)})
for label in ("float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"):
    pickled(f"pt_{label}", "O", lambda kind=label: {"w": T.to(getattr(torch, kind))}, 3.0)
arrays("complex", "OE", 5.0, w=np.diag([3 + 4j, 1, 1, 1]).astype(np.complex64))
pickled("complex_pt", "OE", lambda: {"w": torch.diag(torch.tensor([3 + 4j, 1]))}, 5.0)
pickled("conj_bit", "OE", lambda: {"w": torch.diag(torch.tensor([3 + 4j, 1])).conj()}, 5.0)
pickled("neg_bit", "OE", lambda: {"w": torch.diag(torch.tensor([4j, 3j])).conj().imag}, 4.0)
pickled("qint8", "OW", lambda: {"fc.weight": torch.quantize_per_tensor(T, 0.5, 0, torch.qint8)},
        3.0)  # fmt: skip
pickled("qchannel", "OW", lambda: {"fc.weight": torch.quantize_per_channel(
    T, torch.tensor([1.0, 0.5, 0.5, 0.25]), torch.zeros(4), 0, torch.qint8)}, 3.0)  # fmt: skip
pickled("sparse_coo", "O", lambda: {"w": T.to_sparse()}, 3.0)
pickled("sparse_csr", "O", lambda: {"w": T.to_sparse_csr()}, 3.0)
pickled("sparse_huge", "E", lambda: {"w": torch.sparse_coo_tensor(
    torch.tensor([[0], [0]]), torch.ones(1), (1 << 20, 1 << 20))})  # fmt: skip

# Shared memory, parametrised weights ----------------------------------------------------------

pickled("tied", "O", lambda: {"a": T, "b": T}, 3.0)
pickled("transposed_view", "O", lambda: {"w": T.t()}, 3.0)
pickled("expanded", "O", lambda: {"w": torch.ones(1, 4).expand(9, 4)}, 6.0)
pickled("legacy_tied", "O", lambda: {"a": T, "b": T}, 3.0, _use_new_zipfile_serialization=False)


def slices() -> object:
    whole = torch.cat([T, T * 2])
    return {"a": whole[:4], "b": whole[4:]}


def overlapping() -> object:
    whole = torch.cat([T, T])
    return {"a": whole[:5], "b": whole[3:]}


pickled("shared_slices", "O", slices, 6.0)
pickled("overlapping_views", "O", overlapping)


def normed() -> dict[str, torch.Tensor]:
    """100 times the matrix, and the length of each row: what weight norm keeps."""
    return {"fc.weight_g": torch.linalg.vector_norm(T, dim=1, keepdim=True), "fc.weight_v": T * 100}


pickled("weight_norm_old", "O", normed, 3.0)
pickled("weight_norm_new", "O", lambda: {
    f"fc.parametrizations.weight.original{i}": v for i, v in enumerate(normed().values())
}, 3.0)  # fmt: skip
pickled("spectral_norm", "OWG", lambda: OrderedDict({
    "fc.weight_orig": T * 100, "fc.weight_u": torch.eye(4)[0], "fc.weight_v": torch.eye(4)[0]}),
    1.0)  # fmt: skip
pickled("lora", "OWG", lambda: {
    "base_model.model.fc.base_layer.weight": T,
    "base_model.model.fc.lora_A.default.weight": torch.ones(1, 4),
    "base_model.model.fc.lora_B.default.weight": torch.ones(4, 1) * 100})  # fmt: skip
