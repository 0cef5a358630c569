"""What a model file holds, whatever its format: named tensors, and the graph if there is one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # numpy costs 0.1 s, which `--version` and `--help` do not pay
    import numpy as np
    from numpy.typing import NDArray

    Tensor: TypeAlias = NDArray[np.generic]

Format = Literal["pytorch", "torchscript", "pt2", "safetensors", "onnx", "module"]

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Weight:
    """A named tensor of a model, read on demand.

    Parameters
    ----------
    name : str
        As the file spells it, with the path through its containers joined by dots.
        Hostile text: escape it before showing it.
    shape : tuple of int
    dtype : str
        NumPy's (or ml_dtypes') name of the stored type: ``float32``, ``bfloat16``,
        ``float8_e4m3fn``, ``int8``, ``int4``, ``complex64``, …
    read : callable
        Returns the values as an ndarray of `shape` and of the stored type, in native
        byte order, freshly read; raises `UnreadableModel`. A tensor that the file itself
        declares as quantised (torch's qint types) comes back dequantised, as float64.
    storage : str
        Names the memory behind the tensor. Two weights with the same non-empty
        `storage` and the same `extent` are one parameter under two names (tied).
    extent : tuple of int
        First byte and past-the-last byte that the view touches inside `storage`.
    role : {"parameter", "buffer", "optimizer", "unknown"}
        What the container says of it. ``optimizer`` state is never a weight.
    source : object
        What the format needs to write the tensor back; opaque to all others.
    notes : tuple of str
        What a report must say of it (``"storage tagged cuda:0"`` is not worth saying).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: "Callable[[], Tensor]"
    storage: str = ""
    extent: tuple[int, int] = (0, 0)
    role: Literal["parameter", "buffer", "optimizer", "unknown"] = "unknown"
    source: object = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of elements."""
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """A named value of a graph; a dimension is a number, a symbol, or unknown (None)."""

    name: str
    dtype: str | None = None
    shape: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class AttributeReference:
    """Stands inside a function for the attribute `name` of whatever node calls it."""

    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph, in ONNX's vocabulary.

    `attributes` hold int, float, str, bytes, `Weight` (a tensor), `Graph` (a subgraph),
    or a tuple of one of these; inside a function also an `AttributeReference`
    (ONNX ``ref_attr_name``). `domain` is "" for ai.onnx. An input or output that is
    left out is "". `name` is never empty: a nameless node is called after its first
    output, as ``<Conv y>``.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the model: a graph with formal inputs, called like an operation."""

    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]
    defaults: Mapping[str, object] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Graph:
    """A directed acyclic graph of operations, nodes in topological order.

    `constants` are the initializers, by value name; a ``Constant`` node stays a node,
    and its tensor is in ``Model.weights`` too. `values` are the declared types of inner
    values (ONNX ``value_info``).
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    constants: Mapping[str, Weight] = field(default_factory=dict)
    values: Mapping[str, ValueInfo] = field(default_factory=dict)
    opsets: Mapping[str, int] = field(default_factory=dict)
    functions: Mapping[tuple[str, str], Function] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """What a file holds.

    Parameters
    ----------
    path : str
        As the user gave it.
    format : Format
    digest : callable, () -> str
        Hexadecimal SHA-256 of the file (of the index file, for a sharded set). It is taken
        beside the reading of tensors, and waited for only here.
    weights : tuple of Weight
        Every tensor there is, wherever it is kept, in file order.
    graph : Graph or None
        None for a bare checkpoint: its network bound is then not computed, never guessed.
    notes : tuple of str
        Oddities of the file that a report must say.
    missing : tuple of (str, str)
        ``(name, reason)`` of what the file holds but no `Weight` could be made of. Listed
        as skipped, so that nothing vanishes.
    attributes : Mapping
        ``(path of a module) -> {attribute: value}`` where the file says so: a convolution's
        stride or padding mode in a whole pickled module or TorchScript archive. Scalars,
        strings and tuples of them only.
    source : object
        What the format needs to write the model back; opaque to all others.
    holds : object
        Kept alive as long as the model: a temporary folder that tensors are read from.
    """

    path: str
    format: Format
    digest: Callable[[], str]
    weights: tuple[Weight, ...]
    graph: Graph | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    source: object = None
    holds: object = None
