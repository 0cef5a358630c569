"""``specaudit clamp`` through the real entry point."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

from tests.test_cli import ROOT, SAMPLES, specaudit

SCHEMA = json.loads((ROOT / "specaudit/outputs/clamp.schema.json").read_text("utf-8"))
FILES = {
    "ONNX": ("cnn.onnx", "out.onnx"),
    "ONNX with external data": ("cnn_external.onnx", "out.onnx"),
    "state dict": ("cnn.pt", "out.pt"),
    "training checkpoint": ("cnn_checkpoint.ckpt", "out.ckpt"),
    "whole module": ("cnn_module.pt", "out.pt"),
    "TorchScript": ("cnn.torchscript", "out.torchscript"),
    "exported program": ("cnn.pt2", "out.pt2"),
    "safetensors": ("cnn.safetensors", "out.safetensors"),
    "half precision": ("mlp_float16.safetensors", "out.safetensors"),
    "legacy pickle": ("lstm_legacy.pth", "out.pth"),
    "shards": ("cnn_shards", "out"),
    "torch shards": ("transformer_torch_shards", "out"),
    "parametrised": ("critic.pt", "out.pt"),
}


@pytest.mark.parametrize("case", FILES)
def test_what_was_clamped_passes_the_check(case: str, tmp_path: Path) -> None:
    name, out = FILES[case]
    source = SAMPLES / name
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    before = [path.read_bytes() for path in files]
    target = str(tmp_path / out)
    done = specaudit("clamp", str(source), "--max", "1.0", "-o", target, "-q", "-f", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    jsonschema.validate(document, SCHEMA)
    assert any(layer["factor"] < 1.0 for layer in document["layers"])
    checked = specaudit("check", target, "--max-norm", "1.0", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [path.read_bytes() for path in files] == before
    if name.endswith(".onnx"):
        onnx.checker.check_model(target, full_check=True)


def test_a_network_limit_passes_the_check_and_outputs_are_compared(tmp_path: Path) -> None:
    target = str(tmp_path / "out.onnx")
    model = str(SAMPLES / "cnn.onnx")
    done = specaudit(
        "clamp", model, "--max-lipschitz", "50", "-o", target, "--compare", "3", "-f", "json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    upper = document["network"]["after"]["upper"]
    assert 50 * (1 - 1e-3) <= upper <= 50 < document["network"]["before"]["upper"]
    assert document["comparison"]["inputs"] == 3
    assert 0 < document["comparison"]["relative"] < 10
    checked = specaudit("check", target, "--max-lipschitz", "50", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_a_dry_run_shows_it_all_and_writes_nothing(tmp_path: Path) -> None:
    done = specaudit("clamp", str(SAMPLES / "mlp.pt"), "--max", "1", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing written" in done.stdout
    assert "would be changed" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["json", "md", "html"])
def test_every_format_is_written_to_a_file_too(name: str, tmp_path: Path) -> None:
    arguments = ("clamp", str(SAMPLES / "mlp.onnx"), "--max", "1", "--dry-run")
    done = specaudit(*arguments, "-f", name, "-r", f"{name}=report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report").read_text("utf-8") == done.stdout
    assert "net.0.weight" in done.stdout or "weight" in done.stdout


MLP = str(SAMPLES / "mlp.pt")
USAGE_ERRORS = {
    "no limit": [MLP, "-o", "out.pt"],
    "no output": [MLP, "--max", "1"],
    "not a number": [MLP, "--max", "x", "-o", "out.pt"],
    "negative": [MLP, "--max", "-1", "-o", "out.pt"],
    "pattern without a match": [MLP, "--max", "nothere.*=1", "-o", "out.pt"],
    "selection without a match": [MLP, "--max", "1", "-l", "nothere", "-o", "out.pt"],
    "the input": [MLP, "--max", "1", "-o", MLP, "--force"],
    "an existing file": [MLP, "--max", "1", "-o", "there.pt"],
    "a format it has not": [MLP, "--max", "1", "--dry-run", "-f", "sarif"],
    "comparing a checkpoint": [MLP, "--max", "1", "-o", "out.pt", "--compare", "2"],
    "comparing nothing": [MLP, "--max", "1", "--dry-run", "--compare", "2"],
    "a mode that is none": [MLP, "--max", "1", "--dry-run", "--mode", "cut"],
}


@pytest.mark.parametrize("arguments", USAGE_ERRORS.values(), ids=USAGE_ERRORS.keys())
def test_a_usage_error_is_exit_code_2_and_writes_nothing(
    arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "there.pt").write_bytes(b"kept")
    original = Path(MLP).read_bytes()
    done = specaudit("clamp", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 5
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt"]
    assert (tmp_path / "there.pt").read_bytes() == b"kept"
    assert Path(MLP).read_bytes() == original


def test_a_link_to_the_input_is_the_input(tmp_path: Path) -> None:
    source, link = tmp_path / "net.pt", tmp_path / "link.pt"
    source.write_bytes(Path(MLP).read_bytes())
    link.hardlink_to(source)
    done = specaudit("clamp", str(source), "--max", "1", "-o", str(link), "--force")
    assert done.returncode == 2
    assert "the output is the input" in done.stderr


def test_a_floor_that_no_weight_reaches_is_named_with_its_path(tmp_path: Path) -> None:
    node = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype="float32") * 3, "w")
    graph = onnx.helper.make_graph(
        [node("MatMul", ["x", "w"], ["h"], "mul"), node("Relu", ["h"], ["r"], "relu"),
         node("Add", ["x", "r"], ["y"], "skip")],
        "residual", [value("x", 1, [1, 4])], [value("y", 1, [1, 4])], [weight],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    path = tmp_path / "residual.onnx"
    onnx.save(model, path)
    done = specaudit("clamp", str(path), "--max-lipschitz", "0.9", "-o", str(tmp_path / "o.onnx"))
    assert done.returncode == 2, done.stdout
    assert "skip" in done.stderr
    reached = specaudit(
        "clamp", str(path), "--max-lipschitz", "1.5", "-o", str(tmp_path / "o.onnx")
    )
    assert reached.returncode == 0, reached.stderr
