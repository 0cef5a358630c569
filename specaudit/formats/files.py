"""Files as an auditor may touch them: regular, inside the model's folder, unchanged while read."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from specaudit.errors import UnreadableModel, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
BLOCK = 1 << 20
FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)
KINDS = [
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]


def open_regular(path: str) -> BufferedReader:
    """Open a regular file for reading, and nothing else.

    Raises
    ------
    UsageError
        There is nothing at `path`.
    UnreadableModel
        It is a directory, a pipe, a socket, a device, a circle of links, or not ours to read.

    Notes
    -----
    A pipe would block a plain `open` for ever and a device may act on being opened, so
    the kind is looked at before as well as after; ``O_NONBLOCK`` covers the moment between.
    """
    try:
        refuse_special(os.stat(path).st_mode, path)
        descriptor = os.open(path, FLAGS)
    except (OSError, ValueError) as error:
        refuse(error, path)
    file = os.fdopen(descriptor, "rb")
    try:
        refuse_special(os.fstat(descriptor).st_mode, path)
    except UnreadableModel:
        file.close()
        raise
    return file


def refuse_special(mode: int, path: str) -> None:
    """Raise unless `mode` is a regular file's."""
    if not stat.S_ISREG(mode):
        raise UnreadableModel(f"{kind_of(mode)}, not a model file", where=path)


def kind_of(mode: int) -> str:
    """What a file is that is not a regular one."""
    return next((name for matches, name in KINDS if matches(mode)), "not a regular file")


