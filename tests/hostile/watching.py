"""What is true of every run on every file: nothing leaks, nothing changes, nothing is garbled."""

import hashlib
import json
import os
import stat
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

from tests.hostile.cases import CANARY, LEAK
from tests.hostile.jail import PEAK_BYTES, SECONDS, Outcome

LONGEST_BLOCK = 4000  # characters of an error, its path included
LINES = 5


def well_behaved(outcome: Outcome) -> None:
    """Assert what holds whatever the command and the file."""
    said = outcome.stderr.decode()
    assert outcome.code >= 0, f"died of signal {-outcome.code}: {said}"
    assert outcome.code in (0, 1, 2, 3), said
    assert outcome.seconds < SECONDS
    assert outcome.peak_bytes < PEAK_BYTES
    assert "Traceback" not in said
    harmless(said)
    assert LEAK.encode() not in outcome.stdout
    for content in (outcome.stdout, outcome.stderr):
        assert b"root:x:0" not in content


def refused(outcome: Outcome) -> None:
    """Assert that there is one error and nothing else."""
    said = outcome.stderr.decode()
    assert outcome.stdout == b""
    assert said.startswith("error: "), said
    assert said.count("error: ") == 1
    assert len(said.splitlines()) <= LINES
    assert len(said) < LONGEST_BLOCK
    assert LEAK not in said


def harmless(text: str) -> None:
    """Assert that nothing in a text can act on a terminal or reorder what is read."""
    for sign in set(text):
        kind = unicodedata.category(sign)
        assert sign in "\n\t" or kind not in ("Cc", "Cs", "Zl", "Zp"), repr(sign)
        assert not unicodedata.bidirectional(sign).startswith(("LR", "RL", "PD", "FS")), repr(sign)


def strict_json(content: bytes) -> Any:
    """Parse JSON that must have no NaN and no key twice."""

    def constant(name: str) -> NoReturn:
        raise AssertionError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(content.decode(), parse_constant=constant, object_pairs_hook=unique)


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """All there is in a folder: kinds, modes, times, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            assert name != CANARY, "code from the file ran"
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 22 and os.access(path, 4):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found
