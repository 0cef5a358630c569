"""Every hostile or odd file through every command, by the real entry point, under limits."""

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():  # torch's, of the odd tensors that are made on purpose
    warnings.simplefilter("ignore")
    from tests.hostile.all_cases import CASES
from tests.hostile.cases import Case
from tests.hostile.jail import Jail, Outcome
from tests.hostile.rows import COUNT, OUTPUT_ROWS, ROWS
from tests.hostile.watching import harmless, refused, snapshot, strict_json, well_behaved

EXIT_CODES = {
    "check": {"E": 3, "U": 2, "G": 1, "W": 1, "O": 0},
    "other": {"E": 3, "U": 2, "G": 0, "W": 0, "O": 0},
}
DOCUMENTS = ("text", "json", "csv", "md", "html", "sarif", "junit", "github")
LIMIT = 0.25
GOOD = str(Path(__file__).parents[2] / "sample_models" / "mlp_float16.safetensors")


@dataclass(frozen=True)
class Place:
    """Where a case is run: its files, and a folder for what the commands write."""

    case: Case
    model: Path
    work: Path
    jail: Jail

    def run(self, *arguments: str) -> Outcome:
        return self.run_each([arguments])[0]

    def run_each(self, commands: Sequence[Sequence[str]]) -> list[Outcome]:
        unprivileged = self.case.name.startswith("noperm")
        outcomes = self.jail.run_each(commands, workplace=self.work, unprivileged=unprivileged)
        for outcome in outcomes:
            well_behaved(outcome)
            if outcome.code in (2, 3):
                refused(outcome)
        assert len(outcomes) == len(commands)
        return outcomes

    def expected(self, command: str) -> set[int]:
        codes = EXIT_CODES.get(command, EXIT_CODES["other"])
        return {codes[letter] for letter in self.case.outcomes}


# A second or more of work for each command.
_LONG = {
    "g_fanout_attr_ints", "g_nodes_20k", "idx_extra_tensor", "pickle_barren_laughs", "st_many",
    "v_many_3000", "zip_9000_entries", "zip_bomb_datapkl", "zip_bomb_deflate_256M",
    "zip_bomb_marks", "zip_bomb_memo", "zip_bomb_opcodes",
    "g_conv_taps_million", "g_conv_groups_many",
}  # fmt: skip
HEAVY = [case for case in CASES if case.name in _LONG]
LIGHT = [case for case in CASES if case.name not in _LONG]


@pytest.fixture(params=LIGHT, ids=repr)
def place(request: pytest.FixtureRequest, jail: Jail) -> Iterator[Place]:
    case = request.param
    if case.name.startswith("noperm") and os.geteuid() == 0 and not is_public(sys.prefix):
        pytest.skip("nobody cannot read the installation, and root can read everything")
    with tempfile.TemporaryDirectory(dir=in_memory()) as name:
        folder = Path(name)
        folder.chmod(0o755)
        files, work = folder / "files", folder / "work"
        files.mkdir()
        work.mkdir()
        work.chmod(0o777)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = case.make(files)
        before = snapshot(files)
        yield Place(case, model, work, jail)
        assert snapshot(files) == before
        for path in files.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)  # for whoever removes it


def in_memory() -> str | None:
    """A folder in memory, where syncing files costs nothing; None where there is none."""
    folder = "/dev/shm"
    roomy = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1 << 30
    return folder if roomy else None


def is_public(path: str) -> bool:
    """Whether every user can look into a folder."""
    return all(os.stat(folder).st_mode & 0o005 == 0o005 for folder in (path, *Path(path).parents))


def test_commands(place: Place) -> None:
    every_command(place)


@pytest.mark.slow
@pytest.mark.parametrize("place", HEAVY, ids=repr, indirect=True)
def test_commands_on_heavy_files(place: Place) -> None:
    every_command(place)


@pytest.mark.parametrize("place", HEAVY, ids=repr, indirect=True)
def test_check_on_heavy_files(place: Place) -> None:
    checked(place, str(place.model))


