"""What TorchScript's code says of its modules. It is text, and is searched, never run."""

import re
from collections.abc import Iterator

from specaudit import limits
from specaudit.formats.containers import Describe, Description, Role
from specaudit.formats.records import Call
from specaudit.formats.zips import Archive

CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:^(?:[ \t].*)?\n)*)", re.MULTILINE)
LISTED = re.compile(r'^  __(parameters|buffers)__ = \[([\w", ]*)\]$', re.MULTILINE)
CONSTANT = re.compile(r"^  (\w+) : Final\[[^\n=]{1,200}\] = ([^\n]{1,200})$", re.MULTILINE)
MANGLED = re.compile(r"\.___torch_mangle_\d+")
NUMBERS = r"(\[[\d, ]*\])"
CONVOLUTION = re.compile(
    rf"torch\._convolution\(\w+, \w+, \w+, {NUMBERS}, {NUMBERS}, {NUMBERS}, "
    rf"(True|False), {NUMBERS}, (\d+),"
)
GEOMETRY = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")


def describer(archive: Archive, root: str) -> Describe:
    """A function that tells of an instance what the archive's code tells of its class."""
    known = dict(descriptions(archive, f"{root}code/"))

    def describe(record: Call) -> Description | None:
        if not record.callee.module.startswith("__torch__"):
            return None
        full = str(record.callee)
        return known.get(full, Description(plain_name(full), {}, {}))

    return describe


def descriptions(archive: Archive, folder: str) -> Iterator[tuple[str, Description]]:
    """Each class of the code, by its qualified name."""
    left = limits.scaled(limits.CODE_BYTES)
    for name in archive.members:
        if not name.startswith(folder) or not name.endswith(".py"):
            continue
        left -= archive.members[name].size
        if left < 0:
            return
        text = archive.read(name, limits.scaled(limits.CODE_BYTES)).decode("utf-8", "replace")
        module = name[len(folder) : -len(".py")].replace("/", ".")
        for kind, body in CLASS.findall(text):
            yield f"{module}.{kind}", describe_class(f"{module}.{kind}", body)


def describe_class(full: str, body: str) -> Description:
    """What a class body lists and fixes."""
    roles: dict[str, Role] = {}
    for table, names in LISTED.findall(body):
        role: Role = "parameter" if table == "parameters" else "buffer"
        roles.update((name, role) for name in re.findall(r'"(\w+)"', names))
    constants = {name: literal(text) for name, text in CONSTANT.findall(body)}
    calls = CONVOLUTION.findall(body)
    if len(calls) == 1:  # a traced convolution: its geometry stands in the one call
        constants |= dict(zip(GEOMETRY, map(literal, calls[0]), strict=True))
    return Description(plain_name(full), roles, constants)


def literal(text: str) -> object:
    """The value of a number, a truth, a plain text, or a flat sequence of them; else None."""
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        return tuple(literal(part.strip()) for part in text[1:-1].split(",") if part.strip())
    if text in WORDS:
        return WORDS[text]
    if re.fullmatch(r'"[^"\\]*"', text):
        return text[1:-1]
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return None


WORDS = {"True": True, "False": False, "None": None}


def plain_name(full: str) -> str:
    """A class's name as its author knew it."""
    return MANGLED.sub("", full).removeprefix("__torch__.")
