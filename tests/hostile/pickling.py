"""Pickles, opcode by opcode: what no pickler would write."""

import struct


def mention(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def list_of(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def dict_of(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def call(module: str, name: str, *args: bytes) -> bytes:
    return mention(module, name) + tuple_of(*args) + b"R"


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def numbers(values: tuple[int, ...]) -> bytes:
    return tuple_of(*map(number, values))


NO_HOOKS = call("collections", "OrderedDict")


def storage(
    kind: str = "FloatStorage",
    key: str = "0",
    count: int = 16,
    location: str = "cpu",
    view: bytes = b"",
) -> bytes:
    """A storage as the zip format refers to it; with `view` (``b"N"``) as the old one does."""
    parts = (text("storage"), mention("torch", kind), text(key), text(location), number(count))
    return tuple_of(*parts, view) + b"Q"


def tensor(
    laid_over: bytes = storage(),
    offset: int = 0,
    shape: tuple[int, ...] = (4, 4),
    strides: tuple[int, ...] = (4, 1),
) -> bytes:
    """A call of ``_rebuild_tensor_v2``; as it stands, a 4 x 4 matrix over the storage "0"."""
    layout = (number(offset), numbers(shape), numbers(strides))
    return call("torch._utils", "_rebuild_tensor_v2", laid_over, *layout, b"\x89", NO_HOOKS)
