"""Threads of Python's instead of BLAS's own, which cost more than they do where work is small."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread while inside.

    Notes
    -----
    OpenBLAS gives every call to all its threads, which wait for each other spinning. For a
    factorisation of some hundred rows that is slower than one thread by two, and by ten and
    more on a machine whose cores are busy. How many threads there are is a matter of the
    process: of several Python threads inside at once, the first decides. The others leave
    alone what is on one thread already, since whoever leaves last would else put back the
    one thread that it found.
    """
    controller = _controller()
    several = [one["filepath"] for one in _blas(controller) if one["num_threads"] != 1]
    if not several:
        yield
        return
    with controller.select(filepath=several).limit(limits=1):
        yield


def blas_threads() -> int:
    """Return the number of threads that NumPy's BLAS runs on."""
    return min((one["num_threads"] for one in _blas(_controller())), default=1)


def spread(task: Callable[[T], object], items: Sequence[T]) -> None:
    """Call `task` with each item, on as many threads of Python's as BLAS has of its own.

    Notes
    -----
    Tasks that do not know each other need not wait for each other: on two idle cores a
    tenth faster than OpenBLAS's own threads, and on busy ones several times.
    """
    workers = min(len(items), blas_threads()) if len(items) > 1 else 1
    if workers == 1:
        for item in items:
            task(item)
        return
    with one_thread(), ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(task, items):
            pass


def _blas(controller: Any) -> list[dict[str, Any]]:
    return [one for one in controller.info() if one["user_api"] == "blas"]


def _controller() -> Any:
    return _looked_up("scipy.linalg" in sys.modules)  # it brings an OpenBLAS of its own


@functools.cache
def _looked_up(newest: bool) -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # of what is loaded by now: a look takes 2 ms
