"""BLAS on one thread: while anybody is inside, and not a moment longer."""

from pathlib import Path
from threading import Barrier, Event, Thread, current_thread

import numpy as np
import pytest
import scipy.linalg.lapack  # noqa: F401  its OpenBLAS counts too
from threadpoolctl import threadpool_info, threadpool_limits

from specaudit import norms
from specaudit.norms import one_thread
from specaudit.norms.positive import factorise
from specaudit.norms.threads import blas_threads, spread
from specaudit.operators import Layer
from specaudit.pipeline import audit
from specaudit.report import Measurement, Settings

SAMPLES = Path(__file__).parents[2] / "sample_models"


def counts() -> set[int]:
    return {
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    }


def test_one_thread_inside_and_as_many_as_before_outside() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_thread():
            with one_thread():
                assert counts() == {1}
            assert counts() == {1}
        assert counts() == {2}
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert counts() == {2}


def test_as_many_as_before_once_two_threads_that_overlapped_are_outside() -> None:
    is_inside, may_leave = Event(), Event()

    def first() -> None:
        with one_thread():
            is_inside.set()
            may_leave.wait(timeout=60)

    before, thread = counts(), Thread(target=first)
    thread.start()
    is_inside.wait(timeout=60)
    with one_thread():
        assert counts() == {1}
        may_leave.set()
        thread.join()
    assert counts() == before


def test_side_by_side_and_as_many_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    plain = norms.measure

    def measure(layer: Layer, settings: Settings) -> Measurement:
        seen.append(counts())
        return plain(layer, settings)

    monkeypatch.setattr(norms, "measure", measure)
    with threadpool_limits(2, user_api="blas"):
        audit(SAMPLES / "cnn.pt", jobs=3)
        assert seen
        assert all(found == {1} for found in seen)
        assert counts() == {2}


def test_factorisations_run_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from specaudit.norms import positive

    seen: list[set[int]] = []
    plain = positive._sound

    def sound(factor: np.ndarray) -> bool:
        seen.append(counts())
        return plain(factor)

    monkeypatch.setattr(positive, "_sound", sound)
    with threadpool_limits(2, user_api="blas"):
        assert factorise(np.stack([np.eye(n) * 2.0 for n in [300] * 3])).all()
        assert factorise(np.stack([np.eye(n) * 2.0 for n in [30] * 3])).all()
    assert seen == [{1}] * 6


def test_spread_calls_each_once_on_blas_threads_turned_into_python_s() -> None:
    seen: list[set[int]] = []
    names: set[str] = set()

    def task(item: int) -> None:
        together.wait(timeout=60)  # passes only where two run at once
        names.add(current_thread().name)
        seen.append(counts())
        items.append(item)

    together, items = Barrier(2), []
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == 2
        spread(task, range(6))
        assert counts() == {2}
    assert sorted(items) == list(range(6))
    assert len(names) == 2
    assert seen == [{1}] * 6


def test_spread_stays_on_the_caller_s_thread_where_blas_has_one() -> None:
    names: list[str] = []
    with one_thread():
        spread(lambda _: names.append(current_thread().name), range(3))
    spread(lambda _: names.append(current_thread().name), range(1))
    assert names == [current_thread().name] * 4


def test_spread_raises_what_a_task_raised() -> None:
    with threadpool_limits(2, user_api="blas"), pytest.raises(ZeroDivisionError):
        spread(lambda item: 1 // item, range(4))
