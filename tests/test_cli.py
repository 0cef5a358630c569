"""The contract of the command line, through the real entry point."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
MLP = str(SAMPLES / "mlp.pt")
MLP_ONNX = str(SAMPLES / "mlp.onnx")


def specaudit(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "specaudit", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def audited(*arguments: str, cwd: Path = ROOT) -> dict[str, object]:
    done = specaudit(*arguments, "--format", "json", cwd=cwd)
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, object] = json.loads(done.stdout, parse_constant=pytest.fail)
    return document


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("saved") / "mlp.audit.json"
    done = specaudit("inspect", MLP, "-q", "-r", f"json={path}")
    assert done.returncode == 0, done.stderr
    return str(path)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_on_stdout(flag: str) -> None:
    done = specaudit(flag)
    assert (done.returncode, done.stdout, done.stderr) == (0, "specaudit 0.1.0\n", "")


@pytest.mark.parametrize("command", [[], ["inspect"], ["check"]])
def test_help_loads_neither_numpy_nor_torch(command: list[str]) -> None:
    probe = (
        "import sys\nfrom specaudit.cli import run\n"
        f"code = run({[*command, '--help']!r})\n"
        "heavy = {'numpy', 'scipy', 'torch', 'onnx', 'rich'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Options" in done.stdout


def test_a_saved_audit_is_judged_without_numpy(saved: str) -> None:
    probe = (
        "import sys\nfrom specaudit.cli import run\n"
        f"code = run(['check', {saved!r}])\n"
        "heavy = {'numpy', 'scipy', 'torch', 'onnx', 'rich', 'jinja2'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_audit_on_the_cpu_loads_no_torch() -> None:
    for model in ("mlp.pt", "cnn.safetensors", "mlp.onnx"):
        probe = (
            "import sys\nfrom specaudit.cli import run\n"
            f"code = run(['inspect', {str(SAMPLES / model)!r}])\n"
            "assert code == 0 and not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


USAGE_ERRORS = {
    "no command": [],
    "unknown command": ["inspekt", MLP],
    "unknown option": ["inspect", "--fooo", MLP],
    "no model": ["inspect"],
    "not a number": ["inspect", "--rtol", "abc", MLP],
    "not a choice": ["inspect", "--method", "svdd", MLP],
    "out of range": ["inspect", "--rtol", "2", MLP],
    "missing path": ["inspect", "nothere.pt"],
    "pattern without a match": ["inspect", "-l", "nothere.**", MLP],
    "exclusion without a match": ["inspect", "-x", "nothere.**", MLP],
    "shape of the wrong form": ["inspect", "--input-shape", "x=1,2", MLP],
    "range of the wrong form": ["inspect", "--input-range", "1,0", MLP],
    "jobs of the wrong form": ["inspect", "--jobs", "-1", MLP],
    "device of the wrong form": ["inspect", "--device", "gpu", MLP],
    "range of an unknown input": ["inspect", "--input-range", "x=0,1", MLP_ONNX],
    "shape of an unknown input": ["inspect", "--input-shape", "x=1x64", MLP_ONNX],
    "shape of another rank": ["inspect", "--input-shape", "image=64", MLP_ONNX],
    "expression with a hole": ["inspect", "-l", "re:(", MLP],
    "report of the wrong form": ["inspect", "--report", "pdf=x", MLP],
    "reports in one file": ["inspect", "-r", "md=/tmp/one", "-r", "csv=/tmp/one", MLP],
    "format that a comparison lacks": ["diff", "-f", "sarif", MLP, MLP],
    "layer that is not there": ["explain", "nothere", MLP],
    "limit that is none": ["check", "--max-norm", "nan", MLP],
    "negative limit": ["check", "--max-norm", "-1", MLP],
    "unknown rule": ["check", "--select", "SA999", MLP],
    "every rule ignored": ["check", "--ignore", "ALL", MLP],
    "rule without its limit": ["check", "--select", "SA301", MLP],
    "rule without a baseline": ["check", "--select", "SA401", MLP],
    "rules of another command": ["check", "--select", "SA5", MLP],
    "nothing left to inspect": ["inspect", "-x", "**", MLP],
    "nothing left to check": ["check", "-l", "layers.1.**", "-x", "re:.*", MLP],
    "two documents on stdout": ["inspect", "-r", "json=-", MLP],
    "no such configuration": ["check", "--config", "nothere.toml", MLP],
}


@pytest.mark.parametrize("arguments", USAGE_ERRORS.values(), ids=USAGE_ERRORS.keys())
def test_a_usage_error_is_exit_code_2_and_one_short_block(arguments: list[str]) -> None:
    done = specaudit(*arguments)
    assert done.returncode == 2
    if arguments:
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert 1 <= len(done.stderr.splitlines()) <= 5
        assert done.stderr.splitlines()[-1].startswith("  help: ")
    assert "Traceback" not in done.stderr


def test_an_unreadable_file_is_exit_code_3_with_an_empty_stdout(tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(Path(MLP).read_bytes()[:1000])
    for command in ("inspect", "check"):
        done = specaudit(command, str(tmp_path / "cut.pt"))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("error: ")
        assert "cut.pt" in done.stderr


def test_the_worst_of_several_models_wins_and_all_are_audited(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pt"
    empty.touch()
    done = specaudit("inspect", str(empty), MLP, "--format", "json")
    assert done.returncode == 3
    refused, audited = json.loads(done.stdout)
    assert (refused["model"]["path"], refused["exit_code"]) == (str(empty), 3)
    assert [finding["rule"] for finding in refused["findings"]] == ["SA001"]
    assert (audited["model"]["path"], audited["exit_code"]) == (MLP, 0)
    done = specaudit("inspect", MLP, MLP, "--format", "json")
    assert [model["model"]["path"] for model in json.loads(done.stdout)] == [MLP, MLP]


def test_check_passes_fails_and_is_undecided_by_the_bracket() -> None:
    document = audited("inspect", MLP)
    layers = document["layers"]
    assert isinstance(layers, list)
    norm = max((layer["norm"] for layer in layers), key=lambda norm: norm["upper"])
    between = (norm["lower"] + norm["upper"]) / 2
    assert norm["lower"] < between < norm["upper"]
    for limit, code, word in (
        (norm["upper"], 0, None),
        (norm["lower"] / 2, 1, "fail"),
        (between, 1, "unproven"),
    ):
        done = specaudit("check", MLP, "--max-norm", repr(limit), "--format", "json")
        assert done.returncode == code
        verdicts = {finding["verdict"] for finding in json.loads(done.stdout)["findings"]}
        assert word in verdicts if word else not verdicts
    passing = specaudit("check", MLP, "--max-norm", repr(between), "--unproven", "pass")
    assert passing.returncode == 0
    assert specaudit("check", MLP, "--max-norm", "0.1", "--exit-zero").returncode == 0


def test_the_same_input_and_seed_give_the_same_document_but_for_run() -> None:
    first, second = (audited("inspect", MLP, "--seed", "7") for _ in range(2))
    assert json.dumps(first | {"run": None}) == json.dumps(second | {"run": None})


def test_a_saved_audit_is_judged_like_the_model(saved: str) -> None:
    for limit in ("1.0", "100.0"):
        live = specaudit("check", MLP, "--max-norm", limit)
        assert specaudit("check", saved, "--max-norm", limit).returncode == live.returncode


def test_what_an_option_does_not_change_is_said(saved: str) -> None:
    done = specaudit("check", saved, "-l", "layers.1.**", "--max-norm", "100")
    assert (done.returncode, done.stderr.count("saved audit")) == (0, 1)
    done = specaudit("inspect", MLP, "--input-range", "0,1")
    assert (done.returncode, done.stderr.count("no graph")) == (0, 1)
    for quiet in (["check", saved, "--rtol", "1e-3", "-q"], ["inspect", MLP, "-v"]):
        assert specaudit(*quiet).stderr == ""


def test_colour_is_asked_for_or_not_there(tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    coloured = {
        ("auto", "", ""): False,
        ("auto", "", "1"): True,
        ("auto", "1", "1"): False,
        ("always", "1", ""): True,
        ("never", "", "1"): False,
    }
    for (choice, no_color, force_color), wanted in coloured.items():
        arguments = ["check", MLP, "--max-norm", "3", "--color", choice, "-r", f"text={page}"]
        done = specaudit(*arguments, NO_COLOR=no_color, FORCE_COLOR=force_color)
        assert ("\x1b[" in done.stdout) == wanted
        assert "\x1b[" not in page.read_text()
        assert "FAIL: " in page.read_text()


def test_progress_that_is_always_wanted_needs_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from specaudit.cli import talk

    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(talk.time, "monotonic", lambda: float(next(clock)))
    assert list(talk.progressing(iter("ab"), [1, 1], "m.pt", "auto")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    assert list(talk.progressing(iter("ab"), [1, 1], "m.pt", "always")) == ["a", "b"]
    assert "m.pt" in capsys.readouterr().err


def test_a_comparison_says_things_once() -> None:
    done = specaudit("diff", MLP, str(SAMPLES / "mlp_float16.safetensors"))
    assert done.returncode == 0
    assert done.stdout.count("not computed") == 1
    assert "\n\n\n" not in done.stdout


def test_reports_are_written_and_never_over_a_model(tmp_path: Path) -> None:
    model = tmp_path / "m.pt"
    model.write_bytes(Path(MLP).read_bytes())
    done = specaudit("inspect", str(model), "-r", f"json={model}")
    assert done.returncode == 2
    assert model.read_bytes() == Path(MLP).read_bytes()
    done = specaudit("inspect", str(model), "-r", f"csv={tmp_path / 'a.csv'}")
    assert done.returncode == 0
    assert (tmp_path / "a.csv").read_text().count("\n") > 3
    done = specaudit("inspect", str(model), "-r", f"csv={tmp_path / 'no' / 'a.csv'}")
    assert done.returncode == 3


def test_a_step_summary_is_appended_to(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    for _ in range(2):
        specaudit("inspect", MLP, "-r", f"md={summary}", GITHUB_STEP_SUMMARY=str(summary))
    text = summary.read_text()
    assert text.startswith("before\n")
    assert text.count("mlp.pt") >= 2


def test_a_full_device_is_one_line_and_no_traceback() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "specaudit", "inspect", MLP],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_reader_that_leaves_is_exit_code_141() -> None:
    command = f"{sys.executable} -m specaudit inspect {MLP}; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], cwd=ROOT, capture_output=True, text=True
    )
    # `true` may leave before or after the text is written into the pipe's buffer.
    assert done.stderr.strip() in ("141", "0")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "specaudit", "inspect", MLP],
        cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_interrupt_is_exit_code_130() -> None:
    probe = (
        # Whoever runs the tests in the background has the signal ignored.
        "import os, signal\nfrom specaudit import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "cli.run = lambda arguments: os.kill(os.getpid(), signal.SIGINT)\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
    assert signal.SIGINT == 2


def test_a_bug_is_exit_code_4_in_one_line_and_a_traceback_with_debug() -> None:
    probe = (
        "import sys\nfrom specaudit import cli, pipeline\n"
        "def prepare(*a, **k): raise ZeroDivisionError('us')\n"
        "pipeline.prepare = prepare\nsys.argv[1:] = {}\ncli.main()"
    )
    for extra, traceback in ((["inspect", MLP], False), (["inspect", MLP, "--debug"], True)):
        code = probe.format(extra)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 4
        assert ("Traceback" in done.stderr) == traceback
        assert traceback or len(done.stderr.splitlines()) == 1


def test_debug_changes_no_exit_code_and_loses_no_model(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    for code, arguments in (
        (2, ["inspect", "nowhere.onnx"]),
        (2, ["inspect", MLP, "--bogus"]),
        (3, ["inspect", str(broken), MLP, "--format", "csv"]),
    ):
        plain, debug = specaudit(*arguments), specaudit(*arguments, "--debug")
        assert (plain.returncode, debug.returncode) == (code, code)
        assert debug.stdout == plain.stdout
        assert "Traceback" in debug.stderr
        assert plain.stderr.splitlines()[0] in debug.stderr


def test_a_closed_stdout_is_an_output_that_cannot_be_written() -> None:
    command = f'exec "{sys.executable}" -m specaudit inspect {MLP} >&-'
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--select", "--ignore"])
def test_codes_that_are_empty_do_not_switch_rules_off(flag: str) -> None:
    done = specaudit("check", MLP, flag, "")
    assert done.returncode == 2
    assert "names no rule" in done.stderr


def test_the_policy_is_found_upwards_and_flags_win(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "specaudit.toml").write_text("[[layers]]\nmatch = '**'\nmax-norm = 0.5\n")
    assert specaudit("check", MLP, cwd=inner).returncode == 1
    assert specaudit("check", MLP, "--max-norm", "100", cwd=inner).returncode == 0
    (tmp_path / "specaudit.toml").write_text("max-nrm = 1\nunprovn = 'fail'\n")
    done = specaudit("check", MLP, cwd=inner)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 2
    assert "unproven" in done.stderr


def test_a_limit_of_the_file_that_is_not_enforced_is_said(tmp_path: Path) -> None:
    (tmp_path / "specaudit.toml").write_text("[gates]\nmax-lipschitz = 1.0\n")
    done = specaudit("check", MLP, "--select", "SA201", "--max-norm", "100", cwd=tmp_path)
    assert done.returncode == 0
    said = "note: `max-lipschitz` (specaudit.toml:2) is not enforced: SA301 is left out"
    assert said in done.stderr
    assert "not enforced" not in specaudit("check", MLP, cwd=tmp_path).stderr


@pytest.mark.parametrize("flag", [("--ignore", "SA201"), ("--select", "SA101")])
def test_a_limit_left_out_by_the_same_command_is_said(flag: tuple[str, str]) -> None:
    assert specaudit("check", MLP, "--max-norm", "1").returncode == 1
    done = specaudit("check", MLP, "--max-norm", "1", *flag)
    assert done.returncode == 0
    assert "note: `max-norm` (--max-norm) is not enforced: SA201 is left out" in done.stderr


@pytest.mark.parametrize("line", ["ignore = ['SA201']", "select = ['SA101']"])
def test_a_limit_left_out_by_the_file_alone_is_refused(line: str, tmp_path: Path) -> None:
    """A flag wins over the file: it must not be lost to it in silence."""
    (tmp_path / "specaudit.toml").write_text(line + "\n")
    done = specaudit("check", MLP, "--max-norm", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--max-norm is not enforced" in done.stderr


def test_an_order_for_text_leaves_documents_whole(tmp_path: Path) -> None:
    flags = ("inspect", MLP, "--sort", "norm", "--top", "1")
    done = specaudit(*flags, "-r", f"csv={tmp_path / 'a.csv'}")
    assert done.stdout.count("layer     ") == 1
    assert (tmp_path / "a.csv").read_text().count(",layer,") == 3
    assert "for text; csv" in done.stderr
    assert len(json.loads(specaudit(*flags, "-f", "json").stdout)["layers"]) == 3
    assert specaudit(*flags).stderr == ""


def test_a_baseline_accepts_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    baseline = str(tmp_path / "base.json")
    flags = ("check", MLP, "--baseline", baseline)
    assert specaudit(*flags, "--max-norm", "3", "--write-baseline").returncode == 1
    assert specaudit(*flags, "--max-norm", "3").returncode == 0
    assert specaudit(*flags, "--max-norm", "0.5").returncode == 1
