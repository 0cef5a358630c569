"""Resize and Upsample: a Kronecker product of one-dimensional interpolations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.graphs.shape_rules_windows import scaled_lengths
from specaudit.lipschitz.context import Context, attribute, integers
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Missing, magnitude, root, rule, unary
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST = 1 << 13
# Runtimes compute coordinates in float32: two candidates this close (times the length) are both
# counted.
_TIE, _TIE_PER_PLACE = 1e-4, 2.0**-21


@rule("Resize", "Upsample")
def resize(node: Node, context: Context) -> Effect:
    """Product over the axes of the norm of the one-dimensional interpolation; exact.

    Nearest neighbours need no sizes where the scale is a whole number.
    """
    mode = attribute(node, "mode", "nearest")
    known = context.facts(node.inputs[0])
    facts = Facts(known.lo, known.hi) if "cubic" not in mode else Facts()
    if mode == "nearest" and (whole := _whole(node, context)) is not None:
        return unary(root(whole), facts)
    if _transformation(node, context) == "tf_crop_and_resize":
        raise Missing("resizing by crops is not modelled")
    given = _scales(node, context)
    if attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch" and not given:
        raise Missing("scales that keep the aspect ratio are not modelled")
    gain = ONE
    for axis in range(context.rank(node.inputs[0])):
        if not _stays(node, context, axis, given):
            gain = gain * _along(node, context, axis, mode, given)
    return unary(gain, facts)


def _stays(node: Node, context: Context, axis: int, given: tuple[float, ...] | None) -> bool:
    """Whether an axis is left as it is: at scale 1, for 3 at 1.3 are 3 too, but other ones."""
    if _transformation(node, context) == "tf_half_pixel_for_nn":
        return False
    if given is not None:
        return given[axis] == 1.0
    return context.size(node.inputs[0], axis) == context.size(node.outputs[0], axis)


def _transformation(node: Node, context: Context) -> str:
    plain = node.op == "Upsample" or context.opset(node) < 11
    return attribute(
        node, "coordinate_transformation_mode", "asymmetric" if plain else "half_pixel"
    )


def _rounding(node: Node, context: Context) -> str:
    plain = node.op == "Upsample" or context.opset(node) < 11
    return attribute(node, "nearest_mode", "floor" if plain else "round_prefer_floor")


def _scales(node: Node, context: Context) -> tuple[float, ...] | None:
    """The scales that the node is given, by axis of its input; None if it is given sizes."""
    if "scales" in node.attributes:
        given = node.attributes["scales"]
        return tuple(float(s) for s in given) if isinstance(given, tuple) else None
    index = 1 if node.op == "Upsample" or context.opset(node) < 11 else 2
    if len(node.inputs) <= index or not node.inputs[index]:
        return None
    found = [float(s) for s in context.value(node.inputs[index], "the scales").reshape(-1)]
    axes = integers(node, "axes")
    if not found or axes is None:
        return tuple(found) or None
    rank = context.rank(node.inputs[0])
    every = [1.0] * rank
    for axis, scale in zip(axes, found, strict=True):
        every[axis % rank] = scale
    return tuple(every)


def _whole(node: Node, context: Context) -> int | None:
    """Product of the scales where each input element is shown that often, whatever the size."""
    given = _scales(node, context)
    if given is None or not all(scale.is_integer() and scale >= 1.0 for scale in given):
        return None
    pairs = {
        "half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
        "pytorch_half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
        "asymmetric": ("floor",),
    }
    if _rounding(node, context) not in pairs.get(_transformation(node, context), ()):
        return None
    return math.prod(int(scale) for scale in given)


@dataclass(frozen=True, slots=True)
class _Axis:
    size: int
    new: int
    scale: float

    def coordinate(self, mode: str, position: int) -> float:
        """Where an output element lies in the input."""
        match mode:
            case "asymmetric":
                return position / self.scale
            case "align_corners":
                return position * (self.size - 1) / (self.new - 1) if self.new > 1 else 0.0
            case "tf_half_pixel_for_nn":
                return (position + 0.5) / self.scale
            case "pytorch_half_pixel" if self.new == 1:
                return 0.0
            case "half_pixel_symmetric":
                adjustment = self.new / (self.scale * self.size)
                offset = self.size / 2 * (1.0 - adjustment)
                return offset + (position + 0.5) / self.scale - 0.5
            case "half_pixel" | "pytorch_half_pixel":
                return (position + 0.5) / self.scale - 0.5
        raise Missing(f"the coordinate mode {mode!r} is not known")


def _along(
    node: Node, context: Context, axis: int, mode: str, given: tuple[float, ...] | None
) -> Magnitude:
    """The norm along an axis; the larger one where runtimes disagree about its length."""
    size = context.size(node.inputs[0], axis)
    if given is not None:
        lines = [_Axis(size, new, given[axis]) for new in scaled_lengths(size, given[axis])]
    else:
        new = context.size(node.outputs[0], axis)
        lines = [_Axis(size, new, new / max(size, 1))]
    gain = ZERO
    for line in lines:
        gain = gain.max(_interpolated(node, context, axis, mode, line))
    return gain


def _interpolated(node: Node, context: Context, axis: int, mode: str, line: _Axis) -> Magnitude:
    size, new = line.size, line.new
    if size > _LONGEST or new > _LONGEST or not size:
        raise Missing(f"an axis of {max(size, new)} is too long to form its interpolation")
    where = _transformation(node, context)
    points = [line.coordinate(where, position) for position in range(new)]
    if mode == "nearest":
        return root(_most_shown(points, size, _rounding(node, context)))
    smooth = "cubic" in mode
    stretch = min(line.scale, 1.0) if attribute(node, "antialias", 0) else 1.0
    outside = bool(attribute(node, "exclude_outside", 0))
    cubic = attribute(node, "cubic_coeff_a", -0.75)
    kernel = _keys(cubic) if smooth else _hat
    reach = 2 if smooth else 1
    gain = magnitude(0.0)
    # With antialiasing, runtimes differ in whether taps outside are clamped or left out.
    for excluded in {outside, True} if stretch < 1.0 else {outside}:
        matrix = _matrix(points, size, kernel, reach, stretch, excluded)
        layer = matrix_layer(f"{node.name} axis {axis}", matrix, node)
        gain = gain.max(context.norm(layer))
    return gain + magnitude(64 * 2.0**-52 * math.sqrt(size * new))


def _most_shown(points: list[float], size: int, rounding: str) -> int:
    counts = [0] * size
    tie = max(_TIE, _TIE_PER_PLACE * max(size, len(points)))
    for point in points:
        near = {_rounded(point + shift, rounding) for shift in (-tie, 0.0, tie)}
        for index in {min(max(index, 0), size - 1) for index in near}:
            counts[index] += 1
    return max(counts, default=0)


def _rounded(point: float, rounding: str) -> int:
    match rounding:
        case "floor":
            return math.floor(point)
        case "ceil":
            return math.ceil(point)
        case "round_prefer_ceil":
            return math.floor(point + 0.5)
    return math.ceil(point - 0.5)


def _hat(distance: float) -> float:
    return max(0.0, 1.0 - abs(distance))


def _keys(a: float) -> Callable[[float], float]:
    """Keys' cubic convolution kernel."""

    def kernel(distance: float) -> float:
        t = abs(distance)
        if t <= 1.0:
            return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
        return ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a if t < 2.0 else 0.0

    return kernel


def _matrix(
    points: list[float],
    size: int,
    kernel: Callable[[float], float],
    reach: int,
    stretch: float,
    excluded: bool,
) -> "NDArray[np.float64]":
    import numpy as np

    matrix = np.zeros((len(points), size))
    for row, point in enumerate(points):
        radius = math.ceil(reach / stretch)
        taps = range(math.floor(point) - radius, math.floor(point) + radius + 2)
        weights = {tap: kernel((tap - point) * stretch) for tap in taps}
        if excluded:
            weights = {tap: w for tap, w in weights.items() if 0 <= tap < size}
        total = sum(weights.values()) if excluded or stretch < 1.0 else 1.0
        for tap, weight in weights.items():
            matrix[row, min(max(tap, 0), size - 1)] += weight / total
    return matrix
