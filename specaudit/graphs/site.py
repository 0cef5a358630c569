"""What a rule sees of one node: its attributes, and what is known of its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NoReturn, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from specaudit.errors import UnreadableModel
from specaudit.model import Node, Weight

Array: TypeAlias = NDArray[np.generic]
Dimension: TypeAlias = int | str | None
Shape: TypeAlias = tuple[Dimension, ...] | None


@dataclass(frozen=True, slots=True)
class Type:
    """Element type and shape of a value, as far as they are known.

    `element` is there for a sequence of tensors, whose own dtype and shape are None.
    """

    dtype: str | None = None
    shape: Shape = None
    element: "Type | None" = None


UNKNOWN = Type()


class Scope(Protocol):
    """The names a node can see."""

    def type_of(self, name: str) -> Type:
        """What is known of a value's type."""

    def known(self, name: str) -> Array | None:
        """A small constant; with dtype object where single elements are symbols or None."""

    def bodies(self, node: Node) -> "Mapping[str, Body]":
        """The node's subgraphs, typed as bodies of their own."""

    def body(self, node: Node, name: str, given: tuple[Type, ...]) -> "Body":
        """One subgraph, with its inputs typed as given."""

    def taken(self, node: Node) -> str | None:
        """The branch that an ``If`` with a constant condition takes."""

    def may_repeat(self) -> bool:
        """Whether bodies may be walked again to find types that stay the same."""


class Body(Protocol):
    """A subgraph that was typed."""

    def results(self) -> tuple[Type, ...]:
        """Types of the subgraph's outputs."""

    def known_results(self) -> "tuple[Array | None, ...]":
        """Values of the outputs that are small constants."""

    def relays(self, result: int, given: int) -> bool:
        """Whether an output is one of the inputs, unchanged."""


class Site:
    """One node, in its scope.

    Parameters
    ----------
    node : Node
    opset : int
        Version of the operator set that the node's domain is read by.
    scope : Scope
    """

    __slots__ = ("node", "opset", "scope")

    def __init__(self, node: Node, opset: int, scope: Scope) -> None:
        self.node = node
        self.opset = opset
        self.scope = scope

    def has(self, index: int) -> bool:
        """Whether the input is there."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def type(self, index: int) -> Type:
        """Type of an input; nothing is known of one that is left out."""
        return self.scope.type_of(self.node.inputs[index]) if self.has(index) else UNKNOWN

    def shape(self, index: int) -> Shape:
        """Shape of an input."""
        return self.type(index).shape

    def dtype(self, index: int) -> str | None:
        """Element type of an input."""
        return self.type(index).dtype

    def known(self, index: int) -> Array | None:
        """The input's value, if it is a small constant throughout."""
        value = self.scope.known(self.node.inputs[index]) if self.has(index) else None
        return None if value is None or value.dtype == object else value

    def ints(self, index: int) -> tuple[Dimension, ...] | None:
        """A small vector of integers, element by element: number, symbol or unknown."""
        value = self.scope.known(self.node.inputs[index]) if self.has(index) else None
        if value is None or value.dtype.kind not in "iuO" or value.ndim > 1:
            return None
        return tuple(value.ravel().tolist())

    def whole(self, index: int) -> tuple[int, ...] | None:
        """A small vector of integers, all of them known."""
        value = self.ints(index)
        if value is None or not all(isinstance(item, int) for item in value):
            return None
        return tuple(item for item in value if isinstance(item, int))

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.node.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        value = self.node.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers among the attributes, or None where it is left out."""
        value = self.node.attributes.get(name)
        if not isinstance(value, tuple):
            return None
        return tuple(item for item in value if isinstance(item, int))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.node.attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value if isinstance(value, str) else default

    def tensor(self, name: str) -> Weight | None:
        """A tensor attribute."""
        value = self.node.attributes.get(name)
        return value if isinstance(value, Weight) else None

    def refuse(self, message: str) -> NoReturn:
        """Raise: the node contradicts what is known of its inputs."""
        raise UnreadableModel(f"{self.node.op}: {message}", where=self.node.name)


def size(shape: Shape) -> int | None:
    """Number of elements, if every dimension is known."""
    if shape is None:
        return None
    dimensions = [item for item in shape if isinstance(item, int)]
    return prod(dimensions) if len(dimensions) == len(shape) else None


def common(a: Type, b: Type) -> Type:
    """What is true of both types."""
    element = common(a.element, b.element) if a.element and b.element else None
    dtype = a.dtype if a.dtype == b.dtype else None
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return Type(dtype, None, element)
    pairs = zip(a.shape, b.shape, strict=True)
    return Type(dtype, tuple(p if p == q else None for p, q in pairs), element)


def unknown(rank: int) -> tuple[Dimension, ...]:
    """A shape of which only the rank is known."""
    return (None,) * rank


def axis_of(axis: int, rank: int, site: Site) -> int:
    """An axis counted from the front; raise where there is no such axis."""
    if not -rank <= axis < rank:
        site.refuse(f"axis {axis} of a tensor with {rank} dimensions")
    return axis % rank if rank else 0


def by_channel(site: Site, shape: Shape, axis: int, *parameters: int) -> None:
    """Raise where a parameter is known not to be a vector of one number for each channel.

    NumPy would broadcast it, and the node's output would have another shape than it has.
    """
    channels = shape[axis] if shape is not None and axis < len(shape) else None
    for index in parameters:
        own = site.shape(index)
        if own is None:
            continue
        known = isinstance(channels, int) and bool(own) and isinstance(own[0], int)
        if len(own) != 1 or (known and own[0] != channels):
            site.refuse(f"input {index + 1} is not a vector of {channels or 'the'} channels")


def no_larger(site: Site, shape: Shape, *parameters: int) -> None:
    """Raise where a parameter is known to be larger than what it is broadcast to."""
    for index in parameters:
        own = site.shape(index)
        if shape is None or own is None:
            continue
        pairs = zip(reversed(own), reversed(shape), strict=False)
        if len(own) > len(shape) or any(
            isinstance(mine, int) and isinstance(whole, int) and mine not in (1, whole)
            for mine, whole in pairs
        ):
            site.refuse(f"input {index + 1} does not fit the first one")
