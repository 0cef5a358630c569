"""Biases scaled along with the weights, so that a homogeneous network becomes a multiple."""

import math
from collections.abc import Mapping

import numpy as np

from specaudit.errors import UnsupportedModel, UsageError
from specaudit.extract.constants import operand
from specaudit.graphs.resolved import ResolvedGraph
from specaudit.model import Node
from specaudit.operators import widen
from specaudit.rewrite.overlay import Overlay

# f(c x) = c f(x) for c > 0, in all inputs that are not constants together.
_HOMOGENEOUS = frozenset({
    "Abs", "AveragePool", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Identity", "LeakyRelu", "LpPool",
    "Max", "MaxPool", "Mean", "Min", "Neg", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceSum", "Relu", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Sum", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip
# Of these the first input alone may move.
_IN_FIRST = frozenset({"Gather", "PRelu"})
_SHAPES = frozenset({"Shape", "Size"})  # what they give does not grow with their input
# Constants of these among the first inputs are added to or compared with what moves.
_NOT_WITH_CONSTANTS = frozenset({"Concat", "Max", "Min", "Mean", "Sum"})
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SAME = 1e-6  # relative: roundings of the same product of factors


class Scaling:
    """How far each value of a graph is scaled, and the biases that have to be with it.

    Parameters
    ----------
    resolved : ResolvedGraph
    factors : mapping of str to float
        By node, what its weight was multiplied by.

    Attributes
    ----------
    factors_of : dict
        By value, its factor, once `walk` is through.
    biases : dict
        By name of a constant, its factor.
    """

    def __init__(self, resolved: ResolvedGraph, factors: Mapping[str, float]) -> None:
        self.resolved, self.factors = resolved, factors
        self.factors_of: dict[str, float] = {value.name: 1.0 for value in resolved.inputs}
        self.biases: dict[str, float] = {}

    def walk(self) -> None:
        """Follow the factors from the inputs to the outputs.

        Raises
        ------
        UsageError
            At the first operation that is not positively homogeneous, or joins values that
            are scaled differently.
        """
        for node in self.resolved.nodes:
            if self.resolved.subgraphs(node):
                raise self._refused(node, "has branches or a body, which are not followed")
            live = [name for name in node.inputs if name in self.factors_of]
            if live and node.op not in _SHAPES:
                factor = self._through(node, live)
                self.factors_of.update({name: factor for name in node.outputs if name})

    def _through(self, node: Node, live: list[str]) -> float:
        own = self.factors.get(node.name, 1.0)
        given = [self.factors_of[name] for name in live]
        factor = given[0]
        if not all(math.isclose(one, factor, rel_tol=_SAME) for one in given):
            raise self._refused(node, "joins values that are scaled differently")
        if factor == 1.0 == own:
            return 1.0
        if node.op in _LAYERS and not node.domain and len(live) == 1:
            if len(node.inputs) > 2:
                self._bias(node, node.inputs[2], factor * own)
            return factor * own
        if node.op == "BatchNormalization" and node.inputs[0] in live:
            self._bias(node, node.inputs[2], factor * own)
            self._bias(node, node.inputs[3], factor)
            return factor * own
        if node.op in ("Add", "Sub"):
            for name in node.inputs:
                if name not in live:
                    self._bias(node, name, factor)
            return factor
        scales = node.op == "Mul" or (node.op == "Div" and node.inputs[1] not in live)
        if scales and len(live) == 1:
            return factor * own
        if node.op == "Gather" and node.inputs[0] not in live:  # a table that is looked up
            return own
        if node.op in _IN_FIRST and live == [node.inputs[0]]:
            return factor
        padded = node.op == "Pad" and self._pads_with_zeros(node)
        alone = len(live) == len([name for name in node.inputs if name])
        if padded or (node.op in _HOMOGENEOUS and (alone or node.op not in _NOT_WITH_CONSTANTS)):
            return factor
        raise self._refused(node, "is not positively homogeneous")

    def _bias(self, node: Node, name: str, factor: float) -> None:
        if not name or factor == 1.0:
            return
        if not math.isclose(self.biases.setdefault(name, factor), factor, rel_tol=_SAME):
            raise self._refused(node, f"shares {name} with an operation that is scaled differently")

    def _pads_with_zeros(self, node: Node) -> bool:
        if node.attributes.get("mode", b"constant") not in (b"constant", "constant"):
            return True
        value = self.resolved.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        known = len(node.inputs) < 3 or not node.inputs[2] or value is not None
        return known and (value is None or not np.any(value)) and not node.attributes.get("value")

    def _refused(self, node: Node, why: str) -> UsageError:
        return UsageError(
            f"--with-bias: {node.op} {why}, so that no factor of the biases makes the network a "
            "multiple of itself",
            where=node.name,
            help="leave --with-bias out: the weights alone then change",
        )


def scale_biases(
    resolved: ResolvedGraph, factors: Mapping[str, float], overlay: Overlay
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scale every bias by the product of the factors before it.

    Returns
    -------
    names : tuple of str
        The tensors that were written.
    notes : tuple of str
        What became of the outputs.
    """
    scaling = Scaling(resolved, factors)
    scaling.walk()
    written: dict[str, float] = {}
    for name, factor in scaling.biases.items():
        found = operand(resolved, name)
        if found is None or found.write is None:
            raise UnsupportedModel("a bias that cannot be written", where=name)
        for tensor, values in found.write(widen(np.asarray(found.read())) * factor).items():
            if not math.isclose(written.setdefault(tensor, factor), factor, rel_tol=_SAME):
                raise UsageError("--with-bias: two biases share a tensor", where=tensor)
            overlay.put(tensor, values)
    notes = tuple(
        f"{value.name} is {scaling.factors_of[value.name]:.6g} times what it was, but for the "
        "rounding of stored values"
        for value in resolved.outputs
        if scaling.factors_of.get(value.name, 1.0) != 1.0
    )
    return tuple(written), notes
