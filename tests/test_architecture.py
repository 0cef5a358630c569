"""A state dict and the code that builds its module, through the real entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from specaudit import Report, Settings, UsageError, audit
from specaudit.errors import UnsupportedModel
from specaudit.outputs.json import parse

ROOT = Path(__file__).parents[1]
CODE = """
from pathlib import Path

import torch
from torch import nn

Path("imported").touch()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 2, bias=False)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Looked(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(self.table(ids))


def wide():
    net = Net()
    net.first = nn.Linear(4, 9)
    return net


def nothing():
    return 3


def broken():
    raise RuntimeError("out of order")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(CODE)
    # What lies beside the user's code must not stand in for an installed package.
    (folder / "numpy.py").write_text("from pathlib import Path\nPath('hijacked').touch()\n")
    torch.manual_seed(4)
    state = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2, bias=False)).state_dict()
    names = {"0.weight": "first.weight", "0.bias": "first.bias", "1.weight": "second.weight"}
    plain = {names[key]: value for key, value in state.items()}
    torch.save(plain, folder / "net.pt")
    torch.save({key: value.half() for key, value in plain.items()}, folder / "half.pt")
    wrapped = {f"module.{key}": value for key, value in plain.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, folder / "wrapped.ckpt")
    torch.save(
        {
            "table.weight": torch.randn(5, 4),
            "head.weight": torch.randn(2, 4),
            "head.bias": torch.zeros(2),
        },
        folder / "looked.pt",
    )
    return folder


def specaudit(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "specaudit", *arguments],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    return place


def checked(found: Report, prefix: str) -> None:
    network = found.network
    assert network.status == "certified"
    assert network.upper is not None
    assert network.lower is not None
    assert 0.0 < network.lower <= network.upper
    assert [layer.name for layer in found.layers] == [
        f"{prefix}first.weight",
        f"{prefix}second.weight",
    ]
    first, second = (layer.norm.upper or 0.0 for layer in found.layers)
    assert network.upper <= first * second * (1 + 1e-9)
    assert found.model.format == "pytorch"
    assert not [skipped for skipped in found.skipped if not skipped.covered]


def test_the_network_is_bounded_from_the_command_line(place: Path) -> None:
    arguments = ("--arch", "mine:Net", "--input-shape", "x=1x4", "--format", "json")
    done = specaudit(place, "inspect", "net.pt", *arguments)
    assert done.returncode == 0, done.stderr
    assert "--arch: mine:Net is imported and run" in done.stderr
    checked(parse(done.stdout), "")
    assert not (place / "hijacked").exists()


@pytest.mark.parametrize(
    ("model", "prefix"), [("wrapped.ckpt", "state_dict.module."), ("half.pt", "")]
)
def test_names_are_those_of_the_file(inside: Path, model: str, prefix: str) -> None:
    settings = Settings(input_shapes={"": (1, 4)})
    checked(audit(str(inside / model), arch="mine:Net", settings=settings), prefix)


def test_without_the_option_no_code_is_run(place: Path) -> None:
    (place / "imported").unlink(missing_ok=True)
    done = specaudit(place, "inspect", "net.pt")
    assert done.returncode == 0
    assert not (place / "imported").exists()


def test_whole_numbers_are_tried_where_real_ones_do_not_do(inside: Path) -> None:
    settings = Settings(input_shapes={"ids": (1, 3)})
    found = audit(str(inside / "looked.pt"), arch="mine:Looked", settings=settings)
    assert found.network.status == "certified"
    assert any("ids" in words for words in found.network.assumptions)


WRONG = {
    "no factory": ("net.pt", "mine", "x=1x4", "package.module:factory"),
    "no module": ("net.pt", "elsewhere:Net", "x=1x4", "No module named 'elsewhere'"),
    "no name": ("net.pt", "mine:Nett", "x=1x4", "Nett"),
    "no torch module": ("net.pt", "mine:nothing", "x=1x4", "gives a int"),
    "raises": ("net.pt", "mine:broken", "x=1x4", "RuntimeError: out of order"),
    "other shapes": ("net.pt", "mine:wide", "x=1x4", "first.weight is 8×4 in the file"),
    "other weights": ("looked.pt", "mine:Net", "x=1x4", "the file has no first.weight"),
    "no such input": ("net.pt", "mine:Net", "y=1x4", "no input y"),
    "no shape": ("net.pt", "mine:Net", "", "--input-shape x="),
}


@pytest.mark.parametrize(("model", "factory", "shape", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_a_usage_error(
    inside: Path, model: str, factory: str, shape: str, words: str
) -> None:
    name, _, sizes = shape.partition("=")
    shapes = {name: tuple(map(int, sizes.split("x")))} if sizes else {}
    with pytest.raises(UsageError) as problem:
        audit(str(inside / model), arch=factory, settings=Settings(input_shapes=shapes))
    assert words in f"{problem.value.message} {problem.value.help}"


def test_a_shape_that_the_module_refuses_is_no_crash(inside: Path) -> None:
    settings = Settings(input_shapes={"x": (1, 5)})
    with pytest.raises(UnsupportedModel, match="torch cannot export"):
        audit(str(inside / "net.pt"), arch="mine:Net", settings=settings)


def test_a_graph_needs_no_architecture() -> None:
    with pytest.raises(UsageError, match="this file has a graph"):
        audit(str(ROOT / "sample_models" / "mlp.onnx"), arch="mine:Net")
