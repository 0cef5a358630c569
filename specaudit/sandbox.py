"""Native code on files of strangers: in a process of its own, with limits on memory and time.

What goes in and comes out are named arrays, in a form that cannot hold code: if what runs
there is taken over, nothing that it says is unpickled here.
"""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from specaudit.errors import ModelError, SpecauditError, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

MEMORY_BYTES = 8 << 30  # of address space, which is more than it ever fills
SECONDS = 120.0
_MOST_OUTPUT = 1 << 28
_KINDS = "biufU"
_START = (
    "import json, sys\n"
    "job = json.loads(sys.argv[1])\n"
    "sys.path[:] = job['path']\n"
    "from specaudit import sandbox\n"
    "sandbox.work(job['function'], job['memory_bytes'], job['seconds'])\n"
)


def run(
    function: str,
    arrays: "Arrays",
    *,
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> "dict[str, NDArray[np.generic]]":
    """Call a function in a child process.

    Parameters
    ----------
    function : str
        ``package.module:name`` of a function from named arrays to named arrays. Text travels
        as an array of it.
    arrays : mapping of str to ndarray
        Of numbers, truth values or text.
    seconds : float
        Wall-clock time, after which the child is killed.
    memory_bytes : int
        Limit on its address space.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    UnsupportedModel
        With the reason that the function gave by raising.
    ModelError
        The child died, or took too long, or said what it should not.

    Examples
    --------
    >>> import numpy as np
    >>> run("specaudit.sandbox:echo", {"x": np.arange(3)})
    {'x': array([0, 1, 2])}
    """
    job = {
        "function": function,
        "memory_bytes": memory_bytes,
        "seconds": seconds,
        "path": [os.path.abspath(entry) for entry in sys.path],
    }
    command = [sys.executable, "-I", "-c", _START, json.dumps(job)]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as answer:
        pack(arrays, given)
        given.seek(0)
        code = _finished(command, given, answer, seconds)
        if code:
            raise ModelError(f"the process with the native code {_death(code)}")
        answer.seek(0)
        found = unpack(answer)
    if "error" in found:
        raise UnsupportedModel(str(found["error"]))
    return found


def _finished(command: list[str], given: IO[bytes], answer: IO[bytes], seconds: float) -> int:
    # Its own session: what it may start dies with it.
    child = subprocess.Popen(
        command, stdin=given, stdout=answer, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ModelError(f"the native code took longer than {seconds:g} s") from None
    finally:
        if child.poll() is None:
            _kill(child)


def _kill(child: "subprocess.Popen[bytes]") -> None:
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def _death(code: int) -> str:
    if code < 0:
        try:
            return f"died of {signal.Signals(-code).name}"
        except ValueError:
            return f"died of signal {-code}"
    return f"ended with code {code}"


def work(function: str, memory_bytes: int, seconds: float) -> None:
    """What the child does: limit itself, read, call, answer."""
    _limit(memory_bytes, seconds)
    import numpy as np

    # What native code prints must not land in the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    arrays = unpack(sys.stdin.buffer)
    module, _, name = function.partition(":")
    try:
        found = getattr(import_module(module), name)(arrays)
    except SpecauditError as problem:
        found = {"error": np.array(problem.message)}
    except MemoryError:
        found = {"error": np.array("there is not enough memory for it")}
    except Exception as problem:
        lines = str(problem).strip().splitlines() or [""]
        found = {"error": np.array(f"{type(problem).__name__}: {lines[0][:200]}")}
    pack(found, answer)
    answer.close()


def _limit(memory_bytes: int, seconds: float) -> None:
    try:
        import resource
    except ImportError:  # Windows: the clock alone
        return
    cores = os.cpu_count() or 1
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, int(seconds * cores) + 1),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, _MOST_OUTPUT),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(kind, (most, most))


def echo(arrays: "Arrays") -> "Arrays":
    """Return what was given."""
    return arrays


def pack(arrays: "Arrays", file: IO[bytes]) -> None:
    """Write a line of JSON with names, types and shapes, then the bytes of each array."""
    import numpy as np

    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = [[name, array.dtype.str, list(array.shape)] for name, array in whole.items()]
    file.write(json.dumps(header).encode() + b"\n")
    for array in whole.values():
        file.write(array.tobytes())


def unpack(file: IO[bytes]) -> "dict[str, NDArray[np.generic]]":
    """Read what `pack` wrote.

    Raises
    ------
    ModelError
        If it is anything else.
    """
    import numpy as np

    try:
        entries: list[list[Any]] = json.loads(file.readline(_MOST_OUTPUT))
        found = {}
        for name, kind, shape in entries:
            dtype = np.dtype(str(kind))
            if dtype.kind not in _KINDS:
                raise ValueError(f"an array of {dtype}")
            sizes = [int(size) for size in shape]
            if min(sizes, default=0) < 0:
                raise ValueError("a negative size")
            count = math.prod(sizes)
            data = file.read(count * dtype.itemsize)
            found[str(name)] = np.frombuffer(data, dtype, count).reshape(sizes).copy()
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as problem:
        raise ModelError("the process with the native code gave no usable answer") from problem
    return found