def every_command(place: Place) -> None:
    model = str(place.model)
    if set(place.case.outcomes) <= {"E", "U"}:
        refused_by_all(place, model)
        return
    report = inspected(place, model)
    checked(place, model)
    before = model if report is not None else GOOD
    outcome = place.run("diff", "-f", "json", "--", before, model)
    assert outcome.code in place.expected("diff")
    assert outcome.code or strict_json(outcome.stdout)
    explained(place, model, report)
    clamped(place, model, report)


def refused_by_all(place: Place, model: str) -> None:
    """Run all commands in one child, for they are to stop at the door."""
    out, audit = place.work / "out", place.work / "audit.html"
    outcomes = place.run_each([
        ["inspect", "-f", "json", "--", model],
        ["check", "-f", "json", f"--report=html={audit}", "--", model],
        ["diff", "--", GOOD, model],
        ["explain", "--", "w", model],
        ["clamp", "--max", "1", "-o", str(out), "--", model],
    ])  # fmt: skip
    for outcome in outcomes:
        assert outcome.code in place.expected("inspect"), outcome.stderr.decode()
    assert not out.exists()
    if outcomes[1].code == 3:
        harmless(audit.read_bytes().decode())


def inspected(place: Place, model: str) -> Any:
    outcome = place.run("inspect", "-f", "json", "--", model)
    assert outcome.code in place.expected("inspect"), outcome.stderr.decode()
    if outcome.code:
        return None
    report = strict_json(outcome.stdout)
    troubled = [one for one in report["skipped"] if not one["covered"]] or report["findings"]
    assert troubled or "O" in place.case.outcomes, "nothing is said of what is wrong"
    if place.case.sigma is not None:
        brackets = [layer["norm"] for layer in report["layers"]]
        top = max(brackets, key=lambda norm: norm["upper"])
        sigma = place.case.sigma
        assert top["lower"] * (1 - 1e-6) <= sigma <= top["upper"] * (1 + 1e-6) or sigma == 0.0
        assert top["upper"] <= sigma * 1.001
    return report


def checked(place: Place, model: str) -> None:
    reports = [f"--report={kind}={place.work}/audit.{kind}" for kind in DOCUMENTS]
    outcome = place.run("check", "-f", "json", *reports, "--", model)
    assert outcome.code in place.expected("check"), outcome.stderr.decode()
    if outcome.code in (0, 1):
        strict_json(outcome.stdout)
    if outcome.code == 2:
        return
    for kind in DOCUMENTS:
        text = (place.work / f"audit.{kind}").read_bytes().decode()
        harmless(text)
        commands = [line for line in text.splitlines() if line.startswith(("::", "##vso["))]
        assert not commands or kind == "github"
    strict_json((place.work / "audit.json").read_bytes())
    strict_json((place.work / "audit.sarif").read_bytes())


def explained(place: Place, model: str, report: Any) -> None:
    names = [] if report is None else [layer["name"] for layer in report["layers"]]
    name = next((name for name in names if "\0" not in name and len(name) < 10_000), "w")
    outcome = place.run("explain", "--", name, model)
    known = {0} if name in names else {2}
    assert outcome.code in (place.expected("explain") if report is None else known)
    harmless(outcome.stdout.decode())


def clamped(place: Place, model: str, report: Any) -> None:
    out = place.work / ("out" if place.model.is_dir() else f"out{place.model.suffix[:20]}")
    arguments = ["clamp", "--max", str(LIMIT), "-f", "json", "-o", str(out), "--", model]
    outcome = place.run(*arguments)
    assert out.exists() == (outcome.code == 0)
    if report is None:
        assert outcome.code in place.expected("clamp")
        return
    finite = all(layer["norm"]["status"] != "non_finite" for layer in report["layers"])
    assert outcome.code != 0 or finite, "a weight that is not finite was certified"
    if outcome.code == 0:
        strict_json(outcome.stdout)
        again = place.run("check", "--max-norm", str(LIMIT), "-f", "json", "--", str(out))
        written = strict_json(again.stdout)
        assert len(written["layers"]) == len(report["layers"])
        assert all(finding["rule"] != "SA201" for finding in written["findings"])


def test_every_row_has_its_cases() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert [*ROWS, *OUTPUT_ROWS] == list(range(1, COUNT + 1))
    patterns = [pattern for _, text in ROWS.values() for pattern in text.split()]
    assert all(any(fnmatchcase(name, pattern) for name in names) for pattern in patterns)
    assert all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)
