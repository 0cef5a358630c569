"""How a convolution moves: from a module's attributes, or from its node in a graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from specaudit.model import Node
from specaudit.report import Geometry, Kind

if TYPE_CHECKING:
    from specaudit.graphs.resolved import ResolvedGraph

PaddingMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap"]

_TORCH_MODES: Mapping[object, PaddingMode] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
_ONNX_MODES: Mapping[object, PaddingMode] = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "edge",
    "wrap": "wrap",
}


def of_module(
    kind: Kind, shape: tuple[int, ...], attributes: Mapping[str, object]
) -> tuple[Geometry | None, tuple[str, ...]]:
    """Return the geometry that torch's attributes state, if they do, and what to say of it.

    Parameters
    ----------
    kind : Kind
    shape : tuple of int
        Of the kernel.
    attributes : mapping
        ``stride``, ``padding``, ``dilation``, ``groups``, ``padding_mode``,
        ``output_padding`` as ``torch.nn.ConvNd`` keeps them.
    """
    if not kind.startswith("convolution"):
        return None, ()
    rank = len(shape) - 2
    strides = _numbers(attributes.get("stride"), rank)
    dilations = _numbers(attributes.get("dilation"), rank)
    group = attributes.get("groups")
    mode = _TORCH_MODES.get(attributes.get("padding_mode", "zeros"))
    if strides is None or dilations is None or type(group) is not int or mode is None:
        return None, ()
    padding = attributes.get("padding")
    begins, ends = _numbers(padding, rank), _numbers(padding, rank)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilations, shape[2:], strict=True)]
        begins = tuple(total // 2 for total in totals)
        ends = tuple(total - total // 2 for total in totals)
    elif padding == "valid":
        begins = ends = (0,) * rank
    if begins is None or ends is None:
        return None, ()
    extra = None
    if kind == "convolution_transposed":
        extra = _numbers(attributes.get("output_padding", 0), rank)
    found = Geometry(strides, (*begins, *ends), dilations, group, None, extra, mode)
    return (found, ()) if is_possible(found, kind, shape) else (None, ("impossible geometry",))


def is_possible(geometry: Geometry, kind: Kind, shape: tuple[int, ...]) -> bool:
    """Whether the numbers of a geometry fit each other and the kernel."""
    rank = len(shape) - 2
    sizes = (*geometry.strides, *geometry.dilations, geometry.group)
    return (
        len(geometry.strides) == len(geometry.dilations) == rank
        and len(geometry.pads) == 2 * rank
        and min(sizes, default=1) >= 1
        and shape[0] % geometry.group == 0
        and (geometry.output_padding is None or len(geometry.output_padding) == rank)
    )


def _numbers(value: object, rank: int) -> tuple[int, ...] | None:
    if type(value) is int:
        return (value,) * rank
    if isinstance(value, tuple | list) and all(type(item) is int for item in value):
        numbers = tuple(item for item in value if type(item) is int)
        return numbers if len(numbers) == rank else numbers * rank if len(numbers) == 1 else None
    return None


@dataclass(frozen=True, slots=True)
class Padded:
    """A geometry, the value that enters it, and what to say of it."""

    geometry: Geometry
    notes: tuple[str, ...] = ()


def of_node(
    resolved: "ResolvedGraph", node: Node, kind: Kind, shape: tuple[int, ...]
) -> Padded | None:
    """Return the geometry of a ``Conv`` or ``ConvTranspose`` node; None if it is impossible.

    A ``Pad`` node that feeds nothing else and pads spatial dimensions only is taken in:
    its pads and its mode are those of the layer.
    """
    rank = len(shape) - 2
    strides = _numbers(node.attributes.get("strides", 1), rank)
    dilations = _numbers(node.attributes.get("dilations", 1), rank)
    group = node.attributes.get("group", 1)
    auto = node.attributes.get("auto_pad", "NOTSET")
    auto = auto.decode("ascii", "replace") if isinstance(auto, bytes) else auto
    if strides is None or dilations is None or type(group) is not int:
        return None
    if kind == "convolution_transposed":
        return _transposed(resolved, node, shape, strides, dilations, group, str(auto))
    size = _spatial(resolved, node.inputs[0], rank)
    notes: tuple[str, ...] = ()
    pads: tuple[int, ...] | None
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        pads = _same(shape[2:], strides, dilations, size, upper=auto == "SAME_UPPER")
        if size is None and max(strides) > 1:
            notes = ("pads are those of an input that the stride divides",)
    else:
        stated = node.attributes.get("pads", (0,) * (2 * rank)) if auto != "VALID" else 0
        pads = _numbers(stated, 2 * rank)
    if pads is None:
        return None
    found = Geometry(strides, pads, dilations, group, size)
    if not is_possible(found, kind, shape) or auto not in _AUTO:
        return None
    return _with_pad(resolved, node, found, rank) or Padded(found, notes)


_AUTO = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}


def _spatial(resolved: "ResolvedGraph", name: str, rank: int) -> tuple[int, ...] | None:
    shape = resolved.shape(name)
    if shape is None or len(shape) != rank + 2:
        return None
    sizes = tuple(size for size in shape[2:] if isinstance(size, int))
    return sizes if len(sizes) == rank else None


def _same(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    size: tuple[int, ...] | None,
    *,
    upper: bool,
) -> tuple[int, ...]:
    """Pads that make the output ``ceil(input / stride)`` long."""
    begins, ends = [], []
    for axis, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        extent = d * (k - 1) + 1
        length = s if size is None else size[axis]  # any multiple of s gives the same
        total = max((-(-length // s) - 1) * s + extent - length, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return (*begins, *ends)


def _transposed(
    resolved: "ResolvedGraph",
    node: Node,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    group: int,
    auto: str,
) -> Padded | None:
    rank = len(shape) - 2
    size = _spatial(resolved, node.inputs[0], rank)
    extra = _numbers(node.attributes.get("output_padding", 0), rank)
    wanted = _numbers(node.attributes.get("output_shape"), rank)
    same = auto in {"SAME_UPPER", "SAME_LOWER"}
    pads = _numbers(node.attributes.get("pads", (0,) * (2 * rank)), 2 * rank)
    if extra is None or auto not in _AUTO:
        return None
    notes: tuple[str, ...] = ()
    if wanted is not None or same:
        length = size or (1,) * rank
        if wanted is None:  # the output is stride times the input
            wanted = tuple(n * s for n, s in zip(length, strides, strict=True))
        elif size is None:
            notes = ("pads depend on the input's size, which is not known",)
        begins, ends = [], []
        for n, s, d, k, more, out in zip(
            length, strides, dilations, shape[2:], extra, wanted, strict=True
        ):
            # An output that is longer than the map reaches gets zeros behind it, no padding.
            total = max(0, s * (n - 1) + more + d * (k - 1) + 1 - out)
            half = total // 2 if auto == "SAME_UPPER" else total - total // 2
            begins.append(half)
            ends.append(total - half)
        pads = (*begins, *ends)
    elif auto == "VALID":
        pads = (0,) * (2 * rank)
    if pads is None:
        return None
    found = Geometry(strides, pads, dilations, group, size, extra)
    return Padded(found, notes) if is_possible(found, "convolution_transposed", shape) else None


def _with_pad(
    resolved: "ResolvedGraph", node: Node, geometry: Geometry, rank: int
) -> Padded | None:
    pad = resolved.producer(node.inputs[0])
    if pad is None or pad.op != "Pad" or pad.domain:
        return None
    shared = len(resolved.consumers(pad.outputs[0])) != 1
    if shared or pad.outputs[0] in {info.name for info in resolved.outputs}:
        return None
    pads = _spatial_pads(resolved, pad, rank)
    mode = pad.attributes.get("mode", "constant")
    kind = _ONNX_MODES.get(mode.decode("ascii", "replace") if isinstance(mode, bytes) else mode)
    own = any(geometry.pads)
    if pads is None or kind is None or min(pads) < 0 or (own and kind != "constant"):
        return None
    if kind == "constant" and not _fills_zero(resolved, pad):
        return None
    total = tuple(a + b for a, b in zip(geometry.pads, pads, strict=True))
    found = Geometry(
        geometry.strides, total, geometry.dilations, geometry.group,
        _spatial(resolved, pad.inputs[0], rank), None, kind,
    )  # fmt: skip
    return Padded(found, (f"with the Pad node {pad.name} before it",))


def _spatial_pads(resolved: "ResolvedGraph", pad: Node, rank: int) -> tuple[int, ...] | None:
    """Return a Pad node's pads of the spatial dimensions, if it has no others."""
    stated: object = pad.attributes.get("pads", pad.attributes.get("paddings"))
    if stated is None and len(pad.inputs) > 1:
        stated = resolved.value_of(pad.inputs[1])
    axes: object = tuple(range(rank + 2))
    if len(pad.inputs) > 3 and pad.inputs[3]:
        axes = resolved.value_of(pad.inputs[3])
    if not isinstance(stated, tuple) or not isinstance(axes, tuple) or len(stated) != 2 * len(axes):
        return None
    begins, ends = [0] * (rank + 2), [0] * (rank + 2)
    for position, axis in enumerate(axes):
        begin, end = stated[position], stated[position + len(axes)]
        if type(axis) is not int or type(begin) is not int or type(end) is not int:
            return None
        if not -rank - 2 <= axis < rank + 2:
            return None
        begins[axis], ends[axis] = begin, end
    return None if any((*begins[:2], *ends[:2])) else (*begins[2:], *ends[2:])


def _fills_zero(resolved: "ResolvedGraph", pad: Node) -> bool:
    if len(pad.inputs) > 2 and pad.inputs[2]:
        value = resolved.constant(pad.inputs[2])
        return value is not None and not value.any()
    return not pad.attributes.get("value", 0.0)
