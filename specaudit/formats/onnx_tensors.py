"""ONNX's TensorProto: which of its seven places holds the numbers, and the numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.external import ExternalData
from specaudit.formats.files import BLOCK, ModelFile
from specaudit.formats.onnx_schema import SparseTensorProto, TensorProto
from specaudit.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, Span
from specaudit.formats.tensors import BITS, StoredTensor, bytes_of, check_shape, decode, numpy_type

STRING = 8
# TensorProto.DataType: its name in NumPy or ml_dtypes, and the field its numbers may be in.
TYPES = {
    1: ("float32", "float_data"), 2: ("uint8", "int32_data"), 3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"), 5: ("int16", "int32_data"), 6: ("int32", "int32_data"),
    7: ("int64", "int64_data"), 9: ("bool", "int32_data"), 10: ("float16", "int32_data"),
    11: ("float64", "double_data"), 12: ("uint32", "uint64_data"), 13: ("uint64", "uint64_data"),
    14: ("complex64", "float_data"), 15: ("complex128", "double_data"),
    16: ("bfloat16", "int32_data"), 17: ("float8_e4m3fn", "int32_data"),
    18: ("float8_e4m3fnuz", "int32_data"), 19: ("float8_e5m2", "int32_data"),
    20: ("float8_e5m2fnuz", "int32_data"), 21: ("uint4", "int32_data"),
    22: ("int4", "int32_data"), 23: ("float4_e2m1fn", "int32_data"),
    24: ("float8_e8m0fnu", "int32_data"), 25: ("uint2", "int32_data"), 26: ("int2", "int32_data"),
    27: ("float6_e2m3fn", "int32_data"), 28: ("float6_e3m2fn", "int32_data"),
}  # fmt: skip
FIELDS = (
    "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data",
)  # fmt: skip
WIDTHS = {"float_data": (FIXED32, 4), "double_data": (FIXED64, 8)}
# A sparse tensor is small in the file and may be vast in memory: what 64 times its bytes
# hold is a weight, what is beyond is an attack or no matter for a dense norm.
SPARSE_RATIO, SPARSE_FREE = 64, 1 << 16


def locate(
    tensor: TensorProto, model: ModelFile, external: ExternalData, where: str
) -> "StoredTensor | TypedTensor":
    """Where a tensor's numbers are, checked against its shape before anything is allocated.

    Raises
    ------
    UnreadableModel
        There are too few or too many numbers, they are in two places or in the wrong one.
    UnsupportedModel
        The type is not known, or is text.
    """
    if tensor.segment is not None:
        raise UnsupportedModel("tensor in segments", where=where)
    if tensor.data_type not in TYPES:
        raise UnsupportedModel(f"tensor type {tensor.data_type} is not known", where=where)
    dtype, home = TYPES[tensor.data_type]
    shape = tuple(tensor.dims)
    size = bytes_of(dtype, check_shape(shape, where))
    place = place_of(tensor, where)
    if place == "external":
        file, offset = external.find(tensor.external_data, size, where)
        return StoredTensor(file, offset, size, dtype, shape, "external", where)
    if place != "raw":
        if place != home:
            _refuse(f"{dtype} numbers in {place}", where)
        typed = TypedTensor(model, tuple(getattr(tensor, home)), dtype, shape, home, where)
        typed.check()
        return typed
    span = tensor.raw_data or Span(0, 0)
    if span.length != size:
        _refuse(f"{span.length} bytes of data where its shape takes {size}", where)
    return StoredTensor(model, span.offset, size, dtype, shape, "raw", where)


def place_of(tensor: TensorProto, where: str) -> str:
    """The one place that holds a tensor's numbers: ``raw``, ``external``, or a typed field."""
    places = [name for name in FIELDS if getattr(tensor, name)]
    if tensor.raw_data is not None:
        places.append("raw")
    if tensor.data_location == 1:
        places.append("external")
    elif tensor.data_location or tensor.external_data:
        _refuse("it names external data and does not say that it has any", where)
    if len(places) > 1:
        _refuse(f"its numbers are in two places: {places[0]} and {places[1]}", where)
    return places[0] if places else "raw"


