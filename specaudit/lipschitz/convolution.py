"""Convolutions: the norm of the map that the kernel is, whatever the size it acts on."""

from typing import TYPE_CHECKING

from specaudit.bracket import Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, integers
from specaudit.lipschitz.linear import image
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import Effect, Infinite, rule
from specaudit.model import Node
from specaudit.operators import Layer
from specaudit.report import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@rule("Conv", "ConvTranspose")
def convolution(node: Node, context: Context) -> Effect:
    """The norm of the map that the kernel is, strides, dilations, groups and padding included."""
    weight = context.constant(node.inputs[1])
    if context.live(node.inputs[1]) or weight is None:
        kind = "an activation" if context.live(node.inputs[1]) else "not a constant that is known"
        words = f"the kernel {node.inputs[1]} is {kind}"
        reason = Infinite("B" if context.live(node.inputs[1]) else None, words)
        return Effect({0: reason, 1: reason})
    kind = "convolution" if node.op == "Conv" else "convolution_transposed"
    layer = context.layer(node, kind) or convolution_layer(node, context, weight)
    gain = context.norm(layer)
    return Effect({0: gain}, facts=_convolved(node, context, weight, gain))


def convolution_layer(
    node: Node, context: Context, weight: "NDArray[np.generic]", name: str = ""
) -> Layer:
    """The layer of a convolution node with a given kernel in ONNX's layout."""
    return Layer(
        name or node.inputs[1],
        "convolution" if node.op == "Conv" else "convolution_transposed",
        weight.shape,
        weight.dtype.name,
        lambda: weight,
        node=node.name,
        geometry=geometry(node, context, weight.shape[2:]),
    )


def geometry(node: Node, context: Context, kernel: tuple[int, ...]) -> Geometry:
    """A convolution's attributes, resolved; ``SAME`` padding needs the input size."""
    spatial = len(kernel)
    strides = integers(node, "strides") or (1,) * spatial
    dilations = integers(node, "dilations") or (1,) * spatial
    pads = integers(node, "pads") or (0,) * (2 * spatial)
    mode = attribute(node, "auto_pad", "NOTSET")
    size = context.spatial(node.inputs[0])
    if mode.startswith("SAME"):
        if size is None or node.op != "Conv":
            # The bound that holds for every padding is what is left.
            return Geometry(strides, (0,) * (2 * spatial), dilations, attribute(node, "group", 1))
        pads = _same(mode, size, kernel, strides, dilations)
    elif mode == "VALID":
        pads = (0,) * (2 * spatial)
    extra = integers(node, "output_padding") if node.op == "ConvTranspose" else None
    if "output_shape" in node.attributes:
        size = None
    return Geometry(strides, pads, dilations, attribute(node, "group", 1), size, extra)


def _same(
    mode: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    begins, ends = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        less, more = total // 2, total - total // 2
        begins.append(less if mode == "SAME_UPPER" else more)
        ends.append(more if mode == "SAME_UPPER" else less)
    return (*begins, *ends)


def _convolved(
    node: Node, context: Context, weight: "NDArray[np.generic]", gain: Magnitude
) -> Facts:
    """Box of the output: zero padding puts 0 among the values."""
    known = context.facts(node.inputs[0])
    norm = ranges.times(gain.upper, known.norm)
    if not known.is_bounded:
        return UNKNOWN
    inside = Facts(min(known.lo, 0.0), max(known.hi, 0.0))
    if node.op == "Conv":
        rows = weight.reshape(weight.shape[0], -1)
    else:
        # (in, out/group, k…): every output sums over the inputs of its group.
        group = attribute(node, "group", 1)
        split = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
        rows = split.transpose(0, 2, 1, 3).reshape(group * weight.shape[1], -1)
    box = image(rows, inside)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = context.facts(node.inputs[2])
        return ranges.add(box, Facts(bias.lo, bias.hi))
    return Facts(box.lo, box.hi, {}, norm)
