"""safetensors: a length, a JSON header, and the tensors' bytes without gap or overlap.

Reference: huggingface/safetensors, README, "Format".
"""

import json
from collections.abc import Iterable, Iterator
from typing import NoReturn

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.background import in_background
from specaudit.formats.files import ModelFile, shown
from specaudit.formats.tensors import StoredTensor, bytes_of, check_shape
from specaudit.model import Model, Weight

TYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
# Declared by the format, but in which order their elements share a byte is not.
PACKED = {"F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn"}


def load(path: str, *, digest: bool = True) -> Model:
    """Read a safetensors file; no tensor is loaded.

    Parameters
    ----------
    path : str
    digest : bool
        Whether to hash the file. A sharded set is known by the digest of its index.

    Raises
    ------
    UnreadableModel
        The header is not what the format asks for, or the tensors do not cover the file.
    """
    file = ModelFile.at(path)
    if not file.size:
        raise UnreadableModel("empty file", where=path)
    hashed = in_background(file.digest) if digest else str
    header, start = read_header(file)
    stored = {
        name: read_entry(entry, file, start, f"{path} › {shown(name)[1:-1]}")
        for name, entry in header.items()
    }
    if len({printable(name) for name in stored}) < len(stored):
        _refuse("two names are the same once their surrogates are written out", path)
    check_coverage(stored.values(), file, start)
    weights = []
    missing = []
    for name, tensor in stored.items():
        if tensor.dtype in PACKED.values():
            missing.append(
                (printable(name), f"{tensor.dtype}: the format leaves open how it is packed")
            )
        else:
            weights.append(weight(printable(name), tensor))
    return Model(
        path=path,
        format="safetensors",
        digest=hashed,
        weights=tuple(weights),
        missing=(*missing, *zero_tail(file.trailing_zeros(), file.size - start)),
        source=file,
    )


def read_header(file: ModelFile) -> tuple[dict[str, object], int]:
    """The header's tensors by name, and where the bytes begin."""
    if file.size < 8:
        _refuse("truncated: no room for a header", file.path)
    length = int.from_bytes(file.read(0, 8), "little")
    if length > limits.scaled(limits.JSON_BYTES):
        _refuse(f"a header of {length} bytes is over the format's limit", file.path)
    if length > file.size - 8:
        _refuse("truncated: the header is longer than the file", file.path)
    raw = file.read(8, length)
    if not raw.startswith(b"{"):
        _refuse("the header does not begin with {", file.path)
    header = parse_json(raw, file.path)
    metadata = header.pop("__metadata__", None)
    if metadata is not None and not is_text_map(metadata):
        _refuse("__metadata__ does not map strings to strings", file.path)
    return header, 8 + length


def parse_json(raw: bytes, where: str) -> dict[str, object]:
    """A JSON object; names that come twice, NaN and absurd nesting are refused."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            places = {name: i for i, (name, _) in enumerate(pairs)}
            twice = next(name for i, (name, _) in enumerate(pairs) if places[name] != i)
            _refuse(f"{shown(twice)} is there twice", where)
        return found

    def constant(name: str) -> NoReturn:
        _refuse(f"{name} is not JSON", where)

    try:
        parsed = json.loads(raw.decode(), object_pairs_hook=unique, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise UnreadableModel("JSON that is not UTF-8", where=where) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableModel("damaged JSON", where=where) from error
    if not isinstance(parsed, dict):
        _refuse("JSON that is not an object", where)
    return parsed


def is_text_map(value: object) -> bool:
    """Whether `value` is an object of strings."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def read_entry(entry: object, file: ModelFile, start: int, where: str) -> StoredTensor:
    """The tensor that a line of the header declares; `start` is where offset 0 lies."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse("an entry is not exactly dtype, shape and data_offsets", where)
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = (TYPES | PACKED).get(kind) if isinstance(kind, str) else None
    if dtype is None:
        _refuse(f"type {shown(str(kind))} is not known", where)
    if not is_numbers(shape) or not is_numbers(offsets) or len(offsets) != 2:
        _refuse("shape or data_offsets are not lists of whole numbers", where)
    begin, end = offsets
    size = bytes_of(dtype, check_shape(tuple(shape), where))
    if not 0 <= begin <= end <= file.size - start:
        _refuse("truncated: its bytes lie past the end of the file", where)
    if end - begin != size:
        _refuse(f"{end - begin} bytes where its shape takes {size}", where)
    return StoredTensor(file, start + begin, size, dtype, tuple(shape), "raw", where)


def is_numbers(value: object) -> bool:
    """Whether `value` is a list of integers; JSON's true is not one."""
    return isinstance(value, list) and all(type(item) is int for item in value)


def check_coverage(tensors: Iterable[StoredTensor], file: ModelFile, start: int) -> None:
    """Raise unless every byte after the header belongs to one tensor."""
    position = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != position:
            kind = "overlap" if tensor.offset < position else "leave a gap"
            _refuse(f"tensors {kind} at byte {min(position, tensor.offset)}", tensor.where)
        position += tensor.size
    if position != file.size:
        _refuse(f"{file.size - position} bytes after the last tensor", file.path)


def weight(name: str, tensor: StoredTensor) -> Weight:
    """The weight of a stored tensor."""
    return Weight(printable(name), tensor.shape, tensor.dtype, tensor.read, source=tensor)


def printable(name: str) -> str:
    """`name` with a lone surrogate, which JSON can spell and UTF-8 cannot, written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def zero_tail(zeros: int, size: int) -> Iterator[tuple[str, str]]:
    """Say that half of the data and more are zeros at the end: what a lost download leaves."""
    if zeros >= 64 and 2 * zeros >= size:
        yield "the end of the file", f"{zeros} of {size} bytes are zero: perhaps cut short"


def _refuse(reason: str, where: str) -> NoReturn:
    raise UnreadableModel(reason, where=where)
