"""Numbers that are part of a pickle: NumPy arrays, and the scale of a quantised tensor.

A pickle is a program, and is not written anew: the one place where it loads these very bytes
is looked for, and if there is just one, others come to stand there.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from specaudit.formats.canvas import Values, deflated
from specaudit.formats.composed import Inline, Quantised
from specaudit.formats.encoding import encode, patterns
from specaudit.formats.files import shown
from specaudit.formats.parts import refuse, scales
from specaudit.formats.regions import Region
from specaudit.formats.splices import Splice
from specaudit.model import Weight

Change: TypeAlias = tuple[int, int, bytes]  # from, to, and what comes there

# How an opcode loads bytes: itself, and the width of the length that follows it. Up to
# protocol 2 bytes are text, each a character; Python 2 had strings that were bytes.
TEXT: Final = (b"X", 4)
RAW: Final = ((b"B", 4), (b"C", 1), (b"\x8e", 8), (b"\x96", 8), (b"T", 4), (b"U", 1))


def is_pickled(weight: Weight) -> bool:
    """Whether what decides the weight's values is part of a pickle."""
    source = weight.source
    scalar = isinstance(source, Quantised) and source.axis is None
    return isinstance(source, Inline) or scalar


def splice(pickle: Region, replaced: Iterable[tuple[Weight, Values]]) -> Splice:
    """The pickle with the new values of its weights.

    Raises
    ------
    UnsupportedModel
        The bytes of a weight are not to be found in it, or more than once.
    """
    old = pickle.read()
    where = pickle.file.path
    new = bytearray()
    at = 0
    for start, end, data in sorted(change(old, *each, where) for each in replaced):
        new += old[at:start] + data
        at = end
    new += old[at:]
    data = deflated(new) if pickle.deflated else bytes(new)
    return Splice(pickle.offset, pickle.stored_size, lambda: data, len(data))


def change(pickle: bytes, weight: Weight, values: Values, where: str) -> Change:
    """Where the values of a weight stand, and what is to stand there."""
    source = weight.source
    name = shown(weight.name)[1:-1]
    if isinstance(source, Inline):
        stored = encode(values(), source.dtype, source.shape, f"{where} › {name}")
        stored = stored.T if source.column_major else stored
        new = patterns(stored, source.dtype, big_endian=source.big_endian).tobytes()
        forms = list(loads(source.data, new))
    else:
        assert isinstance(source, Quantised)
        assert isinstance(source.scales, tuple)
        forms = [(double(source.scales), double(scales(weight.name, source, values)))]
    places = [(at, old, new) for old, new in forms for at in find(pickle, old)]
    if len(places) != 1:
        refuse(weight.name, f"its bytes stand {len(places)} times in the pickle it is part of")
    ((start, old, new),) = places
    return start, start + len(old), new


def loads(old: bytes, new: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every way in which an opcode can load `old`, and the same for `new`."""
    yield loaded(*TEXT, text(old)), loaded(*TEXT, text(new))
    for code, width in RAW:
        yield loaded(code, width, old), loaded(code, width, new)


def loaded(code: bytes, width: int, data: bytes) -> bytes:
    """An opcode, a length, and the bytes; nothing if the length is too long for it."""
    fits = len(data) < 1 << 8 * width
    return code + len(data).to_bytes(width, "little") + data if fits else b""


def text(data: bytes) -> bytes:
    """Bytes as characters, in UTF-8."""
    return data.decode("latin-1").encode()


def double(number: Iterable[float]) -> bytes:
    """How a pickle loads a number."""
    return struct.pack(">cd", b"G", *number)


def find(data: bytes, part: bytes) -> Iterator[int]:
    """Every place where `part` stands."""
    at = data.find(part) if part else -1
    while at >= 0:
        yield at
        at = data.find(part, at + 1)
