"""Tensors that are kept as several: quantised, sparse, or inside the pickle itself."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specaudit import limits
from specaudit.errors import UnreadableModel
from specaudit.formats.strided import Strided, decode

if TYPE_CHECKING:
    import numpy as np

    from specaudit.model import Tensor


@dataclass(frozen=True, slots=True)
class Inline:
    """An array whose bytes stand in the pickle."""

    data: bytes
    dtype: str
    shape: tuple[int, ...]
    column_major: bool = False
    big_endian: bool = False

    def read(self) -> "Tensor":
        """The values."""
        import numpy as np

        raw = np.frombuffer(bytearray(self.data), dtype=np.uint8)
        flat = decode(raw, self.dtype, big_endian=self.big_endian)
        return flat.reshape(self.shape, order="F" if self.column_major else "C")


@dataclass(frozen=True, slots=True)
class Quantised:
    """Integers that stand for ``(q - zero_point) * scale``, one pair or one per channel."""

    integers: Strided
    scales: Strided | tuple[float, ...]
    zero_points: Strided | tuple[float, ...]
    axis: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the integers."""
        return self.integers.shape

    @property
    def dtype(self) -> str:
        """What it reads as."""
        return "float64"

    def read(self) -> "Tensor":
        """The dequantised values, float64."""
        import numpy as np

        scales, zeros = values(self.scales), values(self.zero_points)
        if not np.isfinite(scales).all():
            raise UnreadableModel("a quantised tensor's scale is not finite")
        if self.axis is not None:
            along = [1] * len(self.shape)
            along[self.axis] = -1
            scales, zeros = scales.reshape(along), zeros.reshape(along)
        dequantised: Tensor = (self.integers.read().astype(np.float64) - zeros) * scales
        return dequantised


def values(
    source: Strided | tuple[float, ...],
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Scales or zero points as float64."""
    import numpy as np

    return np.asarray(source.read() if isinstance(source, Strided) else source, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Sparse:
    """The non-zero elements of a matrix or tensor, and where they are.

    `plain` holds one row of indices per sparse dimension (COO), or the indices along the
    dimension that is not compressed (CSR: columns, CSC: rows); `compressed` is None for COO.
    """

    plain: Strided
    compressed: Strided | None
    entries: Strided
    shape: tuple[int, ...]
    by_column: bool = False

    @property
    def dtype(self) -> str:
        """That of the elements."""
        return self.entries.dtype

    def check(self) -> "Sparse":
        """Raise unless it can be made dense and every index lies inside."""
        if math.prod(self.shape) > limits.scaled(limits.SPARSE_ELEMENTS):
            raise UnreadableModel(f"sparse tensor of {math.prod(self.shape)} elements is too large")
        self.places()
        return self

    def places(self) -> "tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]":
        """The index of each element, one array per sparse dimension, all inside."""
        import numpy as np

        plain = self.plain.read().astype(np.int64)
        if self.compressed is None:
            if plain.ndim != 2 or len(plain) > len(self.shape):
                raise UnreadableModel("sparse tensor: its indices are not a matrix")
            ends = np.array(self.shape[: len(plain)], dtype=np.int64)[:, None]
            fits = self.entries.shape == (plain.shape[1], *self.shape[len(plain) :])
            if not fits or (plain < 0).any() or (plain >= ends).any():
                raise UnreadableModel("sparse tensor: indices lie outside its shape")
            return tuple(plain)
        pointers = self.compressed.read().astype(np.int64)
        if len(self.shape) != 2:
            raise UnreadableModel("sparse tensor: compressed rows of what is not a matrix")
        lines, others = self.shape[::-1] if self.by_column else self.shape
        fits = plain.ndim == 1 and pointers.shape == (lines + 1,)
        fits = fits and self.entries.shape == plain.shape and not pointers[0]
        if not fits or pointers[-1] != len(plain) or (np.diff(pointers) < 0).any():
            raise UnreadableModel("sparse tensor: its row pointers are not those of its shape")
        if (plain < 0).any() or (plain >= others).any():
            raise UnreadableModel("sparse tensor: indices lie outside its shape")
        along = np.repeat(np.arange(lines), np.diff(pointers))
        return (plain, along) if self.by_column else (along, plain)

    def read(self) -> "Tensor":
        """The dense tensor; elements given twice are summed."""
        import numpy as np

        entries = self.entries.read()
        dense = np.zeros(self.shape, dtype=entries.dtype)
        np.add.at(dense, self.places(), entries)
        return dense
