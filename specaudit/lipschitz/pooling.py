"""Pooling over windows: averages are products of one-dimensional maps, maxima count overlaps."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, integers
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.normalization import inverse_root
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Missing, magnitude, root, rule, unary
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_TAPS = 1 << 20  # of all windows together, where they are gone through one by one
_HIGHEST_POWER = 8


@dataclass(frozen=True, slots=True)
class Window:
    """A pooling window along one axis; `size` is the input's, where it is known."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    size: int | None

    def __post_init__(self) -> None:
        # Negative ones would make counts negative, and these pass below every limit of work.
        if min(self.kernel, self.stride, self.dilation) < 1 or min(self.before, self.after) < 0:
            raise Missing("a window has a size, step or padding below what it must have")

    def outputs(self, ceil_mode: bool) -> int:
        """Number of positions, for a known size."""
        assert self.size is not None
        reach = self.dilation * (self.kernel - 1) + 1
        room = self.size + self.before + self.after - reach
        if room < 0:
            return 0
        count = (-(-room // self.stride) if ceil_mode else room // self.stride) + 1
        # The last window has to begin inside the input or the padding before it.
        if ceil_mode and (count - 1) * self.stride >= self.size + self.before:
            count -= 1
        return count

    @property
    def overlap(self) -> int:
        """The most windows that one element lies in, whatever the size."""
        return -(-self.kernel // (self.stride // math.gcd(self.stride, self.dilation)))


def windows(node: Node, context: Context) -> list[Window]:
    """The windows of a pooling node, axis by axis."""
    kernel = integers(node, "kernel_shape")
    if kernel is None:
        raise Missing(f"{node.op} has no kernel_shape")
    spatial = len(kernel)
    strides = integers(node, "strides") or (1,) * spatial
    dilations = integers(node, "dilations") or (1,) * spatial
    pads = integers(node, "pads") or (0,) * (2 * spatial)
    shape = context.resolved.shape(node.inputs[0])
    mode = attribute(node, "auto_pad", "NOTSET")
    found = []
    for axis in range(spatial):
        size = shape[axis + 2] if shape is not None and len(shape) == spatial + 2 else None
        length = size if isinstance(size, int) else None
        k, s, d = kernel[axis], strides[axis], dilations[axis]
        before, after = pads[axis], pads[axis + spatial]
        if mode.startswith("SAME") and d != 1:
            # onnxruntime leaves the dilation out of this padding, the standard does not.
            length, before, after = None, 0, 0
        elif mode.startswith("SAME"):
            if length is None:
                context.size(node.inputs[0], axis + 2)
                raise Missing("needs the size of the input, which decides the padding")
            total = max(0, (-(-length // s) - 1) * s + d * (k - 1) + 1 - length)
            less, more = total // 2, total - total // 2
            before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
        elif mode == "VALID":
            before = after = 0
        found.append(Window(k, s, d, before, after, length))
    return found


@rule("AveragePool")
def average_pool(node: Node, context: Context) -> Effect:
    """Product over the axes of the norm of the averaging matrix; exact where sizes are known.

    Without them the norm on the infinite line, for windows that all count in full.
    """
    ceil_mode = bool(attribute(node, "ceil_mode", 0))
    counted = bool(attribute(node, "count_include_pad", 0))
    parts = windows(node, context)
    gain = _averages(node, context, parts, ceil_mode, counted)
    known = context.facts(node.inputs[0])
    return unary(gain, Facts(min(known.lo, 0.0), max(known.hi, 0.0)))


def _averages(
    node: Node, context: Context, parts: list[Window], ceil_mode: bool, counted: bool
) -> Magnitude:
    gain = ONE
    for axis, window in enumerate(parts):
        if window.size is not None:
            matrix = averaging_matrix(window, ceil_mode, counted)
            lost = magnitude(4 * 2.0**-52 * math.sqrt(matrix.size))
            measured = context.norm(matrix_layer(f"{node.name} axis {axis}", matrix, node))
            gain = gain * (measured + lost if matrix.size else ZERO)
            continue
        padded = window.before or window.after
        if window.dilation != 1 or ceil_mode or (padded and not counted):
            context.size(node.inputs[0], axis + 2)
            raise Missing("runtimes pad a dilated window in different ways")
        gain = gain * _infinite_average(window)
    return gain


def averaging_matrix(window: Window, ceil_mode: bool, counted: bool) -> "NDArray[np.float64]":
    """The matrix of a one-dimensional average, as ONNX defines its divisor."""
    import numpy as np

    assert window.size is not None
    count = window.outputs(ceil_mode)
    if count * window.size > 1 << 24 or count * window.kernel > _MOST_TAPS:
        raise Missing("an axis is too long to form its averaging matrix")
    matrix = np.zeros((count, window.size))
    for row in range(count):
        first = row * window.stride - window.before
        taps = [first + window.dilation * k for k in range(window.kernel)]
        inside = [tap for tap in taps if 0 <= tap < window.size]
        # Padding counts, but what ceil_mode adds behind the padding does not.
        within = [tap for tap in taps if tap < window.size + window.after]
        divisor = len(within) if counted else len(inside)
        for tap in inside:
            matrix[row, tap] += 1.0 / divisor
    return matrix


def _infinite_average(window: Window) -> Magnitude:
    """``(1/k) sqrt(sum_j max(0, k - s|j|))``, the norm of the average on the whole line."""
    k, s = window.kernel, window.stride
    return magnitude(ranges.quotient(ranges.root(_overlaps(k, s)), float(k)))


def _overlaps(kernel: int, stride: int) -> int:
    """``sum_j max(0, k - s|j|)``: what a window has in common with all windows."""
    furthest = (kernel - 1) // stride
    return kernel * (2 * furthest + 1) - stride * furthest * (furthest + 1)


@rule("MaxPool")
def max_pool(node: Node, context: Context) -> tuple[Effect, ...]:
    """Root of the most windows that hold one element: sharp, 2 for a 3x3 with stride 2."""
    gain = _overlap(node, context, bool(attribute(node, "ceil_mode", 0)))
    known = context.facts(node.inputs[0])
    return (unary(gain, Facts(known.lo, known.hi)), *_indices(node))


def _indices(node: Node) -> tuple[Effect, ...]:
    from specaudit.lipschitz.rules import DISCONTINUOUS

    return tuple(unary(DISCONTINUOUS) for _ in node.outputs[1:])


def _overlap(node: Node, context: Context, ceil_mode: bool) -> Magnitude:
    most = 1
    for window in windows(node, context):
        most *= _counted_overlap(window, ceil_mode)
    return root(most)


def _counted_overlap(window: Window, ceil_mode: bool) -> int:
    """The most windows that one element of the input lies in, counted where they are few."""
    import numpy as np

    if window.size is None or window.size > 1 << 16:
        return window.overlap
    outputs = window.outputs(ceil_mode)
    if outputs * window.kernel > _MOST_TAPS:
        return window.overlap
    counts = np.zeros(window.size, dtype=np.int64)
    for row in range(outputs):
        first = row * window.stride - window.before
        for k in range(window.kernel):
            tap = first + window.dilation * k
            if 0 <= tap < window.size:
                counts[tap] += 1
    return min(window.overlap, int(counts.max(initial=0)))


@rule("LpPool")
def lp_pool(node: Node, context: Context) -> Effect:
    """For p >= 2 as MaxPool; for p = 1 the norm of summing over the windows."""
    if _power(node) >= 2:
        return unary(_overlap(node, context, bool(attribute(node, "ceil_mode", 0))), Facts(0.0))
    gain = ONE
    for window in windows(node, context):
        k, s = window.kernel, window.stride // math.gcd(window.stride, window.dilation)
        gain = gain * root(_overlaps(k, s))
    return unary(gain, Facts(0.0))


def _power(node: Node) -> int:
    """The p of a p-norm: below 1 there is none, and far above runtimes overflow or wrap around."""
    p = attribute(node, "p", 2)
    if not 1 <= p <= _HIGHEST_POWER:
        raise Missing(f"p = {p} is not between 1 and {_HIGHEST_POWER}")
    return p


@rule("GlobalAveragePool")
def global_average(node: Node, context: Context) -> Effect:
    """One over the root of the number of elements; what is not known of it stays a root."""
    known = context.facts(node.inputs[0])
    facts = Facts(known.lo, known.hi)
    return mean_over(node, context, lambda: range(2, context.rank(node.inputs[0])), facts)


def mean_over(
    node: Node, context: Context, axes: Callable[[], Iterable[int]], facts: Facts
) -> Effect:
    """A mean over some axes: ``1/sqrt(n)``; exact."""
    try:
        count, unknown = context.averaged(node.inputs[0], axes())
    except Missing:
        # A mean never stretches more than the mean of one element.
        return unary(ONE, facts)
    return Effect({0: magnitude(inverse_root(float(count)))}, facts=facts, weighed=unknown)


@rule("GlobalMaxPool")
def global_max(node: Node, context: Context) -> Effect:
    """1; exact."""
    known = context.facts(node.inputs[0])
    return unary(ONE, Facts(known.lo, known.hi))


@rule("GlobalLpPool")
def global_lp(node: Node, context: Context) -> Effect:
    """1 for p >= 2, the root of the number of elements for p = 1."""
    if _power(node) >= 2:
        return unary(ONE, Facts(0.0))
    count = math.prod(
        context.size(node.inputs[0], axis) for axis in range(2, context.rank(node.inputs[0]))
    )
    return unary(root(count), Facts(0.0))


@rule("MaxUnpool")
def unpool(node: Node, context: Context) -> Effect:
    """1 where the indices do not depend on the input and no two are the same."""
    from specaudit.lipschitz.rules import INDEX

    if context.live(node.inputs[1]):
        return Effect({0: INDEX, 1: INDEX})
    known = context.facts(node.inputs[0])
    return unary(ONE, Facts(min(known.lo, 0.0), max(known.hi, 0.0), {}, known.norm))


@rule("Col2Im")
def col2im(node: Node, context: Context) -> Effect:
    """Root of the most blocks that hold one element of the image."""
    block = context.integers(node.inputs[2], "the block shape")
    image = context.integers(node.inputs[1], "the image shape")
    spatial = len(block)
    strides = integers(node, "strides") or (1,) * spatial
    dilations = integers(node, "dilations") or (1,) * spatial
    pads = integers(node, "pads") or (0,) * (2 * spatial)
    most = 1
    for axis in range(spatial):
        window = Window(
            block[axis],
            strides[axis],
            dilations[axis],
            pads[axis],
            pads[axis + spatial],
            image[axis],
        )
        most *= max(_counted_overlap(window, False), 1)
    return unary(root(most))
