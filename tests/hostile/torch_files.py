"""PyTorch files as nobody should write them: what their makers share."""

import struct
from collections.abc import Callable
from pathlib import Path

from tests.hostile.cases import Case, Collection
from tests.hostile.pickling import dict_of, list_of, number, program, storage, tensor, text
from tests.hostile.safetensors_files import DIAGONAL
from tests.hostile.zipping import archive, checkpoint

MAGIC = 0x1950A86A20F9469CFC6C
W = tensor()
Content = bytes | Callable[[Path], bytes]


def adder(cases: Collection) -> Callable[..., None]:
    """A function that adds a case of one file to `cases`."""

    def file_case(name: str, outcomes: str, content: Content, sigma: float | None = None) -> None:
        def make(folder: Path) -> Path:
            path = folder / "model.pt"
            path.write_bytes(content if isinstance(content, bytes) else content(folder))
            return path

        cases.append(Case(name, outcomes, make, sigma))

    return file_case


def zipped(body: bytes, **storages: bytes) -> bytes:
    """A zip checkpoint whose pickle is this body."""
    return archive(checkpoint(program(body), {"0": DIAGONAL, **storages}))


def beside(payload: bytes) -> bytes:
    """A zip checkpoint in which good weights come with a payload."""
    return zipped(dict_of(w=W, x=payload))


def legacy(
    top: bytes | None = None,
    *,
    magic: bytes = b"",
    system: bytes = b"",
    keys: bytes = b"",
    data: bytes | None = None,
    protocol: int = 1001,
) -> bytes:
    """A checkpoint of before 1.6; as it stands, of one matrix."""
    laid = tensor(storage(view=b"N"))
    data = struct.pack("<q", 16) + DIAGONAL if data is None else data
    little = dict_of(little_endian=b"\x88")
    parts = (
        program(magic + number(MAGIC)),
        program(number(protocol)),
        program(system + little),
        program(dict_of(w=laid) if top is None else top),
        program(keys or list_of(text("0"))),
    )
    return b"".join(parts) + data