def refuse(error: OSError | ValueError, path: str) -> NoReturn:
    """Raise what a failure to open `path` means to its user."""
    if isinstance(error, ValueError):  # a NUL inside the path
        raise UsageError("not a path", where=path) from error
    if error.errno in ABSENT:
        reason = "broken symbolic link" if os.path.islink(path) else "no such file"
        raise UsageError(reason, where=path, help="check the path") from error
    raise UnreadableModel(f"cannot be read: {error.strerror}", where=path) from error


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A regular file, pinned as it was when first seen.

    Every later read opens it afresh, so no descriptor is held and the object travels to
    other processes; a file that was replaced or changed in between is refused, for then
    digest, header and tensors would belong to different files.
    """

    path: str
    size: int
    device: int
    inode: int
    changed_ns: int
    links: int = 1

    @classmethod
    def at(cls, path: str) -> "ModelFile":
        """Pin the file at `path`; raises as `open_regular` does."""
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
        return cls.of(path, status)

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> "ModelFile":
        """Pin the file whose `fstat` is `status`."""
        return cls(
            path,
            status.st_size,
            status.st_dev,
            status.st_ino,
            status.st_mtime_ns,
            status.st_nlink,
        )

    def open(self) -> BufferedReader:
        """Open it again; raises `UnreadableModel` if it is no longer the file that was pinned.

        A ``with`` block over it raises at its end too: what was read meanwhile may be torn.
        """
        file = _Pinned(open_regular(self.path).detach())
        file.pinned = self
        try:
            file.refuse_changes()
        except UnreadableModel:
            file.close()
            raise
        return file

    def same_bytes(self, other: "ModelFile") -> bool:
        """Whether `other` is this very file, unchanged."""
        return self.same_file(other) and (self.size, self.changed_ns) == (
            other.size,
            other.changed_ns,
        )

    def same_file(self, other: "ModelFile") -> bool:
        """Whether `other` is this very file under any name."""
        return (self.device, self.inode) == (other.device, other.inode)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`."""
        with self.open() as file:
            return read_exactly(file, offset, length, self.path)

    def array(self, offset: int, length: int) -> "NDArray[np.uint8]":
        """`length` bytes from `offset` as a fresh writable array, without a second copy."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableModel("truncated", where=self.path)
        import numpy as np  # late: 0.1 s that a policy or a saved audit does not pay

        buffer = np.empty(length, dtype=np.uint8)
        if not length:  # a header may name a hundred thousand empty tensors
            return buffer
        view = buffer.data
        with self.open() as file:
            file.seek(offset)
            done = 0
            while done < length:
                step = file.readinto(view[done:])
                if not step:
                    raise UnreadableModel("truncated", where=self.path)
                done += step
        return buffer

    def digest(self) -> str:
        """Hexadecimal SHA-256."""
        return hexadecimal(self.open())

    def trailing_zeros(self) -> int:
        """The number of zero bytes at its end."""
        zeros = 0
        with self.open() as file:
            while zeros < self.size:
                length = min(BLOCK, self.size - zeros)
                block = read_exactly(file, self.size - zeros - length, length, self.path)
                kept = len(block.rstrip(b"\0"))
                zeros += length - kept
                if kept:
                    break
        return zeros


class _Pinned(BufferedReader):
    """An open file that must not change as long as it is read."""

    pinned: ModelFile

    def refuse_changes(self) -> None:
        """Raise if it is no longer what was pinned."""
        now = ModelFile.of(self.pinned.path, os.fstat(self.fileno()))
        if not self.pinned.same_bytes(now):
            raise UnreadableModel("the file changed while it was read", where=now.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.refuse_changes()
        finally:
            self.close()


def hexadecimal(file: BufferedReader) -> str:
    """SHA-256 of `file` from its start to its end; it is closed."""
    hasher = hashlib.sha256()
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    with file:
        file.seek(0)
        while step := file.readinto(buffer):
            hasher.update(view[:step])
    return hasher.hexdigest()


def sha256(path: str) -> str:
    """Hexadecimal SHA-256 of the regular file at `path`."""
    return hexadecimal(open_regular(path))


def read_exactly(file: BufferedReader, offset: int, length: int, path: str) -> bytes:
    """`length` bytes from `offset`, or `UnreadableModel`; nothing is allocated past the end."""
    if offset < 0 or length < 0 or offset + length > os.fstat(file.fileno()).st_size:
        raise UnreadableModel("truncated", where=path)
    file.seek(offset)
    parts = []
    while length:
        part = file.read(length)
        if not part:
            raise UnreadableModel("truncated", where=path)
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def contained(model: str, location: str, *, where: str = "") -> str:
    """The resolved path of a file that the model file names, proved to lie in its folder.

    Parameters
    ----------
    model : str
        The file that names the other one.
    location : str
        What it says: relative, with forward slashes.
    where : str
        For the error: the file, and what in it holds `location`.

    Returns
    -------
    str
        A path without links, inside the folder that holds `model` or inside the one that
        holds the file `model` is a link to (a Hugging Face cache keeps ``snapshots/x/model``
        and its data as links into one folder ``blobs``).

    Raises
    ------
    UnreadableModel
        The location is not relative, climbs, leads out by a link, or is not a regular file.
    """
    where = where or model
    reason = misplaced(location)
    if reason:
        raise UnreadableModel(f"data location {shown(location)} {reason}", where=where)
    folder = os.path.dirname(model) or "."
    try:
        target = os.path.realpath(os.path.join(folder, location), strict=True)
        mode = os.stat(target, follow_symlinks=False).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        gone = isinstance(error, FileNotFoundError)
        raise UnreadableModel(
            f"data file {shown(location)}: {reason}",
            where=where,
            help="put it where the model looks for it: beside itself" if gone else "",
        ) from error
    homes = {os.path.realpath(folder), os.path.dirname(os.path.realpath(model))}
    if not any(os.path.commonpath([target, home]) == home for home in homes):
        reason = f"data location {shown(location)} leads out of the model's folder"
        raise UnreadableModel(reason, where=where)
    if not stat.S_ISREG(mode):
        reason = f"data location {shown(location)} is {kind_of(mode)}"
        raise UnreadableModel(reason, where=where)
    return target


def misplaced(location: str) -> str:
    """Why `location` may not name a file beside the model, or nothing."""
    if not location:
        return "is empty"
    if "\0" in location:
        return "holds a NUL character"
    if len(location) > 4096:
        return "is longer than 4096 characters"
    if "\\" in location:
        return "holds a backslash"
    if location.startswith("/") or "://" in location or location[1:2] == ":":
        return "is not relative"
    if ".." in location.split("/"):
        return "climbs out of its folder"
    return ""


def shown(text: str) -> str:
    """`text` for an error message: quoted, escaped, at most 80 characters."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
