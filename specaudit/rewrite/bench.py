"""A model on the bench: its layers, the values they are about to get, what is proved of them."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from specaudit import measuring, pipeline
from specaudit.errors import UnsupportedModel
from specaudit.model import Model
from specaudit.operators import Layer
from specaudit.pipeline import Prepared
from specaudit.report import Measurement, Settings
from specaudit.rewrite.folding import folded
from specaudit.rewrite.overlay import Overlay, Values, multiple

_NUMPY = ("float16", "float32", "float64", "complex64", "complex128")
_COARSE = 1e-2  # the width of a convolution's bracket where nobody asks for another


@dataclass(slots=True)
class Bench:
    """The layers of a model whose tensors have an overlay.

    Attributes
    ----------
    overlay : Overlay
    prepared : Prepared
        Of the overlay's model.
    layers : list of Layer
    measured : list of Measurement
        Of each layer, as it would now be written.
    closer : set of int
        Layers whose measurement is more exact than the settings ask for.
    fold : bool
        Whether layers before a batch norm are taken together with it.
    readers : dict
        The layers that read a parameter, by its first name; made when first asked for.
    """

    overlay: Overlay
    prepared: Prepared
    layers: list[Layer]
    measured: list[Measurement]
    closer: set[int] = field(default_factory=set)
    stale: set[int] = field(default_factory=set)
    fold: bool = False
    readers: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        overlay: Overlay,
        prepared: Prepared,
        measured: Iterable[Measurement],
        *,
        fold: bool = False,
    ) -> "Bench":
        """Return the bench before anything was changed."""
        return cls(overlay, prepared, list(prepared.layers), list(measured), fold=fold)

    @property
    def settings(self) -> Settings:
        """What the norms are measured with."""
        return self.prepared.settings

    def norm_now(self, index: int, *, limit: float | None = None) -> Measurement:
        """Return what is proved of a layer; more exactly where the limit asks for it."""
        if index in self.stale:
            self.measured[index] = measuring.alone(self.layers[index], self.settings)
            self.stale.discard(index)
        if limit is not None:
            layer, found = self.layers[index], self.measured[index]
            self.measured[index] = measuring.decided(layer, found, limit, self.settings)
        return self.measured[index]

    def tight(self, index: int, *, rtol: float = 0.0) -> Measurement:
        """Measure a layer as exactly as a limit is decided, or as `rtol` if that is wider."""
        settings = measuring.deciding(self.settings)
        settings = msgspec.structs.replace(settings, rtol=max(settings.rtol, min(rtol, _COARSE)))
        self.measured[index] = measuring.alone(self.layers[index], settings)
        self.stale.discard(index)
        self.closer.add(index)
        return self.measured[index]

    def current(self) -> list[Measurement]:
        """Return the measurement of every layer."""
        return [self.norm_now(index) for index in range(len(self.layers))]

    def take(self, values: Overlay, measured: Sequence[Measurement]) -> None:
        """Take over values from another overlay, with what was measured of them."""
        self.overlay.take(values)
        self.refresh()
        self.measured = list(measured)
        self.stale.clear()
        self.closer.clear()

    def put(self, index: int, values: Values) -> float:
        """Write a layer's weight to its tensors, as they are stored.

        Returns
        -------
        float
            The machine epsilon of the coarsest tensor written; that of the layer where rounding
            gave back the values of before.
        """
        layer = self.layers[index]
        assert layer.write is not None
        try:
            written = layer.write(values)
            changed = [name for name, new in written.items() if self.overlay.put(name, new)]
        except UnsupportedModel as problem:
            problem.where = problem.where or layer.name
            raise
        self._spoil(index, changed)
        steps = [epsilon_of(self.overlay.dtype(name)) for name in changed]
        return max(steps, default=epsilon_of(layer.dtype))

    def scale(self, index: int, old: Values, factor: float) -> None:
        """Write a multiple of a layer's weight, whose values are `old`."""
        self._spoil(index, lay_multiple(self.overlay, self.layers[index], old, factor))

    def unscale(self, index: int) -> bool:
        """Forget the multiple of the tensor that decides a layer's weight, if it is one."""
        name = self.layers[index].tensors[0].name
        is_multiple = self.overlay.unscale(name)
        self._spoil(index, [name] if is_multiple else [])
        return is_multiple

    def sharing(self, index: int, names: Iterable[str]) -> list[int]:
        """Return the other layers that read one of the tensors."""
        if not self.readers:
            for other, layer in enumerate(self.layers):
                for first in {self.overlay.same(tensor.name)[0] for tensor in layer.tensors}:
                    self.readers.setdefault(first, []).append(other)
        wanted = {self.overlay.same(name)[0] for name in names}
        found = {other for first in wanted for other in self.readers.get(first, ())}
        return sorted(found - {index})

    def prepare(self, model: Model) -> Prepared:
        """Take a model apart as this one was."""
        return prepare(model, self.settings, fold=self.fold)

    def refresh(self) -> None:
        """Take the model apart anew: constants that were folded are folded from the new values."""
        self.prepared = self.prepare(self.overlay.model)
        self.layers = list(self.prepared.layers)
        self.readers.clear()

    def _spoil(self, index: int, changed: Sequence[str]) -> None:
        if not changed:
            return
        self.stale.update(self.sharing(index, changed))
        if self.prepared.model.graph is not None and _is_computed(self.layers[index], changed):
            self.refresh()


def lay_multiple(overlay: Overlay, layer: Layer, old: Values, factor: float) -> list[str]:
    """Lay the multiple of a layer's weight over its tensors; return the names of those changed.

    Parameters
    ----------
    old : ndarray
        What the layer reads.
    factor : float
        Between 0 and 1.
    """
    assert layer.write is not None
    first = layer.tensors[0]
    # All entries of one tensor, in whatever order: these are made from the tensor's own.
    is_whole = len(layer.tensors) == 1 and old.size == first.size and not layer.roundings
    if is_whole and layer.error is None and overlay.scale(first.name, factor):
        return [first.name]
    written = layer.write(multiple(old, factor))
    return [name for name, new in written.items() if overlay.put(name, new)]


def _is_computed(layer: Layer, changed: Sequence[str]) -> bool:
    """Whether a layer's weight may be one that a graph folds, and holds on to."""
    return len(layer.tensors) > 1 or bool(layer.notes) or layer.tensors[0].name not in changed


def prepare(model: Model, settings: Settings, *, fold: bool) -> Prepared:
    """Find a model's layers; with `fold`, those before a batch norm together with it."""
    prepared = pipeline.prepare(model, settings=settings)
    if fold:
        return dataclasses.replace(prepared, layers=folded(prepared.extraction))
    return prepared


def epsilon_of(dtype: str) -> float:
    """Return the distance from 1 to the next number of a stored type; float32's for integers."""
    if dtype.startswith(("int", "uint", "bool")):
        return 2.0**-23
    if dtype in _NUMPY:
        return float(np.finfo(dtype).eps)
    import ml_dtypes  # for the few files that need it

    known: Any = ml_dtypes  # of whose types it says nothing
    return float(known.finfo(dtype).eps)
