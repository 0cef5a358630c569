"""Writing a file so that it is there whole or not at all.

The target is never opened for writing. A file with a random name is made beside it
(``O_EXCL``: a planted link is not followed), filled, synced, given the mode of the file it
replaces, and renamed over it; then the folder is synced. A crash at any moment leaves
either the old file or the new one. Several files are made in a folder with a random name.
"""

import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from specaudit.errors import OutputError, UsageError


@contextmanager
def replacing(target: str, *, inputs: Iterable[str] = (), force: bool) -> Iterator[BinaryIO]:
    """Yield a binary file, readable too, that becomes `target` when the block ends well.

    Parameters
    ----------
    target : str
        The path to write.
    inputs : iterable of str
        Files that must not be replaced, under whatever name or link.
    force : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        If `target` exists and `force` is False, or it is one of `inputs`.
    OutputError
        If it is no regular file, or its folder cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "out")
    ...     with replacing(path, force=False) as file:
    ...         _ = file.write(b"whole")
    ...     Path(path).read_bytes()
    b'whole'
    """
    mode = check_target(target, inputs=inputs, force=force)
    folder = os.path.dirname(target) or "."
    temporary = _temporary(folder, target)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(temporary, flags, 0o666 if mode is None else mode)
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if not force and os.path.lexists(target):
            raise _exists(target)  # it came while we worked
        os.rename(temporary, target)
        _sync_folder(folder)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


@contextmanager
def assembling(
    folder: str,
    names: Sequence[str],
    *,
    inputs: Iterable[str] = (),
    force: bool,
    create: bool = False,
) -> Iterator[str]:
    """Yield an empty folder; the files written to it are moved to `folder` when the block ends.

    Parameters
    ----------
    folder : str
    names : sequence of str
        What will be written, relative to `folder`. The last file names the others: it is
        moved last, and if one of the others replaces a file it is taken away before, so that
        no moment shows a mixture of old and new.
    inputs, force
        As for `replacing`.
    create : bool
        Whether `folder` may be made; it then comes into being with all files in it.

    Raises
    ------
    UsageError, OutputError
        As `replacing` does.
    """
    targets = [os.path.join(folder, name) for name in names]
    inputs = list(inputs)
    modes = [check_target(target, inputs=inputs, force=force) for target in targets]
    fresh = create and not os.path.lexists(folder)
    home = os.path.dirname(os.path.abspath(folder)) if fresh else folder
    temporary = _temporary(home, targets[-1])
    try:
        os.mkdir(temporary, 0o777 if fresh else 0o700)
        yield temporary
        if fresh:
            _sync_folders(temporary, names)
            os.rename(temporary, folder)
            _sync_folder(home)
        else:
            _move(temporary, folder, list(zip(names, modes, strict=True)), force=force)
    except OSError as error:
        raise _cannot_write(targets[-1], error) from error
    finally:
        if os.path.lexists(temporary):
            shutil.rmtree(temporary)


def _move(temporary: str, folder: str, files: list[tuple[str, int | None]], *, force: bool) -> None:
    """Rename every file from one folder to the other; what cannot be finished is undone."""
    names = [name for name, _ in files]
    targets = [os.path.join(folder, name) for name in names]
    for (name, mode), target in zip(files, targets, strict=True):
        if mode is not None:
            os.chmod(os.path.join(temporary, name), mode)
        if not force and os.path.lexists(target):
            raise _exists(target)  # it came while we worked
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        if name != os.path.basename(name):
            _check_inside(target, folder)
    if any(mode is not None for _, mode in files[:-1]) and os.path.lexists(targets[-1]):
        os.unlink(targets[-1])
    made: list[str] = []
    try:
        for (name, mode), target in zip(files, targets, strict=True):
            os.rename(os.path.join(temporary, name), target)
            if mode is None:
                made.append(target)
    except BaseException:
        for target in made:
            os.unlink(target)
        raise
    _sync_folders(folder, names)


def _check_inside(target: str, folder: str) -> None:
    """Raise if a link leads out of `folder` on the way to `target`."""
    home = os.path.realpath(folder)
    if os.path.commonpath([home, os.path.realpath(os.path.dirname(target))]) != home:
        raise OutputError("a link leads out of the output's folder", where=target)


def _sync_folders(folder: str, names: Sequence[str]) -> None:
    """Sync every folder that holds one of the files."""
    for inner in {os.path.dirname(name) for name in names}:
        _sync_folder(os.path.join(folder, inner))


def check_target(target: str, *, inputs: Iterable[str] = (), force: bool) -> int | None:
    """Raise if `target` may not be written; return the mode of the file that is there."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        if os.path.islink(target):
            raise OutputError(
                "the output is a broken link", where=target, help="name the file itself"
            ) from None
        return None
    except OSError as error:
        raise _cannot_write(target, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise OutputError("the output is not a regular file", where=target)
    for path in inputs:
        if os.path.exists(path) and os.path.samestat(os.stat(path), found):
            raise UsageError(
                "the output is the input", where=target, help="give another path: the input is kept"
            )
    if not force:
        raise _exists(target)
    if os.path.islink(target):
        raise OutputError(
            "the output is a link, and what it points to is not replaced",
            where=target,
            help="name the file itself",
        )
    return stat.S_IMODE(found.st_mode)


def _temporary(folder: str, target: str) -> str:
    """A path in `folder` that nobody can foresee; its name says what it is to become."""
    label = os.fsdecode(os.fsencode(os.path.basename(target))[:100])  # a name has 255 bytes
    return os.path.join(folder, f".{label}.{secrets.token_hex(8)}.tmp")


def _exists(target: str) -> UsageError:
    return UsageError("the output exists", where=target, help="--force replaces it")


def _cannot_write(target: str, error: OSError) -> OutputError:
    return OutputError(f"cannot write: {error.strerror or error}", where=target)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
