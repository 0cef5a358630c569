"""RNN, GRU and LSTM over a known number of steps: the gates' slopes and ranges, unrolled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, single
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, rule
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_STEPS = 100_000
_MOST_TABLED = 48
_DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_GATES = {"Sigmoid": 0.25, "Hardsigmoid": single(0.2)}
_SQUASHED = ("Tanh", "Softsign")


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a unit change at one moment does later: bounds of h (and c) after 0, 1, 2, … steps."""

    hidden: list[Magnitude]
    cell: list[Magnitude]


@dataclass(frozen=True, slots=True)
class Response:
    """Bounds of one direction: each output with respect to x, to h0 and to c0."""

    whole: tuple[Magnitude, Magnitude, Magnitude]
    last: tuple[Magnitude, Magnitude, Magnitude]
    cell: tuple[Magnitude, Magnitude, Magnitude]


def whole_sequence(kernel: Sequence[Magnitude]) -> Magnitude:
    """Norm of the lower triangular Toeplitz matrix of non-negative bounds, T x T.

    At most its Frobenius norm, and at most its largest row sum, which is its largest
    column sum too.
    """
    squares = total = ZERO
    for lag, bound in enumerate(kernel):
        squares = squares + magnitude(float(len(kernel) - lag)) * bound * bound
        total = total + bound
    return squares.sqrt().min(total)


@rule("RNN", "GRU", "LSTM")
def recurrent(node: Node, context: Context) -> tuple[Effect, ...]:
    """Finite for a fixed number of steps, and the larger the more there are."""
    live_parameters = [name for name in (*node.inputs[1:5], *node.inputs[7:]) if context.live(name)]
    if live_parameters:
        words = f"{live_parameters[0]}, a weight or the lengths, depends on the input"
        return tuple(Effect(_all(node, Infinite("B", words))) for _ in node.outputs)
    try:
        responses = [_direction(node, context, d) for d in range(_directions(node))]
    except _Ungated as ungated:
        return tuple(Effect(_all(node, ungated.reason)) for _ in node.outputs)
    places = {0: 0, 5: 1, 6: 2} if node.op == "LSTM" else {0: 0, 5: 1}
    effects = []
    for part in ("whole", "last", "cell")[: len(node.outputs)]:
        gains: dict[int, Gain] = {}
        for index, which in places.items():
            if index < len(node.inputs) and node.inputs[index]:
                # The directions write different elements, so their squares add.
                gains[index] = ZERO.hypot(*(getattr(r, part)[which] for r in responses))
        effects.append(Effect(gains, facts=_facts(node, context, part)))
    return tuple(effects)


def _all(node: Node, reason: Infinite) -> dict[int, Gain]:
    return dict.fromkeys(range(len(node.inputs)), reason)


class _Ungated(Exception):
    def __init__(self, code: str | None, words: str) -> None:
        super().__init__(words)
        self.reason = Infinite(code, words)


def _directions(node: Node) -> int:
    return 2 if attribute(node, "direction", "forward") == "bidirectional" else 1


def _facts(node: Node, context: Context, part: str) -> Facts:
    names = [_activations(node, direction)[-1] for direction in range(_directions(node))]
    if part == "cell" or any(name not in _SQUASHED for name in names):
        return ranges.UNKNOWN
    start = _start(node, context, 5)
    size = 1.0 if node.op == "LSTM" and part == "whole" else max(1.0, start)
    return Facts(-size, size)


def _activations(node: Node, direction: int) -> tuple[str, ...]:
    given = node.attributes.get("activations")
    default = _DEFAULTS[node.op]
    if not isinstance(given, tuple) or not given:
        return default
    mine = given[direction * len(default) : (direction + 1) * len(default)]
    return tuple(str(name).lower().capitalize() for name in mine) if mine else default


def _start(node: Node, context: Context, index: int) -> float:
    """A bound of the elements of an initial state, 0 where there is none."""
    if len(node.inputs) <= index or not node.inputs[index]:
        return 0.0
    return context.facts(node.inputs[index]).magnitude


def _steps(node: Node, context: Context) -> int:
    steps = context.size(node.inputs[0], 1 if attribute(node, "layout", 0) else 0)
    if steps > _MOST_STEPS:
        raise Missing(f"a sequence of {steps} steps is longer than is followed")
    return steps


