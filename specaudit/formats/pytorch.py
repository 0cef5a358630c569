"""PyTorch checkpoints: what ``torch.save`` and ``torch.jit.save`` write, read without torch.

Two containers (zip, and the five pickles of before 1.6) with four kinds of content (state
dict, training checkpoint, whole module, TorchScript) come down to one reading: opcodes to
records, records to tensors under the names of their containers. Nothing of the file runs.
"""

from collections.abc import Callable

from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.background import in_background
from specaudit.formats.checkpoints import Contents, door, read_old, read_zip
from specaudit.formats.files import ModelFile
from specaudit.formats.legacy import MAGIC_NUMBER
from specaudit.formats.safetensors import zero_tail
from specaudit.formats.zips import MAGICS, Archive, read_archive
from specaudit.model import Format, Model

OLDEST = b"L%dL\n" % MAGIC_NUMBER  # how pickle protocols 0 and 1 spell the first object


def load(path: str) -> Model:
    """Read a PyTorch checkpoint, of any age and content, or a TorchScript archive.

    Parameters
    ----------
    path : str

    Returns
    -------
    Model
        Its weights are read from the file when asked for.

    Raises
    ------
    UsageError
        There is no such file.
    UnreadableModel
        The file is damaged or hostile, or holds no tensor.
    UnsupportedModel
        It is no checkpoint, or of a kind that is not read.

    Notes
    -----
    Every byte is read here for the SHA-256 and, in an archive, for the checksums of its
    members. Neither holds the interpreter's lock: the checksums are taken beside the parsing
    and have been compared when this returns; the SHA-256 goes on beside the measuring.
    """
    with door(path):
        return read(path, digest=True)


def load_shard(path: str) -> Model:
    """Read one shard of a sharded checkpoint; as `load`, without the SHA-256."""
    with door(path):
        return read(path, digest=False)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is a zip archive."""
    return head.startswith(MAGICS)


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins so is a pickle as legacy checkpoints are."""
    return (head[:1] == b"\x80" and head[1:2] <= b"\x05") or head.startswith(OLDEST)


def read(path: str, *, digest: bool) -> Model:
    """Read the file at `path`, whichever of the two containers it is."""
    file = ModelFile.at(path)
    if not file.size:
        raise UnreadableModel("empty file", where=path)
    head = file.read(0, min(512, file.size))
    if head[257:262] == b"ustar":
        raise UnsupportedModel(
            "legacy tar checkpoint not supported",
            where=path,
            help="load it with torch and save it again with torch.save",
        )
    contents = Contents(path)
    source: Archive | ModelFile = file
    kind: Format = "pytorch"
    if is_archive(head):
        source = read_archive(file)
        verified = in_background(source.verify)
        kind = "torchscript" if read_zip(source, contents) else "pytorch"
        verified()
    elif is_pickle(head):
        read_old(file, contents)
        contents.missing.extend(zero_tail(file.trailing_zeros(), file.size))
    else:
        raise UnsupportedModel("neither a zip archive nor a pickle, as PyTorch files are")
    # Begun only here, the checksums have both cores and the first tensors need not wait.
    hashed: Callable[[], str] = in_background(file.digest) if digest else str
    return contents.model(kind, hashed, source)
