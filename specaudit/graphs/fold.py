"""Constants worked out from constants: the table of operations, and a bounded evaluation."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from specaudit import limits
from specaudit.graphs.dtypes import numpy_dtype
from specaudit.graphs.site import Array, Scope, Site, size
from specaudit.model import Node, Weight

Inputs: TypeAlias = Sequence[Array | None]
Function: TypeAlias = Callable[[Site, Inputs], Sequence[Array] | None]

LIVE_RESULTS = 4  # results of that size that may be held at once
NODE_WORK = 1000
ERRORS = (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Fold:
    """How an operation is evaluated.

    Parameters
    ----------
    function : callable
        From arrays to arrays; None where ONNX leaves the result open, or it is not done.
    data : tuple of int or None
        The inputs whose values reach the output (None: all); the others only say where to.
    moves : bool
        Elements are moved and never computed with, so that any dtype goes through.
    shrinks : bool
        The result has no more elements than 8 times the inputs, whatever they are.
    """

    function: Function
    data: tuple[int, ...] | None = None
    moves: bool = False
    shrinks: bool = False

    def reaches(self, index: int) -> bool:
        """Whether values of the input reach the output."""
        return self.data is None or index in self.data


FOLDS: dict[tuple[str, str], Fold] = {}


def folds(
    *operations: str,
    data: tuple[int, ...] | None = None,
    moves: bool = False,
    shrinks: bool = False,
    domain: str = "",
) -> Callable[[Function], Function]:
    """Enter an evaluation into the table, for one or several operations."""

    def enter(function: Function) -> Function:
        for operation in operations:
            FOLDS[domain, operation] = Fold(function, data, moves, shrinks)
        return function

    return enter


def evaluated(site: Site, inputs: Inputs) -> tuple[Array, ...] | None:
    """Outputs of one node from the values of its inputs, or None where it is not folded."""
    fold = FOLDS.get((site.node.domain, site.node.op))
    if fold is None:
        return None
    try:
        with np.errstate(all="ignore"):
            outputs = fold.function(site, inputs)
    except ERRORS:  # contradictory operands: the value stays unknown, and is said to be
        return None
    if outputs is None:
        return None
    partial = any(item is not None and item.dtype == object for item in inputs)
    return tuple(np.asarray(item, dtype=object if partial else None) for item in outputs)


class Values(Scope, Protocol):
    """The scope that an evaluation runs in."""

    def site(self, node: Node) -> Site:
        """The node as rules see it."""

    def producer(self, name: str) -> Node | None:
        """The node of this graph that gives a value."""

    def is_constant(self, name: str) -> bool:
        """Whether a value depends on no input."""

    def leaf(self, name: str) -> Weight | Array | None:
        """A constant that no node of this graph gives, or a small one already known."""


class Folder:
    """Evaluates constants of one graph on demand, in bounded memory and time.

    Nothing is evaluated before the size of every result on the way is known and allowed.
    """

    def __init__(self, scope: Values, budget: "Budget") -> None:
        self.scope = scope
        self.budget = budget
        self.cache: OrderedDict[str, Array] = OrderedDict()
        self.held = 0
        self.refused: set[str] = set()
        self.lock = threading.Lock()

    def value(self, name: str) -> Array | None:
        """Value of a constant, or None where it cannot or may not be worked out."""
        with self.lock:
            if name in self.refused:
                return None
            if name in self.cache:
                return self.cache[name]
        plan = self._plan(name)
        found = None if plan is None else self._run(plan, name)
        with self.lock:
            if found is None:
                self.refused.add(name)
            elif name not in self.cache:
                self._keep(name, found)
        return found

    def _keep(self, name: str, value: Array) -> None:
        if value.nbytes > limits.scaled(limits.FOLDED_CACHE_BYTES) // 4:
            return
        value = value if value.base is None else value.copy()  # a view would keep all of it
        self.cache[name] = value
        self.held += value.nbytes
        while self.held > limits.scaled(limits.FOLDED_CACHE_BYTES):
            self.held -= self.cache.popitem(last=False)[1].nbytes

    def _plan(self, name: str) -> "_Plan | None":
        """Nodes to evaluate, in order; no recursion, since chains are as deep as files want."""
        plan = _Plan()
        stack: list[tuple[str, bool]] = [(name, False)]
        while stack:
            value, ready = stack.pop()
            if value in plan.leaves or value in plan.given:
                continue
            known = self.cache.get(value)
            leaf = known if known is not None else self.scope.leaf(value)
            if leaf is not None:
                plan.leaves[value] = leaf
                continue
            node = self.scope.producer(value)
            if node is None or not self._foldable(node, value):
                return None
            needed = list(_operands(node))
            if ready:
                plan.add(node)
            else:
                stack.append((value, True))
                stack += [(item, False) for item in needed]
        return plan if self._affordable(plan) else None

    def _foldable(self, node: Node, value: str) -> bool:
        return (
            (node.domain, node.op) in FOLDS
            and self.scope.is_constant(value)
            and value not in self.refused
        )

    def _affordable(self, plan: "_Plan") -> bool:
        largest = max((leaf.size for leaf in plan.leaves.values()), default=0)
        plan.limit = 4 * largest
        work = NODE_WORK * len(plan.nodes)
        for node in plan.nodes:
            shrinks = FOLDS[node.domain, node.op].shrinks
            for output in node.outputs:
                count = size(self.scope.type_of(output).shape) if output else 0
                if count is None and not shrinks:
                    return False
                if count is not None and count > max(plan.limit, self._free(output)):
                    return False
                work += (count or 0) * self._terms(node)
        return self.budget.spend(work)

    def _free(self, name: str) -> int:
        dtype = numpy_dtype(self.scope.type_of(name).dtype)
        return limits.scaled(limits.FOLDED_BYTES) // (dtype.itemsize if dtype is not None else 8)

    def _terms(self, node: Node) -> int:
        """Work for one element of the result, in elements copied."""
        if node.op not in {"MatMul", "Gemm"}:
            return 1
        shape = self.scope.type_of(node.inputs[0]).shape if node.inputs else None
        inner = shape[-1] if shape else None
        return 1 + inner // 8 if isinstance(inner, int) else limits.FOLDED_WORK

    def _run(self, plan: "_Plan", name: str) -> Array | None:
        values: dict[str, Array] = {}
        readers = plan.readers(name)
        live = 0
        for node in plan.nodes:
            for operand in _operands(node):
                if operand in plan.leaves and operand not in values:
                    leaf = plan.leaves[operand]
                    values[operand] = leaf.read() if isinstance(leaf, Weight) else leaf
                    live += values[operand].size
            inputs = [values.get(item) for item in node.inputs]
            outputs = evaluated(self.scope.site(node), inputs)
            if outputs is None:
                return None
            for output, value in zip(node.outputs, outputs, strict=False):
                if readers.get(output):
                    values[output] = value
                    live += value.size
            for operand in _operands(node):
                readers[operand] -= 1
                if not readers[operand]:
                    live -= values.pop(operand).size
            if live > LIVE_RESULTS * max(plan.limit, limits.scaled(limits.FOLDED_BYTES) // 4):
                return None
        return values.get(name)


class Budget:
    """What all scopes of one model may spend; what is over stays unfolded or unknown.

    Parameters
    ----------
    nodes : int
        Nodes of the model, those of subgraphs among them.
    weights : int
        Elements of its weights.
    """

    def __init__(self, nodes: int, weights: int) -> None:
        self.left = limits.FOLDED_WORK + 64 * weights
        self.walked = 0
        self.walks = 4 * nodes + 1000
        self.kept = limits.scaled(limits.FOLDED_KEPT)

    def spend(self, elements: int) -> bool:
        """Take from the work for folding; False where it is used up."""
        self.left -= elements
        return self.left >= 0

    def may_keep(self, elements: int) -> bool:
        """Whether a small constant may be kept; the smallest always may."""
        self.kept -= elements
        return self.kept >= 0 or elements <= 16

    def may_walk_again(self) -> bool:
        """Whether bodies of loops may be walked another time."""
        return self.walked < self.walks


class _Plan:
    """Nodes in the order of evaluation, and the constants that they start from."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.given: set[str] = set()
        self.leaves: dict[str, Weight | Array] = {}
        self.limit = 0

    def add(self, node: Node) -> None:
        """Append a node, whose operands are there already."""
        self.nodes.append(node)
        self.given.update(node.outputs)

    def readers(self, result: str) -> dict[str, int]:
        """How often each value is still to be read; the result once more."""
        counts = {result: 1}
        for node in self.nodes:
            for operand in _operands(node):
                counts[operand] = counts.get(operand, 0) + 1
        return counts


def _operands(node: Node) -> Iterator[str]:
    """Names of the values that are read, each once; of Shape and Size only the type is."""
    if (node.domain, node.op) not in {("", "Shape"), ("", "Size")}:
        yield from dict.fromkeys(item for item in node.inputs if item)


def sources(node: Node) -> Iterator[str]:
    """Operands whose values reach the node's outputs; an index or a shape only says where to."""
    fold = FOLDS.get((node.domain, node.op))
    for index, operand in enumerate(node.inputs):
        if operand and (fold is None or fold.reaches(index)):
            yield operand