class _Weights:
    """The gates of one direction as matrices, and their norms."""

    def __init__(self, node: Node, context: Context, direction: int) -> None:
        self.node, self.context = node, context
        self.inputs = context.value(node.inputs[1], "W")[direction]
        self.recurrent = context.value(node.inputs[2], "R")[direction]
        self.size = self.recurrent.shape[1]
        self.direction = direction

    def gate(self, which: int) -> tuple[Magnitude, Magnitude]:
        """Norms of the input's and of the state's matrix of one gate."""
        return self.norm(self.rows(self.inputs, which)), self.norm(self.rows(self.recurrent, which))

    def rows(self, matrix: "NDArray[np.generic]", which: int) -> "NDArray[np.generic]":
        """The rows of a gate."""
        return matrix[which * self.size : (which + 1) * self.size]

    def norm(self, matrix: "NDArray[np.generic]") -> Magnitude:
        """The spectral norm of a block."""
        return self.context.norm(matrix_layer(self.node.inputs[1], matrix, self.node))

    def scaled(self, factors: "NDArray[np.float64]", matrix: "NDArray[np.generic]") -> Magnitude:
        """The norm of ``diag(factors) matrix``, the rounding of the product included."""
        import numpy as np

        product = factors[:, None] * matrix.astype(np.float64)
        lost = magnitude(2.0**-50 * ranges.of_array(product).norm)
        return self.norm(product) + lost


def _direction(node: Node, context: Context, direction: int) -> Response:
    names = _activations(node, direction)
    weights = _Weights(node, context, direction)
    if node.op == "RNN":
        return _plain(node, context, weights, names[0])
    if names[0] not in _GATES or any(name not in _SQUASHED for name in names[1:]):
        words = f"activations {', '.join(names)} are not gates in [0, 1] and values in [-1, 1]"
        raise _Ungated("B", words)
    return (_gru if node.op == "GRU" else _lstm)(node, context, weights, _slope(node, names[0]))


def _slope(node: Node, name: str) -> float:
    if name == "Hardsigmoid" and "activation_alpha" in node.attributes:
        raise Missing("HardSigmoid with its own alpha inside a recurrence is not modelled")
    return _GATES[name]


_SLOPES = dict.fromkeys(("Tanh", "Relu", "Softsign", "Softplus"), 1.0) | _GATES


def _plain(node: Node, context: Context, weights: _Weights, name: str) -> Response:
    slope = _SLOPES.get(name)
    if slope is None or "activation_alpha" in node.attributes:
        raise Missing(f"the activation {name} inside a recurrence is not modelled")
    enter, again = (bound * magnitude(slope) for bound in weights.gate(0))
    try:
        steps = _steps(node, context)
    except Missing:
        if not again < ONE:
            raise
        # However many steps: a geometric series. Only for x; h0 is at most repeated.
        series = magnitude(ranges.quotient(1.0, math.nextafter(1.0 - again.upper, 0.0)))
        forever = enter * series, series, ZERO
        return Response(forever, (enter * series, ONE, ZERO), (ZERO, ZERO, ZERO))
    kernel, state = [], []
    power = ONE
    for _ in range(steps):
        kernel.append(enter * power)
        power = power * again
        state.append(power)
    return _response(node, Pulse(kernel, []), Pulse(state, []), Pulse([], []))


def _response(node: Node, moment: Pulse, first: Pulse, cell: Pulse) -> Response:
    lengths = len(node.inputs) > 4 and bool(node.inputs[4])
    last = [_at_end(pulse.hidden, lengths) for pulse in (first, cell)]
    return Response(
        (whole_sequence(moment.hidden), ZERO.hypot(*first.hidden), ZERO.hypot(*cell.hidden)),
        (ZERO.hypot(*moment.hidden), last[0], last[1]),
        (ZERO.hypot(*moment.cell), _at_end(first.cell, lengths), _at_end(cell.cell, lengths)),
    )


def _at_end(values: Sequence[Magnitude], lengths: bool) -> Magnitude:
    """The last value; the largest where sequences may end before the last step."""
    if not values:
        return ZERO
    if not lengths:
        return values[-1]
    most = ONE
    for value in values:
        most = most.max(value)
    return most


def _gru(node: Node, context: Context, weights: _Weights, slope: float) -> Response:
    """``h' = (1 - z) n + z h``: see the module's tests for each of the three derivatives."""
    size = max(1.0, _start(node, context, 5))
    if math.isinf(size):
        raise _Ungated("B", "the initial state is not known to be bounded, and gates multiply it")
    reset_first = not attribute(node, "linear_before_reset", 0)
    (w_z, u_z), (w_r, u_r), (w_n, u_n) = (weights.gate(which) for which in range(3))
    quarter = magnitude(slope)
    update = magnitude(ranges.times(slope, ranges.plus(size, 1.0)))
    if reset_first:
        through = u_n * (ONE + quarter * magnitude(size) * u_r)
        start = w_n + u_n * quarter * magnitude(size) * w_r
    else:
        scale = _candidate_range(node, context, weights, size)
        through = u_n + quarter * weights.scaled(scale, weights.rows(weights.recurrent, 1))
        start = w_n + quarter * weights.scaled(scale, weights.rows(weights.inputs, 1))
    enter = start + update * w_z
    again = ONE.hypot(through) + update * u_z
    kernel, state = [], []
    power = ONE
    for _ in range(_steps(node, context)):
        kernel.append(enter * power)
        power = power * again
        state.append(power)
    return _response(node, Pulse(kernel, []), Pulse(state, []), Pulse([], []))


