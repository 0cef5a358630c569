"""safetensors files and shard indexes as nobody should write them."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.hostile.cases import SECRET, Case, Collection

CASES = Collection()
DIAGONAL = np.diag([3.0, 2.0, 1.0, 0.5]).astype("<f4").tobytes()  # spectral norm 3
ENTRY = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}


def pack(header: object, data: bytes = DIAGONAL, *, length: int | None = None) -> bytes:
    """A file of a header (an object, or the bytes themselves) and the data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(**changes: object) -> dict[str, object]:
    return ENTRY | changes


def file_case(name: str, outcomes: str, content: bytes, sigma: float | None = None) -> None:
    def make(folder: Path) -> Path:
        path = folder / "model.safetensors"
        path.write_bytes(content)
        return path

    CASES.append(Case(name, outcomes, make, sigma))


GOOD = pack({"w": ENTRY})
ONE = json.dumps(ENTRY).encode()

for label, outcomes, content in [
    ("st_len_u64max", "E", pack({"w": ENTRY}, length=2**64 - 1)),
    ("st_len_over_file", "E", pack({"w": ENTRY}, length=10_000)),
    ("st_len_100M_plus", "E", pack({"w": ENTRY}, length=100_000_001)),
    ("st_len_zero", "E", pack({"w": ENTRY}, length=0)),
    ("st_not_json", "E", pack(b"{not json at all}")),
    ("st_nonutf8", "E", pack(b'{"\xff\xfe":' + ONE + b"}")),
    ("st_array", "E", pack([ENTRY])),
    ("st_deep_json", "E", pack(b'{"w":' + b"[" * 200_000 + b"]" * 200_000 + b"}")),
    ("st_huge_int", "E", pack(b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}")),
    ("st_nan", "E", pack(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,64]}}')),
    ("st_float_off", "E", pack({"w": entry(data_offsets=[0.0, 64.0])})),
    ("st_bool_off", "E", pack({"w": entry(data_offsets=[False, 64])})),
    ("st_negative", "E", pack({"w": entry(data_offsets=[-64, 0])})),
    ("st_leading_space", "E", pack(b' {"w":' + ONE + b"}")),
    ("st_dup_keys", "E", pack(b'{"w":' + ONE + b',"w":' + ONE + b"}")),
    ("st_dup_metadata", "E", pack(b'{"__metadata__":{"a":"b","a":"c"},"w":' + ONE + b"}")),
    ("st_metadata_numbers", "E", pack({"__metadata__": {"a": 1}, "w": ENTRY})),
    ("st_overlap", "E", pack({"w": ENTRY, "v": ENTRY})),
    ("st_hole", "E", pack({"w": entry(data_offsets=[64, 128])}, DIAGONAL * 2)),
    ("st_trailing", "EW", GOOD + b"more"),
    ("st_data_short", "E", GOOD[:-1]),
    ("st_oob", "E", pack({"w": entry(data_offsets=[0, 65])})),
    ("st_reversed", "E", pack({"w": entry(data_offsets=[64, 0])})),
    ("st_shape_overflow", "E", pack({"w": entry(shape=[2**33, 2**31])})),
    ("st_shape_wrap_zero", "E", pack({"w": entry(shape=[2**32, 2**32])})),
    ("st_shape_empty_huge", "E", pack({"w": entry(shape=[0, 2**62, 8], data_offsets=[0, 0])}, b"")),
    ("st_shape_neg", "E", pack({"w": entry(shape=[-4, -4])})),
    ("st_shape_mismatch", "E", pack({"w": entry(shape=[4, 5])})),
    ("st_shape_100d", "E", pack({"w": entry(shape=[1] * 96 + [4, 4])})),
    ("st_unknown_dtype", "E", pack({"w": entry(dtype="F128")})),
    ("st_dtype_list", "E", pack({"w": entry(dtype=["F32"])})),
    ("st_missing_field", "E", pack({"w": {"dtype": "F32", "shape": [4, 4]}})),
    ("st_extra_field", "E", pack({"w": entry(strides=[4, 1])})),
    ("st_entry_null", "E", pack({"w": None})),
    ("st_meta_only", "EG", pack({"__metadata__": {"format": "pt"}}, b"")),
    ("st_empty_obj", "EG", pack({}, b"")),
    ("st_name_surrogate", "EO", pack(b'{"\\ud800w":' + ONE + b"}")),
    ("st_zeros_tail", "W", pack({"w": entry(shape=[32, 4], data_offsets=[0, 512])},
                                DIAGONAL * 4 + bytes(256))),
    *((f"st_trunc_{count}", "E", GOOD[:count]) for count in (0, 1, 7, 8, 9, 40, len(GOOD) - 1)),
]:  # fmt: skip
    file_case(label, outcomes, content)

