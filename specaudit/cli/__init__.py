"""The command line: parse, call, print, exit. Nothing else prints or exits."""

import copy
import errno
import os
import sys
import traceback
from typing import NoReturn

from specaudit import __version__


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    # What the shell closed (>&-) is None.
    is_closed = sys.stdout is None
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        if is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), "stdout")
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = 141
    except KeyboardInterrupt:
        code = 130
    except Exception as problem:
        if "--debug" in arguments:
            traceback.print_exc()
        code = explain_failure(problem)
    leave(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; what is wrong with the call is said."""
    if arguments in (["--version"], ["-V"]):  # asked by every script: not worth an import
        print(f"specaudit {__version__}")
        return 0
    import typer

    from specaudit.cli.app import app

    command = typer.main.get_command(app)
    for one in getattr(command, "commands", {}).values():  # `specaudit inspect -V` as well
        version = copy.copy(command.params[0])
        version.expose_value = False
        one.params.append(version)
    try:
        # Typer's own main() prints errors in its form and turns a broken pipe into 1.
        with command.make_context("specaudit", list(arguments) or ["--help"]) as context:
            code = command.invoke(context)
    except typer.Exit as leaving:
        code = leaving.exit_code
    except typer.Abort:
        code = 130
    return int(code or 0) if arguments else 2


def explain_failure(problem: Exception) -> int:
    """Say on stderr what went wrong and return the exit code that it has."""
    import typer

    from specaudit.cli import talk
    from specaudit.errors import SpecauditError

    if isinstance(problem, SpecauditError):
        talk.error(problem)
        return problem.exit_code
    # Typer may carry a Click of its own: the base of its public error is the one that counts.
    if isinstance(problem, typer.BadParameter.__bases__):
        talk.usage_error(problem)
        return 2
    if isinstance(problem, OSError):
        return talk.output_error(problem)
    if isinstance(problem, MemoryError):
        return talk.out_of_memory().exit_code
    talk.crash(problem)
    return 4


def leave(code: int) -> NoReturn:
    """Exit; what Python would flush at exit has nowhere to go when stdout is gone."""
    try:
        sys.stdout.flush()
    except OSError:
        os._exit(code)
    if code == 141:
        os._exit(code)
    sys.exit(code)
