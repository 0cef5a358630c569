"""What a file is, told from its first bytes; its name only breaks ties."""

import re
from dataclasses import dataclass

from specaudit import limits
from specaudit.errors import ModelError, UnreadableModel, UnsupportedModel
from specaudit.formats.files import ModelFile

HEAD = 4096
INDEX = ".index.json"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Protocols 2 to 5; then how 0 and 1 spell the number that torch's old checkpoints begin with.
PICKLES = (*(b"\x80" + bytes([n]) for n in range(2, 6)), b"L119547037146038801333356L\n")
# Files of the export format, by the name of the member that makes them so (torch 2.1 on).
PT2_MEMBERS = {"archive_format", "serialized_exported_program.json"}
SAVED_AUDIT = re.compile(rb'\s*\[?\s*\{\s*"schema"\s*:\s*"specaudit\.audit"')
# The first byte of a ModelProto, whichever of its fields a writer puts first.
ONNX_TAGS = frozenset(b"\x08\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2\xca\xd2")
TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]*")

FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"GGUF", "GGUF"),
    (0, b"\x93NUMPY", "NumPy"),
    (257, b"ustar", "tar; legacy tar checkpoints are not read"),
    (4, b"TFL3", "TensorFlow Lite"),
    (4, b"ORTM", "ONNX Runtime's own"),
    (4, b"PTMF", "PyTorch Mobile"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "RAR"),
    (0, b"\x89PNG\r\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"\x7fELF", "ELF"),
    (0, b"MZ", "Windows executable"),
    (0, b"SQLite format 3\x00", "SQLite"),
    (0, b"PAR1", "Parquet"),
    (0, b"ARROW1", "Arrow"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """A file and how it begins."""

    file: ModelFile
    head: bytes

    @property
    def name(self) -> str:
        """The path in lower case, for its extension."""
        return self.file.path.lower()


def look(path: str) -> Look:
    """Open the file at `path` and read how it begins; an empty one is refused."""
    file = ModelFile.at(path)
    if not file.size:
        raise UnreadableModel("empty file", where=path)
    return Look(file, file.read(0, min(HEAD, file.size)))


def is_zip(seen: Look) -> bool:
    """A zip archive: what torch.save has written since 1.6, TorchScript, .pt2."""
    return seen.head.startswith(ZIP)


def is_pt2(seen: Look) -> bool:
    """A zip archive that torch.export wrote."""
    if not is_zip(seen):
        return False
    from specaudit.formats.zips import read_archive  # late: only archives pay for it

    members = read_archive(seen.file).members
    return any(name.rpartition("/")[2] in PT2_MEMBERS and name.count("/") < 2 for name in members)


def is_pytorch(seen: Look) -> bool:
    """A zip archive or a pickle."""
    return is_zip(seen) or seen.head.startswith(PICKLES)


def is_safetensors(seen: Look) -> bool:
    """A length that fits, then a brace. The length's bytes can look like a pickle's."""
    length = int.from_bytes(seen.head[:8], "little")
    longest = min(limits.JSON_BYTES, seen.file.size - 8)
    return seen.head[8:9] == b"{" and length <= longest


def is_index(seen: Look) -> bool:
    """JSON that says of each tensor which shard it is in."""
    if not seen.head.lstrip().startswith(b"{") or is_saved_audit(seen.head):
        return False
    return seen.name.endswith(INDEX) or b'"weight_map"' in seen.head


def is_onnx(seen: Look) -> bool:
    """ONNX has no magic number: whatever begins like its message and is not text."""
    return seen.head[0] in ONNX_TAGS and not is_text(seen.head)


def is_saved_audit(head: bytes) -> bool:
    """Whether a file that begins with `head` is a saved audit, not a model."""
    return SAVED_AUDIT.match(head) is not None


def is_text(head: bytes) -> bool:
    """Whether there is no control character in it, and it is UTF-8."""
    if TEXT.fullmatch(head) is None:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.end >= len(head) and len(head) == HEAD  # a character cut by the window
    return True


def foreign(seen: Look) -> ModelError | None:
    """The error that names what the file is instead of a model, if that can be told."""
    head, path = seen.head, seen.file.path
    if head.startswith(b"version https://git-lfs"):
        reason = "a Git LFS pointer, not the file it stands for"
        return UnreadableModel(reason, where=path, help="git lfs pull")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        reason = "an HTML page, not a model: the download failed"
        return UnreadableModel(reason, where=path, help="download it again, logged in if need be")
    for offset, magic, name in FOREIGN:
        if head.startswith(magic, offset):
            return _unsupported(name, path)
    if is_saved_audit(head):
        return UnsupportedModel("a saved audit, not a model", where=path)
    if is_text(head):
        return _unsupported(text_kind(head), path)
    return None


def text_kind(head: bytes) -> str:
    """What kind of text it is."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"{", b"[")):
        return "JSON"
    if start.startswith(b"<"):
        return "XML"
    if b"ir_version:" in head or b"opset_import" in head:
        return "ONNX as protobuf text"
    return "text"


def _unsupported(name: str, path: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"unsupported format ({name})",
        where=path,
        help="give a PyTorch, TorchScript, .pt2, safetensors or ONNX file",
    )
