"""Operations that only move entries, repeat them or leave them out."""

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import Ball
from specaudit.witness.table import (
    Uncovered,
    attribute,
    ball,
    bounded,
    computes,
    constant,
    fixed,
    integers,
    optional,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specaudit.witness.table import Value, Values


def _moved(value: "Value | None", function: "Callable[[NDArray[np.generic]], object]") -> "Value":
    """Apply a function that only moves entries to numbers of either kind."""
    if isinstance(value, Ball):
        return value.moved(lambda array: np.asarray(function(array)))
    if value is None:
        raise Uncovered("an operand that is left out")
    return np.asarray(function(np.asarray(value)))


def _shape(value: "Value | None") -> tuple[int, ...]:
    if value is None:
        raise Uncovered("an operand that is left out")
    return value.mid.shape if isinstance(value, Ball) else np.shape(value)


def given(node: Node, args: "Values", name: str, index: int) -> tuple[int, ...] | None:
    """A list of integers that is an attribute in old opsets and an input in new ones."""
    found = integers(node, name)
    if found is None and optional(args, index) is not None:
        found = whole(args, index)
    return found


@computes("Shape")
def _shape_of(node: Node, args: "Values", opset: int) -> "list[Value]":
    shape = _shape(args[0])
    start, end = attribute(node, "start", 0), attribute(node, "end", len(shape))
    return [np.asarray(shape[start:end], dtype=np.int64)]


@computes("Size")
def _size(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [np.asarray(math.prod(_shape(args[0])), dtype=np.int64)]


@computes("Reshape")
def _reshape(node: Node, args: "Values", opset: int) -> "list[Value]":
    asked = given(node, args, "shape", 1) or ()
    old = _shape(args[0])
    if not attribute(node, "allowzero", 0):
        asked = tuple(old[axis] if size == 0 else size for axis, size in enumerate(asked))
    return [_moved(args[0], lambda x: x.reshape(asked))]


@computes("Flatten")
def _flatten(node: Node, args: "Values", opset: int) -> "list[Value]":
    old = _shape(args[0])
    axis = attribute(node, "axis", 1)
    axis += len(old) if axis < 0 else 0
    return [_moved(args[0], lambda x: x.reshape(math.prod(old[:axis]), -1))]


@computes("Squeeze")
def _squeeze(node: Node, args: "Values", opset: int) -> "list[Value]":
    axes = given(node, args, "axes", 1)
    return [_moved(args[0], lambda x: np.squeeze(x, axis=axes))]


@computes("Unsqueeze")
def _unsqueeze(node: Node, args: "Values", opset: int) -> "list[Value]":
    axes = given(node, args, "axes", 1) or ()
    return [_moved(args[0], lambda x: np.expand_dims(x, axes))]


@computes("Transpose")
def _transpose(node: Node, args: "Values", opset: int) -> "list[Value]":
    return [_moved(args[0], lambda x: np.transpose(x, integers(node, "perm")))]


@computes("Concat")
def _concat(node: Node, args: "Values", opset: int) -> "list[Value]":
    axis = attribute(node, "axis", 1)
    if not any(isinstance(value, Ball) for value in args):
        return [np.concatenate([np.asarray(value) for value in args], axis=axis)]
    balls = [ball(args, index) for index in range(len(args))]
    mid = np.concatenate([one.mid for one in balls], axis=axis)
    rads = [np.broadcast_to(one.rad, one.mid.shape) for one in balls if one.rad is not None]
    tracked = len(rads) == len(balls)
    return [Ball(mid, np.concatenate(rads, axis=axis) if tracked else None)]


@computes("Split")
def _split(node: Node, args: "Values", opset: int) -> "list[Value]":
    axis = attribute(node, "axis", 0)
    size = _shape(args[0])[axis]
    sizes = given(node, args, "split", 1)
    if sizes is None:
        part = -(-size // len(node.outputs))
        sizes = tuple(min(part, size - part * k) for k in range(len(node.outputs)))
    ends = np.cumsum(sizes)
    places = [np.arange(end - width, end) for width, end in zip(sizes, ends, strict=True)]
    return [_moved(args[0], partial(np.take, indices=place, axis=axis)) for place in places]


@computes("Slice")
def _slice(node: Node, args: "Values", opset: int) -> "list[Value]":
    old = _shape(args[0])
    starts, ends = given(node, args, "starts", 1) or (), given(node, args, "ends", 2) or ()
    axes = given(node, args, "axes", 3) or tuple(range(len(starts)))
    steps = whole(args, 4) if optional(args, 4) is not None else (1,) * len(starts)
    cuts = [slice(None)] * len(old)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = old[axis]
        # Backwards, an end before the first entry is -1 after clamping, which Python reads
        # as the last one.
        stop = None if step < 0 and (end < -size or end + size < 0) else end
        cuts[axis] = slice(start, stop, step)
    return [_moved(args[0], lambda x: x[tuple(cuts)])]


@computes("Gather")
def _gather(node: Node, args: "Values", opset: int) -> "list[Value]":
    index = np.asarray(fixed(args, 1)).astype(np.int64)
    axis = attribute(node, "axis", 0)
    old = _shape(args[0])
    bounded(*old[:axis], *old[axis:][1:], index.size)
    return [_moved(args[0], lambda x: np.take(x, index, axis=axis))]


@computes("Expand")
def _expand(node: Node, args: "Values", opset: int) -> "list[Value]":
    shape = np.broadcast_shapes(_shape(args[0]), whole(args, 1))
    bounded(*shape)
    return [_moved(args[0], lambda x: np.broadcast_to(x, shape))]


@computes("Tile")
def _tile(node: Node, args: "Values", opset: int) -> "list[Value]":
    bounded(*_shape(args[0]), *whole(args, 1))
    return [_moved(args[0], lambda x: np.tile(x, whole(args, 1)))]


@computes("ConstantOfShape")
def _filled(node: Node, args: "Values", opset: int) -> "list[Value]":
    value = node.attributes.get("value")
    read = getattr(value, "read", None)
    entry = np.zeros(1, dtype=np.float32) if read is None else np.asarray(read())
    bounded(*whole(args, 0))
    full = np.full(whole(args, 0), entry.reshape(-1)[0])
    return [full if full.dtype.kind in "iub" else Ball.exactly(full)]


@computes("Range")
def _range(node: Node, args: "Values", opset: int) -> "list[Value]":
    start, end, step = (whole(args, index)[0] for index in range(3))
    bounded((end - start) // step)
    return [np.arange(start, end, step, dtype=np.int64)]


@computes("Pad")
def _pad(node: Node, args: "Values", opset: int) -> "list[Value]":
    pads = given(node, args, "pads", 1) or ()
    rank = len(_shape(args[0]))
    axes = whole(args, 3) if optional(args, 3) is not None else tuple(range(rank))
    fill = attribute(node, "value", 0.0)
    if optional(args, 2) is not None:
        fill = constant(args, 2)
    widths = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        widths[axis] = (pads[k], pads[k + len(axes)])
    if min(pads, default=0) < 0:
        raise Uncovered("Pad that crops")
    bounded(*(n + sum(w) for n, w in zip(_shape(args[0]), widths, strict=True)))
    mode = attribute(node, "mode", "constant")
    x = ball(args)
    if mode != "constant":
        return [x.moved(lambda t: np.pad(t, widths, mode=mode))]  # type: ignore[call-overload]
    mid = np.pad(x.mid, widths, constant_values=fill)
    if x.rad is None:
        return [Ball(mid, None)]
    return [Ball(mid, np.pad(np.broadcast_to(x.rad, x.mid.shape), widths))]


@computes("DepthToSpace", "SpaceToDepth")
def _blocks(node: Node, args: "Values", opset: int) -> "list[Value]":
    size = attribute(node, "blocksize", 1)
    batch, channels, height, width = _shape(args[0])
    if node.op == "SpaceToDepth":
        if attribute(node, "mode", "DCR") != "DCR":
            raise Uncovered("SpaceToDepth in another mode")
        apart = (batch, channels, height // size, size, width // size, size)
        order: tuple[int, ...] = (0, 3, 5, 1, 2, 4)
        final = (batch, channels * size**2, height // size, width // size)
    else:
        depth = channels // size**2
        final = (batch, depth, height * size, width * size)
        if attribute(node, "mode", "DCR") == "DCR":
            apart, order = (batch, size, size, depth, height, width), (0, 3, 4, 1, 5, 2)
        else:
            apart, order = (batch, depth, size, size, height, width), (0, 1, 4, 2, 5, 3)
    return [_moved(args[0], lambda x: x.reshape(apart).transpose(order).reshape(final))]
