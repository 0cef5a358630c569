"""Small constants, worked out while shapes are inferred; also those known only in part."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from specaudit.graphs.dtypes import ELEMENT_TYPES
from specaudit.graphs.fold import ERRORS, FOLDS, Fold, evaluated
from specaudit.graphs.site import Array, Site, size
from specaudit.model import Node

# What a size comes through as it was: not a truth value, nor a type that rounds it or wraps it.
_HOLD_SIZES = {"int64", "int32", "uint64", "uint32", "float64"}
SMALL = 1024  # elements: shapes, indices, axes and their like


class Known(Protocol):
    """The scope that small constants are known in."""

    def is_known(self, name: str) -> bool:
        """Whether a value is a small constant, perhaps in part."""

    def known(self, name: str) -> Array | None:
        """The value; with dtype object where single elements are symbols or None."""

    def taken(self, node: Node) -> str | None:
        """The branch that an ``If`` takes."""


def small_outputs(site: Site, scope: Known) -> dict[str, Array]:
    """Outputs of a node that are small constants, perhaps in part.

    ``Shape`` of a tensor whose dimensions are known in part has the dtype object, and
    what moves or adds its elements keeps track of the known ones.
    """
    node = site.node
    if node.op == "If" and not node.domain:
        return _of_branch(site, scope)
    fold = FOLDS.get((node.domain, node.op))
    if fold is None or not _is_small(site):
        return {}
    outputs: Sequence[Array] | None
    if node.op in {"Shape", "Size"} and not node.domain:
        outputs = evaluated(site, [None])
    elif all(not name or scope.is_known(name) for name in node.inputs):
        outputs = _from_known(site, scope, fold)
    else:
        return {}
    named = zip(node.outputs, outputs or (), strict=False)
    return {
        name: _tidy(value, site.scope.type_of(name).dtype)
        for name, value in named
        if name and value.size <= SMALL
    }


def _is_small(site: Site) -> bool:
    counts = [size(site.scope.type_of(name).shape) for name in site.node.outputs if name]
    inputs = [size(site.shape(index)) for index in range(len(site.node.inputs))]
    return all(
        count <= SMALL if count is not None else all((item or 0) <= SMALL for item in inputs)
        for count in counts
    )


def _of_branch(site: Site, scope: Known) -> dict[str, Array]:
    branch = scope.taken(site.node)
    if branch is None:
        return {}
    body = site.scope.bodies(site.node).get(branch)
    if body is None:
        return {}
    values = zip(site.node.outputs, body.known_results(), strict=False)
    return {name: value for name, value in values if name and value is not None}


def _from_known(site: Site, scope: Known, fold: Fold) -> Sequence[Array] | None:
    inputs = [scope.known(name) if name else None for name in site.node.inputs]
    partial = [i for i, item in enumerate(inputs) if item is not None and item.dtype == object]
    if not partial:
        return evaluated(site, inputs)
    if fold.moves and all(fold.reaches(index) for index in partial):
        return evaluated(site, inputs)
    element = ELEMENTS.get(site.node.op) if not site.node.domain else None
    if site.node.op == "Cast" and ELEMENT_TYPES.get(site.integer("to", 0)) not in _HOLD_SIZES:
        return None
    if element is None or any(item is None for item in inputs):
        return None
    present = [item.astype(object) for item in inputs if item is not None]
    try:
        return (np.asarray(np.frompyfunc(element, len(present), 1)(*present), dtype=object),)
    except ERRORS:
        return None


def _tidy(value: Array, dtype: str | None) -> Array:
    """Leave the dtype object where all elements are known."""
    if value.dtype != object:
        return value
    items = value.ravel().tolist()
    if items and all(isinstance(item, bool) for item in items):
        return value.astype(np.bool_)
    if all(isinstance(item, int) for item in items):
        return value.astype(dtype if dtype in {"int32", "float32", "float64"} else np.int64)
    return value


Element: TypeAlias = int | str | None


def _both(a: Element, b: Element, function: Callable[[int, int], int]) -> Element:
    return function(a, b) if isinstance(a, int) and isinstance(b, int) else None


def _add(a: Element, b: Element) -> Element:
    return a if b == 0 else b if a == 0 else _both(a, b, lambda p, q: p + q)


def _subtract(a: Element, b: Element) -> Element:
    return a if b == 0 else _both(a, b, lambda p, q: p - q)


def _multiply(a: Element, b: Element) -> Element:
    if a == 0 or b == 0:
        return 0
    return a if b == 1 else b if a == 1 else _both(a, b, lambda p, q: p * q)


def _divide(a: Element, b: Element) -> Element:
    return (
        a
        if b == 1
        else None
        if b == 0
        else _both(a, b, lambda p, q: abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1))
    )


def _same(a: Element, b: Element) -> Element:
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    number = a if isinstance(a, int) else b
    negative = isinstance(number, int) and number < 0  # a symbol is a dimension, never below 0
    return False if negative else True if a == b else None


def _choose(condition: Element, a: Element, b: Element) -> Element:
    if condition is None:
        return a if a == b else None
    return a if condition else b


def _least(a: Element, b: Element) -> Element:
    return a if a == b else _both(a, b, min)


def _most(a: Element, b: Element) -> Element:
    return a if a == b else _both(a, b, max)


ELEMENTS: dict[str, Callable[..., Element]] = {
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Equal": _same,
    "Where": _choose,
    "Min": _least,
    "Max": _most,
    "Cast": lambda item: item,
}
