"""Sums of products: matrices, convolutions, pools, reductions."""

import math
from typing import TYPE_CHECKING

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import Ball, bilinear, elementwise, root, scalar, selected, summed
from specaudit.witness.layout import given
from specaudit.witness.table import (
    Uncovered,
    attribute,
    ball,
    bounded,
    computes,
    integers,
    optional,
)

if TYPE_CHECKING:
    from specaudit.witness.balls import Array
    from specaudit.witness.table import Value, Values


@computes("MatMul")
def _matmul(node: Node, args: "Values", opset: int) -> "list[Value]":
    left, right = ball(args), ball(args, 1)
    bounded(*np.broadcast_shapes(left.mid.shape[:-2], right.mid.shape[:-2]), *_matrix(left, right))
    return [bilinear(np.matmul, left, right, left.mid.shape[-1])]


def _matrix(left: Ball, right: Ball) -> tuple[int, ...]:
    return (*left.mid.shape[-2:-1], *right.mid.shape[1:][-1:])


@computes("Gemm")
def _gemm(node: Node, args: "Values", opset: int) -> "list[Value]":
    left, right = ball(args), ball(args, 1)
    left = left.moved(np.transpose) if attribute(node, "transA", 0) else left
    right = right.moved(np.transpose) if attribute(node, "transB", 0) else right
    bounded(*_matrix(left, right))
    total = bilinear(np.matmul, left, right, left.mid.shape[-1])
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    total = total if alpha == 1.0 else scalar(alpha) * total
    if optional(args, 2) is not None:
        extra = ball(args, 2)
        total = total + (extra if beta == 1.0 else scalar(beta) * extra)
    return [total]


@computes("Einsum")
def _einsum(node: Node, args: "Values", opset: int) -> "list[Value]":
    equation = attribute(node, "equation", "")
    balls = [ball(args, index) for index in range(len(args))]
    if len(balls) == 1:
        terms = balls[0].mid.size
        return [bilinear(lambda a, b: np.einsum(equation, a) * b, balls[0], scalar(1.0), terms)]
    if len(balls) != 2:
        raise Uncovered("Einsum of more than two operands")
    left, right = balls
    terms = max(left.mid.size, right.mid.size)
    return [bilinear(lambda a, b: np.einsum(equation, a, b, optimize=True), left, right, terms)]


@computes("Conv")
def _conv(node: Node, args: "Values", opset: int) -> "list[Value]":
    x, kernel = ball(args), ball(args, 1)
    group = attribute(node, "group", 1)
    spatial = kernel.mid.shape[2:]
    window = Window.of(node, spatial, x.mid.shape[2:])

    def product(entries: "Array", weights: "Array") -> "Array":
        return _correlated(window.pad(entries, 0.0), weights, group, window)

    return [_biased(bilinear(product, x, kernel, kernel.mid[0].size), args)]


def _correlated(x: "Array", kernel: "Array", group: int, window: "Window") -> "Array":
    """Tap by tap: a strided view of the input times a matrix of (out, in) channels."""
    batch, channels = x.shape[:2]
    out = window.out
    bounded(batch, channels, *out, *kernel.shape[2:])
    grouped = kernel.reshape(group, -1, *kernel.shape[1:])
    if group == channels == kernel.shape[0]:
        depthwise = np.zeros((batch, channels, *out))
        for tap in np.ndindex(*kernel.shape[2:]):
            factor = kernel[(slice(None), 0, *tap)].reshape(-1, *(1,) * len(out))
            depthwise += window.view(x, tap) * factor
        return depthwise
    columns = np.stack([window.view(x, tap) for tap in np.ndindex(*kernel.shape[2:])], axis=2)
    columns = columns.reshape(batch, group, -1, math.prod(out))
    matrices = grouped.reshape(group, grouped.shape[1], -1)
    return np.asarray(np.matmul(matrices, columns).reshape(batch, -1, *out))


@computes("ConvTranspose")
def _conv_transposed(node: Node, args: "Values", opset: int) -> "list[Value]":
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise Uncovered("ConvTranspose with automatic padding")
    if integers(node, "output_shape") is not None:
        raise Uncovered("ConvTranspose to a given shape")
    x, kernel = ball(args), ball(args, 1)
    group, spatial = attribute(node, "group", 1), kernel.mid.shape[2:]
    rank = len(spatial)
    strides = integers(node, "strides") or (1,) * rank
    dilations = integers(node, "dilations") or (1,) * rank
    pads = integers(node, "pads") or (0,) * (2 * rank)
    extra = integers(node, "output_padding") or (0,) * rank
    sizes = x.mid.shape[2:]
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(sizes, strides, dilations, spatial, extra, strict=True)
    ]
    bounded(x.mid.shape[0], kernel.mid.shape[1] * group, *full)
    cut = tuple(slice(pads[a], full[a] - pads[a + rank]) for a in range(rank))

    def product(entries: "Array", weights: "Array") -> "Array":
        batch = entries.shape[0]
        blocks = weights.reshape(group, -1, *weights.shape[1:])
        parts = entries.reshape(batch, group, -1, *sizes)
        whole = np.zeros((batch, group, blocks.shape[2], *full))
        for tap in np.ndindex(*spatial):
            moved = np.einsum("gio,bgi...->bgo...", blocks[(..., *tap)], parts, optimize=True)
            place = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilations, sizes, strides, strict=True)
            )
            whole[(slice(None),) * 3 + place] += moved
        kept = whole[(slice(None),) * 3 + cut]
        return np.asarray(kept.reshape(batch, -1, *kept.shape[3:]))

    terms = kernel.mid.shape[0] // group * math.prod(spatial)
    return [_biased(bilinear(product, x, kernel, terms), args)]


