"""The linear part of linear nodes, applied to many vectors at once.

Values are arrays whose first axis counts the vectors. With `absolute` every constant is
replaced by its modulus and every difference by a sum: that is what bounds the rounding.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from specaudit.lipschitz.context import Context, attribute, integers
from specaudit.lipschitz.convolution import geometry
from specaudit.lipschitz.normalization import affine
from specaudit.lipschitz.reductions import axes
from specaudit.lipschitz.rules import Missing
from specaudit.model import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch: TypeAlias = NDArray[np.float64]
    Arguments: TypeAlias = Sequence[Batch | None]
Evaluator: TypeAlias = "Callable[[Node, Context, Arguments, bool], list[Batch]]"

LINEAR: dict[str, Evaluator] = {}


def evaluates(*ops: str) -> Callable[[Evaluator], Evaluator]:
    """Enter a function as the linear part of some operations."""

    def enter(function: Evaluator) -> Evaluator:
        LINEAR.update(dict.fromkeys(ops, function))
        return function

    return enter


def roundings(node: Node, context: Context) -> int:
    """How often a number is rounded on its way through a node, at most."""
    if node.op in ("Conv", "MatMul", "Gemm"):
        values = [context.constant(name) for name in node.inputs[:2]]
        return max((value.size for value in values if value is not None), default=0) + 4
    if node.op in ("ReduceSum", "ReduceMean", "GlobalAveragePool", "AveragePool", "CumSum"):
        return context.count(node.inputs[0]) + 4
    return len(node.inputs) + 8


def _one(args: "Arguments") -> "Batch":
    found = args[0]
    if found is None:
        raise Missing("a linear node whose first operand does not move")
    return found


def _weight(value: "NDArray[np.generic]", absolute: bool) -> "NDArray[np.float64]":
    double = np.asarray(value, dtype=np.float64)
    return np.abs(double) if absolute else double


@evaluates("Identity", "Dropout", "Cast", "CastLike")
def _same(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    return [_one(args)]


@evaluates("Neg")
def _negative(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    return [_one(args) if absolute else -_one(args)]


@evaluates("Add", "Sub", "Sum", "Mean")
def _sum(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    shape = context.sizes(node.outputs[0])
    count = next(arg.shape[0] for arg in args if arg is not None)
    total = np.zeros((count, *shape))
    for index, arg in enumerate(args):
        if arg is not None:
            lead = (1,) * (len(shape) - (arg.ndim - 1))
            term = arg.reshape(count, *lead, *arg.shape[1:])
            total = total - term if node.op == "Sub" and index and not absolute else total + term
    return [total / len(args) if node.op == "Mean" else total]


@evaluates("Mul", "Div")
def _scaled(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    index = 0 if args[0] is not None else 1
    moving = args[index]
    if moving is None or args[1 - index] is not None or (node.op == "Div" and index):
        raise Missing("a product of two activations is not linear")
    factor = _weight(context.value(node.inputs[1 - index], "a factor"), absolute)
    shape = context.sizes(node.outputs[0])
    lead = (1,) * (len(shape) - (moving.ndim - 1))
    spread = moving.reshape(moving.shape[0], *lead, *moving.shape[1:])
    return [spread / factor if node.op == "Div" else spread * factor]


@evaluates("MatMul")
def _matmul(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    first, second = args[0], args[1]
    if first is not None and second is None:
        return [_by_matrix(first, _weight(context.value(node.inputs[1], "W"), absolute))]
    if second is not None and first is None:
        weight = _weight(context.value(node.inputs[0], "W"), absolute)
        if second.ndim == 2:
            return [np.moveaxis(np.tensordot(weight, second, axes=(-1, 1)), -1, 0)]
        return [np.matmul(weight, _aligned(second, weight.ndim))]
    raise Missing("a product of two activations is not linear")


def _by_matrix(moving: "Batch", weight: "NDArray[np.float64]") -> "Batch":
    if moving.ndim == 2 and weight.ndim > 2:
        return np.asarray(np.tensordot(moving, weight, axes=(1, -2)))
    return np.asarray(np.matmul(_aligned(moving, weight.ndim), weight))


def _aligned(moving: "Batch", rank: int) -> "Batch":
    """Put axes of size 1 behind the first, so that a constant's batch axes do not meet it."""
    lead = (1,) * max(rank - (moving.ndim - 1), 0) if rank > 2 else ()
    return moving.reshape(moving.shape[0], *lead, *moving.shape[1:])