def _candidate_range(
    node: Node, context: Context, weights: _Weights, size: float
) -> "NDArray[np.float64]":
    """Bounds of the elements of ``U_n h + b``, which the reset gate multiplies."""
    import numpy as np

    candidate = np.abs(weights.rows(weights.recurrent, 2).astype(np.float64))
    bound = candidate.sum(axis=1) * size
    if len(node.inputs) > 3 and node.inputs[3]:
        bias = context.value(node.inputs[3], "B")[weights.direction].astype(np.float64)
        bound = bound + np.abs(bias[5 * weights.size : 6 * weights.size])
    return np.asarray(bound * (1.0 + (weights.size + 8) * 2.0**-52))


@dataclass(frozen=True, slots=True)
class _Cell:
    """One step of an LSTM: what it does to changes of x, h and c."""

    gates: dict[str, tuple[Magnitude, Magnitude]]
    peepholes: dict[str, Magnitude]
    slope: Magnitude
    start: float

    def advance(
        self, step: int, x: Magnitude, h: Magnitude, c: Magnitude
    ) -> tuple[Magnitude, Magnitude]:
        """Bounds after step number `step` (from 0), where ``|c|`` is at most step + |c0|."""
        held = magnitude(ranges.plus(float(step), self.start))
        drive = {name: w * x + u * h for name, (w, u) in self.gates.items()}
        inner = {name: drive[name] + self.peepholes[name] * c for name in ("i", "f")}
        cell = c + self.slope * (held * inner["f"] + inner["i"]) + drive["g"]
        output = drive["o"] + self.peepholes["o"] * cell
        return cell + self.slope * output, cell


def _lstm(node: Node, context: Context, weights: _Weights, slope: float) -> Response:
    start = _start(node, context, 6)
    if math.isinf(start):
        raise _Ungated("B", "the initial cell is not known to be bounded, and a gate multiplies it")
    gates = {name: weights.gate(which) for which, name in enumerate("iofg")}
    peepholes = _peepholes(node, context, weights)
    if attribute(node, "input_forget", 0):
        gates["f"], peepholes["f"] = gates["i"], peepholes["i"]
    cell = _Cell(gates, peepholes, magnitude(slope), start)
    steps = _steps(node, context)
    state = _pulse(cell, steps, 0, (ZERO, ONE, ZERO))
    held = _pulse(cell, steps, 0, (ZERO, ZERO, ONE))
    if steps > _MOST_TABLED:
        # The last step's constants are the largest: used throughout, they make it Toeplitz.
        late = _Cell(gates, peepholes, magnitude(slope), ranges.plus(start, float(steps)))
        moment = _pulse(late, steps, None, (ONE, ZERO, ZERO))
        return _response(node, moment, state, held)
    pulses = [_pulse(cell, steps - s, s, (ONE, ZERO, ZERO)) for s in range(steps)]
    return _tabled(node, pulses, state, held)


def _tabled(node: Node, pulses: Sequence[Pulse], state: Pulse, held: Pulse) -> Response:
    from specaudit.lipschitz.control import table_norm

    steps = len(pulses)
    table = [{str(s): pulses[s].hidden[t - s] for s in range(t + 1)} for t in range(steps)]
    ends = range(steps) if len(node.inputs) > 4 and node.inputs[4] else range(steps - 1, steps)
    last = cell = ZERO
    for t in ends:
        last = last.max(ZERO.hypot(*(pulses[s].hidden[t - s] for s in range(t + 1))))
        cell = cell.max(ZERO.hypot(*(pulses[s].cell[t - s] for s in range(t + 1))))
    rest = _response(node, Pulse([], []), state, held)
    return Response(
        (table_norm(table), *rest.whole[1:]), (last, *rest.last[1:]), (cell, *rest.cell[1:])
    )


def _pulse(
    cell: _Cell, steps: int, begin: int | None, change: tuple[Magnitude, Magnitude, Magnitude]
) -> Pulse:
    """Follow one change of x, h or c; `begin` None leaves the time out of the cell's range."""
    x, h, c = change
    pulse = Pulse([], [])
    for step in range(steps):
        h, c = cell.advance(0 if begin is None else begin + step, x, h, c)
        x = ZERO
        pulse.hidden.append(h)
        pulse.cell.append(c)
    return pulse


def _peepholes(node: Node, context: Context, weights: _Weights) -> dict[str, Magnitude]:
    if len(node.inputs) <= 7 or not node.inputs[7]:
        return dict.fromkeys("iof", ZERO)
    values = context.value(node.inputs[7], "P")[weights.direction]
    return {
        name: magnitude(ranges.of_array(weights.rows(values, which)).magnitude)
        for which, name in enumerate("iof")
    }
