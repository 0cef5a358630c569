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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        cwd: Path | None = None,
        stdout: Path | None = None,
        unprivileged: bool = False,
    ) -> Outcome:
        """Run ``specaudit`` with these arguments.

        Parameters
        ----------
        arguments : sequence of str
        workplace : Path
            An existing folder for what is printed; also the working directory unless `cwd`.
        stdout : Path, optional
            Where stdout goes instead; it is not read back.
        unprivileged : bool
            Whether a child of root becomes nobody first.
        """
        printed = [workplace / ".stdout", workplace / ".stderr"]
        for path in printed:
            path.write_bytes(b"")
        request = {
            "argv": [os.fsencode(text).hex() for text in arguments],
            "cwd": str(cwd or workplace),
            "stdout": str(stdout or printed[0]),
            "stderr": str(printed[1]),
            "unprivileged": unprivileged,
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        code, seconds, peak = json.loads(self.server.stdout.readline())
        said = [path.read_bytes() for path in printed]
        for path in printed:
            path.unlink()
        return Outcome(code, said[0], said[1], seconds, peak)


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


def enter(request: dict[str, object]) -> None:
    """Become the command; never returns."""
    from specaudit import cli

    code = 70  # nothing below may fall back into the server's loop
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        flags = os.O_WRONLY | os.O_TRUNC
        for number, descriptor in enumerate(
            [nothing, *(os.open(str(request[name]), flags) for name in ("stdout", "stderr"))]
        ):
            os.dup2(descriptor, number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(str(request["cwd"]))
        if request["unprivileged"] and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        limit()
        sys.argv = ["specaudit", *(os.fsdecode(bytes.fromhex(a)) for a in request["argv"])]  # type: ignore[attr-defined]
        cli.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = 120
        os._exit(code)


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
