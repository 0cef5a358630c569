"""Fourier transforms, sampling grids and rotary positions: linear in the signal."""

import math

from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.normalization import inverse_root
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import (
    Effect,
    Infinite,
    Missing,
    magnitude,
    root,
    rule,
    unary,
    writable,
)
from specaudit.model import Node


@rule("DFT")
def fourier(node: Node, context: Context) -> Effect:
    """``sqrt(n)`` forwards, ``1/sqrt(n)`` backwards, ``sqrt(2/n)`` backwards from one side."""
    rank = context.rank(node.inputs[0])
    if context.opset(node) >= 20:
        named = len(node.inputs) > 2 and node.inputs[2]
        axis = context.integers(node.inputs[2], "the axis of DFT")[0] if named else -2
    else:
        axis = attribute(node, "axis", 1)
    onesided = bool(attribute(node, "onesided", 0))
    length = context.size(node.inputs[0], axis % rank)
    if len(node.inputs) > 1 and node.inputs[1]:
        length = context.integers(node.inputs[1], "the length of DFT")[0]
    elif onesided and attribute(node, "inverse", 0):
        length = context.size(node.outputs[0], axis % rank)
    if not attribute(node, "inverse", 0):
        return unary(root(length))
    gain = magnitude(inverse_root(float(length)))
    # One side stands for its mirror image too, which doubles the squares.
    return unary(gain * root(2) if onesided else gain)


@rule("STFT")
def short_fourier(node: Node, context: Context) -> Effect:
    """``sqrt(n_fft)`` times the root of the largest overlap of squared windows."""
    import numpy as np

    step = context.integers(node.inputs[1], "the step of STFT")[0]
    window = None
    if len(node.inputs) > 2 and node.inputs[2]:
        window = context.value(node.inputs[2], "the window of STFT").astype(np.float64)
    if len(node.inputs) > 3 and node.inputs[3]:
        length = context.integers(node.inputs[3], "the frame length of STFT")[0]
    elif window is not None:
        length = window.size
    else:
        raise Missing("STFT has neither a window nor a frame length")
    step = min(step, length)
    writable(length + step, "a frame of STFT")
    weights = np.zeros(-(-length // step) * step)
    weights[:length] = 1.0 if window is None else window.reshape(-1) ** 2
    most = float(weights.reshape(-1, step).sum(axis=0).max())
    gain = root(length) * magnitude(most * (1.0 + (length + 4) * 2.0**-52)).sqrt()
    return unary(gain)


@rule("AffineGrid")
def affine_grid(node: Node, context: Context) -> Effect:
    """Norm of the grid of base coordinates, (positions x 3)."""
    import numpy as np

    size = context.integers(node.inputs[1], "the size of AffineGrid")
    if len(size) not in (4, 5):
        raise Missing(f"AffineGrid has no grid of {len(size) - 2} axes")
    writable(4 * math.prod(size[2:]), "the grid of AffineGrid")
    aligned = bool(attribute(node, "align_corners", 0))
    axes = []
    for length in size[2:]:
        step = 2.0 / max(length - 1, 1) if aligned else 2.0 / length
        start = -1.0 if aligned else -1.0 + step / 2
        axes.append(start + step * np.arange(length))
    grids = [grid.reshape(-1) for grid in np.meshgrid(*axes, indexing="ij")]
    base = np.stack([*grids, np.ones_like(grids[0])], axis=1)
    lost = magnitude(8 * 2.0**-52 * math.sqrt(base.size))
    return unary(context.norm(matrix_layer(f"{node.name} grid", base, node)) + lost)


@rule("GridSample")
def grid_sample(node: Node, context: Context) -> Effect:
    """Linear in the image; every position may read the same element."""
    reason = Infinite("B", "the product of an image and a sampling position, both activations")
    if context.live(node.inputs[1]):
        return Effect({0: reason, 1: reason})
    positions = math.prod(context.sizes(node.outputs[0])[2:])
    # Keys' kernel with a = -3/4 has weights whose moduli add to at most 1.375 an axis.
    axes = context.rank(node.inputs[0]) - 2
    row = 1.375**axes if "cubic" in attribute(node, "mode", "linear") else 1.0
    known = context.facts(node.inputs[0])
    size = ranges.times(known.magnitude, row)
    return Effect({0: root(positions) * magnitude(row)}, facts=Facts(-size, size))


@rule("MaxRoiPool", "RoiAlign")
def region(node: Node, context: Context) -> Effect:
    """Root of the number of bins that may read one element: at most all of them."""
    reason = Infinite("B", "regions that an activation chooses")
    if any(context.live(name) for name in node.inputs[1:]):
        return Effect(dict.fromkeys(range(len(node.inputs)), reason))
    sizes = context.sizes(node.outputs[0])
    bins = math.prod(sizes[2:]) * sizes[0]
    known = context.facts(node.inputs[0])
    return unary(root(bins), Facts(min(known.lo, 0.0), max(known.hi, 0.0)))


@rule("RotaryEmbedding")
@rule("RotaryEmbedding", domain="com.microsoft")
def rotary(node: Node, context: Context) -> Effect:
    """``max sqrt(cos^2 + sin^2)`` of the caches, and 1 where a part is not turned."""
    names = [name for name in node.inputs[1:] if name]
    if any(context.live(name) for name in names):
        reason = Infinite("B", "a rotation by an angle that is an activation")
        return Effect(dict.fromkeys(range(len(node.inputs)), reason))
    cosine, sine = _caches(node, context)
    size = ranges.root(ranges.plus(ranges.times(cosine, cosine), ranges.times(sine, sine)))
    turned = _largest_turn(node, context)
    gain = max(1.0, min(size, turned))
    known = context.facts(node.inputs[0])
    fibres = {-1: ranges.times(known.fibre(-1), gain)} if -1 in known.fibres else {}
    return Effect({0: magnitude(gain)}, facts=Facts(fibres=fibres))


def _caches(node: Node, context: Context) -> tuple[float, float]:
    first = 2 if node.domain == "com.microsoft" else 1
    cosine, sine = (context.facts(node.inputs[first + k]).magnitude for k in (0, 1))
    if math.isinf(cosine) or math.isinf(sine):
        raise Missing("the rotation caches are not constants that can be computed")
    return cosine, sine


def _largest_turn(node: Node, context: Context) -> float:
    import numpy as np

    first = 2 if node.domain == "com.microsoft" else 1
    cosine, sine = (context.constant(node.inputs[first + k]) for k in (0, 1))
    if cosine is None or sine is None or not cosine.size:
        return math.inf
    squares = np.square(cosine.astype(np.float64)) + np.square(sine.astype(np.float64))
    return ranges.root(float(squares.max()) * (1.0 + 8 * 2.0**-52))
