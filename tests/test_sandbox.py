"""Native code in a process of its own: whatever becomes of it, here it is an error with words."""

import io
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping

import numpy as np
import pytest

from specaudit import sandbox
from specaudit.errors import ModelError, UnsupportedModel

Arrays = Mapping[str, np.ndarray]
HERE = f"{__name__}:"


def dies(arrays: Arrays) -> Arrays:
    os.kill(os.getpid(), signal.SIGSEGV)
    return arrays


def leaves(arrays: Arrays) -> Arrays:
    os._exit(7)


def fills_memory(arrays: Arrays) -> Arrays:
    return {"x": np.ones(1 << 32)}


def sleeps(arrays: Arrays) -> Arrays:
    time.sleep(60)
    return arrays


def raises(arrays: Arrays) -> Arrays:
    raise ValueError("the first line\nand a second")


def refuses(arrays: Arrays) -> Arrays:
    raise UnsupportedModel("not today")


def talks(arrays: Arrays) -> Arrays:
    print("on stdout", flush=True)
    os.write(1, b"from native code")
    print("on stderr", file=sys.stderr)
    return arrays


def looks(arrays: Arrays) -> Arrays:
    core = resource.getrlimit(resource.RLIMIT_CORE)[0]
    return {"pid": np.array(os.getpid()), "core": np.array(core)}


GIVEN = {
    "x": np.arange(6.0).reshape(2, 3),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "text": np.array("ein Wörtchen"),
    "truth": np.array([True, False]),
}


def test_what_goes_in_comes_out() -> None:
    found = sandbox.run(HERE + "talks", GIVEN)
    assert found.keys() == GIVEN.keys()
    for name, array in GIVEN.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert (found[name] == array).all()


def test_it_is_another_process_without_core_dumps() -> None:
    found = sandbox.run(HERE + "looks", {})
    assert int(found["pid"]) != os.getpid()
    assert int(found["core"]) == 0


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        ("dies", ModelError, "died of SIGSEGV"),
        ("leaves", ModelError, "ended with code 7"),
        ("fills_memory", UnsupportedModel, "memory"),
        ("raises", UnsupportedModel, "(?m)ValueError: the first line$"),
        ("refuses", UnsupportedModel, "(?m)^not today$"),
    ],
)
def test_a_death_is_an_error(function: str, kind: type[ModelError], words: str) -> None:
    with pytest.raises(kind, match=words):
        sandbox.run(HERE + function, {}, memory_bytes=4 << 30)


def test_time_is_limited() -> None:
    begun = time.monotonic()
    with pytest.raises(ModelError, match="longer than 2 s"):
        sandbox.run(HERE + "sleeps", {}, seconds=2.0)
    assert time.monotonic() - begun < 30.0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nothing of the kind",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'[["x", "<f8", [2]]]\nshort',
        b'[["x", "<f8", [-1]]]\n',
        b'[["x", "<f8", [4611686018427387904, 8]]]\n',
        b'[["x", "O", [1]]]\n12345678',
        b'[["x", "nonsense", [1]]]\n',
        b'[["x"]]\n',
    ],
)
def test_an_answer_is_not_believed(answer: bytes) -> None:
    with pytest.raises(ModelError, match="no usable answer"):
        sandbox.unpack(io.BytesIO(answer))
