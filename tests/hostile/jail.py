"""Commands run in a child of a warmed-up process: limited in time and memory, cheap to start.

Starting Python and importing NumPy for each of some thousand commands would take most of an
hour. A server, which has imported what the commands import and nothing that a test imports,
forks a child for each; the child's limits and death are its own.
"""

import contextlib
import functools
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

SECONDS = 10.0  # of the processor, so that a busy machine changes nothing
HANG = 60.0
PEAK_BYTES = 512 << 20  # resident, the interpreter and NumPy included
ADDRESS_BYTES = 1 << 30  # of new address space: what touches less than it reserves ends here
FILE_BYTES = 256 << 20
NOBODY = 65534
SAMPLES = Path(__file__).parents[2] / "sample_models"


@dataclass(frozen=True)
class Outcome:
    """What became of one command; a negative `code` is the signal that ended it."""

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    peak_bytes: int


class Jail:
    """Runs the command line, one call at a time; a context manager."""

    def __enter__(self) -> "Jail":
        variables = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait(timeout=SECONDS)
        self.server.stdout.close()

    def run(
        self,
        arguments: Sequence[str],
        *,
        workplace: Path,
        stdout: Path | None = None,
        unprivileged: bool = False,
    ) -> Outcome:
        """Run ``specaudit`` with these arguments.

        Parameters
        ----------
        arguments : sequence of str
        workplace : Path
            An existing folder for what is printed; the working directory.
        stdout : Path, optional
            Where stdout goes instead; it is not read back.
        unprivileged : bool
            Whether a child of root becomes nobody first.
        """
        (outcome,) = self.run_each(
            [arguments], workplace=workplace, stdout=stdout, unprivileged=unprivileged
        )
        return outcome

    def run_each(
        self,
        commands: Sequence[Sequence[str]],
        *,
        workplace: Path,
        stdout: Path | None = None,
        unprivileged: bool = False,
    ) -> list[Outcome]:
        """Run several commands in one child, which is quicker; limits are on all together.

        After a command that dies there is no outcome of the others.
        """
        printed = [
            (workplace / f".stdout{i}", workplace / f".stderr{i}") for i in range(len(commands))
        ]
        codes = workplace / ".codes"
        for path in (codes, *(path for pair in printed for path in pair)):
            path.write_bytes(b"")
        request = {
            "commands": [[os.fsencode(text).hex() for text in command] for command in commands],
            "cwd": str(workplace),
            "printed": [[str(stdout or out), str(err)] for out, err in printed],
            "codes": str(codes),
            "unprivileged": unprivileged,
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        code, seconds, peak = json.loads(self.server.stdout.readline())
        found = [*map(int, codes.read_text().split()), code][: len(commands)]
        said = [(out.read_bytes(), err.read_bytes()) for out, err in printed]
        for path in (codes, *(path for pair in printed for path in pair)):
            path.unlink()
        return [
            Outcome(code, *texts, seconds, peak) for code, texts in zip(found, said, strict=False)
        ]


def serve() -> None:
    """Answer requests until stdin ends."""
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            enter(request)
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = [code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]
        print(json.dumps(answer), flush=True)


def warm_up() -> None:
    """Import what the commands import by running them, and build the command line only once."""
    import typer

    from specaudit import cli, witness

    # The search for lower ends takes a fixed time for every graph, most of this suite's.
    witness.steepest.__kwdefaults__["budget"] //= 50
    typer.main.get_command = functools.cache(typer.main.get_command)
    models = [str(path) for path in [*sorted(SAMPLES.glob("mlp.*")), SAMPLES / "cnn_plain.onnx"]]
    pages = ("text", "json", "csv", "md", "html", "sarif", "junit", "github")
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
        reports = [f"--report={kind}={folder}/{kind}" for kind in pages]
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            cli.run(["check", "--max-norm", "1", *reports, *models])
            cli.run(["diff", "-f", "json", *models[:2]])
            cli.run(["clamp", "--max", "1", "-o", f"{folder}/out{models[0][-5:]}", models[0]])
            cli.run(["explain", "SA201"])
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page


def enter(request: dict[str, Any]) -> NoReturn:
    """Run the commands and leave with the last one's exit code, the others' written down."""
    codes = open(request["codes"], "w")  # noqa: SIM115
    code = 70  # nothing below may fall back into the server's loop
    try:
        descriptors = [[os.open(path, os.O_WRONLY) for path in pair] for pair in request["printed"]]
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["cwd"])
        if request["unprivileged"] and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        limit()
        for command, pair in zip(request["commands"], descriptors, strict=True):
            code = called([os.fsdecode(bytes.fromhex(text)) for text in command], *pair)
            print(code, file=codes, flush=True)
    finally:
        os._exit(code)


def called(arguments: list[str], stdout: int, stderr: int) -> int:
    """Call the entry point as Python would, and return the exit code that Python would give."""
    from specaudit import cli

    for number, descriptor in ((1, stdout), (2, stderr)):
        os.dup2(descriptor, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["specaudit", *arguments]
    code = 1
    try:
        cli.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    return code


def limit() -> None:
    """Bound this process's time, address space and files, and let no core be written."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(name, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, HANG)


if __name__ == "__main__":
    serve()
