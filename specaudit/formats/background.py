"""Work that does not hold the interpreter's lock, beside the work that does."""

from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Callable[[], T]:
    """Begin `work` in a thread; the function returned waits for it, and raises what it raised."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to whoever waits
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()

    def wait() -> T:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    return wait


def ahead(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what the tasks return, in order; each is begun while the one before is in use."""
    begun = None
    for task in tasks:
        waiting, begun = begun, in_background(task)
        if waiting is not None:
            yield waiting()
    if begun is not None:
        yield begun()
