"""Whole modules and TorchScript, read with their classes absent and nothing of theirs run."""

from pathlib import Path

import pytest
import torch
from torch import nn

from specaudit.formats import pytorch
from tests.formats.test_pytorch import MODELS, raw, read, values


class Block(nn.Module):
    """A module whose class no reader has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, (3, 5), stride=(2, 1), padding=1, groups=3)
        self.up = nn.ConvTranspose1d(4, 2, 3, stride=2, output_padding=1)
        self.norm = nn.BatchNorm2d(6, eps=1e-3)
        self.rnn = nn.LSTM(4, 5, num_layers=2, bidirectional=True)
        self.attention = nn.MultiheadAttention(8, 2)
        self.fc = nn.Linear(3, 3)
        self.table = nn.ParameterList([nn.Parameter(torch.ones(2))])
        self.tied = self.fc
        self.register_buffer("positions", torch.arange(3))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.plain = torch.ones(4)
        self.me = [self]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_whole_module_is_read_without_its_class(zipped: bool, tmp_path: Path) -> None:
    block = Block()
    model = read(block, tmp_path, zipped=zipped)
    read_values = values(model)
    state = block.state_dict()
    assert set(state) <= set(read_values)
    assert set(read_values) - set(state) == {"scratch", "plain"}
    for name, tensor in state.items():
        assert read_values[name].tobytes() == raw(tensor), name
    roles = {weight.name: weight.role for weight in model.weights}
    assert roles["conv.weight"] == "parameter"
    assert roles["positions"] == "buffer"
    assert roles["plain"] == "unknown"
    conv, up = model.attributes["conv"], model.attributes["up"]
    assert conv["class"] == "torch.nn.modules.conv.Conv2d"
    assert (conv["stride"], conv["groups"], conv["padding_mode"]) == ((2, 1), 3, "zeros")
    assert (up["transposed"], up["output_padding"]) == (True, (1,))
    assert model.attributes["norm"]["eps"] == 1e-3
    assert model.attributes["attention"]["num_heads"] == 2
    assert model.attributes["rnn"]["bidirectional"] is True
    assert str(model.attributes[""]["class"]).endswith("Block")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(4, 2)
        self.register_buffer("shift", torch.ones(2))
        self.k = torch.full((2,), 3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3))) + self.shift + self.k


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_is_read_without_running_it(how: str, tmp_path: Path) -> None:
    net = Net().eval()
    example = torch.zeros(1, 1, 8, 8)
    scripted = torch.jit.script(net) if how == "script" else torch.jit.trace(net, example)
    path = tmp_path / "net.pt"
    scripted.save(str(path))
    model = pytorch.load(str(path))
    read_values = values(model)
    for name, tensor in net.state_dict().items():
        assert read_values.pop(name).tobytes() == raw(tensor)
    ((name, constant),) = read_values.items()
    assert name == {"script": "k", "trace": "constants.0"}[how]
    assert constant.tolist() == [3.0, 3.0]
    roles = {weight.name: weight.role for weight in model.weights}
    assert (roles["conv.weight"], roles["shift"]) == ("parameter", "buffer")
    assert model.format == "torchscript"
    conv = model.attributes["conv"]
    assert conv["class"] == "torch.nn.modules.conv.Conv2d"
    assert (conv["stride"], conv["padding"], conv["groups"]) == ((2, 2), (1, 1), 1)


@pytest.mark.models
def test_published_torchscript_equals_what_torch_reads() -> None:
    path = MODELS / "silero-vad/silero_vad.jit"
    if not path.exists():
        pytest.skip("../shared/models is absent")
    model = pytorch.load(str(path))
    read_values = values(model)
    state = torch.jit.load(str(path)).state_dict()
    assert set(state) <= set(read_values)
    for name, tensor in state.items():
        assert read_values[name].tobytes() == raw(tensor), name
    assert model.attributes["_model.stft"]["hop_length"] == 128
