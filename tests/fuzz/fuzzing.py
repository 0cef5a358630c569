"""Damaged files through the whole audit, in forked children whose death is noticed."""

import json
import os
import resource
import signal
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.formats.mutants import mutants
from tests.fuzz.seeds import Seed, beside

SECONDS = 10  # of the processor, so that a busy machine changes nothing
HANG = 60
ADDRESS_BYTES = 1 << 30
BATCH = 250
LAST_NET = "damaged or unsupported (", "damaged, or of a kind"  # of an exception nobody foresaw


@dataclass
class Tally:
    """What became of the mutants of a seed."""

    read: int = 0
    refused: int = 0
    unforeseen: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of the processor, for the slowest file
    peak_bytes: int = 0  # resident, the interpreter and NumPy included

    @property
    def total(self) -> int:
        return self.read + self.refused + len(self.failures)


def run(seed: Seed, count: int, number: int = 0) -> Tally:
    """Audit `count` damaged copies of a seed; `number` chooses which."""
    tally = Tally()
    damaged = mutants(seed.part, count, number)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        beside(Path(name))
        path = Path(name) / seed.file_name
        while batch := [seed.whole(part) for part in islice(damaged, BATCH)]:
            while batch:
                batch = batch[batched(batch, path, tally) :]
    return tally


def batched(batch: list[bytes], path: Path, tally: Tally) -> int:
    """Audit files in one child; return how many it came to, the one that it died of included."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            answer(batch, path, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answers:
        said = [json.loads(line) for line in answers]
    _, status, usage = os.wait4(child, 0)
    tally.peak_bytes = max(tally.peak_bytes, usage.ru_maxrss * 1024)
    for kind, text, seconds in said:
        tally.seconds = max(tally.seconds, seconds)
        if kind == "read":
            tally.read += 1
        elif kind == "refused":
            tally.refused += 1
            if text:
                tally.unforeseen[text] = tally.unforeseen.get(text, 0) + 1
        else:
            tally.failures.append(f"{text}\n{keep(batch[len(said) - 1])}")
    if len(said) < len(batch) and status:
        kept = keep(batch[len(said)])
        tally.failures.append(f"died of {os.waitstatus_to_exitcode(status)}\n{kept}")
        return len(said) + 1
    return len(said)


def keep(content: bytes) -> str:
    """Keep a file that did harm, for a test to be made of."""
    descriptor, path = tempfile.mkstemp(prefix="specaudit-fuzz-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path


def answer(batch: list[bytes], path: Path, writer: int) -> None:
    """Audit files one by one and say of each what became of it; stop at the first failure."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    for name in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(name, signal.SIG_DFL)
    for content in batch:
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(HANG)
        started = time.process_time()
        kind, text = audited(str(path))
        seconds = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        os.write(writer, json.dumps([kind, text, seconds]).encode() + b"\n")
        if kind == "failed":
            return


def audited(path: str) -> tuple[str, str]:
    """Audit one file, as far as the document; say whether it was read, and what is odd."""
    from specaudit import pipeline, policy
    from specaudit.errors import ModelError, UsageError
    from specaudit.outputs import RENDERERS

    try:
        prepared = pipeline.prepare(path)
        report = pipeline.compose(prepared, tuple(pipeline.measure(prepared)))
        document = RENDERERS["json"]([(report, policy.judge(report, policy.Policy()))])
        json.loads(document, parse_constant=refuse)
    except ModelError as problem:
        unforeseen = problem.message.startswith(LAST_NET)
        return "refused", f"{type(problem.__cause__).__name__}" if unforeseen else ""
    except UsageError:  # an index that names a shard which is not there
        return "refused", ""
    except BaseException:
        return "failed", traceback.format_exc()
    return "read", ""


def refuse(name: str) -> float:
    """Refuse what is not JSON."""
    raise AssertionError(f"{name} in the document")
