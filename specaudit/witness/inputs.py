"""The inputs of a network as one vector of real numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specaudit.model import ValueInfo
from specaudit.witness.table import Uncovered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specaudit.witness.balls import Array

REAL = frozenset({"float16", "bfloat16", "float32", "float64"})
_WHOLE = frozenset(
    {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}
)
Typed = tuple[tuple[int, ...], str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network reads.

    Parameters
    ----------
    real : mapping of str to (shape, dtype)
        At the smallest batch. A point is all of them, one after the other.
    whole : mapping of str to (shape, dtype)
        Integers and truth values, which stay 0.
    batches : bool
        Whether the first axis of every input is one that the model leaves open.
    """

    real: Mapping[str, Typed]
    whole: Mapping[str, Typed]
    batches: bool

    @classmethod
    def of(cls, values: Sequence[ValueInfo]) -> "Inputs":
        """Read the declared inputs; raises `Uncovered` if a dimension is not known."""
        real: dict[str, Typed] = {}
        whole: dict[str, Typed] = {}
        for value in values:
            if value.dtype not in REAL | _WHOLE:
                raise Uncovered(f"{value.name} holds {value.dtype}")
            kept = real if value.dtype in REAL else whole
            kept[value.name] = (_smallest(value, values), value.dtype)
        found = cls(real, whole, not whole and all(_is_open(value) for value in values))
        if not found.size:
            raise Uncovered("no input holds real numbers")
        return found

    @property
    def size(self) -> int:
        """Number of real inputs of one sample."""
        return sum(math.prod(shape) for shape, _ in self.real.values())

    def box(self, given: Mapping[str, tuple[float, float]]) -> "tuple[Array, Array]":
        """Least and greatest value of each entry; ``""`` or ``"*"`` names all inputs not named."""
        ends = []
        for name, (shape, _) in self.real.items():
            found = next((given[key] for key in (name, "*", "") if key in given), None)
            both = np.array(found or (-np.inf, np.inf))
            ends.append(np.broadcast_to(both[:, None], (2, math.prod(shape))))
        low, high = np.concatenate(ends, axis=1)
        return low, high

    def split(self, points: "Array") -> "dict[str, Array]":
        """Points, one a row, as arrays by name; several only where the model takes batches."""
        values, start = {}, 0
        for name, (shape, _) in self.real.items():
            stop = start + math.prod(shape)
            sizes = (len(points), *shape[1:]) if self.batches else shape
            values[name] = points[:, start:stop].reshape(sizes)
            start = stop
        return values

    def zeros(self) -> "dict[str, NDArray[np.generic]]":
        """The inputs that are not real."""
        return {name: np.zeros(shape, dtype=dtype) for name, (shape, dtype) in self.whole.items()}

    def feeds(self, points: "Array") -> "dict[str, NDArray[np.generic]]":
        """What to feed a runtime with: every input, in the model's own types."""
        typed: dict[str, NDArray[np.generic]] = {
            name: values.astype("float32" if dtype == "bfloat16" else dtype)
            for (name, values), (_, dtype) in zip(
                self.split(points).items(), self.real.values(), strict=True
            )
        }
        return typed | self.zeros()

    def rounded(self, point: "Array", box: "tuple[Array, Array]") -> "Array":
        """The nearest point, inside the box, that the inputs' own types hold exactly."""
        parts, start = [], 0
        for shape, dtype in self.real.values():
            stop = start + math.prod(shape)
            parts.append(_in_type(point[start:stop], dtype, box[0][start:stop], box[1][start:stop]))
            start = stop
        return np.concatenate(parts)


def _is_open(value: ValueInfo) -> bool:
    return bool(value.shape) and not isinstance((value.shape or (0,))[0], int)


def _smallest(value: ValueInfo, inputs: Sequence[ValueInfo]) -> tuple[int, ...]:
    """The shape of an input with 1 for the batch: for what comes first in some input."""
    batch = {other.shape[0] for other in inputs if other.shape} - {None}
    sizes = [
        1 if not isinstance(size, int) and (axis == 0 or size in batch) else size
        for axis, size in enumerate(value.shape or (None,) * 2)
    ]
    known = tuple(size for size in sizes if isinstance(size, int))
    if len(known) != len(sizes):
        raise Uncovered(f"a dimension of {value.name} is not known")
    return known


def _in_type(values: "Array", dtype: str, low: "Array", high: "Array") -> "Array":
    if dtype == "bfloat16":  # the upper half of a float32
        bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        near = bits.view(np.float32).astype(np.float64)
        return np.where((near >= low) & (near <= high), near, np.clip(0.0, low, high))
    kind = np.dtype(dtype)
    near = values.astype(kind)
    # A box whose ends the type does not hold: the next number inside.
    up, down = np.array(np.inf, dtype=kind), np.array(-np.inf, dtype=kind)
    near = np.where(near.astype(np.float64) > high, np.nextafter(near, down), near)
    near = np.where(near.astype(np.float64) < low, np.nextafter(near, up), near)
    return near.astype(np.float64)
