"""Tensors as bytes in a file: how many bits each type takes, and bytes to numbers."""

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from specaudit import limits
from specaudit.errors import UnreadableModel, UnsupportedModel
from specaudit.formats.files import ModelFile

BITS = {
    "bool": 8, "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64,
    "float16": 16, "float32": 32, "float64": 64, "complex64": 64, "complex128": 128,
    "bfloat16": 16, "int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4,
    "float6_e2m3fn": 6, "float6_e3m2fn": 6, "float8_e3m4": 8, "float8_e4m3": 8,
    "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e4m3b11fnuz": 8,
    "float8_e5m2": 8, "float8_e5m2fnuz": 8, "float8_e8m0fnu": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor whose values lie in one piece in a file, little-endian, sub-byte types packed.

    Parameters
    ----------
    file : ModelFile
    offset, size : int
        Where its bytes are.
    dtype : str
    shape : tuple of int
    encoding : {"raw", "external"}
        In the model file itself, or in a file that it names.
    where : str
        For errors: the model file and the tensor.
    """

    file: ModelFile
    offset: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    where: str

    def read(self) -> NDArray[np.generic]:
        """The values, freshly read."""
        return decode(self.file.array(self.offset, self.size), self.dtype, self.shape)


def check_shape(shape: tuple[int, ...], where: str) -> int:
    """The number of elements; raises if `shape` is not one a tensor can have."""
    if len(shape) > limits.TENSOR_RANK:
        raise UnreadableModel(f"tensor of {len(shape)} dimensions", where=where)
    if any(dimension < 0 for dimension in shape):
        raise UnreadableModel("negative dimension", where=where)
    count = math.prod(shape)
    # An empty tensor can name any size beside its zero; NumPy multiplies in 64 bits.
    if math.prod(max(1, dimension) for dimension in shape) >= 1 << 62:
        raise UnreadableModel("absurd dimensions", where=where)
    return count


def bytes_of(dtype: str, count: int) -> int:
    """How many bytes `count` elements take, the last one padded to a whole byte."""
    return -(-BITS[dtype] * count // 8)


def decode(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Little-endian bytes as an ndarray of `shape`; `data` is not copied where it need not be."""
    if dtype == "bool":
        data = (data != 0).view(np.uint8)
    if BITS[dtype] < 8:
        data = unpack(data, BITS[dtype], math.prod(shape))
    values: NDArray[np.generic] = data.view(numpy_type(dtype)).reshape(shape)
    return values


def unpack(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """`count` numbers of 2, 4 or 6 bits, lowest bits first, one to a byte."""
    group = math.lcm(bits, 8) // 8  # bytes after which numbers and bytes are in step again
    whole = np.zeros((-(-len(data) // group), group), dtype=np.uint8)
    whole.reshape(-1)[: len(data)] = data
    numbers = np.empty((len(whole), 8 * group // bits), dtype=np.uint8)
    for index in range(numbers.shape[1]):
        byte, shift = divmod(index * bits, 8)
        numbers[:, index] = whole[:, byte] >> shift
        if shift + bits > 8:
            numbers[:, index] |= whole[:, byte + 1] << (8 - shift)
    numbers &= (1 << bits) - 1
    return numbers.reshape(-1)[:count]


def numpy_type(dtype: str) -> np.dtype[np.generic]:
    """The ndarray type of that name; NumPy's own or ml_dtypes'."""
    try:
        return np.dtype(getattr(ml_dtypes, dtype, dtype))
    except TypeError as error:
        raise UnsupportedModel(
            f"this ml_dtypes has no {dtype}", help="pip install -U ml_dtypes"
        ) from error
