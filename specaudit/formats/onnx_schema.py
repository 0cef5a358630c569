"""The messages of ``onnx.proto`` (IR version 14), as far as an audit reads them."""

from specaudit.formats.protobuf import Span, many, message, one


@message
class StringStringEntryProto:
    """A key and its value."""

    key: str | None = one(1, "text")
    value: str | None = one(2, "text")


@message
class SegmentProto:
    """A part of a tensor: never seen in the wild, never read."""

    begin: int | None = one(1, "int")


@message
class TensorProto:
    """A tensor; where its numbers are, not the numbers."""

    dims: list[int] = many(1, "int")
    data_type: int | None = one(2, "int")
    segment: SegmentProto | None = one(3, "SegmentProto")
    float_data: list[Span] = many(4, "data")
    int32_data: list[Span] = many(5, "data")
    string_data: list[Span] = many(6, "data")
    int64_data: list[Span] = many(7, "data")
    name: str | None = one(8, "text")
    raw_data: Span | None = one(9, "data")
    double_data: list[Span] = many(10, "data")
    uint64_data: list[Span] = many(11, "data")
    external_data: list[StringStringEntryProto] = many(13, "StringStringEntryProto")
    data_location: int | None = one(14, "int")


@message
class SparseTensorProto:
    """A tensor given by its non-zero values and where they stand."""

    values: TensorProto | None = one(1, "TensorProto")
    indices: TensorProto | None = one(2, "TensorProto")
    dims: list[int] = many(3, "int")


@message
class DimensionProto:
    """A number or a symbol."""

    dim_value: int | None = one(1, "int")
    dim_param: str | None = one(2, "text")


@message
class TensorShapeProto:
    """Dimensions."""

    dim: list[DimensionProto] = many(1, "DimensionProto")


@message
class TensorTypeProto:
    """Element type and shape."""

    elem_type: int | None = one(1, "int")
    shape: TensorShapeProto | None = one(2, "TensorShapeProto")


@message
class TypeProto:
    """A value's type; sequences, maps and optionals are not looked into."""

    tensor_type: TensorTypeProto | None = one(1, "TensorTypeProto")


@message
class ValueInfoProto:
    """A value's name and type."""

    name: str | None = one(1, "text")
    type: TypeProto | None = one(2, "TypeProto")


@message
class AttributeProto:
    """A named constant of a node."""

    name: str | None = one(1, "text")
    f: float | None = one(2, "float")
    i: int | None = one(3, "int")
    s: bytes | Span | None = one(4, "bytes")
    t: TensorProto | None = one(5, "TensorProto")
    g: "GraphProto | None" = one(6, "GraphProto")
    floats: list[float] = many(7, "float")
    ints: list[int] = many(8, "int")
    strings: list[bytes | Span] = many(9, "bytes")
    tensors: list[TensorProto] = many(10, "TensorProto")
    graphs: "list[GraphProto]" = many(11, "GraphProto")
    tp: TypeProto | None = one(14, "TypeProto")
    type_protos: list[TypeProto] = many(15, "TypeProto")
    type: int | None = one(20, "int")
    ref_attr_name: str | None = one(21, "text")
    sparse_tensor: SparseTensorProto | None = one(22, "SparseTensorProto")
    sparse_tensors: list[SparseTensorProto] = many(23, "SparseTensorProto")


@message
class NodeProto:
    """One operation."""

    input: list[str] = many(1, "text")
    output: list[str] = many(2, "text")
    name: str | None = one(3, "text")
    op_type: str | None = one(4, "text")
    attribute: list[AttributeProto] = many(5, "AttributeProto")
    domain: str | None = one(7, "text")
    overload: str | None = one(8, "text")


@message
class GraphProto:
    """Nodes, and the values they start from."""

    node: list[NodeProto] = many(1, "NodeProto")
    name: str | None = one(2, "text")
    initializer: list[TensorProto] = many(5, "TensorProto")
    input: list[ValueInfoProto] = many(11, "ValueInfoProto")
    output: list[ValueInfoProto] = many(12, "ValueInfoProto")
    value_info: list[ValueInfoProto] = many(13, "ValueInfoProto")
    sparse_initializer: list[SparseTensorProto] = many(15, "SparseTensorProto")


@message
class OperatorSetIdProto:
    """A domain's version."""

    domain: str | None = one(1, "text")
    version: int | None = one(2, "int")


@message
class TrainingInfoProto:
    """How the model was trained: known to be there, not looked into."""


@message
class FunctionProto:
    """A graph with formal inputs, called like an operation."""

    name: str | None = one(1, "text")
    input: list[str] = many(4, "text")
    output: list[str] = many(5, "text")
    attribute: list[str] = many(6, "text")
    node: list[NodeProto] = many(7, "NodeProto")
    opset_import: list[OperatorSetIdProto] = many(9, "OperatorSetIdProto")
    domain: str | None = one(10, "text")
    attribute_proto: list[AttributeProto] = many(11, "AttributeProto")
    value_info: list[ValueInfoProto] = many(12, "ValueInfoProto")
    overload: str | None = one(13, "text")


@message
class ModelProto:
    """The whole file."""

    ir_version: int | None = one(1, "int")
    producer_name: str | None = one(2, "text")
    graph: GraphProto | None = one(7, "GraphProto")
    opset_import: list[OperatorSetIdProto] = many(8, "OperatorSetIdProto")
    training_info: list[TrainingInfoProto] = many(20, "TrainingInfoProto")
    functions: list[FunctionProto] = many(25, "FunctionProto")
