"""A convolution or matrix and the batch norm behind it as one map, written by the batch norm."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from specaudit.errors import UnsupportedModel, UsageError
from specaudit.extract import Extraction
from specaudit.model import Node
from specaudit.operators import Array, Layer, widen

_SAME = 1e-6  # relative: roundings of a multiple, not another matrix


def folded(extraction: Extraction) -> tuple[Layer, ...]:
    """Return the layers, each that a batch norm follows as the map of both.

    Notes
    -----
    The map is ``diag(gamma / sqrt(var + eps)) W``; scaled, it is gamma that is written. In
    training mode a batch norm divides by the deviation of what it is given, so that a
    smaller W changes nothing and gamma decides.

    Raises
    ------
    UsageError
        Without a graph: which batch norm is behind what is not in a checkpoint.
    """
    resolved = extraction.resolved
    if resolved is None:
        raise UsageError(
            "--fold-batchnorm needs a graph, which a bare checkpoint does not hold",
            help="export the model to ONNX without folding, or leave the option out",
        )
    nodes = {node.name: node for node in resolved.nodes}
    scales = {layer.node: layer for layer in extraction.layers if layer.kind == "scale"}
    return tuple(
        _with(layer, scales[behind.name])
        if (behind := _behind(layer, nodes, extraction)) is not None
        and behind.name in scales
        # Sums that lost something have an error that is not relative to each entry.
        and layer.error is None is scales[behind.name].error
        else layer
        for layer in extraction.layers
    )


def followers(extraction: Extraction) -> frozenset[str]:
    """Return the nodes of batch norms that stand behind a layer."""
    resolved = extraction.resolved
    if resolved is None:
        return frozenset()
    nodes = {node.name: node for node in resolved.nodes}
    found = (_behind(layer, nodes, extraction) for layer in extraction.layers)
    return frozenset(node.name for node in found if node is not None)


def _behind(layer: Layer, nodes: Mapping[str, Node], extraction: Extraction) -> Node | None:
    """The batch norm that alone reads what a layer gives."""
    node = nodes.get(layer.node or "")
    resolved = extraction.resolved
    if node is None or resolved is None or layer.kind not in ("convolution", "linear"):
        return None
    readers = resolved.consumers(node.outputs[0])
    given = {value.name for value in resolved.outputs}
    if len(readers) != 1 or readers[0].op != "BatchNormalization" or node.outputs[0] in given:
        return None
    return readers[0]


def _with(layer: Layer, norm: Layer) -> Layer:
    """Return the map of a layer and the scale behind it."""

    def gains() -> Array:
        return widen(np.asarray(norm.read())).reshape(-1)

    def read() -> Array:
        kernel = widen(np.asarray(layer.read()))
        return kernel * gains().reshape(-1, *(1,) * (kernel.ndim - 1))

    def write(values: Array) -> Mapping[str, Array]:
        stored = read()
        square = float(np.vdot(stored, stored).real)
        factor = float(np.vdot(stored, values).real) / square if square > 0.0 else 1.0
        worst = float(np.abs(values - factor * stored).max(initial=0.0))
        if worst > _SAME * float(np.abs(values).max(initial=0.0)) or not math.isfinite(worst):
            raise UnsupportedModel(
                "a batch norm can only scale the map before it", help="use --mode scale"
            )
        assert norm.write is not None
        return norm.write(gains() * factor)

    return replace(
        layer,
        read=read,
        write=None if norm.write is None else write,
        tensors=(*norm.tensors, *layer.tensors),
        roundings=layer.roundings + norm.roundings + 1,
        notes=(*layer.notes, f"together with the batch norm of {norm.name}, which is written"),
    )