def _biased(y: Ball, args: "Values") -> Ball:
    if optional(args, 2) is None:
        return y
    return y + along_channels(ball(args, 2), y)


def along_channels(vector: Ball, like: Ball) -> Ball:
    """A vector of one number a channel, ready to be broadcast."""
    return vector.moved(lambda v: v.reshape(1, -1, *(1,) * (like.mid.ndim - 2)))


class Window:
    """How a window slides: sizes, steps, and the padding around the input."""

    def __init__(
        self,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        dilations: tuple[int, ...],
        pads: tuple[tuple[int, int], ...],
        sizes: tuple[int, ...],
    ) -> None:
        self.kernel, self.strides, self.dilations, self.pads = kernel, strides, dilations, pads
        spread = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        self.room = tuple(n + sum(p) - e for n, p, e in zip(sizes, pads, spread, strict=True))
        if min(self.room) < 0 or min(map(min, pads)) < 0:
            raise Uncovered("a window larger than its input, or padding that crops")
        bounded(*(n + sum(p) for n, p in zip(sizes, pads, strict=True)))
        self.out = tuple(r // s + 1 for r, s in zip(self.room, strides, strict=True))

    @classmethod
    def of(cls, node: Node, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> "Window":
        """Read the attributes that convolutions and pools have in common."""
        rank = len(kernel)
        strides = integers(node, "strides") or (1,) * rank
        dilations = integers(node, "dilations") or (1,) * rank
        given = integers(node, "pads") or (0,) * (2 * rank)
        pads = tuple((given[a], given[a + rank]) for a in range(rank))
        automatic = attribute(node, "auto_pad", "NOTSET")
        if automatic.startswith("SAME"):
            pads = tuple(
                _same_padding(*each, late=automatic.endswith("UPPER"))
                for each in zip(sizes, kernel, strides, dilations, strict=True)
            )
        elif automatic == "VALID":
            pads = ((0, 0),) * rank
        found = cls(kernel, strides, dilations, pads, sizes)
        rests = any(r % s for r, s in zip(found.room, strides, strict=True))
        if attribute(node, "ceil_mode", 0) and rests:
            raise Uncovered(f"{node.op} with windows that reach past the end")
        return found

    def pad(self, x: "Array", value: float) -> "Array":
        """The input with its padding."""
        widths = ((0, 0), (0, 0), *self.pads)
        return np.pad(x, widths, constant_values=value) if any(map(any, self.pads)) else x

    def view(self, padded: "Array", tap: tuple[int, ...]) -> "Array":
        """What one tap of the window sees, at all its places."""
        cuts = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, self.dilations, self.out, self.strides, strict=True)
        )
        return padded[(slice(None), slice(None), *cuts)]

    def all(self, padded: "Array") -> "Array":
        """All views, on a new first axis."""
        bounded(*padded.shape[:2], *self.out, *self.kernel)
        return np.stack([self.view(padded, tap) for tap in np.ndindex(*self.kernel)])


def _same_padding(n: int, k: int, s: int, d: int, *, late: bool) -> tuple[int, int]:
    total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
    half = total // 2
    return (half, total - half) if late else (total - half, half)


@computes("MaxPool")
def _max_pool(node: Node, args: "Values", opset: int) -> "list[Value]":
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Uncovered("MaxPool with indices")
    x = ball(args)
    window = Window.of(node, integers(node, "kernel_shape") or (), x.mid.shape[2:])
    return [
        selected(
            lambda t: window.all(window.pad(t, -np.inf)).max(axis=0),
            x,
            lambda t: window.all(window.pad(t, 0.0)).max(axis=0),
        )
    ]


@computes("AveragePool")
def _average_pool(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    window = Window.of(node, integers(node, "kernel_shape") or (), x.mid.shape[2:])
    full = x.moved(lambda t: window.all(window.pad(t, 0.0)))
    total = summed(full, (0,), keepdims=False)
    if attribute(node, "count_include_pad", 0):
        return [total / scalar(float(math.prod(window.kernel)))]
    ones = np.ones((1, 1, *x.mid.shape[2:]))
    return [total / Ball.exactly(window.all(window.pad(ones, 0.0)).sum(axis=0))]


@computes("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    axes = tuple(range(2, x.mid.ndim))
    return [_reduced("ReduceMax" if node.op == "GlobalMaxPool" else "ReduceMean", x, axes, True)]


@computes("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
@computes("ReduceSumSquare")
def _reduce(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    axes = given(node, args, "axes", 1)
    if axes is None or not axes:
        if attribute(node, "noop_with_empty_axes", 0):
            raise Uncovered(f"{node.op} over no axes")
        axes = tuple(range(x.mid.ndim))
    places = tuple(axis % x.mid.ndim for axis in axes)
    return [_reduced(node.op, x, places, bool(attribute(node, "keepdims", 1)))]


def _reduced(op: str, x: Ball, axes: tuple[int, ...], keepdims: bool) -> Ball:
    if op in ("ReduceMax", "ReduceMin"):
        choose = np.max if op == "ReduceMax" else np.min
        return selected(
            lambda t: choose(t, axis=axes, keepdims=keepdims),
            x,
            lambda t: t.max(axis=axes, keepdims=keepdims),
        )
    if op == "ReduceL1":
        x = elementwise(np.abs, x, 1.0, exact=True)
    if op in ("ReduceL2", "ReduceSumSquare"):
        x = x * x
    total = summed(x, axes, keepdims=keepdims)
    if op == "ReduceMean":
        return total / scalar(float(math.prod(x.mid.shape[axis] for axis in axes)))
    return root(total) if op == "ReduceL2" else total
