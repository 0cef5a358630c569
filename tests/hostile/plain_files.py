"""Paths that are no model: other formats, error pages, pipes, devices, broken links."""

import gzip
import io
import os
import socket
import tarfile
from pathlib import Path

import numpy as np

from tests.hostile.cases import Case, Collection
from tests.hostile.safetensors_files import GOOD

CASES = Collection()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>gone</body></html>"


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.eye(3))
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


# What it holds, and what the error has to say.
CONTENTS = {
    "empty": (b"", "empty file"),
    "lfs": (POINTER, "Git LFS"),
    "html": (PAGE, "HTML"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gguf": (b"GGUF" + bytes(100), "GGUF"),
    "gzip": (gzip.compress(b"weights", mtime=0), "gzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
    "elf": (b"\x7fELF" + bytes(100), "ELF"),
    "tar": (tar(), "tar"),
    "numpy": (npy(), "NumPy"),
    "text": ("weights, naïvely\n".encode(), "text"),
    "json": (b'{"weights": [1, 2, 3]}', "JSON"),
    "textproto": (b"ir_version: 8\ngraph {\n}\n", "protobuf text"),
    "random": (np.random.default_rng(7).bytes(5000), ""),
    "zeros": (bytes(5000), ""),
    "onebyte": (b"\x08", ""),
}
EXTENSIONS = (".pt", ".safetensors", ".onnx", ".bin", "")

for label, (content, _) in CONTENTS.items():
    for extension in EXTENSIONS:

        def make_file(folder: Path, name: str = f"model{extension}", data: bytes = content) -> Path:
            path = folder / name
            path.write_bytes(data)
            return path

        CASES.append(Case(f"{label}{extension}", "E", make_file))


@CASES.add("U")
def missing(folder: Path) -> Path:
    return folder / "missing.pt"


@CASES.add("U")
def below_a_file(folder: Path) -> Path:
    (folder / "file").write_bytes(GOOD)
    return folder / "file" / "model.pt"


@CASES.add("E")
def empty_directory(folder: Path) -> Path:
    return folder


@CASES.add("E")
def directory_named_pt(folder: Path) -> Path:
    path = folder / "model.pt"
    path.mkdir()
    return path


@CASES.add("E")
def two_models_in_a_folder(folder: Path) -> Path:
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(GOOD)
    return folder


@CASES.add("E")
def fifo(folder: Path) -> Path:
    path = folder / "model.pt"
    os.mkfifo(path)
    return path


@CASES.add("E")
def fifo_onnx(folder: Path) -> Path:
    path = folder / "model.onnx"
    os.mkfifo(path)
    return path


@CASES.add("E")
def socket_onnx(folder: Path) -> Path:
    path = folder / "s.onnx"
    here = os.getcwd()
    os.chdir(folder)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)
    return path


@CASES.add("EU")
def symlink_loop(folder: Path) -> Path:
    path = folder / "model.pt"
    path.symlink_to(path)
    return path


@CASES.add("EU")
def symlink_broken(folder: Path) -> Path:
    path = folder / "model.pt"
    path.symlink_to(folder / "nowhere")
    return path


@CASES.add("O", 3.0)
def symlink_ok(folder: Path) -> Path:
    (folder / "real").write_bytes(GOOD)
    path = folder / "model.safetensors"
    path.symlink_to("real")
    return path


for label, name in {
    "fname_newline": "a\nb.safetensors",
    "fname_escape": "\x1b[31m.safetensors",
    "fname_dash": "-rf.safetensors",
    "fname_space": "a b.safetensors",
    "fname_unicode": "modèle–重み.safetensors",
    "fname_long": "n" * 240 + ".safetensors",
    "fname_nonutf8": os.fsdecode(b"\xff\xfe.safetensors"),
    "upper_ext": "MODEL.SAFETENSORS",
    "noext": "model",
    "st_named_pt": "model.pt",
    "st_named_onnx": "model.onnx",
}.items():

    def make_named(folder: Path, name: str = name) -> Path:
        path = folder / name
        path.write_bytes(GOOD)
        return path

    CASES.append(Case(label, "O", make_named, 3.0))
