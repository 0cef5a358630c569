"""Names from a model are hostile text: here they become harmless, and stay readable."""

import hashlib
import re

# Controls (C0, DEL, C1), zero-width and bidirectional marks, line and paragraph separators,
# the byte-order mark, interlinear and tag characters, non-characters, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff\U000e0000-\U000e0fff]"
)
# What makes a CI runner take a line of output for a command.
_COMMAND = re.compile(r"\A\s*::|##(?=\[|vso\[)")


def visible(text: str) -> str:
    r"""Return `text` in one line that a terminal or a CI log shows and nothing obeys.

    Examples
    --------
    >>> visible("a\x1b[31mb\u202ec\nd")
    'a\\x1b[31mb\\u202ec\\nd'
    >>> visible("::error::x"), visible("onnx::MatMul_1")
    ('\\x3a:error::x', 'onnx::MatMul_1')
    """
    if text.isascii() and text.isprintable() and not _COMMAND.search(text):
        return text
    shown = _UNSAFE.sub(_escaped, text)
    return _COMMAND.sub(_disarmed, shown)


def shortened(text: str, limit: int) -> str:
    """Return `visible` text of at most `limit` characters, its middle replaced by a digest.

    Notes
    -----
    Two long names that differ in their middle alone stay different.
    """
    shown = visible(text)
    if len(shown) <= limit:
        return shown
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    mark = f"…{digest[: 8 if limit > 60 else 4]}…"
    room = max(limit - len(mark), 2)
    return shown[: room - room // 2] + mark + shown[len(shown) - room // 2 :]


def size(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it."""
    return "×".join(map(str, shape)) if shape else "scalar"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    named = {9: r"\t", 10: r"\n", 13: r"\r"}.get(code)
    if named:
        return named
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _disarmed(found: re.Match[str]) -> str:
    first = found[0].strip()[0]
    return found[0].replace(first, f"\\x{ord(first):02x}", 1)
