"""Where people use it: the action, the hook, the test helper, notebooks, trackers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import specaudit
from specaudit.policy import Policy
from specaudit.testing import assert_bounded

ROOT = Path(__file__).parents[1]
MLP = ROOT / "sample_models" / "mlp.onnx"


@pytest.fixture(scope="module")
def report() -> specaudit.Report:
    return specaudit.audit(MLP)


def test_assert_bounded_passes_on_a_proof_and_quotes_the_check_on_failure() -> None:
    found = assert_bounded(MLP, max_norm=100.0, max_lipschitz=1e6)
    assert len(found.layers) == 3
    with pytest.raises(AssertionError, match="SA201") as caught:
        assert_bounded(MLP, max_norm=0.01)
    assert str(caught.value).count("SA201") == 3
    assert "mlp.onnx" in str(caught.value)
    with pytest.raises(AssertionError, match="SA301"):
        assert_bounded(MLP, max_lipschitz=0.01)


def test_assert_bounded_refuses_limits_that_its_rules_leave_out() -> None:
    with pytest.raises(specaudit.UsageError, match="SA201"):
        assert_bounded(MLP, max_norm=0.01, rules=Policy(ignore=("SA201",)))


def test_metrics_are_flat_finite_numbers(report: specaudit.Report) -> None:
    metrics = report.metrics()
    assert {f"norm/{layer.name}" for layer in report.layers} < set(metrics)
    assert metrics["product/log10_upper"] == report.product.log10_upper
    assert all(isinstance(value, float) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


def test_the_frame_has_a_row_for_each_layer(report: specaudit.Report) -> None:
    frame = report.to_frame()
    assert list(frame["name"]) == [layer.name for layer in report.layers]
    assert (frame["lower"] <= frame["upper"]).all()


def test_without_pandas_the_frame_says_what_to_install(
    report: specaudit.Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_frame()


def test_a_session_gets_a_line_and_print_the_text(report: specaudit.Report) -> None:
    assert repr(report).startswith("<Report '")
    assert "\n" not in repr(report)
    text = str(report)
    assert len(repr(report)) < 200 < len(text)
    assert all(layer.name in text for layer in report.layers)


def test_a_notebook_gets_the_page_in_a_frame(report: specaudit.Report) -> None:
    shown = report._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    assert shown.count('"') % 2 == 0
    assert "<script" not in shown  # escaped, inside srcdoc


def test_the_public_names_resolve_and_import_nothing_heavy() -> None:
    for name in specaudit.__all__:
        assert getattr(specaudit, name) is not None
    assert set(specaudit.__all__) <= set(dir(specaudit))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        specaudit.nothing  # noqa: B018
    probe = "import sys, specaudit; assert not {'numpy', 'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True)


def run_action(folder: Path, models: str, arguments: str = "") -> subprocess.CompletedProcess[str]:
    """Run the checking step as a runner would."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    step = action["runs"]["steps"][-1]
    expressions = {"models": models, "arguments": arguments, "sarif": "out.sarif"}
    environment = {
        name: expressions[value.removeprefix("${{ inputs.").removesuffix(" }}")]
        for name, value in step["env"].items()
    }
    assert "${{" not in step["run"]  # an input in the text of a script could be code
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={
            **os.environ,
            **environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_gates_the_sample_models(tmp_path: Path) -> None:
    models = f"{ROOT}/sample_models/mlp*.onnx\n{ROOT}/sample_models/mlp.pt\n"
    done = run_action(tmp_path, models)
    assert done.returncode == 0, done.stderr
    assert "mlp.pt" in (tmp_path / "summary.md").read_text()
    document = json.loads((tmp_path / "out.sarif").read_text())
    assert document["version"] == "2.1.0"
    done = run_action(tmp_path, models, "--max-norm\n0.5")
    assert done.returncode == 1
    assert "::error" in done.stdout
    assert run_action(tmp_path, "nothing-*.onnx").returncode == 2


def test_the_hook_runs_the_check_on_model_files() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "specaudit-check"
    command = [*hook["entry"].split(), str(MLP)]
    command[0] = str(Path(sys.executable).parent / command[0])
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
