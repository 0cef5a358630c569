"""An interval for every channel: what one channel may be need not be what all of them may be.

Channels are the indices along axis 1. A product with a gate counts by the largest value of
its other factor, and an interval that is one for all the channels grows at every layer by
the widest kernel times the widest channel; channel by channel it grows by what is there.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute, integers
from specaudit.lipschitz.normalization import affine, affine_images, offset_parts
from specaudit.lipschitz.ranges import Facts
from specaudit.lipschitz.rules import Effect, Missing
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ends = tuple[NDArray[np.float64], NDArray[np.float64]]

# Each output element depends on elements of its own channel alone, so the rule of the whole
# tensor is the rule of each channel. None of them measures anything.
_OF_ONE_CHANNEL = frozenset(
    (
        *("Relu", "LeakyRelu", "Clip", "HardSwish", "Swish", "Gelu", "Mish", "Elu", "Celu", "Selu"),
        *("Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Abs", "Neg"),
        *("Identity", "Dropout", "Cast"),
    )
)
_GATES = frozenset(("SiLU", "Mish", "HardSwish", "Gelu (erf)", "Gelu (tanh)", "LeakyRelu"))
_MOST = 4096


def by_channel(
    node: Node, pattern: str, inputs: Sequence[str], again: Callable[[], Effect], context: Context
) -> tuple[Facts, ...]:
    """The intervals of a node's first output, or none where they would say nothing new.

    Parameters
    ----------
    node : Node
    pattern : str
        The name of the pattern that has taken the node's place, if one has.
    inputs : sequence of str
        What the node, or the pattern, reads.
    again : callable
        Evaluates the effect once more, with what is known of the inputs by then.
    context : Context
    """
    import numpy as np

    rule = _RULES.get(node.op) if not pattern and not node.domain else None
    try:
        if pattern in _GATES or (not pattern and node.op in _OF_ONE_CHANNEL and not node.domain):
            return _lifted(node.outputs[0], inputs, again, context)
        with np.errstate(over="ignore", invalid="ignore"):
            return rule(node, context) if rule is not None else ()
    except (Missing, ValueError, IndexError):
        return ()


def _lifted(
    out: str, inputs: Sequence[str], again: Callable[[], Effect], context: Context
) -> tuple[Facts, ...]:
    channels = context.channels.get(inputs[0], ())
    if not channels or any(context.live(name) for name in inputs[1:]):
        return ()
    # A constant of more axes puts others in front: axis 1 is then another one.
    if context.rank(out) != context.rank(inputs[0]) or context.size(out, 1) != len(channels):
        return ()
    whole = context.known[inputs[0]]
    try:
        found = []
        for channel in channels:
            context.known[inputs[0]] = channel
            found.append(again().facts)
    finally:
        context.known[inputs[0]] = whole
    return tuple(Facts(part.lo, part.hi) for part in found)


def _ends(name: str, context: Context) -> "Ends":
    """The intervals of a bounded value's channels, or its own for each of them."""
    import numpy as np

    known, count = context.facts(name), context.size(name, 1)
    if not known.is_bounded or not 0 < count <= _MOST:
        raise Missing(f"nothing bounds {name}")
    size = known.magnitude
    parts = context.channels.get(name, ())
    if len(parts) != count:
        parts = (known,) * count
    lo = np.array([max(part.lo, -size) for part in parts])
    hi = np.array([min(part.hi, size) for part in parts])
    return lo, hi


def _listed(bottom: "NDArray[np.float64]", top: "NDArray[np.float64]") -> tuple[Facts, ...]:
    pairs = zip(bottom.reshape(-1).tolist(), top.reshape(-1).tolist(), strict=True)
    return tuple(ranges.outward(lo, hi) for lo, hi in pairs)


