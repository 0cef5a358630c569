"""What of a file a weight is made of, and which of it gives the weight its new values."""

from collections.abc import Iterator
from typing import NoReturn, TypeAlias

import numpy as np

from specaudit.errors import UnsupportedModel
from specaudit.formats.canvas import Values
from specaudit.formats.composed import Quantised, Sparse
from specaudit.formats.composed import values as numbers_of
from specaudit.formats.files import shown
from specaudit.formats.onnx_tensors import SparseTensor, TypedTensor
from specaudit.formats.strided import Strided
from specaudit.formats.tensors import StoredTensor
from specaudit.model import Weight

Part: TypeAlias = tuple[Strided | StoredTensor | TypedTensor, Values | None]


def parts_of(weight: Weight, values: Values | None) -> Iterator[Part]:
    """The stored tensors behind a weight, each with its new values, or None if it keeps its own.

    What is part of a pickle is left out; see `specaudit.formats.pickled`.
    """
    source = weight.source
    if isinstance(source, Strided | StoredTensor | TypedTensor):
        yield source, values
    elif isinstance(source, SparseTensor):
        yield source.values, values and (lambda: entries(weight.name, source, values))
        yield source.indices, None
    elif isinstance(source, Sparse):
        yield source.entries, values and (lambda: entries(weight.name, source, values))
        yield source.plain, None
        if source.compressed is not None:
            yield source.compressed, None
    elif isinstance(source, Quantised):
        yield source.integers, None
        if isinstance(source.scales, Strided):
            yield source.scales, values and (lambda: scales(weight.name, source, values))
        if isinstance(source.zero_points, Strided):
            yield source.zero_points, None


def entries(
    name: str, source: Sparse | SparseTensor, values: Values
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """The stored elements of a sparse tensor that is to have `values`."""
    dense = values()
    if dense.shape != source.shape:
        refuse(name, f"values of shape {dense.shape} for a tensor of shape {source.shape}")
    if isinstance(source, SparseTensor):
        shape, dense = source.values.shape, dense.reshape(-1)
    else:
        shape = source.entries.shape
    places = source.places()
    taken = dense[places]
    rest = np.array(dense)
    rest[places] = 0
    hits = np.zeros(rest.shape, dtype=np.uint8)
    np.add.at(hits, places, 1)
    if rest.any() or (hits > 1).any():
        refuse(name, "it is sparse, and the new values are not where its elements are")
    return taken.reshape(shape)


def scales(
    name: str, source: Quantised, values: Values
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """The scale, of each channel or of all, with which the integers stand for `values`.

    Raises
    ------
    UnsupportedModel
        There is none: the new values are not the old ones times a number.
    """
    wanted = np.asarray(values(), dtype=np.float64)
    old, current = numbers_of(source.scales), source.read()
    if wanted.shape != current.shape:
        refuse(name, f"values of shape {wanted.shape} for a tensor of shape {current.shape}")
    axis = source.axis or 0
    rows = np.moveaxis(np.asarray(current, dtype=np.float64), axis, 0).reshape(len(old), -1)
    goal = np.moveaxis(wanted, axis, 0).reshape(len(old), -1)
    largest = np.abs(rows).argmax(axis=1)[:, None]
    peaks = np.take_along_axis(rows, largest, axis=1)[:, 0]
    wants = np.take_along_axis(goal, largest, axis=1)[:, 0]
    factors = np.divide(wants, peaks, out=np.ones_like(peaks), where=peaks != 0)
    # eight roundings at most lie between the two, whoever made the values
    if not np.allclose(rows * factors[:, None], goal, rtol=8 * np.finfo(np.float32).eps, atol=0):
        refuse(name, "it is quantised, and no scale turns its integers into the new values")
    return old * factors


def refuse(name: str, reason: str) -> NoReturn:
    """Raise an error that names the tensor."""
    raise UnsupportedModel(f"{shown(name)[1:-1]} cannot be written: {reason}")
