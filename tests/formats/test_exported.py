"""``.pt2`` archives that torch.export wrote, held against the modules they came from."""

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import specaudit
from specaudit.errors import SpecauditError, UnreadableModel, UnsupportedModel
from specaudit.formats import exported, load
from specaudit.model import Model
from tests.formats.opening import read_all
from tests.hostile.zipping import archive, checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:No complete tensor found")
SAMPLES = Path(__file__).parents[2] / "sample_models"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.fc = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2)
        self.tied.weight = self.fc.weight
        self.coarse = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.turned = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)
        self.register_buffer("shift", torch.arange(2))
        self.k = torch.full((2,), 3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).mean((2, 3))
        return self.fc(x) + self.tied(x) + self.shift + self.k + self.coarse + self.turned.sum()


def same(model: Model, net: Net) -> None:
    """Hold the weights against the module's state and its one constant."""
    found = {weight.name: weight for weight in model.weights}
    expected = {**net.state_dict(), "k": net.k}
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        array = found[name].read()
        whole = tensor.detach().contiguous().view(torch.uint8).numpy()
        assert array.shape == tuple(tensor.shape)
        assert np.ascontiguousarray(array).tobytes() == whole.tobytes(), name
    assert found["fc.weight"].storage == found["tied.weight"].storage


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    torch.manual_seed(3)
    return torch.export.export(Net().eval(), (torch.zeros(1, 1, 9, 9),))


def test_programs_are_read(program: torch.export.ExportedProgram, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    model = load(str(path))
    read_all(model)
    assert model.format == "pt2"
    torch.manual_seed(3)
    same(model, Net())
    roles = {weight.name: weight.role for weight in model.weights}
    assert roles["conv.weight"] == "parameter"
    assert roles["shift"] == "buffer"


@pytest.mark.parametrize("ending", ["pt", "json"])
def test_programs_of_before_torch_2_8(
    ending: str, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    """As their writer laid them out: checkpoints inside a zip archive without a folder."""
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("serialized_exported_program.json", b"{}")
        for name, tensors in (
            ("state_dict", dict(program.state_dict)),
            ("constants", dict(program.constants)),
        ):
            buffer = io.BytesIO()
            torch.save(tensors, buffer)
            written.writestr(f"serialized_{name}.{ending}", buffer.getvalue())
        written.writestr("version", "5.1")
    model = load(str(path))
    read_all(model)
    torch.manual_seed(3)
    same(model, Net())


def test_two_programs_are_told_apart(program: torch.export.ExportedProgram, tmp_path: Path) -> None:
    from torch.export.pt2_archive._package import package_pt2

    path = tmp_path / "two.pt2"
    package_pt2(str(path), exported_programs={"a": program, "b": program})
    names = [weight.name for weight in exported.load(str(path)).weights]
    assert "a.conv.weight" in names
    assert "b.conv.weight" in names
    assert len(names) == 2 * (len(Net().state_dict()) + 1)


def test_a_checkpoint_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(archive(checkpoint()))
    with pytest.raises(UnsupportedModel, match=r"torch\.export did not write"):
        exported.load(str(path))
    assert load(str(path)).format == "pytorch"


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_sample_programs_hold_the_weights_of_the_checkpoints(name: str) -> None:
    program = {w.name: w.read() for w in load(SAMPLES / f"{name}.pt2").weights}
    for weight in load(SAMPLES / f"{name}.pt").weights:
        assert np.array_equal(program[weight.name], weight.read()), weight.name


def test_trust_gives_the_graph_under_the_names_of_the_file(
    program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    bare, trusted = load(path), load(path, trust=True)
    assert bare.graph is None
    assert trusted.graph is not None
    assert (trusted.digest(), trusted.format, trusted.path) == (bare.digest(), "pt2", str(path))
    assert {weight.name for weight in bare.weights} <= {weight.name for weight in trusted.weights}
    constants = trusted.graph.constants
    assert {"conv.weight", "conv.bias"} <= set(constants)
    assert "fc.weight" in {weight.name for weight in constants.values()}  # not the tied name
    listed = {id(weight) for weight in trusted.weights}
    assert all(id(weight) in listed for weight in constants.values())
    assert {node.op for node in trusted.graph.nodes} >= {"Conv"}


def test_a_trusted_program_is_bounded() -> None:
    report = specaudit.audit(SAMPLES / "cnn.pt2", trust=True)
    plain = specaudit.audit(SAMPLES / "cnn_plain.onnx")
    assert report.network.status == plain.network.status == "certified"
    assert report.network.upper == pytest.approx(plain.network.upper, rel=1e-3)
    assert "block1.conv1.weight" in {layer.name for layer in report.layers}
    assert not [skipped for skipped in report.skipped if not skipped.covered]


def test_a_weight_that_is_a_pickle_is_refused_even_with_trust(
    program: torch.export.ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile_program(program, tmp_path)
    monkeypatch.chdir(tmp_path)
    for trust in (False, True):
        with pytest.raises(UnreadableModel):
            load(path, trust=trust)
        assert not (tmp_path / "canary").exists()


def test_trust_is_what_it_takes_for_code_to_run(
    program: torch.export.ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch unpickles the example inputs; the symbolic reader does not look at them."""
    path = hostile_program(program, tmp_path, member="sample_inputs")
    monkeypatch.chdir(tmp_path)
    assert load(path).graph is None
    assert not (tmp_path / "canary").exists()
    with contextlib.suppress(SpecauditError):
        load(path, trust=True)


def hostile_program(
    program: torch.export.ExportedProgram, folder: Path, member: str = "weight_0"
) -> Path:
    """A program one member of which is a pickle that creates a canary."""
    good = io.BytesIO()
    torch.export.save(program, good)
    path = folder / "hostile.pt2"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if member in info.filename:
                content = b"cbuiltins\nopen\n(Vcanary\nVw\ntR."
            if info.filename.endswith("_weights_config.json") and member.startswith("weight"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            target.writestr(info.filename, content)
    return path
