"""The README's examples run as they stand, and print what it shows.

A ``console`` block is typed into a terminal of 80 columns, in a folder that holds
``sample_models`` and nothing else; a ``python`` block is a doctest there. ``…`` in a
``console`` block stands for anything: the rest of a line, or, alone, lines left out. Numbers
may differ in their fourth digit, for another BLAS rounds otherwise, and bars with them; what a
search happened to observe may be anything.
"""

import ast
import doctest
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")
OBSERVED = re.compile(r"≥ \S+ observed")
BARS = re.compile("[━◇┄│╌╴╶▁▂▃▄▅▆▇█·\\s]+")


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "sample_models", tmp_path / "sample_models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(command):
    """Return what a command prints on a terminal of 80 columns, and its exit code."""
    words = shlex.split(command)
    assert words[0] == "specaudit", "the README shows this program, and `echo $?`"
    quiet = [] if words[1:2] in (["explain"], ["--version"]) else ["--progress", "never"]
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "specaudit", *words[1:], *quiet],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env=environment,
    ) as process:
        os.close(slave)
        printed = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is gone
                break
            if not part:
                break
            printed += part
    os.close(master)
    return printed.decode().replace("\r\n", "\n"), process.returncode


def sessions(block):
    """Yield each command of a block with the lines shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, [line for line in shown.splitlines() if line.strip()]


def same(shown, printed):
    shown, printed = (OBSERVED.sub("observed", line) for line in (shown, printed))
    if shown.endswith("…"):
        shown = shown.removesuffix("…").rstrip()
        count = len(NUMBER.findall(shown))
        return same(shown, cut_after(printed, count, plain(shown)))
    wanted, found = ([float(n) for n in NUMBER.findall(line)] for line in (shown, printed))
    near = all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(wanted, found, strict=False))
    return near and len(wanted) == len(found) and plain(shown) == plain(printed)


def plain(line):
    return BARS.sub(" ", NUMBER.sub("0", line)).strip()


def cut_after(line, numbers, beginning):
    """Return the part of a line that `beginning` is to be compared with."""
    for end in range(len(line), -1, -1):
        head = line[:end]
        if plain(head) == beginning and len(NUMBER.findall(head)) == numbers:
            return head
    return line


def differences(shown, printed):
    """Return the first line shown that is not printed where it ought to be, or None."""
    lines = [line for line in printed.splitlines() if line.strip()]
    anywhere = False
    for line in shown:
        if line.strip() == "…":
            anywhere = True
            continue
        found = next((i for i, text in enumerate(lines) if same(line, text)), None)
        if found is None or (found and not anywhere):
            return line
        lines, anywhere = lines[found + 1 :], False
    return None if anywhere or not lines else f"(nothing), but it prints: {lines[0]}"


@pytest.mark.parametrize("block", blocks("console"))
def test_what_is_typed_prints_what_is_shown(block, folder):
    code = 0
    for command, shown in sessions(block):
        if command == "echo $?":
            assert shown == [str(code)]
            continue
        printed, code = typed(command)
        missing = differences(shown, printed)
        assert missing is None, f"$ {command}\nshown: {missing}\n\nprinted:\n{printed}"


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_examples_hold(block, folder):
    example = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    assert example.examples, "an example shows what it gives"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    printed = []
    runner.run(example, out=printed.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(printed)


@pytest.mark.parametrize("block", blocks("toml"))
def test_the_policies_are_policies(block):
    from specaudit.policy import parse_policy

    assert parse_policy(block, "README.md") is not None


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_workflows_are_yaml_that_names_what_there_is(block):
    document = yaml.safe_load(block)
    inputs = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    if "repos" in document:
        assert {hook["id"] for hook in document["repos"][0]["hooks"]} <= {h["id"] for h in hooks}
        return
    (job,) = document["jobs"].values()
    (step,) = [step for step in job["steps"] if "specaudit" in step.get("uses", "")]
    assert set(step["with"]) <= set(inputs)


def test_each_promise_names_tests_that_there_are():
    page = TEXT.split("\n## What specaudit promises about files it does not trust\n")[1]
    promises = re.findall(r"^\| (?!promise |---)(.+?) \| (.+) \|$", page.split("\n## ")[0], re.M)
    assert len(promises) > 10
    for promise, tests in promises:
        named = re.findall(r"`(tests/\w[\w/]*\.py)::(test_\w+)`", tests)
        assert len(named) == tests.count("`") // 2 > 0, promise
        for path, test in named:
            tree = ast.parse((ROOT / path).read_text("utf-8"))
            functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
            assert test in functions, f"{path}::{test}, which is to hold: {promise}"


def test_there_is_something_to_test():
    assert all(blocks(language) for language in ("console", "python", "toml", "yaml", "sh"))


def test_the_two_commands_stand_where_they_are_looked_for():
    for mark in ("try", "checks"):
        assert re.search(rf"^<!-- {mark} -->\n```sh\n.+\n```$", TEXT, re.MULTILINE)


def test_a_line_may_differ_in_roundings_and_bars_and_in_nothing_else():
    assert same("a 1.00001 ━━◇", "a  1.00002  ━━━◇━")
    assert same("path: node (Conv) ×2.9 …", "path: node (Conv) ×2.9 → other ×3")
    assert not same("a 1.01", "a 1.02")
    assert not same("a 1", "b 1")
    assert not same("a 1", "a 1 2")
    assert differences(["a", "…", "d"], "a\nb\nc\nd\n") is None
    assert differences(["a", "d"], "a\nb\nc\nd\n") == "d"
    assert differences(["a"], "a\nb\n") is not None
