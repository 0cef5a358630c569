"""A graph as a function that can be evaluated, with a proved error where it is asked for."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from specaudit.graphs import ResolvedGraph
from specaudit.model import Node
from specaudit.witness import contractions, layout, normalization, pointwise, recurrent
from specaudit.witness.balls import Ball
from specaudit.witness.inputs import Inputs
from specaudit.witness.pointwise import BROADCASTING
from specaudit.witness.table import REFUSALS, TABLE, Uncovered, bounded

if TYPE_CHECKING:
    from specaudit.witness.balls import Array
    from specaudit.witness.table import Value, Values

# Each entered its operations into the table.
assert all((contractions, layout, normalization, pointwise, recurrent))

_RECURRENT = ("RNN", "GRU", "LSTM")
_MOST_TOGETHER = 1 << 22  # entries of one array, when several samples are evaluated at once
_NODE_OVERHEAD = 100_000  # what an operation on one number costs, in multiplications
_TAP_OVERHEAD = 20_000
_SLIDING = ("Conv", "ConvTranspose")
_MOST_CONSTANTS = 1 << 27  # entries held as float64: 1 GB


class Network:
    """The function from the real inputs of a graph to its real outputs.

    Parameters
    ----------
    resolved : ResolvedGraph

    Raises
    ------
    Uncovered
        If an operation is not evaluated here, or a dimension of an input is not known.

    Attributes
    ----------
    inputs : Inputs
    outputs : tuple of str
    """

    def __init__(self, resolved: ResolvedGraph) -> None:
        self.resolved = resolved
        self.nodes = [node for node in resolved.nodes if not self._is_constant(node)]
        for node in self.nodes:
            if node.domain not in ("", "ai.onnx") or node.op not in TABLE:
                raise Uncovered(f"{node.op} is not evaluated")
        self.inputs = Inputs.of(resolved.inputs)
        self.outputs = tuple(dict.fromkeys(value.name for value in resolved.outputs))
        if not self.outputs:
            raise Uncovered("the graph has no output")
        self._constants: dict[str, Value] = {}
        self._held = 0
        self._last_use = self._last_uses()
        self._work, self._overhead = self._cost()
        largest = max((self._largest(node) for node in self.nodes), default=1)
        self._block = max(1, _MOST_TOGETHER // max(largest, 1))

    def __call__(self, points: "Array") -> "Array":
        """Evaluate at points, one a row; one row of outputs for each."""
        if self.inputs.batches and len(points) > 1:
            if len(points) > self._block:
                halves = np.array_split(points, 2)
                return np.concatenate([self(half) for half in halves])
            found = self.run(self._split(points, None))
            return np.concatenate([f.mid.reshape(len(points), -1) for f in found], axis=1)
        return np.concatenate([self.at(point[None], None).mid[None] for point in points])

    def price(self, points: int) -> int:
        """Multiplications, about, that it takes to evaluate some points together."""
        return 1 + points * self._work + (1 if self.inputs.batches else points) * self._overhead

    def at(self, point: "Array", rad: "Array | None") -> Ball:
        """Evaluate at one point, a row; with a zero `rad`, as a ball that holds the truth."""
        found = self.run(self._split(point, rad))
        mid = np.concatenate([f.mid.reshape(-1) for f in found])
        rads = [np.broadcast_to(f.rad, f.mid.shape).reshape(-1) for f in found if f.rad is not None]
        return Ball(mid, np.concatenate(rads) if len(rads) == len(found) else None)

    def outputs_at(self, point: "Array") -> "dict[str, Array]":
        """The outputs at a point, by name."""
        found = self.run(self._split(point[None], None))
        return {name: f.mid for name, f in zip(self.outputs, found, strict=True)}

    def _split(self, points: "Array", rad: "Array | None") -> "dict[str, Value]":
        values: dict[str, Value] = {
            name: Ball(mid, rad) for name, mid in self.inputs.split(points).items()
        }
        return values | self.inputs.zeros()

    def run(self, values: "dict[str, Value]") -> list[Ball]:
        """Evaluate for values of the inputs; the outputs in order."""
        live = dict(values)
        with np.errstate(all="ignore"):
            self._walk(live)
        found = [self._value(name, live) for name in self.outputs]
        if not all(isinstance(value, Ball) for value in found):
            raise Uncovered("an output does not hold real numbers")
        return [value for value in found if isinstance(value, Ball)]

    def _walk(self, live: "dict[str, Value]") -> None:
        for index, node in enumerate(self.nodes):
            arguments = [self._value(name, live) for name in node.inputs]
            results = self._results(node, arguments)
            live.update(zip(node.outputs, results, strict=False))
            for name in self._last_use.get(index, ()):
                live.pop(name, None)

    def _results(self, node: Node, arguments: "Values") -> "list[Value]":
        present = [a for a in arguments if a is not None]
        shapes = [a.mid.shape if isinstance(a, Ball) else np.shape(a) for a in present]
        try:
            if node.op in BROADCASTING:
                bounded(*np.broadcast_shapes(*shapes))
            return TABLE[node.op](node, arguments, self.resolved.opset_of(node))
        except REFUSALS as problem:
            raise Uncovered(f"{node.op} cannot be evaluated: {problem}") from problem

    def _value(self, name: str, live: "Mapping[str, Value]") -> "Value | None":
        if not name:
            return None
        if name in live:
            return live[name]
        if name not in self._constants:
            self._constants[name] = self._constant(name)
        return self._constants[name]

    def _constant(self, name: str) -> "Value":
        found = self.resolved.constant(name)
        if found is None:
            raise Uncovered(f"{name} is not a constant that can be computed")
        if found.dtype.kind in "iub":
            return found
        if found.dtype.kind in "cSUO":
            raise Uncovered(f"{name} holds {found.dtype.name}")
        self._held += found.size
        if self._held > _MOST_CONSTANTS:
            raise Uncovered("the weights are too large to evaluate")
        return Ball.exactly(found)

    def _is_constant(self, node: Node) -> bool:
        return all(self.resolved.is_constant(name) for name in node.outputs if name)

    def _last_uses(self) -> dict[int, list[str]]:
        last: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            last.update(dict.fromkeys(node.inputs, index))
        uses: dict[int, list[str]] = {}
        for name, index in last.items():
            if name not in self.outputs and self.resolved.producer(name) is not None:
                uses.setdefault(index, []).append(name)
        return uses

    def _cost(self) -> tuple[int, int]:
        """Multiplications for one sample, and the overhead of one call, as the shapes tell them."""
        work, calls = self.inputs.size, 0  # inputs are drawn, whether or not a node reads them
        for node in self.nodes:
            size = sum(self._count(name) for name in node.outputs if name)
            repeats = self._known(node.inputs[0])[:1] if node.op in _RECURRENT else [1]
            # Every weight is read once at least, also where a shape is not known.
            work += max(size * self._inner(node), *map(self._count, node.inputs), 1)
            taps = math.prod(self._known(node.inputs[1])[2:]) if node.op in _SLIDING else 0
            calls += math.prod(repeats) * _NODE_OVERHEAD + taps * _TAP_OVERHEAD
        return work, calls

    def _largest(self, node: Node) -> int:
        """Entries of the largest array that a node makes of one sample, about."""
        size = sum(self._count(name) for name in node.outputs if name)
        if node.op != "Conv":
            return size
        return max(size, self._count(node.inputs[0]) * math.prod(self._known(node.inputs[1])[2:]))

    def _inner(self, node: Node) -> int:
        """Products for one entry of the result, about."""
        shape = self._known(node.inputs[1]) if len(node.inputs) > 1 else []
        if node.op in ("Conv", "ConvTranspose"):
            return math.prod(shape[1:]) + 8
        if node.op in _RECURRENT:
            return 8 * (sum(shape[-2:]) + 8)
        return max(shape[-2:], default=1) + 8 if node.op in ("Gemm", "MatMul", "Einsum") else 8

    def _count(self, name: str) -> int:
        return math.prod(self._known(name))

    def _known(self, name: str) -> list[int]:
        return [size for size in self.resolved.shape(name) or () if isinstance(size, int)]