@evaluates("Gemm")
def _gemm(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    if absolute:
        alpha, beta = abs(alpha), abs(beta)
    operands = []
    for index, flag in ((0, "transA"), (1, "transB")):
        arg = args[index]
        value = (
            arg if arg is not None else _weight(context.value(node.inputs[index], "W"), absolute)
        )
        operands.append(np.swapaxes(value, -1, -2) if attribute(node, flag, 0) else value)
    both = args[0] is not None and args[1] is not None
    if both:
        raise Missing("a product of two activations is not linear")
    moves = args[0] is not None or args[1] is not None
    count = next(arg.shape[0] for arg in args if arg is not None)
    total = np.zeros((count, *context.sizes(node.outputs[0])))
    if moves:
        total = total + alpha * np.matmul(operands[0], operands[1])
    if len(args) > 2 and args[2] is not None:
        extra = args[2]
        total = total + beta * extra.reshape(count, *(1,) * (3 - extra.ndim), *extra.shape[1:])
    return [total]


@evaluates("Conv")
def _conv(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    """Tap by tap: each moves a strided view of the padded input through a matrix."""
    x = _one(args)
    weight = _weight(context.value(node.inputs[1], "the kernel"), absolute)
    form = geometry(node, context, weight.shape[2:])
    if attribute(node, "auto_pad", "NOTSET").startswith("SAME") and form.input is None:
        raise Missing("padding that depends on a size that is not known")
    spatial = weight.ndim - 2
    pads = [(max(form.pads[a], 0), max(form.pads[a + spatial], 0)) for a in range(spatial)]
    if any(pad < 0 for pad in form.pads):
        raise Missing("negative padding is not evaluated")
    padded = np.pad(x, [(0, 0)] * 3 + pads)
    out = context.sizes(node.outputs[0])
    result = np.zeros((x.shape[0], *out))
    for tap in np.ndindex(*weight.shape[2:]):
        cuts: tuple[slice, ...] = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, s, n in zip(tap, form.dilations, form.strides, out[2:], strict=True)
        )
        moved = padded[(slice(None), slice(None), slice(None), *cuts)]
        matrix = weight[(slice(None), slice(None), *tap)]
        result = result + _groups(moved, matrix, form.group)
    return [result]


def _groups(x: "Batch", matrix: "NDArray[np.float64]", group: int) -> "Batch":
    """A (out, in/group) matrix on the channel axis, group by group."""
    parts = x.reshape(*x.shape[:2], group, -1, *x.shape[3:])
    blocks = matrix.reshape(group, -1, matrix.shape[1])
    mapped = np.einsum("goi,kbgi...->kbgo...", blocks, parts, optimize=True)
    return np.asarray(mapped.reshape(*x.shape[:2], -1, *x.shape[3:]))


@evaluates("BatchNormalization")
def _batch_norm(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    if attribute(node, "training_mode", 0):
        raise Missing("a normalisation in training mode is not linear")
    x = _one(args)
    scale = _weight(affine(node, context)[0], absolute)
    return [x * scale.reshape(1, 1, -1, *(1,) * (x.ndim - 3))]


@evaluates("Transpose")
def _transpose(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    order = integers(node, "perm") or tuple(reversed(range(x.ndim - 1)))
    return [np.transpose(x, (0, *(axis + 1 for axis in order)))]


@evaluates("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    return [x.reshape(x.shape[0], *context.sizes(node.outputs[0]))]


@evaluates("Concat")
def _concat(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    count = next(arg.shape[0] for arg in args if arg is not None)
    rank = context.rank(node.outputs[0])
    parts = [
        np.zeros((count, *context.sizes(name))) if arg is None else arg
        for name, arg in zip(node.inputs, args, strict=True)
    ]
    return [np.concatenate(parts, axis=attribute(node, "axis", 1) % rank + 1)]


@evaluates("Split")
def _split(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    axis = attribute(node, "axis", 0) % (x.ndim - 1)
    sizes = [context.size(name, axis) for name in node.outputs]
    return list(np.split(x, np.cumsum(sizes)[:-1], axis=axis + 1))


@evaluates("Slice")
def _slice(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    if "starts" in node.attributes:
        raise Missing("slices of the first opsets are not evaluated")
    x = _one(args)
    starts, ends = (context.integers(node.inputs[k], "an end of a slice") for k in (1, 2))
    given = len(node.inputs) > 3 and node.inputs[3]
    over = context.integers(node.inputs[3], "axes") if given else tuple(range(len(starts)))
    stepped = len(node.inputs) > 4 and node.inputs[4]
    steps = context.integers(node.inputs[4], "steps") if stepped else (1,) * len(starts)
    cuts = [slice(None)] * x.ndim
    for begin, end, axis, step in zip(starts, ends, over, steps, strict=True):
        place = axis % (x.ndim - 1) + 1
        if place == 1 and step != 1:
            # The one cut that may move samples about and yet keep their number.
            raise Missing("a batch that is turned around is not evaluated")
        last = None if step < 0 and end < -x.shape[place] else end
        cuts[place] = slice(begin, last, step)
    return [x[tuple(cuts)]]


@evaluates("Gather")
def _gather(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    index = context.value(node.inputs[1], "the index").astype(np.int64)
    return [np.take(x, index, axis=attribute(node, "axis", 0) % (x.ndim - 1) + 1)]


@evaluates("Expand")
def _expand(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x, shape = _one(args), context.sizes(node.outputs[0])
    lead = (1,) * (len(shape) - (x.ndim - 1))
    spread = x.reshape(x.shape[0], *lead, *x.shape[1:])
    return [np.broadcast_to(spread, (x.shape[0], *shape))]


@evaluates("Pad")
def _pad(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    given = integers(node, "pads") or context.integers(node.inputs[1], "the pads")
    rank = x.ndim - 1
    over = tuple(range(rank))
    if len(node.inputs) > 3 and node.inputs[3]:
        over = tuple(a % rank for a in context.integers(node.inputs[3], "the axes"))
    if min(given, default=0) < 0 or any(arg is not None for arg in args[1:]):
        raise Missing("negative padding is not evaluated")
    widths = [(0, 0)] * (rank + 1)
    for k, axis in enumerate(over):
        widths[axis + 1] = (given[k], given[k + len(over)])
    mode = attribute(node, "mode", "constant")
    style = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
    return [np.pad(x, widths, mode=style)]  # type: ignore[call-overload]


@evaluates("ReduceSum", "ReduceMean", "GlobalAveragePool")
def _reduce(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    x = _one(args)
    pooled = node.op == "GlobalAveragePool"
    over = tuple(range(2, x.ndim - 1)) if pooled else axes(node, context)
    places = tuple(axis + 1 for axis in over)
    keep = pooled or bool(attribute(node, "keepdims", 1))
    if not places:
        return [x]
    total = x.sum(axis=places, keepdims=keep)
    count = math.prod(x.shape[place] for place in places)
    return [total if node.op == "ReduceSum" else total / count]


@evaluates("AveragePool")
def _average(node: Node, context: Context, args: "Arguments", absolute: bool) -> "list[Batch]":
    from specaudit.lipschitz.pooling import averaging_matrix, windows

    x = _one(args)
    ceil_mode, counted = (bool(attribute(node, n, 0)) for n in ("ceil_mode", "count_include_pad"))
    for axis, window in enumerate(windows(node, context)):
        if window.size is None:
            raise Missing("the size of a pooled axis is not known")
        matrix = averaging_matrix(window, ceil_mode, counted)
        x = np.moveaxis(np.tensordot(x, matrix, axes=(axis + 3, 1)), -1, axis + 3)
    return [x]