def _convolution(node: Node, context: Context) -> tuple[Facts, ...]:
    """Positive weights times one end, negative ones times the other; padding adds zeros.

    A sum of k products is off by less than ``(k + 2) u`` times the sum of their sizes.
    """
    import numpy as np

    lo, hi = _ends(node.inputs[0], context)
    weight = context.value(node.inputs[1], "the kernel").astype(np.float64)
    group = attribute(node, "group", 1)
    if node.op == "Conv":
        kernel = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    else:
        # (in, out/group, k…), and at the border only some of the taps add up.
        split = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
        kernel = split.transpose(0, 2, 1, 3)
    if node.op != "Conv" or _pads(node):
        lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
    lo, hi = lo.reshape(group, -1, 1), hi.reshape(group, -1, 1)
    up, down = kernel.clip(min=0.0).sum(axis=-1), kernel.clip(max=0.0).sum(axis=-1)
    size = (up - down) @ np.maximum(-lo, hi)
    slack = (kernel[0, 0].size + 8) * 2.0**-52 * size
    found = _listed(up @ lo + down @ hi - slack, up @ hi + down @ lo + slack)
    if len(node.inputs) < 3 or not node.inputs[2]:
        return found
    bias = context.value(node.inputs[2], "the bias").astype(np.float64).reshape(-1).tolist()
    return tuple(ranges.add(part, Facts(b, b)) for part, b in zip(found, bias, strict=True))


def _pads(node: Node) -> bool:
    said = attribute(node, "auto_pad", "NOTSET")
    return said.startswith("SAME") or any(integers(node, "pads") or ())


def _normalisation(node: Node, context: Context) -> tuple[Facts, ...]:
    if attribute(node, "training_mode", 0):
        return ()
    scale, shift = affine(node, context)
    lo, hi = _ends(node.inputs[0], context)
    if scale.shape != lo.shape:
        return ()
    return _listed(*affine_images(lo, hi, scale, shift, offset_parts(node, context)))


def _chosen(node: Node, context: Context) -> tuple[Facts, ...]:
    """What is chosen or averaged from a channel lies between its ends."""
    return context.channels.get(node.inputs[0], ())


def _average(node: Node, context: Context) -> tuple[Facts, ...]:
    """Between the ends, and zero where padding may count."""
    channels = context.channels.get(node.inputs[0], ())
    return tuple(Facts(min(part.lo, 0.0), max(part.hi, 0.0)) for part in channels)


def _arithmetic(node: Node, context: Context) -> tuple[Facts, ...]:
    """Two operands channel by channel, where each has this many channels, or one for all."""
    if len(node.inputs) != 2 or node.inputs[0] == node.inputs[1]:
        return ()
    count, rank = context.size(node.outputs[0], 1), context.rank(node.outputs[0])
    operands = [_operand(name, count, rank, context) for name in node.inputs]
    if not any(operands) or count > _MOST:
        return ()
    first, second = (
        parts or (Facts(known.lo, known.hi),) * count
        for parts, known in zip(operands, map(context.facts, node.inputs), strict=True)
    )
    return tuple(_COMBINED[node.op](a, b) for a, b in zip(first, second, strict=True))


def _difference(first: Facts, second: Facts) -> Facts:
    return ranges.add(first, ranges.negate(second))


def _quotient(first: Facts, second: Facts) -> Facts:
    if second.lo <= 0.0 <= second.hi:
        return ranges.UNKNOWN
    return ranges.multiply(first, ranges.outward(1.0 / second.hi, 1.0 / second.lo, 1))


_COMBINED = {
    "Add": ranges.add,
    "Sub": _difference,
    "Mul": ranges.multiply,
    "Div": _quotient,
}


def _operand(name: str, count: int, rank: int, context: Context) -> tuple[Facts, ...]:
    """An operand's intervals along the axis that is the output's channel axis."""
    import numpy as np

    value = context.constant(name)
    if value is not None:
        spread = value.reshape((1,) * (rank - value.ndim) + value.shape)
        if spread.shape[1] != count or spread.size > 1 << 20:
            return ()
        rows = np.moveaxis(spread, 1, 0).reshape(count, -1).astype(np.float64)
        if not np.isfinite(rows).all():
            return ()
        return tuple(map(Facts, rows.min(axis=1).tolist(), rows.max(axis=1).tolist()))
    found = context.channels.get(name, ())
    return found if len(found) == count and context.rank(name) == rank else ()


_RULES: dict[str, Callable[[Node, Context], tuple[Facts, ...]]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "BatchNormalization": _normalisation,
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "GlobalAveragePool"), _chosen),
    "AveragePool": _average,
    **dict.fromkeys(_COMBINED, _arithmetic),
}
