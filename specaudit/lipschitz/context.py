"""What a rule may ask: shapes, constants, attributes, known ranges, norms of layers."""

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, TypeVar

from specaudit.bracket import ONE, Magnitude
from specaudit.graphs import ResolvedGraph
from specaudit.lipschitz import ranges
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import Infinite, Missing, root
from specaudit.model import Node
from specaudit.operators import Layer
from specaudit.report import Norm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Dimension = int | str | None
T = TypeVar("T")

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


class Context:
    """The view of one graph (the main one, or a subgraph's body) that its rules have.

    Parameters
    ----------
    resolved : ResolvedGraph
    layers : mapping of node name to layers
    norm_of : callable
        Measures a layer.
    input_range : mapping of str to (float, float)
        By name of a graph input; ``""`` or ``"*"`` stands for every input not named.
    outer : Context, optional
        Of the graph around a subgraph, where names that are not found here are looked up.

    Notes
    -----
    `weighed` has the sizes nobody knows that a value is multiplied by the root of before its
    changes are measured. A mean over n elements shrinks by ``1/sqrt(n)``; where n is a
    symbol, the rule says gain 1 for ``sqrt(n)`` times the output. Whoever spreads the value
    over n elements again, as the gate of a squeeze-and-excitation block is, has that root
    already. Constants do not change when input and output are multiplied alike, and sizes
    are at least 1, so a root may be left out wherever it is not needed (`passed_on`).
    """

    def __init__(
        self,
        resolved: ResolvedGraph,
        layers: Mapping[str, tuple[Layer, ...]],
        norm_of: Callable[[Layer], Norm],
        input_range: Mapping[str, tuple[float, float]],
        outer: "Context | None" = None,
    ) -> None:
        self.resolved = resolved
        self.layers = layers
        self.norm_of = norm_of
        self.input_range = input_range
        self.outer = outer
        self.known: dict[str, Facts] = {}
        self.moving: set[str] = set()
        self.varying: set[str] = set()
        self.weighed: dict[str, tuple[str, ...]] = {}
        self.channels: dict[str, tuple[Facts, ...]] = {}
        self.casts_are_sources = False
        self.assumptions: dict[str, None] = outer.assumptions if outer else {}

    def facts(self, name: str) -> Facts:
        """What is known of the values of a tensor."""
        if name not in self.known:
            value = self.constant(name)
            if value is not None:
                self.known[name] = ranges.of_array(value)
            elif self.outer is not None:
                return self.outer.facts(name)
        return self.known.get(name, UNKNOWN)

    def live(self, name: str) -> bool:
        """Whether a tensor depends on an input of the network that can be perturbed."""
        return name in self.moving

    def varies(self, name: str) -> bool:
        """Whether a tensor depends on an integer input, which is held fixed."""
        return name in self.varying

    def constant(self, name: str) -> "NDArray[np.generic] | None":
        """The value of a tensor that depends on no input, or None."""
        return self.resolved.constant(name) if name else None

    def value(self, name: str, what: str) -> "NDArray[np.generic]":
        """The value of a constant that a rule cannot do without."""
        found = self.constant(name)
        if found is None:
            raise Missing(f"{what} ({name or 'left out'}) is not a constant that can be computed")
        return found

    def integers(self, name: str, what: str) -> tuple[int, ...]:
        """The value of a constant tensor of integers."""
        return tuple(int(entry) for entry in self.value(name, what).reshape(-1))

    def shape(self, name: str) -> tuple[Dimension, ...]:
        """The shape of a tensor as far as it is known."""
        shape = self.resolved.dimensions(name)
        if shape is None:
            raise Missing(f"needs the shape of {name}: {self._advice(name, None)}")
        return shape

    def sizes(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, every dimension of it a number."""
        shape = self.shape(name)
        return tuple(self.size(name, axis) for axis in range(len(shape)))

    def size(self, name: str, axis: int) -> int:
        """One dimension of a tensor, a number."""
        shape = self.shape(name)
        if not -len(shape) <= axis < len(shape):
            raise Missing(f"{name} has no axis {axis}")
        size = shape[axis]
        if not isinstance(size, int):
            raise Missing(
                f"needs the size of dimension {axis % len(shape)} of {name}: "
                f"{self._advice(name, size)}"
            )
        return size

    def rank(self, name: str) -> int:
        """Number of dimensions of a tensor."""
        return len(self.shape(name))

    def count(self, name: str) -> int:
        """Number of elements of a tensor."""
        return math.prod(self.sizes(name))

    def spatial(self, name: str) -> tuple[int, ...] | None:
        """The sizes behind batch and channels, or None if they are not all known."""
        try:
            shape = self.shape(name)[2:]
        except Missing:
            return None
        sizes = tuple(size for size in shape if isinstance(size, int))
        return sizes if len(sizes) == len(shape) else None

    def averaged(self, name: str, axes: Iterable[int]) -> tuple[int, tuple[str, ...]]:
        """How many elements lie along some axes: a number (1 or more), times these symbols."""
        shape = self.shape(name)
        sizes = [shape[axis] for axis in axes]
        count = math.prod(size for size in sizes if isinstance(size, int))
        return max(count, 1), tuple(size for size in sizes if isinstance(size, str))

    def passed_on(self, inputs: Iterable[str], outputs: Iterable[str]) -> tuple[str, ...]:
        """The roots that all the live inputs have and no output has used up.

        An output with an axis of that size may be what an input was spread over.
        """
        held = [Counter(self.weighed.get(name, ())) for name in inputs if self.live(name)]
        if not held:
            return ()
        left = reduce(Counter.__and__, held)
        for out in outputs if left else ():
            shape = self.resolved.dimensions(out)
            left = Counter(
                {} if shape is None else {size: n for size, n in left.items() if size not in shape}
            )
        return tuple(left.elements())

    def copies(
        self, name: str, out: str, others: tuple[str, ...] = (), held: tuple[str, ...] = ()
    ) -> int:
        """How many elements of `out` one element of `name` is broadcast to, at most.

        `others` are all the other operands, where there are some: an axis along which
        each of them has size 1 is as long in `out` as in `name`. The sizes `held` are
        left out, each once.
        """
        left = list(held)
        mine, whole = self.shape(name), self.shape(out)
        lead = len(whole) - len(mine)
        copies = 1
        for axis, size in enumerate(whole):
            own: Dimension = 1 if axis < lead else mine[axis - lead]
            if own == size and own is not None:
                continue
            if isinstance(own, int) and own != 1:
                continue
            if axis >= lead and others and all(self._is_one(o, axis - len(whole)) for o in others):
                continue
            if isinstance(size, str) and size in left:
                left.remove(size)
                continue
            # A named dimension that meets a number may turn out to be 1 and be repeated.
            copies *= self.size(out, axis)
        return copies

    def repeated(self, name: str, out: str, others: tuple[str, ...]) -> Magnitude:
        """Square root of `copies`; 1 without any shape where the other operands are scalars.

        Without the roots that `name` is weighed by: `out` has to be the output of the node
        whose rule asks, for only there they count as used up.
        """
        if others and all(self._is_scalar(other) for other in others):
            return ONE
        return root(self.copies(name, out, others, self.weighed.get(name, ())))

    def _is_one(self, name: str, axis: int) -> bool:
        shape = self.resolved.shape(name)
        return shape is not None and (-axis > len(shape) or shape[axis] == 1)

    def _is_scalar(self, name: str) -> bool:
        value = self.constant(name)
        return value is not None and value.size == 1 and value.ndim <= 1

    def norm(self, layer: Layer) -> Magnitude:
        """A proved bound of a layer's operator norm."""
        measured = self.norm_of(layer)
        if measured.upper is None:
            reason = f" ({measured.reason})" if measured.reason else ""
            raise Missing(f"the norm of {layer.name} is {measured.status}{reason}")
        return Magnitude.of(measured.upper)

    def layer(self, node: Node, *kinds: str) -> Layer | None:
        """The layer that extraction found in a node, if there is exactly one of this kind."""
        found = self.layers.get(node.name, ())
        return found[0] if len(found) == 1 and found[0].kind in kinds else None

    def given(self, name: str, *, named: bool = False) -> Facts:
        """The box that the user gave for an input, if any (`named`: for this one alone)."""
        for key in (name,) if named else (name, "*", ""):
            if key in self.input_range:
                return Facts(*self.input_range[key])
        return UNKNOWN

    def assume(self, words: str) -> None:
        """Put something on record that the bound rests on."""
        self.assumptions.setdefault(words)

    def opset(self, node: Node) -> int:
        """The version of the operations that a node is read by."""
        return self.resolved.opset_of(node)

    def is_float(self, name: str) -> bool:
        """Whether a tensor holds real numbers, as far as anybody says."""
        dtype = self.resolved.dtype(name)
        return dtype is None or dtype in FLOATS or dtype.startswith(("float", "bfloat", "complex"))

    def _advice(self, name: str, symbol: str | int | None) -> str:
        scope = self
        while scope.outer is not None:  # nobody can give the inputs of a body
            scope = scope.outer
        inputs = scope.resolved.inputs
        for value in inputs:
            if symbol is not None and symbol in (scope.resolved.dimensions(value.name) or ()):
                return f"give --input-shape {value.name}=…"
        for value in inputs:
            if value.shape is None or not all(isinstance(size, int) for size in value.shape):
                return f"give --input-shape {value.name}=…"
        return "it is computed by the graph from its data"


class OneSample(Context):
    """A graph whose batch axis has no size, seen with one sample in the batch.

    Every value must have the batch as its first axis and nowhere else. Then each of the
    operations that `evaluation` knows acts on the samples one by one, and the norm does
    not depend on how many there are; a value without that axis is refused.
    """

    def __init__(self, context: Context, symbol: str) -> None:
        super().__init__(
            context.resolved, context.layers, context.norm_of, context.input_range, context
        )
        self.symbol = symbol

    def shape(self, name: str) -> tuple[Dimension, ...]:
        """The shape with a batch of 1."""
        shape = super().shape(name)
        if self.resolved.is_constant(name):
            return shape
        if not shape or shape[0] != self.symbol or self.symbol in shape[1:]:
            raise Missing(f"{name} does not keep the batch as its first axis")
        return (1, *shape[1:])


def attribute(node: Node, name: str, default: T) -> T:
    """An attribute of the type that its default has; real ones are single precision, always."""
    value: object = node.attributes.get(name, default)
    if isinstance(default, float) and value is default:
        return type(default)(single(default))
    if isinstance(default, float) and isinstance(value, int):
        return type(default)(value)
    if isinstance(default, str) and isinstance(value, bytes):
        return type(default)(value.decode("utf-8", "replace"))
    if default is not None and not isinstance(value, type(default)):
        raise Missing(f"attribute {name} is not of the type that {node.op} has")
    return value  # type: ignore[return-value]


def single(value: float) -> float:
    """The number as ONNX keeps it: 1e-5 is 9.99999974738e-06, and its inverse root larger."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def integers(node: Node, name: str) -> tuple[int, ...] | None:
    """An attribute that is a list of integers, or None where it is left out."""
    value = node.attributes.get(name)
    if value is None:
        return None
    if not isinstance(value, tuple) or not all(isinstance(entry, int) for entry in value):
        raise Missing(f"attribute {name} is not a list of integers")
    return value


def gated(gain: Magnitude, reason: Infinite) -> Magnitude | Infinite:
    """The gain, or the reason where it is not finite."""
    return gain if gain.is_finite else reason
