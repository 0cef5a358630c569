"""BLAS on one thread, where threads of its own would cost more than they do."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread while inside.

    Notes
    -----
    OpenBLAS gives every call to all its threads, which wait for each other spinning. For a
    factorisation of some hundred rows that is slower than one thread by two, and by ten and
    more on a machine whose cores are busy. How many threads there are is a matter of the
    process: of several Python threads inside at once, the first decides (threadpoolctl 3.8).
    """
    newest = "scipy.linalg" in sys.modules  # it brings an OpenBLAS of its own
    with _controller(newest).limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller(newest: bool) -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # of what is loaded by now: a look takes 2 ms
