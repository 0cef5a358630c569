"""Which tensors of a model are weights, as which matrices, and the way back."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from specaudit.extract.checkpoint import entries as entries_of_checkpoint
from specaudit.model import Model
from specaudit.operators import Layer
from specaudit.report import Skipped

if TYPE_CHECKING:
    from specaudit.graphs.resolved import ResolvedGraph

_NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Extraction:
    """The layers of a model, and all that is none, with the reason.

    Every `Weight` of the model is in the `tensors` of a layer, or skipped by name.
    `resolved` is the graph that the layers' nodes are of, where the model has one.
    """

    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    resolved: "ResolvedGraph | None" = None


def matrices(
    model: Model, *, input_shapes: Mapping[str, tuple[int, ...]] = _NO_SHAPES
) -> Extraction:
    """Return the weights of a model as the linear maps that they are.

    Parameters
    ----------
    model : Model
    input_shapes : mapping
        Shapes of the graph's inputs, by name, where they are wanted more exact.

    Returns
    -------
    Extraction
        In a graph one layer for each use of a weight, in a bare checkpoint one for each
        weight. Values are read when a layer's `read` is called, not here; the exceptions are
        small: tensors that are skipped are read to see that their values are finite.

    Notes
    -----
    A weight that is several matrices (one for each direction of a recurrent layer, each
    expert, each entry of a batched product) is several layers, called after it with a
    suffix: ``rnn.W.forward``, ``rnn.W.reverse``; ``experts.w1.0``, ``experts.w1.1``. The
    `write` of each gives the whole tensor with its own part changed: what writes several
    merges what changed.
    """
    if model.graph is None:
        resolved, found = None, list(entries_of_checkpoint(model))
    else:
        # What folds a graph is 50 ms to import, which a bare checkpoint does not pay.
        from specaudit.extract.graph import entries as entries_of_graph
        from specaudit.graphs.resolved import resolve

        resolved = resolve(model.graph, input_shapes=input_shapes)
        found = list(entries_of_graph(model, resolved))
    return Extraction(
        layers=tuple(entry for entry in found if isinstance(entry, Layer)),
        skipped=(
            *(entry for entry in found if isinstance(entry, Skipped)),
            *(Skipped(name, (), reason, covered=False) for name, reason in model.missing),
        ),
        resolved=resolved,
    )
