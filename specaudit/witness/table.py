"""The table of operations that can be evaluated with a proved error."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import Ball

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Value: TypeAlias = Ball | NDArray[np.generic]
    Values: TypeAlias = Sequence[Value | None]
    Operation: TypeAlias = Callable[[Node, Values, int], list[Value]]

T = TypeVar("T")
TABLE: "dict[str, Operation]" = {}

# What evaluating may raise where operands are missing or do not fit: the file contradicts itself.
REFUSALS = (ValueError, IndexError, TypeError, ArithmeticError, MemoryError)
_MOST_ENTRIES = 1 << 25  # of one array: 256 MB


class Uncovered(Exception):
    """An operation, or a form of it, that is not evaluated here."""


def computes(*ops: str) -> "Callable[[Operation], Operation]":
    """Enter a function into the table: ``(node, arguments, opset) -> results``."""

    def enter(function: "Operation") -> "Operation":
        TABLE.update(dict.fromkeys(ops, function))
        return function

    return enter


def bounded(*sizes: int) -> None:
    """Refuse an array of these sizes before it is made, if a graph makes it too large."""
    if math.prod(max(size, 0) for size in sizes) > _MOST_ENTRIES:
        raise Uncovered("an array too large to evaluate")


def attribute(node: Node, name: str, default: T) -> T:
    """An attribute of the type that its default has."""
    value = node.attributes.get(name, default)
    if isinstance(default, float) and isinstance(value, int):
        value = float(value)
    if isinstance(default, str) and isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if default is not None and not isinstance(value, type(default)):
        raise Uncovered(f"{node.op} with an attribute {name} of another type")
    return value  # type: ignore[return-value]


def integers(node: Node, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of integers; None where it is left out."""
    value = node.attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, tuple) or not all(isinstance(entry, int) for entry in value):
        raise Uncovered(f"{node.op} with an attribute {name} of another type")
    return value


def ball(arguments: "Values", index: int = 0) -> Ball:
    """An argument that holds real numbers."""
    value = arguments[index] if index < len(arguments) else None
    if not isinstance(value, Ball):
        raise Uncovered("an operand that does not hold real numbers")
    return value


def optional(arguments: "Values", index: int) -> "Value | None":
    """An argument that may be left out."""
    return arguments[index] if index < len(arguments) else None


def fixed(arguments: "Values", index: int) -> "NDArray[np.generic]":
    """An argument that holds whole numbers or truth values."""
    value = arguments[index] if index < len(arguments) else None
    if value is None or isinstance(value, Ball):
        raise Uncovered("an operand that does not hold whole numbers")
    return value


def whole(arguments: "Values", index: int) -> tuple[int, ...]:
    """The entries of an integer argument."""
    return tuple(int(entry) for entry in np.asarray(fixed(arguments, index)).reshape(-1))


def constant(arguments: "Values", index: int) -> float:
    """A real scalar that is known exactly."""
    value = ball(arguments, index)
    if value.mid.size != 1 or value.rad is None or value.rad.any():
        raise Uncovered("a parameter that is computed from the input")
    return float(value.mid.reshape(()))
