"""Damaged files: read or refused, in time, in memory, without a death."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz import fuzzing
from tests.fuzz.seeds import SEEDS, Seed, beside
from tests.hostile.jail import PEAK_BYTES

ORDINARY, LONG = 2_000, 100_000
ORDINARY_NUMBER, LONG_NUMBER = 20, 21  # which mutants


def survive(seed: Seed, count: int, number: int) -> None:
    tally = fuzzing.run(seed, -(-count // len(SEEDS)), number)
    assert not tally.failures, tally.failures[0]
    assert tally.peak_bytes < PEAK_BYTES + parent_bytes()
    assert tally.total == -(-count // len(SEEDS))


def parent_bytes() -> int:
    """What a child of this process begins with."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(autouse=True)
def _short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from specaudit import witness

    monkeypatch.setitem(witness.steepest.__kwdefaults__, "budget", witness.SHORT // 1000)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_damaged_files(seed: Seed) -> None:
    survive(seed, ORDINARY, ORDINARY_NUMBER)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_many_damaged_files(seed: Seed) -> None:
    survive(seed, LONG, LONG_NUMBER)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_the_seeds_are_sound(seed: Seed, tmp_path: Path) -> None:
    beside(tmp_path)
    path = tmp_path / seed.file_name
    path.write_bytes(seed.whole(seed.part))
    assert fuzzing.audited(str(path)) == ("read", "")


def test_a_death_a_hang_and_an_error_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = next(seed for seed in SEEDS if seed.name == "safetensors")
    kept: list[bytes] = []

    def harm(path: str) -> tuple[str, str]:
        content = Path(path).read_bytes()
        if content == b"dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        if content == b"hangs":
            time.sleep(60)
        return ("failed", "error") if content == b"fails" else ("read", "")

    def keep(content: bytes) -> str:
        kept.append(content)
        return "kept"

    contents = [b"sound", b"dies", b"sound", b"hangs", b"sound", b"fails", b"sound"]
    monkeypatch.setattr(fuzzing, "audited", harm)
    monkeypatch.setattr(fuzzing, "keep", keep)
    monkeypatch.setattr(fuzzing, "HANG", 1)
    monkeypatch.setattr(fuzzing, "mutants", lambda *_: iter(contents))
    tally = fuzzing.run(seed, len(contents))
    assert tally.read == 4
    assert kept == [b"dies", b"hangs", b"fails"]
    assert [failure.split("\n")[0] for failure in tally.failures] == [
        f"died of {-signal.SIGSEGV}",
        f"died of {-signal.SIGALRM}",
        "error",
    ]
