"""Normalisations and softmax, out of the arithmetic of balls."""

from typing import TYPE_CHECKING

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import ELEMENTARY, STEP, TINY, Ball, root, scalar, summed
from specaudit.witness.contractions import along_channels
from specaudit.witness.table import Uncovered, attribute, ball, computes, optional

if TYPE_CHECKING:
    from specaudit.witness.table import Value, Values


@computes("BatchNormalization")
def _batch(node: Node, args: "Values", opset: int) -> "list[Value]":
    if attribute(node, "training_mode", 0) or (opset < 14 and len(node.outputs) > 1):
        raise Uncovered("BatchNormalization in training mode")
    if opset < 9 and not attribute(node, "spatial", 1):
        raise Uncovered("BatchNormalization with a number for each element")
    x = ball(args)
    scale, shift, mean, variance = (along_channels(ball(args, k), x) for k in range(1, 5))
    factor = scale / _deviation(variance, attribute(node, "epsilon", 1e-5))
    return [(x - mean) * factor + shift]


@computes("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer(node: Node, args: "Values", opset: int) -> "list[Value]":
    if any(node.outputs[1:]):
        raise Uncovered(f"{node.op} with its statistics")
    x = ball(args)
    first = attribute(node, "axis", -1) % x.mid.ndim
    centred = node.op == "LayerNormalization"
    epsilon = attribute(node, "epsilon", 1e-5)
    result = _standardised(x, tuple(range(first, x.mid.ndim)), epsilon, centred=centred)
    if optional(args, 1) is not None:
        result = result * ball(args, 1)
    return [result + ball(args, 2) if optional(args, 2) is not None else result]


@computes("InstanceNormalization")
def _instance(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    axes = tuple(range(2, x.mid.ndim))
    result = _standardised(x, axes, attribute(node, "epsilon", 1e-5))
    return [result * along_channels(ball(args, 1), x) + along_channels(ball(args, 2), x)]


@computes("GroupNormalization")
def _group(node: Node, args: "Values", opset: int) -> "list[Value]":
    if opset < 21:
        raise Uncovered("GroupNormalization with scales of its groups")
    x = ball(args)
    groups, shape = attribute(node, "num_groups", 1), x.mid.shape
    apart = x.moved(lambda t: t.reshape(shape[0], groups, -1))
    result = _standardised(apart, (2,), attribute(node, "epsilon", 1e-5))
    result = result.moved(lambda t: t.reshape(shape))
    return [result * along_channels(ball(args, 1), x) + along_channels(ball(args, 2), x)]


def _standardised(x: Ball, axes: tuple[int, ...], epsilon: float, *, centred: bool = True) -> Ball:
    if centred:
        x = x - _mean(x, axes)
    return x / _deviation(_mean(x * x, axes), epsilon)


def _mean(x: Ball, axes: tuple[int, ...]) -> Ball:
    total = summed(x, axes, keepdims=True)
    return total / scalar(float(x.mid.size // max(total.mid.size, 1)))


def _deviation(variance: Ball, epsilon: float) -> Ball:
    return root(variance + scalar(epsilon))


@computes("Softmax", "LogSoftmax")
def _softmax(node: Node, args: "Values", opset: int) -> "list[Value]":
    x = ball(args)
    shape = x.mid.shape
    axis = attribute(node, "axis", -1 if opset >= 13 else 1) % x.mid.ndim
    if opset < 13:  # all axes from there on are one
        x = x.moved(lambda t: t.reshape(*shape[:axis], -1))
    shifted = x.mid - x.mid.max(axis=axis, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=axis, keepdims=True)
    log = node.op == "LogSoftmax"
    mid = shifted - np.log(total) if log else weights / total
    if x.rad is None:
        return [Ball(mid.reshape(shape), None)]
    # Every exponent moves by r at most: p_i and 1/p_i grow by exp(2 r) at most.
    widest = np.broadcast_to(x.rad, x.mid.shape).max(axis=axis, keepdims=True)
    count = x.mid.shape[axis]
    if log:
        lost = ELEMENTARY * (count + 4 + np.abs(shifted)) * (1.0 + np.abs(mid))
        rad = 2.0 * widest + lost
    else:
        # The shift was rounded before it became an exponent.
        lost = ELEMENTARY * (count + 4) + STEP * np.abs(shifted)
        rad = mid * (np.expm1(2.0 * widest) + lost) + TINY
    return [Ball(mid.reshape(shape), (rad * (1.0 + ELEMENTARY)).reshape(shape))]
