"""Tensors as files keep them: a layout over the bytes of a storage, read when asked for."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.regions import Region

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specaudit.model import Tensor


ITEM_SIZES: Final = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "bfloat16": 2,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
}


@dataclass(frozen=True, slots=True)
class Strided:
    """A tensor laid over a storage.

    This is what a rewrite needs: element ``i`` of the view lies at byte
    ``region.offset + (storage_offset + i @ strides) * itemsize`` of the file, unless the
    region is deflated.

    Parameters
    ----------
    region : Region
        The storage.
    dtype : str
        NumPy's or ml_dtypes' name.
    shape, strides : tuple of int
        Strides in elements.
    storage_offset : int
        In elements.
    big_endian : bool
    conjugate, negative : bool
        What is stored is the conjugate, the negative, of the tensor.
    """

    region: Region
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    storage_offset: int = 0
    big_endian: bool = False
    conjugate: bool = False
    negative: bool = False

    @property
    def item_size(self) -> int:
        """Bytes of an element."""
        return ITEM_SIZES[self.dtype]

    @property
    def extent(self) -> tuple[int, int]:
        """First byte and past-the-last byte of the storage that the view touches."""
        first = self.storage_offset
        if 0 in self.shape:
            return first * self.item_size, first * self.item_size
        steps = zip(self.shape, self.strides, strict=True)
        last = first + sum((size - 1) * stride for size, stride in steps) + 1
        return first * self.item_size, last * self.item_size

    def check(self) -> "Strided":
        """Raise unless the layout is one, lies in the storage, and does not blow it up."""
        numbers = (*self.shape, *self.strides, self.storage_offset)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise UnreadableModel("a size, stride or offset is not a natural number")
        if len(self.shape) != len(self.strides) or len(self.shape) > 64:
            raise UnreadableModel(f"{len(self.shape)} sizes and {len(self.strides)} strides")
        if self.extent[1] > self.region.size:
            raise UnreadableModel(
                f"the tensor reaches to byte {self.extent[1]} of {self.region.label()}, "
                f"which has {self.region.size}"
            )
        # an empty tensor may still have sizes whose product NumPy cannot hold
        elements = math.prod(size or 1 for size in self.shape)
        allowed = max(limits.FREE_EXPANSION, limits.EXPANSION * self.region.size)
        if elements > min(limits.TENSOR_ELEMENTS, allowed):
            raise UnreadableModel(
                f"the tensor claims {elements} elements of {self.region.size} stored bytes"
            )
        return self

    def read(self) -> "Tensor":
        """The values, freshly read, in native byte order."""
        import numpy as np

        raw = self.region.array(*self.extent)
        flat = decode(raw, self.dtype, big_endian=self.big_endian)
        if 0 in self.shape:
            return flat.reshape(self.shape)
        if self.strides == contiguous(self.shape):
            array = flat.reshape(self.shape)
        else:
            pairs = zip(self.shape, self.strides, strict=True)
            steps = [stride * self.item_size if size > 1 else 0 for size, stride in pairs]
            array = np.lib.stride_tricks.as_strided(flat, self.shape, steps).copy()
        if self.conjugate:
            array = array.conj()
        return np.negative(array) if self.negative else array


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a dense tensor in row-major order."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return tuple(strides)


def decode(raw: "NDArray[np.uint8]", dtype: str, *, big_endian: bool) -> "Tensor":
    """Raw bytes as elements in native order; `raw` may be overwritten."""
    if dtype == "bool":  # torch reads any non-zero byte as True
        truths: Tensor = raw != 0
        return truths
    component = ITEM_SIZES[dtype] // (2 if dtype.startswith("complex") else 1)
    if big_endian and component > 1:
        raw.view(f"u{component}").byteswap(inplace=True)
    elements: Tensor = raw.view(scalar_type(dtype))
    return elements


def scalar_type(dtype: str) -> "np.dtype[np.generic]":
    """The NumPy type of that name; ml_dtypes is only imported for those that NumPy lacks."""
    import numpy as np

    if hasattr(np, dtype) or dtype == "bool":
        return np.dtype(dtype)
    import ml_dtypes

    found: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, dtype))
    return found
