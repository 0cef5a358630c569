"""Recurrent layers, step by step."""

from typing import TYPE_CHECKING

import numpy as np

from specaudit.model import Node
from specaudit.witness.balls import Ball, bilinear, elementwise, scalar
from specaudit.witness.pointwise import sigmoid
from specaudit.witness.table import Uncovered, attribute, ball, computes, optional

if TYPE_CHECKING:
    from collections.abc import Callable

    from specaudit.witness.table import Value, Values

    Cell = Callable[[Ball, list[Ball]], list[Ball]]

_DEFAULTS = {
    "RNN": ("tanh",),
    "GRU": ("sigmoid", "tanh"),
    "LSTM": ("sigmoid", "tanh", "tanh"),
}


@computes("RNN", "GRU", "LSTM")
def _recurrent(node: Node, args: "Values", opset: int) -> "list[Value]":
    """All directions of one layer: every step's state, and the last states."""
    _refuse_variants(node, args)
    x = ball(args)
    directions = ball(args, 1).mid.shape[0]
    reverse = attribute(node, "direction", "forward") == "reverse"
    states = 2 if node.op == "LSTM" else 1
    sequences, finals = [], []
    for way in range(directions):
        start = [_start(args, 5 + k, way, x, ball(args, 2).mid.shape[-1]) for k in range(states)]
        cell = _cell(node, args, way)
        every, last = _unrolled(x, cell, start, backwards=reverse or way == 1)
        sequences.append(every)
        finals.append(last)
    outputs: list[Value] = [_stacked(sequences, 1)]
    outputs += [_stacked([last[k] for last in finals], 0) for k in range(states)]
    return outputs


def _refuse_variants(node: Node, args: "Values") -> None:
    lengths = optional(args, 4)
    steps = ball(args).mid.shape[0]
    if lengths is not None and (isinstance(lengths, Ball) or (np.asarray(lengths) != steps).any()):
        raise Uncovered(f"{node.op} over sequences of several lengths")
    directions = ball(args, 1).mid.shape[0]
    usual = _DEFAULTS[node.op] * directions
    named = node.attributes.get("activations", usual)
    words = [n.decode() if isinstance(n, bytes) else str(n) for n in named]  # type: ignore[attr-defined]
    if tuple(word.lower() for word in words) != usual:
        raise Uncovered(f"{node.op} with activations of its own")
    odd = ("clip", "layout", "input_forget", "activation_alpha", "activation_beta")
    if any(node.attributes.get(name) for name in odd) or optional(args, 7) is not None:
        raise Uncovered(f"{node.op} with {', '.join(odd)} or peepholes")


def _start(args: "Values", index: int, way: int, x: Ball, hidden: int) -> Ball:
    if optional(args, index) is not None:
        return ball(args, index).moved(lambda h: h[way])
    return Ball.exactly(np.zeros((x.mid.shape[1], hidden)))


def _unrolled(
    x: Ball, cell: "Cell", state: list[Ball], *, backwards: bool
) -> tuple[Ball, list[Ball]]:
    steps = x.mid.shape[0]
    every: list[Ball] = []
    for step in reversed(range(steps)) if backwards else range(steps):
        state = cell(x.moved(lambda t, step=step: t[step]), state)  # type: ignore[misc]
        every.append(state[0])
    return _stacked(every[::-1] if backwards else every, 0), state


def _stacked(parts: list[Ball], axis: int) -> Ball:
    mid = np.stack([part.mid for part in parts], axis=axis)
    rads = [np.broadcast_to(part.rad, part.mid.shape) for part in parts if part.rad is not None]
    return Ball(mid, np.stack(rads, axis=axis) if len(rads) == len(parts) else None)


def _cell(node: Node, args: "Values", way: int) -> "Cell":
    hidden = ball(args, 2).mid.shape[-1]
    gates = int(ball(args, 1).mid.shape[1] // hidden)
    weights = [_gates(ball(args, 1), way, hidden, k, gates) for k in range(gates)]
    states = [_gates(ball(args, 2), way, hidden, k, gates) for k in range(gates)]
    if optional(args, 3) is not None:
        biases = [_gates(ball(args, 3), way, hidden, k, 2 * gates) for k in range(2 * gates)]
    else:
        biases = [scalar(0.0)] * (2 * gates)

    def ahead(x: Ball, k: int) -> Ball:
        return bilinear(np.matmul, x, weights[k], x.mid.shape[-1]) + biases[k]

    def around(h: Ball, k: int) -> Ball:
        return bilinear(np.matmul, h, states[k], hidden) + biases[gates + k]

    def both(x: Ball, h: Ball, k: int) -> Ball:
        return ahead(x, k) + around(h, k)

    def plain(x: Ball, state: list[Ball]) -> list[Ball]:
        return [_tanh(both(x, state[0], 0))]

    def gated(x: Ball, state: list[Ball]) -> list[Ball]:
        h = state[0]
        update, reset = _sigmoid(both(x, h, 0)), _sigmoid(both(x, h, 1))
        if attribute(node, "linear_before_reset", 0):
            fresh = _tanh(ahead(x, 2) + reset * around(h, 2))
        else:
            fresh = _tanh(ahead(x, 2) + around(reset * h, 2))
        return [(scalar(1.0) - update) * fresh + update * h]

    def long_short(x: Ball, state: list[Ball]) -> list[Ball]:
        h, c = state
        enter, leave, keep = (_sigmoid(both(x, h, k)) for k in range(3))
        c = keep * c + enter * _tanh(both(x, h, 3))
        return [leave * _tanh(c), c]

    cells: dict[str, Cell] = {"RNN": plain, "GRU": gated, "LSTM": long_short}
    return cells[node.op]


def _gates(matrix: Ball, way: int, hidden: int, gate: int, gates: int) -> Ball:
    """One gate's matrix, transposed for vectors in rows; or one gate's bias."""
    if matrix.mid.ndim < 2 or matrix.mid.shape[1] != hidden * gates:
        raise Uncovered("weights that do not hold the gates")
    return matrix.moved(lambda m: np.transpose(m[way, gate * hidden : (gate + 1) * hidden]))


def _tanh(x: Ball) -> Ball:
    return elementwise(np.tanh, x, 1.0)


def _sigmoid(x: Ball) -> Ball:
    return elementwise(sigmoid, x, 0.25)
