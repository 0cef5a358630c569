"""The operations of a graph that apply integer weights: the matrix is the dequantised one.

And ``Gather``, whose table may be of either kind.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from specaudit.extract.constants import operand
from specaudit.extract.entries import Effective, Entry, Values, exact
from specaudit.extract.nodes import MICROSOFT, Use, applies, convolved, directions, product
from specaudit.extract.quantised import dequantised, ratio
from specaudit.extract.skipping import is_float
from specaudit.model import Node

_NO_SCALE = "integers whose scale was not found in the graph"


@applies("QLinearConv")
@applies("QLinearConv", domain=MICROSOFT)
def _qlinear_conv(use: Use) -> Iterator[Entry]:
    yield from convolved(use, _weight(use, 3, 4, 5, axis=0), "convolution")


@applies("ConvInteger")
def _conv_integer(use: Use) -> Iterator[Entry]:
    weight = _weight(use, 1, None, 3, axis=0)
    yield from convolved(use, weight and _scaled_later(use, weight, 0), "convolution")


@applies("QLinearMatMul")
def _qlinear_matmul(use: Use) -> Iterator[Entry]:
    yield from _right_factor(use, _weight(use, 3, 4, 5, axis=-1))


@applies("MatMulInteger")
def _matmul_integer(use: Use) -> Iterator[Entry]:
    weight = _weight(use, 1, None, 3, axis=-1)
    yield from _right_factor(use, weight and _scaled_later(use, weight, -1))


@applies("MatMulIntegerToFloat", domain=MICROSOFT)
def _matmul_integer_to_float(use: Use) -> Iterator[Entry]:
    yield from _right_factor(use, _weight(use, 1, 3, 5, axis=-1))


@applies("DynamicQuantizeMatMul", domain=MICROSOFT)
def _dynamic_quantize_matmul(use: Use) -> Iterator[Entry]:
    yield from _right_factor(use, _weight(use, 1, 2, 3, axis=-1))


@applies("QGemm", domain=MICROSOFT)
def _qgemm(use: Use) -> Iterator[Entry]:
    right = bool(use.integer("transB", 0))
    weight = _weight(use, 3, 4, 5, axis=0 if right else -1)
    if weight is not None:
        yield from product(use, weight.times(use.real("alpha", 1.0), "alpha"), not right)


@applies("QAttention", domain=MICROSOFT)
def _qattention(use: Use) -> Iterator[Entry]:
    yield from _right_factor(use, _weight(use, 1, 4, 7, axis=-1))


@applies("DynamicQuantizeLSTM", domain=MICROSOFT)
def _dynamic_quantize_lstm(use: Use) -> Iterator[Entry]:
    # Unlike the LSTM of ONNX, (directions, input, gates * hidden).
    for index, scale, zero in ((1, 8, 9), (2, 10, 11)):
        weight = use.weight(index)
        if weight is None:
            continue
        if weight.problem or len(weight.shape) != 3:
            yield from directions(use, weight)
            continue
        scales, zeros = use.weight(scale), use.weight(zero)
        if scales is None:
            yield from directions(use, replace(weight, problem=_NO_SCALE))
            continue
        real = dequantised(
            weight, _by_direction(scales), None if zeros is None else _by_direction(zeros)
        )
        yield from directions(use, real.transposed(0, 2, 1))


def _by_direction(scale: Effective) -> Effective:
    return scale.reshaped(scale.shape[0] if scale.shape else 1, 1, -1)


@applies("Gather")
def _gather(use: Use) -> Iterator[Entry]:
    """Yield a table that is looked up; one of integers is dequantised after the look-up."""
    weight = use.weight(0)
    if weight is None or len(weight.shape) < 2 or 0 in weight.shape:
        return
    if not is_float(weight.dtype):
        weight = _dequantised_later(use, weight)
        if weight is None:
            return
    axis = use.integer("axis", 0) % len(weight.shape)
    order = (axis, *(other for other in range(len(weight.shape)) if other != axis))
    table = weight
    if not weight.problem:
        table = weight.transposed(*order).reshaped(weight.shape[axis], -1)
    yield from use.entries(table, "embedding")


def _dequantised_later(use: Use, weight: Effective) -> Effective | None:
    """Return a table of integers as the one scale makes it that follows the look-up."""
    node = _only_consumer(use, use.node, "DequantizeLinear")
    scale = None if node is None else operand(use.resolved, node.inputs[1])
    if node is None or scale is None or int(np.prod(scale.shape)) != 1:
        return None
    zero = operand(use.resolved, node.inputs[2]) if len(node.inputs) > 2 else None
    ones = (1,) * len(weight.shape)
    return dequantised(weight, scale.reshaped(*ones), zero and zero.reshaped(*ones))


@applies("MatMulNBits", domain=MICROSOFT)
def _matmul_nbits(use: Use) -> Iterator[Entry]:
    packed, scales, zeros = use.weight(1), use.weight(2), use.weight(3)
    if packed is None:
        return
    rows, columns = use.integer("N", 0), use.integer("K", 0)
    bits, block = use.integer("bits", 4), use.integer("block_size", 0)
    problem = packed.problem
    if scales is None or (len(use.node.inputs) > 4 and use.node.inputs[4]):
        problem = problem or "packed integers in an order (g_idx) that is not read"
    elif bits not in {2, 4, 8} or min(rows, columns, block) < 1 or block * bits % 8:
        problem = problem or "packed integers whose attributes contradict each other"
    else:
        count = -(-columns // block)
        fits = packed.shape == (rows, count, block * bits // 8)
        fits = fits and int(np.prod(scales.shape)) == rows * count
        if zeros is not None:  # packed like the weights, each row to whole bytes, or numbers
            each = -(-count * bits // 8) if zeros.dtype == "uint8" else count
            fits = fits and int(np.prod(zeros.shape)) == rows * each
        if not fits:
            problem = problem or "packed integers whose attributes contradict each other"
    if problem or scales is None:
        yield from use.entries(replace(packed, problem=problem), "linear")
        return
    yield from use.entries(_unpacked(packed, scales, zeros, (rows, columns, bits, block)), "linear")


def _unpacked(
    packed: Effective, scales: Effective, zeros: Effective | None, sizes: tuple[int, int, int, int]
) -> Effective:
    """Return the matrix of a MatMulNBits node: N rows of blocks with a scale each."""
    rows, columns, bits, block = sizes
    count = -(-columns // block)

    def read() -> Values:
        values = _digits(packed.read(), bits).reshape(rows, count, block).astype(np.float64)
        if zeros is None:
            values -= 2.0 ** (bits - 1)
        else:
            stored = zeros.read()
            whole = stored if stored.dtype != np.uint8 else _digits(stored.reshape(rows, -1), bits)
            values -= exact(whole.reshape(rows, -1)[:, :count, None])
        values *= exact(scales.read()).reshape(rows, count, 1)
        return values.reshape(rows, -1)[:, :columns]

    write = scales.write
    others = (*scales.tensors, *(zeros.tensors if zeros is not None else ()))
    return Effective(
        packed.name, (rows, columns), packed.dtype, (*packed.tensors, *others), read,
        write and (lambda values: write(exact(scales.read()) * ratio(values, read()))),
        (*packed.notes, f"{bits}-bit blocks of {block}, dequantised by {scales.name}"),
        roundings=scales.roundings + 2,
    )  # fmt: skip


def _digits(values: Values, bits: int) -> Values:
    """Unpack bytes into numbers of `bits` bits, the lowest bits first."""
    octets = values.astype(np.uint8)[..., None]
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((octets >> shifts) & np.uint8((1 << bits) - 1)).reshape(*values.shape[:-1], -1)


def _right_factor(use: Use, weight: Effective | None) -> Iterator[Entry]:
    if weight is not None:
        yield from product(use, weight, turned=True)


def _weight(
    use: Use, index: int, scale: int | None, zero: int | None, *, axis: int
) -> Effective | None:
    """Return the dequantised weight at an input; without `scale`, less its zero point only."""
    weight = use.weight(index)
    if weight is None or weight.problem:
        return weight
    scales = None if scale is None else use.weight(scale)
    zeros = None if zero is None else use.weight(zero)
    if scale is not None and scales is None:
        return replace(weight, problem=_NO_SCALE)
    given = zero is not None and zero < len(use.node.inputs) and use.node.inputs[zero]
    if given and zeros is None:
        return replace(weight, problem="integers whose zero point is not a constant")
    spread_zeros = None if zeros is None else _along(zeros, weight.shape, axis)
    if scales is None:
        return weight if spread_zeros is None else _shifted(weight, spread_zeros)
    return dequantised(weight, _along(scales, weight.shape, axis), spread_zeros)


def _along(scale: Effective, shape: tuple[int, ...], axis: int) -> Effective:
    """Return scales, one for all or one for each entry of an axis, ready to broadcast."""
    if int(np.prod(scale.shape)) == 1:
        return scale.reshaped(*(1,) * len(shape))
    misfit = replace(scale, problem=f"{scale.name} does not fit the weight")
    if len(scale.shape) > 1:
        fits = len(scale.shape) <= len(shape) and all(
            own in (1, size)
            for own, size in zip(reversed(scale.shape), reversed(shape), strict=False)
        )
        return scale if fits else misfit
    if not shape or scale.shape != (shape[axis],):
        return misfit
    ones = [1] * len(shape)
    ones[axis] = -1
    return scale.reshaped(*ones)


def _shifted(weight: Effective, zeros: Effective) -> Effective:
    return replace(
        weight,
        read=lambda: exact(weight.read()) - exact(zeros.read()),
        write=None,
        tensors=(*weight.tensors, *zeros.tensors),
        problem=weight.problem or zeros.problem,
    )


def _scaled_later(use: Use, weight: Effective, axis: int) -> Effective:
    """Apply the scale that follows an integer product: Cast, then Mul by x_scale * w_scale."""
    scale = _following_scale(use)
    if scale is None or weight.problem:
        return replace(weight, problem=weight.problem or _NO_SCALE)
    return dequantised(weight, _along(scale, weight.shape, axis), None)


def _following_scale(use: Use) -> Effective | None:
    cast = _only_consumer(use, use.node, "Cast")
    times = cast and _only_consumer(use, cast, "Mul")
    if cast is None or times is None:
        return None
    other = [name for name in times.inputs if name != cast.outputs[0]]
    joint = use.resolved.producer(other[0]) if other else None
    if joint is None or joint.op != "Mul" or joint.domain:
        return None
    constants = [scale for name in joint.inputs if (scale := operand(use.resolved, name))]
    return constants[0] if len(constants) == 1 else None


def _only_consumer(use: Use, node: Node, op: str) -> Node | None:
    consumers = use.resolved.consumers(node.outputs[0])
    return consumers[0] if len(consumers) == 1 and consumers[0].op == op else None
