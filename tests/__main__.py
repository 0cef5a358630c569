"""Run every check there is: ``python -m tests [--all] [pytest arguments]``.

Formatting, lint, the layers of the house, types, then the tests (the README's examples
among them). ``--all`` adds the long suites that are marked ``slow``.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent


def main(arguments: list[str]) -> int:
    long_run = "--all" in arguments
    rest = [argument for argument in arguments if argument != "--all"]
    marks = [] if long_run else ["-m", "not slow"]
    # Two workers with one BLAS thread each beat one worker with two: most tests are small.
    workers = [] if any(a.startswith("-n") or "::" in a for a in rest) else ["-n", "2"]
    checks = [
        ("format", ["ruff", "format", "--check", "--quiet", "."]),
        ("lint", ["ruff", "check", "--quiet", "."]),
        ("layers", ["lint-imports", "--no-logo"]),
        ("types", ["mypy"]),
        ("tests", ["pytest", *marks, *workers, "--dist", "worksteal", *rest]),
    ]
    failed = []
    for name, (tool, *parameters) in checks:
        started = time.perf_counter()
        code = run(tool, parameters)
        print(f"{name}: {'ok' if code == 0 else 'FAILED'} ({time.perf_counter() - started:.0f} s)")
        failed += [name] if code else []
    passed = len(checks) - len(failed)
    print(f"checks: {passed} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def run(tool: str, parameters: list[str]) -> int:
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        environment.setdefault(threads, "1")
    command = [str(TOOLS / tool), *parameters]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
