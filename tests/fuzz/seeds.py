"""A small sound file for each container, and how a damaged part of it becomes a file again."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.exported_files import laid, pt2
from tests.hostile.onnx_files import MATMUL, WEIGHT, function, model, value
from tests.hostile.pickling import dict_of, list_of, program, tensor, text
from tests.hostile.safetensors_files import DIAGONAL, ENTRY, GOOD, pack
from tests.hostile.torch_code import MODULE, SCRIPTED
from tests.hostile.torch_files import legacy
from tests.hostile.torch_pickles import META, sparse
from tests.hostile.zipping import Member, archive, checkpoint

SAMPLES = Path(__file__).parents[2] / "sample_models"


@dataclass(frozen=True)
class Seed:
    """The part of a file that is damaged, and the whole that it is put into.

    Checksums and lengths around the part are made anew, so that the damage is not found by
    them but gets to the reader behind.
    """

    name: str
    part: bytes
    whole: Callable[[bytes], bytes] = bytes
    file_name: str = "model"


def scripted(pickle: bytes) -> bytes:
    return archive([*checkpoint(pickle), Member("archive/constants.pkl", program(b")"))])


def coded(code: bytes) -> bytes:
    member = Member("archive/code/__torch__.py", code, deflate=True)
    constants = Member("archive/constants.pkl", program(b")"))
    return archive([*checkpoint(program(SCRIPTED)), constants, member])


def squeezed(data: bytes) -> bytes:
    """A checkpoint whose storage is deflated; the damage is to what it inflates to."""
    return archive([Member(m.name, m.data, deflate=True) for m in checkpoint(None, {"0": data})])


def graph(nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto], *shape: int) -> bytes:
    proto = model(
        nodes, tensors, functions=[function("F", [helper.make_node("Relu", ["x"], ["y"])])]
    )
    proto.graph.input[0].CopyFrom(value("x", shape))
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto.SerializeToString()


def ones(name: str, *shape: int, kind: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


CONVOLUTIONAL = graph([
    node("Conv", "x k", "a", pads=[1, 1, 1, 1], strides=[1, 2], group=2),
    node("BatchNormalization", "a s s s s", "b"),
    node("Relu", "b", "c"),
    node("MaxPool", "c", "d", kernel_shape=[2, 2]),
    node("ConvTranspose", "d t", "e", strides=[2, 2]),
    node("Flatten", "e", "f"),
    node("Gemm", "f g", "y", transB=1),
], [ones("k", 4, 1, 3, 3), ones("s", 4), ones("t", 4, 2, 2, 2), ones("g", 3, 120)],
    1, 2, 6, 8)  # fmt: skip
SEQUENTIAL = graph([
    node("LSTM", "x w r", "l", hidden_size=3),
    node("Squeeze", "l one", "m"),
    node("LayerNormalization", "m s", "n"),
    node("MatMul", "n q", "o"),
    node("Softmax", "o", "p"),
    node("MatMul", "p v", "y"),
], [ones("w", 1, 12, 2), ones("r", 1, 12, 3), numpy_helper.from_array(np.array([1]), "one"),
    ones("s", 3), ones("q", 3, 4), ones("v", 4, 2)], 5, 1, 2)  # fmt: skip
FOLDED = graph([
    helper.make_node("F", ["x"], ["z"], domain="local"),
    node("DequantizeLinear", "i s", "a"),
    node("Transpose", "a", "b", perm=[1, 0]),
    node("Reshape", "b shape", "c"),
    node("Slice", "c start end", "d"),
    node("Cast", "d", "e", to=TensorProto.FLOAT),
    node("MatMul", "z e", "y"),
], [ones("i", 4, 4, kind=np.int8), numpy_helper.from_array(np.float32(0.5), "s"),
    numpy_helper.from_array(np.array([4, -1]), "shape"),
    numpy_helper.from_array(np.array([0, 0]), "start"),
    numpy_helper.from_array(np.array([4, 4]), "end")], 1, 4)  # fmt: skip
HEADER = json.dumps({"w": ENTRY, "__metadata__": {"format": "pt"}}).encode()
CONFIG = json.dumps({"config": {"w": laid()}}).encode()
CODE = b"""class Net(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  stride : Final[Tuple[int, int]] = (2, 2)
"""
INDEX = json.dumps({"metadata": {}, "weight_map": {"w": "good.safetensors"}}).encode()

SEEDS = [
    Seed("zip", archive(checkpoint())),
    Seed("zip_deflated", DIAGONAL, squeezed),
    Seed("pickle", program(dict_of(w=tensor(), v=list_of(tensor()), epoch=text("x"))),
         lambda part: archive(checkpoint(part))),
    Seed("module", program(b"cuser\nNet\n)\x81" + MODULE + b"b"),
         lambda part: archive(checkpoint(part))),
    Seed("meta", program(dict_of(w=tensor(), m=META)), lambda part: archive(checkpoint(part))),
    Seed("sparse", sparse((0, 1, 0, 1), (4, 4))),
    Seed("torchscript", program(SCRIPTED), scripted),
    Seed("torchscript_code", CODE, coded),
    Seed("legacy", legacy()),
    Seed("legacy_of_torch", (SAMPLES / "lstm_legacy.pth").read_bytes()),
    Seed("pt2", pt2(laid())),
    Seed("pt2_config", CONFIG, lambda part: pt2(None, config=part)),
    Seed("safetensors", GOOD),
    Seed("safetensors_header", HEADER, lambda part: struct.pack("<Q", len(part)) + part + DIAGONAL),
    Seed("index", INDEX, file_name="model.safetensors.index.json"),
    Seed("onnx", model([MATMUL], [WEIGHT]).SerializeToString()),
    Seed("onnx_convolutions", CONVOLUTIONAL),
    Seed("onnx_sequence", SEQUENTIAL),
    Seed("onnx_folded", FOLDED),
]  # fmt: skip


def beside(folder: Path) -> None:
    """Write what the seeds refer to."""
    (folder / "good.safetensors").write_bytes(pack({"w": ENTRY}))