@dataclass(frozen=True, slots=True)
class TypedTensor:
    """A tensor whose numbers are protobuf numbers, in one of the ``*_data`` fields.

    Parameters
    ----------
    file : ModelFile
    spans : tuple of Span
        The field's parts, in order: packed runs, or single numbers.
    dtype : str
    shape : tuple of int
    encoding : str
        The field: ``float_data``, ``int32_data``, ``int64_data``, ``double_data`` or
        ``uint64_data``. Types under 32 bits are in ``int32_data`` by their bit patterns,
        those of 2 and 4 bits packed first, a byte to a number; complex ones are pairs.
    where : str
    """

    file: ModelFile
    spans: tuple[Span, ...]
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    where: str

    def read(self) -> NDArray[np.generic]:
        """The values, freshly read."""
        if self.encoding in WIDTHS:
            data = np.concatenate([self.file.array(s.offset, s.length) for s in self.spans])
            return decode(data, self.dtype, self.shape)
        # Modulo 2^bits, so that -1 and 65535 are the same bfloat16.
        patterns = np.empty(self._expected(), dtype=f"uint{max(8, BITS[self.dtype])}")
        done = 0
        for block in self._blocks():
            numbers = varints(block)
            patterns[done : done + len(numbers)] = numbers != 0 if self.dtype == "bool" else numbers
            done += len(numbers)
        if BITS[self.dtype] == 6:
            return (patterns & 0x3F).view(numpy_type(self.dtype)).reshape(self.shape)
        return decode(patterns.view(np.uint8), self.dtype, self.shape)

    def check(self) -> None:
        """Raise unless there are as many numbers as the shape wants."""
        wire, width = WIDTHS.get(self.encoding, (VARINT, 0))
        if any(span.wire not in (wire, BYTES) for span in self.spans):
            _refuse(f"{self.encoding} of the wrong wire type", self.where)
        if width:
            length = sum(span.length for span in self.spans)
            cut = any(span.length % width for span in self.spans)
            count = -1 if cut else length // width
        else:
            count = sum(len(number_ends(block)) for block in self._blocks())
        if count != self._expected():
            _refuse(f"{count} numbers where its shape takes {self._expected()}", self.where)

    def _expected(self) -> int:
        count = math.prod(self.shape)
        if BITS[self.dtype] in (2, 4):
            return bytes_of(self.dtype, count)
        return 2 * count if self.dtype.startswith("complex") else count

    def _blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The varints' bytes in pieces of about a megabyte that end where a number ends."""
        for span in self.spans:
            position, end = span.offset, span.offset + span.length
            while position < end:
                block = self.file.array(position, min(BLOCK, end - position))
                ends = np.flatnonzero(block[-10:] < 0x80)
                if not len(ends):
                    _refuse("a number without an end", self.where)
                kept = max(0, len(block) - 10) + int(ends[-1]) + 1
                if position + len(block) == end and kept < len(block):
                    _refuse("a number without an end", self.where)
                position += kept
                yield block[:kept]


def varints(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The 64-bit numbers coded in `data`, which ends where one ends."""
    ends = number_ends(data)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    values = np.zeros(len(ends), dtype=np.uint64)
    for index in range(int(lengths.max(initial=0))):
        longer = lengths > index
        part = data[starts[longer] + index] & 0x7F
        values[longer] |= part.astype(np.uint64) << np.uint64(7 * index)
    return values.view(np.int64)


def number_ends(data: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where the numbers coded in `data` have their last bytes; none has more than ten."""
    ends = np.flatnonzero(data < 0x80)
    if np.diff(ends, prepend=-1).max(initial=0) > 10:
        raise UnreadableModel("a number of more than ten bytes")
    return ends


Dense: TypeAlias = StoredTensor | TypedTensor


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """A tensor given by its non-zero values; read as the dense one it stands for."""

    values: Dense
    indices: Dense
    shape: tuple[int, ...]
    dtype: str
    where: str
    encoding: str = "sparse"

    def read(self) -> NDArray[np.generic]:
        """The dense tensor."""
        dense = np.zeros(self.shape, dtype=numpy_type(self.dtype))
        dense.reshape(-1)[self.places()] = self.values.read()
        return dense

    def places(self) -> NDArray[np.int64]:
        """The values' places in the flat tensor; raises unless they ascend and are inside."""
        places = self.indices.read().astype(np.int64)
        if places.ndim == 2:
            dimensions = np.array(self.shape, dtype=np.int64)
            if (places < 0).any() or (places >= dimensions).any():
                _refuse("a sparse index is out of range", self.where)
            places = np.ravel_multi_index(tuple(places.T), self.shape).astype(np.int64)
        if (places < 0).any() or (places >= math.prod(self.shape)).any():
            _refuse("a sparse index is out of range", self.where)
        if (np.diff(places) <= 0).any():
            _refuse("sparse indices are not in order, or come twice", self.where)
        return places


def locate_sparse(
    sparse: SparseTensorProto, model: ModelFile, external: ExternalData, where: str
) -> SparseTensor:
    """Where a sparse tensor's values and indices are, checked like `locate`."""
    if sparse.values is None or sparse.indices is None:
        _refuse("sparse tensor without values or indices", where)
    values = locate(sparse.values, model, external, where)
    indices = locate(sparse.indices, model, external, f"{where}, indices")
    shape = tuple(sparse.dims)
    count = check_shape(shape, where)
    held = math.prod(values.shape) * BITS[values.dtype] // 8 + math.prod(indices.shape) * 8
    if count > max(SPARSE_FREE, SPARSE_RATIO * held):
        raise UnsupportedModel(f"sparse tensor of {count} elements in {held} bytes", where=where)
    nonzeros = math.prod(values.shape)
    if len(values.shape) != 1 or indices.dtype != "int64":
        _refuse("sparse values are not a vector, or their indices not int64", where)
    if indices.shape not in ((nonzeros,), (nonzeros, len(shape))):
        _refuse("there are not as many sparse indices as values", where)
    found = SparseTensor(values, indices, shape, values.dtype, where)
    found.places()
    return found


def _refuse(reason: str, where: str) -> NoReturn:
    raise UnreadableModel(reason, where=where)
