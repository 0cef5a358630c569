"""New values of tensors laid over those of a model, which then reads as if it held them."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from tempfile import SpooledTemporaryFile, gettempdir

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import OutputError, UnsupportedModel
from specaudit.model import Function, Graph, Model, Node, Weight
from specaudit.operators import entries, widen

Values = NDArray[np.generic]

_IN_MEMORY = 1 << 27  # bytes of new values kept in memory; a file without a name takes more
_IN_CACHE = 1 << 18
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_ROUNDED = (*_FLOATS, "complex64")


class Overlay(Mapping[str, Values]):
    """The new values, by the name of each tensor that has other bytes than before.

    Attributes
    ----------
    model : Model
        The model with these values in place of the file's, at whatever moment it is read.
    folder : str or None
        Where values that memory does not hold are put; None leaves that to the system.

    Notes
    -----
    Names of one parameter (the same bytes of one storage, in the same shape) change
    together. Of a multiple only the factor is kept, unless the model is a live module, whose
    tensors change while its new values are still being read.
    """

    def __init__(self, model: Model, folder: str | None = None) -> None:
        self._weights = {weight.name: weight for weight in reversed(model.weights)}
        self._names = _aliases(model.weights)
        self._places: dict[str, tuple[int, np.dtype[np.generic]] | float] = {}
        self._is_live = model.format == "module"
        self.folder = folder
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=folder)  # noqa: SIM115  lives as long
        self._lock = threading.Lock()
        self._wrapped: dict[int, Weight] = {}
        self.model = replace(
            model,
            weights=tuple(self._weight(weight) for weight in model.weights),
            graph=None if model.graph is None else self._graph(model.graph),
        )

    def put(self, name: str, values: Values) -> bool:
        """Round new values to the stored type and keep them; return whether a bit changed.

        Raises
        ------
        UnsupportedModel
            If the type cannot hold them.
        OutputError
            If there is no room for them.
        """
        weight = self._weights[name]
        old = self[name] if name in self else weight.read()
        new = stored(np.asarray(values).reshape(weight.shape), old.dtype, name)
        if same_bytes(new, old):
            return False
        first = self._names[name][0]
        with self._lock:
            try:
                place = self._keep(_bytes(new), self._places.get(first))
            except OSError as error:
                raise OutputError(
                    f"no room for the new values: {error.strerror}",
                    where=self.folder or gettempdir(),
                    help="they are put there until the output is written: make room",
                ) from error
            self._places[first] = place, new.dtype
        return True

    def scale(self, name: str, factor: float) -> bool:
        """Keep the `multiple` of a tensor whose model still has its own values.

        Parameters
        ----------
        name : str
        factor : float
            Between 0 and 1, so that every value stays within its type.

        Returns
        -------
        bool
            False where it has new values already, or its type is no float's: nothing changed.
        """
        weight = self._weights[name]
        if self._is_live or name in self or weight.dtype not in _FLOATS:
            return False
        self._places[self._names[name][0]] = factor
        return True

    def unscale(self, name: str) -> bool:
        """Forget a multiple, so that the model's own values are back; return whether it was one."""
        first = self._names[name][0]
        is_multiple = isinstance(self._places.get(first), float)
        if is_multiple:
            del self._places[first]
        return is_multiple

    def take(self, other: "Overlay") -> None:
        """Take over the values of an overlay of this one's model."""
        for first, place in other._places.items():
            if not isinstance(place, float) or not self.scale(first, place):
                self.put(first, other[first])

    def _keep(self, data: NDArray[np.uint8], known: object) -> int:
        """Write bytes to their place, the end if they have none, and return it."""
        place = known[0] if isinstance(known, tuple) else self._file.seek(0, 2)
        self._file.seek(place)
        left = data.data
        while left:  # a disk that is nearly full takes a part
            left = left[self._file.write(left) :]
        return place

    def drop(self) -> None:
        """Forget every new value."""
        self._places.clear()
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Give the memory back."""
        self._file.close()

    def same(self, name: str) -> tuple[str, ...]:
        """Return all names of the parameter, the first one first."""
        return self._names[name]

    def dtype(self, name: str) -> str:
        """Return the type of a new value without reading it."""
        place = self._places[self._names[name][0]]
        return self._weights[name].dtype if isinstance(place, float) else place[1].name

    def __getitem__(self, name: str) -> Values:
        weight = self._weights[name]
        place = self._places[self._names[name][0]]
        if isinstance(place, float):
            return multiple(weight.read(), place, overwrite=True)  # freshly read: no one else's
        start, dtype = place
        data = np.empty(weight.size, dtype=dtype)
        left = _bytes(data).data
        with self._lock:
            self._file.seek(start)
            while left:
                left = left[self._file.readinto(left) :]
        return data.reshape(weight.shape)

    def __iter__(self) -> Iterator[str]:
        for first in self._places:
            yield from self._names[first]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str) and name in self._names and self._names[name][0] in self._places
        )

    def _weight(self, weight: Weight) -> Weight:
        if id(weight) not in self._wrapped:
            known = self._weights.get(weight.name) is weight
            read = partial(self._read, weight) if known else weight.read
            self._wrapped[id(weight)] = replace(weight, read=read)
        return self._wrapped[id(weight)]

    def _read(self, weight: Weight) -> Values:
        return self[weight.name] if weight.name in self else weight.read()

    def _graph(self, graph: Graph) -> Graph:
        return replace(
            graph,
            nodes=tuple(map(self._node, graph.nodes)),
            constants={name: self._weight(weight) for name, weight in graph.constants.items()},
            functions={key: self._function(found) for key, found in graph.functions.items()},
        )

    def _function(self, function: Function) -> Function:
        return replace(function, nodes=tuple(map(self._node, function.nodes)))

    def _node(self, node: Node) -> Node:
        if not any(isinstance(value, Weight | Graph | tuple) for value in node.attributes.values()):
            return node
        found = {name: self._value(value) for name, value in node.attributes.items()}
        return replace(node, attributes=found)

    def _value(self, value: object) -> object:
        if isinstance(value, Weight):
            return self._weight(value)
        if isinstance(value, Graph):
            return self._graph(value)
        return tuple(map(self._value, value)) if isinstance(value, tuple) else value


def multiple(values: Values, factor: float, *, overwrite: bool = False) -> Values:
    """Return values times a factor, rounded to their type where that is a usual one.

    `overwrite` lets it use the memory of the values: new memory costs more than the product.
    """
    single = np.float32(factor)
    with np.errstate(under="ignore"):
        if values.dtype == np.float32 and float(single) == factor:
            # In binary64 the product were exact: either way it is rounded once.
            product: Values = np.multiply(values, single, out=values if overwrite else None)
            return product
        wide = widen(values.reshape(-1)[:0]).dtype
        new = np.empty(values.size, values.dtype if values.dtype.name in _ROUNDED else wide)
        place = 0
        for (block,) in entries(values):
            new[place : place + block.size] = block * factor
            place += block.size
    return new.reshape(values.shape)


def stored(values: Values, dtype: np.dtype[np.generic], name: str) -> Values:
    """Return values rounded to a stored type, to nearest."""
    if dtype.kind in "iub" or dtype.name.startswith(("int", "uint")):
        raise UnsupportedModel("integers are not rounded to other integers", where=name)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded: Values = values.astype(dtype, copy=False)
    if not np.isfinite(rounded).all():
        raise UnsupportedModel(f"a new value is past the largest {dtype.name}", where=name)
    return rounded


def same_bytes(one: Values, other: Values) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    a, b = _bytes(one), _bytes(other)
    return all(
        np.array_equal(a[start : start + _IN_CACHE], b[start : start + _IN_CACHE])
        for start in range(0, a.size, _IN_CACHE)
    )


def _bytes(values: Values) -> NDArray[np.uint8]:
    """Return the bytes of an array: a view, where it lies in one piece."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _aliases(weights: tuple[Weight, ...]) -> dict[str, tuple[str, ...]]:
    """Return for each name all names of the same parameter."""
    groups: dict[object, dict[str, None]] = {}
    keys: dict[str, object] = {}
    for weight in weights:
        place = (weight.storage, weight.extent, weight.shape, weight.dtype)
        key = place if weight.storage and weight.size else weight.name
        keys.setdefault(weight.name, key)
        groups.setdefault(keys[weight.name], {}).setdefault(weight.name)
    return {name: tuple(groups[key]) for name, key in keys.items()}