for label, key in {
    "st_long_name": "n" * 200_000,
    "st_name_injection": "\x1b[31mred\n::error::x,=cmd|' /C'!A0<script>",
    "st_name_path": "../../etc/passwd",
    "st_name_empty": "",
    "st_name_nul": "a\0b",
    "st_name_proto": "__proto__",
}.items():
    file_case(label, "O", pack({key: ENTRY}), 3.0)
# Each is quick to find, but not by counting how often every name is there.
distinct = ",".join(f'"{i}":0' for i in range(60_000))
file_case("st_dup_late", "E", pack(f'{{{distinct},"59999":0}}'.encode(), b""))
file_case("st_good", "O", GOOD, 3.0)
file_case("st_padded", "O", pack(json.dumps({"w": ENTRY}).encode() + b"   "), 3.0)
many = {f"w{i}": entry(data_offsets=[64 * i, 64 * i + 64]) for i in range(3000)}
file_case("st_many", "O", pack(many, DIAGONAL * 3000), 3.0)


def sharded(folder: Path, weight_map: object, **shards: bytes) -> Path:
    """An index beside its shards; the shards' names have their dots as underscores here."""
    for name, content in shards.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def index_case(name: str, outcomes: str, make: Callable[[Path], Path]) -> None:
    CASES.append(Case(name, outcomes, make))


OUTSIDE = {"w": "../outside.safetensors"}


@CASES.add("E")
def idx_dotdot(folder: Path) -> Path:
    (folder / "outside.safetensors").write_bytes(pack({"w": ENTRY}, SECRET))
    inner = folder / "inner"
    inner.mkdir()
    return sharded(inner, OUTSIDE)


@CASES.add("E")
def idx_absolute(folder: Path) -> Path:
    shard = folder / "s.safetensors"
    shard.write_bytes(GOOD)
    return sharded(folder, {"w": str(shard)})


@CASES.add("E")
def idx_symlink(folder: Path) -> Path:
    (folder / "outside.safetensors").write_bytes(pack({"w": ENTRY}, SECRET))
    inner = folder / "inner"
    inner.mkdir()
    (inner / "s.safetensors").symlink_to(folder / "outside.safetensors")
    return sharded(inner, {"w": "s.safetensors"})


@CASES.add("O", 3.0)
def idx_hf_cache(folder: Path) -> Path:
    """Index and shards are links into one folder of blobs, as huggingface_hub lays them out."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "1").write_bytes(GOOD)
    (blobs / "2").write_text(json.dumps({"weight_map": {"w": "s.safetensors"}}))
    (snapshot / "s.safetensors").symlink_to("../../blobs/1")
    path = snapshot / "model.safetensors.index.json"
    path.symlink_to("../../blobs/2")
    return path


@CASES.add("E")
def idx_fifo_shard(folder: Path) -> Path:
    os.mkfifo(folder / "s.safetensors")
    return sharded(folder, {"w": "s.safetensors"})


@CASES.add("E")
def idx_self(folder: Path) -> Path:
    return sharded(folder, {"w": "model.safetensors.index.json"})


@CASES.add("E")
def idx_deep_json(folder: Path) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_bytes(b'{"weight_map":' + b"[" * 200_000)
    return path


for label, outcomes, weight_map, contents in [
    ("idx_good", "O", {"w": "s.safetensors"}, [GOOD]),
    ("idx_missing_shard", "E", {"w": "s.safetensors", "v": "t.safetensors"}, [GOOD]),
    ("idx_missing_key", "E", {"w": "s.safetensors", "v": "s.safetensors"}, [GOOD]),
    ("idx_not_dict", "E", ["s.safetensors"], [GOOD]),
    ("idx_value_int", "E", {"w": 1}, [GOOD]),
    ("idx_no_map", "E", None, [GOOD]),
    ("idx_empty_map", "E", {}, [GOOD]),
    ("idx_many_shards", "E", {f"w{i}": f"{i}.safetensors" for i in range(100_000)}, []),
    ("idx_extra_tensor", "W", {"w0": "s.safetensors"}, [pack(many, DIAGONAL * 3000)]),
    ("idx_dup_across", "E", {"w": "s.safetensors", "x": "t.safetensors"}, [
        GOOD, pack({"w": ENTRY, "x": entry(data_offsets=[64, 128])}, DIAGONAL * 2)]),
]:  # fmt: skip

    def make_index(
        folder: Path, weight_map: object = weight_map, contents: list[bytes] = contents
    ) -> Path:
        shards = dict(zip(["s_safetensors", "t_safetensors"], contents, strict=False))
        return sharded(folder, weight_map, **shards)

    index_case(label, outcomes, make_index)
