"""Good files cut short, zeroed, renamed, or not for everybody to read; code beside a model."""

import io
import json
import os
import stat
import struct
from pathlib import Path

import numpy as np

from tests.hostile.cases import CANARY, Case, Collection
from tests.hostile.exported_files import laid, pt2
from tests.hostile.onnx_files import MATMUL, RAW, WEIGHT, at, model, outside, write
from tests.hostile.pickling import dict_of, program, storage, tensor
from tests.hostile.safetensors_files import GOOD, ONE, pack, sharded
from tests.hostile.torch_code import execute, system
from tests.hostile.torch_files import beside, legacy
from tests.hostile.zipping import Member, altered, archive, checkpoint

CASES = Collection()
SAMPLES = Path(__file__).parents[2] / "sample_models"
GOOD_FILES = {
    "pt": archive(checkpoint()),
    "legacy": legacy(),
    "st": GOOD,
    "onnx": model([MATMUL], [WEIGHT]).SerializeToString(),
    "pt2": pt2(laid()),
    "torchscript": (SAMPLES / "lstm.torchscript").read_bytes(),
}
EXTENSIONS = {"legacy": "pth", "st": "safetensors", "torchscript": "pt"}
CUTS = {"1": 0.01, "10": 0.1, "50": 0.5, "90": 0.9, "99": 0.99}


def file_case(name: str, outcomes: str, file_name: str, content: bytes) -> None:
    def make(folder: Path) -> Path:
        path = folder / file_name
        path.write_bytes(content)
        return path

    CASES.append(Case(name, outcomes, make))


for kind, content in GOOD_FILES.items():
    named = f"model.{EXTENSIONS.get(kind, kind)}"
    for label, share in CUTS.items():
        file_case(f"trunc_{kind}_{label}", "E", named, content[: max(1, int(share * len(content)))])
    file_case(f"trunc_{kind}_minus1", "E", named, content[:-1])
    # safetensors and the oldest checkpoints carry no checksum
    half = len(content) // 2
    zeroed = content[:half] + bytes(len(content) - half)
    file_case(f"zeros_tail_{kind}", "EW", named, zeroed)
LONG = legacy(
    dict_of(w=tensor(storage(count=1024, view=b"N"), 0, (32, 32), (32, 1))),
    data=struct.pack("<q", 1024) + np.eye(32, dtype="<f4").tobytes()[:1000] + bytes(3096),
)
file_case("zeros_tail_legacy_data", "W", "model.pth", LONG)

file_case("pt_named_onnx", "O", "model.onnx", GOOD_FILES["pt"])
file_case("onnx_named_pt", "O", "model.pt", GOOD_FILES["onnx"])
file_case("onnx_noext", "O", "model", GOOD_FILES["onnx"])
file_case("st_dup_keys_diff", "E", "m.safetensors", pack(
    b'{"w":' + ONE + b',"w":' + ONE.replace(b"[4, 4]", b"[2, 8]") + b"}"))  # fmt: skip
file_case("st_name_case", "O", "m.safetensors", pack(
    b'{"W":' + ONE + b',"w":' + ONE.replace(b"[0, 64]", b"[64, 128]") + b"}", GOOD[-64:] * 2,
))  # fmt: skip


def placed(name: str, outcomes: str, file_name: str, content: object) -> None:
    """Register a file whose content needs to know the folder, for the canary."""

    def make(folder: Path) -> Path:
        path = folder / file_name
        path.write_bytes(content(folder))  # type: ignore[operator]
        return path

    CASES.append(Case(name, outcomes, make))


def object_array(folder: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([1, "a"], dtype=object), allow_pickle=True)
    header = buffer.getvalue()[:128]
    return header + program(execute(folder))


def opaque_constant(folder: Path) -> bytes:
    return altered_pt2(Member("m/data/constants/opaque_0", program(system(folder))))


def altered_pt2(member: Member) -> bytes:
    config = b'{"config": {"c": {"path_name": "opaque_0", "is_param": false, "use_pickle": true, '
    config += b'"tensor_meta": null}}}'
    return archive([
        Member("m/archive_format", b"pt2"),
        Member("m/data/weights/model_weights_config.json",
               json.dumps({"config": {"w": laid()}}).encode()),
        Member("m/data/weights/weight_0", GOOD[-64:]),
        Member("m/data/constants/model_constants_config.json", config),
        member,
    ])  # fmt: skip


placed("pk_named_onnx", "E", "model.onnx", lambda folder: program(system(folder)))
placed("pk_zip_named_safetensors", "E", "m.safetensors", lambda folder: beside(system(folder)))
placed("pk_zip_named_onnx", "E", "model.onnx", lambda folder: beside(system(folder)))
placed("pk_npy_object_as_bin", "E", "pytorch_model.bin", object_array)
placed("pt2_opaque_constant", "OWE", "model.pt2", opaque_constant)
file_case("zip_concatenated_fixed", "E", "model.pt",
          archive(altered(checkpoint(), "data/0", data=bytes(64))) + GOOD_FILES["pt"])  # fmt: skip


@CASES.add("E")
def idx_pickle_shard(folder: Path) -> Path:
    (folder / "s.bin").write_bytes(beside(system(folder)))
    path = sharded(folder, {"w": "s.bin"})
    return path.rename(folder / "pytorch_model.bin.index.json")


@CASES.add("E")
def noperm(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(GOOD)
    path.chmod(0)
    return path


@CASES.add("E")
def noperm_data(folder: Path) -> Path:
    """The model may be read, its data may not."""
    (folder / "w.bin").write_bytes(RAW)
    (folder / "w.bin").chmod(0)
    return write(folder, model(None, [outside(*at("w.bin"))]))


@CASES.add("E")
def noperm_folder(folder: Path) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "model.safetensors").write_bytes(GOOD)
    inner.chmod(0)
    return inner / "model.safetensors"


def device(folder: Path, minor: int) -> Path:
    """A device node of our own (1, 5 is zeros without end), or a pipe where we may make none."""
    path = folder / "model.onnx"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        os.mkfifo(path)
    return path


CASES.append(Case("dev_zero_private", "E", lambda folder: device(folder, 5)))
CASES.append(Case("dev_full_private", "E", lambda folder: device(folder, 7)))
HIJACK = ("torch", "numpy", "onnx", "json", "typer", "conftest", "sitecustomize", "specaudit")


@CASES.add("O", 3.0)
def cwd_hijack(folder: Path) -> Path:
    """Modules and settings beside the model that a careless program would pick up."""
    for name in HIJACK:
        (folder / f"{name}.py").write_text(f"open({str(folder / CANARY)!r}, 'w')")
    limits = "layers = [{ max-norm = 1e-9 }]\n"
    (folder / "pyproject.toml").write_text("[tool.specaudit]\n" + limits)
    (folder / "specaudit.toml").write_text(limits)
    path = folder / "model.safetensors"
    path.write_bytes(GOOD)
    return path
