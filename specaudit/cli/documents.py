"""The documents of a run: one to stdout, any number to files."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from specaudit.cli.options import Shared
from specaudit.errors import OutputError, UsageError
from specaudit.formats import writing
from specaudit.outputs import RENDERERS, terminal
from specaudit.outputs.terminal import View
from specaudit.policy import Verdict
from specaudit.report import Report

Pairs = Sequence[tuple[Report, Verdict]]
_CHART_WIDTHS = (60, 200)


@dataclass(frozen=True)
class Target:
    """One more document: its format and where it goes."""

    format: str
    path: str

    @property
    def appends(self) -> bool:
        """Whether this is the summary of a workflow step, to which every step appends."""
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        return bool(summary) and self.path == summary


def targets(
    shared: Shared, models: Sequence[str], formats: Sequence[str] = tuple(RENDERERS)
) -> tuple[Target, ...]:
    """Return the reports asked for, refused before any work if they cannot be written.

    Raises
    ------
    UsageError
        If one is not of the form FORMAT=PATH, or would replace a model or another one.
    OutputError
        If there is no folder for it.
    """
    found: list[Target] = []
    for text in shared.report or ():
        name, separator, path = text.partition("=")
        if name not in formats or not separator or not path:
            raise UsageError(
                f"--report {text}: not of the form FORMAT=PATH",
                help=f"FORMAT is one of {', '.join(formats)}",
            )
        if path == "-":
            raise UsageError(
                f"--report {text}: what goes to stdout is chosen by --format",
                help=f"-f {name}; or {name}=./- for a file of that name",
            )
        target = Target(name, path)
        if not target.appends:
            writing.check_target(path, inputs=models, force=True)
            folder = os.path.dirname(path) or os.curdir
            if not os.path.isdir(folder):
                raise OutputError("no such folder", where=path, help=f"mkdir -p {folder}")
            if path in (other.path for other in found):
                raise UsageError("two reports in one file", where=path, help="give each its own")
        found.append(target)
    return tuple(found)


def view(
    shared: Shared,
    command: Literal["inspect", "check"],
    sort: Literal["depth", "norm", "name"] = "depth",
    top: int | None = None,
) -> View:
    """Return how the text is shown: a chart on a terminal, plain lines in a pipe."""
    attached = sys.stdout.isatty()
    width = None
    if attached:
        width = min(max(shutil.get_terminal_size().columns, _CHART_WIDTHS[0]), _CHART_WIDTHS[1])
    return View(
        width=width,
        color=wants_color(shared.color, attached),
        sort=sort,
        top=top,
        verbose=shared.verbose,
        command=command,
    )


def wants_color(choice: str, attached: bool) -> bool:
    """Return whether to colour: the option, then NO_COLOR, FORCE_COLOR, then the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (attached and os.environ.get("TERM") != "dumb")


def publish(pairs: Pairs, shared: Shared, view: View, reports: Sequence[Target]) -> None:
    """Write every report, then print what goes to stdout: nothing if no model could be read.

    Among others a model that could not be read has its entry, so that nothing is missing.
    """
    in_a_file = replace(view, width=None, color=False)
    for target in reports:
        write(target, render(target.format, pairs, in_a_file))
    if any(report.model.format != "unknown" for report, _ in pairs):
        print_text(render(shared.format, pairs, view))


def render(name: str, pairs: Pairs, view: View) -> str:
    """Return one document."""
    if name == "text":
        return terminal.render(pairs, view)
    return RENDERERS[name](pairs)


def print_text(text: str) -> None:
    """Print data to stdout, in UTF-8 whatever the locale: names are escaped, not lost."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def write(target: Target, text: str) -> None:
    """Write one document whole, or append it to the summary of a workflow step."""
    content = text.encode("utf-8", "backslashreplace")
    if target.appends:
        with open(target.path, "ab") as summary:
            summary.write(content)
        return
    with writing.replacing(target.path, force=True) as file:
        file.write(content)
