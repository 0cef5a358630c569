"""What is said on stderr: errors, progress, remarks. Never data."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from specaudit.errors import OutputError, SpecauditError, UnsupportedModel, UsageError
from specaudit.outputs.escaping import visible

if TYPE_CHECKING:
    from specaudit.report import Measurement


def error(problem: SpecauditError) -> None:
    """Print one error: what, where, what to do. At most five lines, names made harmless."""
    block = [f"error: {visible(problem.message)}"]
    if problem.where:
        block.append(f"  --> {visible(problem.where)}")
    help_ = problem.help
    if not help_ and isinstance(problem, UsageError):
        help_ = "`specaudit COMMAND --help` lists the options"
    if help_:
        block.append(f"  help: {visible(help_)}")
    say("\n".join(block))


def usage_error(problem: Exception) -> None:
    """Print what Typer found wrong with the call, in our form."""
    context = getattr(problem, "ctx", None)
    command = context.command_path if context else "specaudit"
    help_ = f"`{command} --help` lists the options"
    word, known = _mistyped(problem)
    if hasattr(problem, "possibilities"):
        message = str(getattr(problem, "message", problem))  # without theirs, which are by alphabet
    else:
        message = str(getattr(problem, "format_message", problem.__str__)()).rstrip(".")
    near = get_close_matches(word, known, n=2)
    if near:
        help_ = f"did you mean {' or '.join(near)}? {help_}"
    error(SpecauditError(message, help=help_))


def _mistyped(problem: Exception) -> tuple[str, list[str]]:
    """Return the word that is not known, and those that are; Typer knows them by their kind."""
    parameter = getattr(problem, "param", None)
    known = getattr(problem, "possibilities", None)
    if known is not None:
        return str(getattr(problem, "option_name", "")), list(known)
    choices = getattr(getattr(parameter, "type", None), "choices", ())
    quoted = re.match("'(.*)' is not one of", str(getattr(problem, "message", "")))
    return (quoted[1] if quoted else "", list(map(str, choices)))


def output_error(problem: OSError) -> int:
    """Say that a result could not be written; return the exit code."""
    where = str(problem.filename or "standard output")
    error(OutputError(f"cannot write: {problem.strerror or problem}", where=where))
    return OutputError.exit_code


def out_of_memory(where: str = "") -> SpecauditError:
    """Say that there was not enough memory; return the error."""
    problem = UnsupportedModel(
        "takes more memory than this process may have",
        where=where,
        help="audit it where there is more, or one layer after another with -l",
    )
    error(problem)
    return problem


def crash(problem: Exception) -> None:
    """Say that this is a bug of specaudit's own, in one line."""
    say(
        f"error: internal error: {visible(f'{type(problem).__name__}: {problem}')[:300]} "
        "(a bug; run again with --debug and report what it prints)"
    )


def remark(text: str) -> None:
    """Print a remark."""
    say(visible(text))


def say(text: str) -> None:
    """Write to stderr; a closed stderr is nobody's error."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return


def progressing(
    measurements: "Iterable[Measurement]",
    sizes: Iterable[int],
    label: str,
    when: str,
) -> "Iterator[Measurement]":
    """Yield measurements and, once a second has passed, show how far they are, by bytes."""
    if when == "never" or (when == "auto" and not sys.stderr.isatty()):
        yield from measurements
        return
    yield from _shown(list(sizes), measurements, visible(label), forced=when == "always")


def _shown(
    sizes: list[int], measurements: "Iterable[Measurement]", label: str, *, forced: bool
) -> "Iterator[Measurement]":
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(escape(label)),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, force_terminal=forced or None),
        transient=True,
    )
    task = bar.add_task(label, total=sum(sizes))
    started, running = time.monotonic(), False
    stop: Callable[[], None] = bar.stop
    try:
        for size, measurement in zip(sizes, measurements, strict=True):
            bar.advance(task, size)
            if not running and time.monotonic() - started > 1.0:
                bar.start()
                running = True
            yield measurement
    finally:
        if running:
            stop()
