"""What the command line says: versions, explanations, and how an error is mended."""

import json
from pathlib import Path

import pytest

from tests.test_cli import MLP, MLP_ONNX, SAMPLES, specaudit


@pytest.mark.parametrize("command", ["inspect", "check", "clamp", "diff", "explain"])
def test_every_command_says_its_version(command: str) -> None:
    assert specaudit(command, "-V").stdout == "specaudit 0.1.0\n"


def test_explain_talks_as_the_other_commands_do() -> None:
    plain = specaudit("explain", "SA201").stdout
    assert specaudit("explain", "SA201", "-q", "-v", "--color", "never", "--debug").stdout == plain
    document = json.loads(specaudit("explain", "SA201", "-f", "json").stdout)
    assert document["text"] == plain
    assert json.loads(specaudit("explain", "schema", "-f", "json").stdout)["$defs"]


def test_codes_of_rules_may_be_in_small_letters(tmp_path: Path) -> None:
    assert specaudit("check", MLP, "--select", "sa2", "--max-norm", "0.5").returncode == 1
    (tmp_path / "specaudit.toml").write_text(
        "ignore = ['sa3']\n[[allow]]\nrule = 'sa201'\nreason = 'known'\n"
    )
    done = specaudit("check", MLP, "--max-norm", "0.5", "-f", "github", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"PASS: {MLP}: 3 allowed\n")


HELPED = {
    "best suggestion first": (["check", MLP, "--max-nrom", "3"], "mean --max-norm or"),
    "choice": (["inspect", MLP, "--format", "jsno"], "did you mean json?"),
    "not ONNX": (["clamp", MLP, "--max", "1", "-o", "x", "--compare", "1"], "export"),
    "shape without a name": (["inspect", MLP_ONNX, "--input-shape", "1x1x8x8"], "NAME=1x1x8x8"),
    "folder": (["inspect", str(SAMPLES)], "more"),
}


@pytest.mark.parametrize(("arguments", "help_"), HELPED.values(), ids=HELPED.keys())
def test_an_error_says_what_mends_it(arguments: list[str], help_: str, tmp_path: Path) -> None:
    last = specaudit(*arguments, cwd=tmp_path).stderr.splitlines()[-1]
    assert last.startswith("  help: ")
    assert help_ in last


def test_what_lies_beside_a_model_is_asked_for(tmp_path: Path) -> None:
    model = tmp_path / "cnn_external.onnx"
    model.write_bytes((SAMPLES / model.name).read_bytes())
    done = specaudit("inspect", str(model))
    assert done.returncode == 3
    assert "help: put it" in done.stderr
    assert "cnn_external.onnx.data" in done.stderr


def test_an_input_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "specaudit.toml").write_text("input-shapes = { nope = [1, 3] }\n")
    done = specaudit("check", MLP_ONNX, cwd=tmp_path)
    assert done.returncode == 2
    assert f"  --> {MLP_ONNX}\n" in done.stderr
