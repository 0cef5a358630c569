"""ONNX files: every tensor wherever it is kept, and the graph.

Names. A weight is called after its value: an initializer by its own name, the tensor of a
``Constant`` node by the node's output, any other tensor attribute ``<node>.<attribute>``.
Inside a subgraph the path of the node that holds it comes first (``If_0.then_branch.w``),
inside a function ``<domain>.<function>``.
"""

from dataclasses import replace

from specaudit.errors import UnreadableModel
from specaudit.formats.background import in_background
from specaudit.formats.files import ModelFile
from specaudit.formats.onnx_graph import Reader, opsets
from specaudit.formats.onnx_schema import ModelProto
from specaudit.formats.protobuf import Scanner
from specaudit.model import Model

IR_VERSION = 14
OPSET = 28
IR_OVERRIDES = 4  # before it, every initializer had to be listed as an input


def load(path: str) -> Model:
    """Read an ONNX file; no tensor is loaded, none of the file's claims is believed unseen.

    Raises
    ------
    UnreadableModel
        The file, its graph or a tensor of it is damaged or contradicts itself.
    UnsupportedModel
        It uses what is not read: tensor segments, an unknown tensor type.
    """
    file = ModelFile.at(path)
    if not file.size:
        raise UnreadableModel("empty file", where=path)
    hashed = in_background(file.digest)
    with Scanner(file) as scanner:
        proto = scanner.read(ModelProto)
    if proto.graph is None:
        raise UnreadableModel("no graph in this ONNX file", where=path)
    reader = Reader(file, proto.functions, overrides=(proto.ir_version or 0) >= IR_OVERRIDES)
    versions = opsets(proto.opset_import, path)
    if not versions:
        raise UnreadableModel("the model imports no operator set", where=path)
    check_versions(proto, versions, reader)
    graph = reader.main_graph(proto.graph)
    functions = reader.functions(graph)
    return Model(
        path=path,
        format="onnx",
        digest=hashed,
        weights=tuple(reader.weights),
        graph=replace(graph, opsets=versions, functions=functions),
        notes=tuple(dict.fromkeys(reader.notes + reader.external.notes)),
        missing=tuple(reader.missing + reader.external.missing),
        source=file,
    )


def check_versions(proto: ModelProto, versions: dict[str, int], reader: Reader) -> None:
    """Say what is newer than what the rules were written for, and what is not looked into."""
    if versions.get("", 0) > OPSET:
        reason = f"newer than {OPSET}, the last operator set known here"
        reader.missing.append((f"operator set {versions['']}", reason))
    if not proto.ir_version or proto.ir_version < 0:
        raise UnreadableModel("no IR version in this ONNX file", where=reader.file.path)
    if proto.ir_version > IR_VERSION:
        reason = f"newer than {IR_VERSION}, the last one known here"
        reader.missing.append((f"IR version {proto.ir_version}", reason))
    if proto.training_info:
        reader.missing.append(("training_info", "training graphs are not read"))
