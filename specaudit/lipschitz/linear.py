"""Products with weights: the constant is the operator norm of the weight."""

import math
from typing import TYPE_CHECKING

from specaudit.bracket import ZERO, Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, Dimension, attribute, gated
from specaudit.lipschitz.ranges import UNKNOWN, Facts
from specaudit.lipschitz.rules import Effect, Gain, Infinite, Missing, magnitude, root, rule
from specaudit.model import Node
from specaudit.operators import Layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_MEASURED = 64


def matrix_layer(name: str, matrix: "NDArray[np.generic]", node: Node) -> Layer:
    """A layer ``y = W x`` of a matrix at hand."""
    return Layer(name, "linear", matrix.shape, matrix.dtype.name, lambda: matrix, node=node.name)


def largest_norm(
    name: str, stack: "NDArray[np.generic]", node: Node, context: Context
) -> Magnitude:
    """The largest spectral norm in a stack of matrices, by falling Frobenius norm.

    What remains when the next Frobenius norm is no larger, or after many, cannot be larger
    than it: so only the first few are measured.
    """
    import numpy as np

    frobenius = [ranges.of_array(matrix).norm for matrix in stack]
    best = ZERO
    for count, index in enumerate(np.argsort(frobenius)[::-1]):
        ceiling = magnitude(frobenius[int(index)])
        if ceiling <= best:
            break
        if count == _MOST_MEASURED:
            return best.max(ceiling)
        best = best.max(context.norm(matrix_layer(name, stack[int(index)], node)))
    return best


def image(matrix: "NDArray[np.generic]", known: Facts) -> Facts:
    """Box of ``W x`` over the box of x, for a matrix (out, in).

    Notes
    -----
    A sum of k products is off by less than ``(k + 2) u`` times the sum of their sizes.
    """
    import numpy as np

    if not known.is_bounded or matrix.size == 0:
        return UNKNOWN if matrix.size else Facts(0.0, 0.0)
    weights = np.asarray(matrix, dtype=np.float64)
    lo, hi = max(known.lo, -known.magnitude), min(known.hi, known.magnitude)
    positive, negative = weights.clip(min=0.0).sum(axis=1), weights.clip(max=0.0).sum(axis=1)
    slack = (weights.shape[1] + 8) * 2.0**-52 * (positive - negative) * known.magnitude
    top = float((positive * hi + negative * lo + slack).max())
    bottom = float((positive * lo + negative * hi - slack).min())
    box = ranges.outward(bottom, top)
    euclidean = ranges.times(_largest_row(weights), known.fibre(-1))
    return ranges.meet(box, Facts(-euclidean, euclidean))


def _largest_row(weights: "NDArray[np.float64]") -> float:
    import numpy as np

    norms = np.sqrt(np.square(weights).sum(axis=1)).max()
    return float(norms * (1.0 + (weights.shape[1] + 8) * 2.0**-52) + 2.0**-500)


def absolute_rows(matrix: "NDArray[np.generic]") -> float:
    """Largest sum of absolute values of a row, rounded up."""
    import numpy as np

    if matrix.size == 0:
        return 0.0
    total = float(np.abs(np.asarray(matrix, dtype=np.float64)).sum(axis=1).max())
    return float(total * (1.0 + (matrix.shape[1] + 4) * 2.0**-52))


@rule("MatMul")
def matmul(node: Node, context: Context) -> Effect:
    """The norm of the constant operand; of two activations, that of the range of the other."""
    first, second = node.inputs[:2]
    one, two = context.constant(first), context.constant(second)
    if two is not None and context.live(first):
        return _times_constant(node, context, two)
    if one is not None and context.live(second):
        return _constant_times(node, context, one)
    return _bilinear(node, context)


def _times_constant(node: Node, context: Context, weight: "NDArray[np.generic]") -> Effect:
    name = node.inputs[0]
    if weight.ndim <= 2:
        # (k,) is a column; y = x B is B^T acting on the rows of x.
        transposed = weight.T if weight.ndim == 2 else weight.reshape(1, -1)
        layer = context.layer(node, "linear") if weight.ndim == 2 else None
        gain = context.norm(layer or matrix_layer(node.inputs[1], transposed, node))
        facts = _through(transposed, gain, context.facts(name), axis=-1)
        return Effect({0: gain}, facts=_moved(facts, weight.ndim, context.resolved.shape(name)))
    import numpy as np

    stacks = _stacks(weight, context.resolved.shape(name), context, name)
    # (batched, broadcast, k, n) -> the broadcast ones side by side, as columns of x's image.
    beside = np.stack([np.concatenate(list(stack), axis=1).T for stack in stacks])
    gain = largest_norm(node.inputs[1], beside, node, context)
    return Effect({0: gain}, facts=_batched_facts(weight, context.facts(name), -2))


def _constant_times(node: Node, context: Context, weight: "NDArray[np.generic]") -> Effect:
    import numpy as np

    name = node.inputs[1]
    if weight.ndim <= 2:
        matrix = weight if weight.ndim == 2 else weight.reshape(1, -1)
        layer = context.layer(node, "linear") if weight.ndim == 2 else None
        gain = context.norm(layer or matrix_layer(node.inputs[0], matrix, node))
        shape = context.resolved.shape(name)
        if shape is not None and len(shape) == 1:
            return Effect({1: gain}, facts=_through(matrix, gain, context.facts(name), axis=-1))
        facts = _through(matrix, gain, context.facts(name), axis=-2)
        return Effect({1: gain}, facts=_moved(facts, weight.ndim, None))
    shape = context.shape(name)
    stacks = _stacks(weight, shape if len(shape) > 1 else (shape[0], 1), context, name)
    above = np.stack([np.concatenate(list(stack), axis=0) for stack in stacks])
    gain = largest_norm(node.inputs[0], above, node, context)
    return Effect({1: gain}, facts=_batched_facts(weight, context.facts(name), -1))


def _stacks(
    weight: "NDArray[np.generic]",
    shape: tuple[Dimension, ...] | None,
    context: Context,
    name: str,
) -> "NDArray[np.generic]":
    """Sort a weight's batch axes: (those x has too, those x is broadcast over, k, n)."""
    import numpy as np

    if shape is None:
        raise Missing(f"needs the shape of {name}, which a batched weight multiplies")
    lead = weight.ndim - len(shape)
    shared: list[int] = []
    spread: list[int] = []
    for axis in range(weight.ndim - 2):
        own = shape[axis - lead] if axis >= lead else 1
        # A size that is not known may be 1, and side by side is never less than apart.
        (shared if isinstance(own, int) and own > 1 else spread).append(axis)
    ordered = np.transpose(weight, (*shared, *spread, weight.ndim - 2, weight.ndim - 1))
    batched = math.prod(weight.shape[axis] for axis in shared)
    return ordered.reshape(batched, -1, *weight.shape[-2:])


def _through(matrix: "NDArray[np.generic]", gain: Magnitude, known: Facts, *, axis: int) -> Facts:
    """Facts of a matrix applied along one axis of x."""
    if not known.is_bounded and not known.fibres:
        return UNKNOWN
    size = gain.upper
    along = known.fibre(axis, matrix.shape[1])
    box = image(matrix, Facts(known.lo, known.hi, {-1: along}))
    rows = absolute_rows(matrix)
    fibres = {
        other: ranges.times(bound, rows) for other, bound in known.fibres.items() if other != axis
    }
    fibres[axis] = ranges.times(size, along)
    return Facts(box.lo, box.hi, fibres, ranges.times(size, known.norm))


def _moved(facts: Facts, weight_rank: int, shape: tuple[Dimension, ...] | None) -> Facts:
    """Drop axes that a product with a vector has taken away."""
    if weight_rank == 2 and (shape is None or len(shape) != 1):
        return facts
    return Facts(facts.lo, facts.hi, {}, facts.norm)


def _batched_facts(weight: "NDArray[np.generic]", known: Facts, axis: int) -> Facts:
    import numpy as np

    sums = np.abs(np.asarray(weight, dtype=np.float64)).sum(axis=axis).max(initial=0.0)
    slack = 1.0 + (weight.shape[axis] + 4) * 2.0**-52
    size = ranges.times(float(sums) * slack, known.magnitude)
    return Facts(-size, size)


def _bilinear(node: Node, context: Context) -> Effect:
    """Of two activations: the largest matrix the other operand can be."""
    first, second = node.inputs[:2]
    gains: dict[int, Gain] = {}
    for index, name, other in ((0, first, second), (1, second, first)):
        if context.live(name):
            size = spectral_range(other, context)
            kind = "activation" if context.live(other) else "constant that cannot be computed"
            words = f"product with {other}, an {kind} which is not known to be bounded"
            reason = Infinite("B" if context.live(other) else None, words)
            gains[index] = gated(magnitude(size), reason)
            if size < math.inf:
                gains[index] = batch_copies(name, node.outputs[0], context) * magnitude(size)
    return Effect(gains, facts=_product_facts(node, context))


def spectral_range(name: str, context: Context) -> float:
    """A bound of the spectral norm of every matrix in the last two axes of a tensor."""
    known = context.facts(name)
    shape = context.resolved.shape(name)
    best = known.norm
    if shape is None:
        return best
    rows = shape[-2] if len(shape) > 1 else 1
    columns = shape[-1] if shape else 1
    if isinstance(columns, int):
        best = min(best, ranges.times(ranges.root(columns), known.fibre(-2)))
        if isinstance(rows, int):
            best = min(best, ranges.times(ranges.root(rows * columns), known.magnitude))
    if isinstance(rows, int):
        best = min(best, ranges.times(ranges.root(rows), known.fibre(-1)))
    return best


def batch_copies(name: str, out: str, context: Context) -> Magnitude:
    """Root of how many batch entries of a product read one matrix of an operand."""
    mine, whole = context.shape(name), context.shape(out)
    if len(mine) <= 2 and len(whole) <= 2:
        return magnitude(1.0)
    lead = len(whole) - len(mine)
    copies = 1
    for axis in range(len(whole) - 2):
        own: Dimension = mine[axis - lead] if axis >= lead else 1
        if own != whole[axis] or own is None:
            copies *= 1 if isinstance(own, int) and own != 1 else context.size(out, axis)
    return root(copies)


def _product_facts(node: Node, context: Context) -> Facts:
    one, two = (context.facts(name) for name in node.inputs[:2])
    shape = context.resolved.shape(node.inputs[0])
    inner = shape[-1] if shape else None
    length = inner if isinstance(inner, int) else None
    size = ranges.times(one.fibre(-1, length), two.fibre(-2, length))
    fibres: dict[int, float] = {}
    wide, tall = spectral_range(node.inputs[1], context), spectral_range(node.inputs[0], context)
    if wide < math.inf and one.fibre(-1, length) < math.inf:
        fibres[-1] = ranges.times(one.fibre(-1, length), wide)
    if tall < math.inf and two.fibre(-2, length) < math.inf:
        fibres[-2] = ranges.times(two.fibre(-2, length), tall)
    return Facts(-size, size, fibres)


@rule("Gemm")
def gemm(node: Node, context: Context) -> Effect:
    """``|alpha| |W|``; the third operand ``|beta|`` by the root of its copies."""
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    first, second = node.inputs[:2]
    flipped = attribute(node, "transA", 0), attribute(node, "transB", 0)
    gains: dict[int, Gain] = {}
    one, two = context.constant(first), context.constant(second)
    facts = UNKNOWN
    if two is not None:
        matrix = two if flipped[1] else two.T
        gain = _measured(node, context, matrix, second, alpha)
        if context.live(first):
            gains[0] = gain
        if not flipped[0]:
            facts = _through(matrix, context_norm(matrix), context.facts(first), axis=-1)
    elif one is not None:
        gains[1] = _measured(node, context, one.T if flipped[0] else one, first, alpha)
    else:
        for index, name, other in ((0, first, second), (1, second, first)):
            if context.live(name):
                size = ranges.times(spectral_range(other, context), abs(alpha))
                words = f"product with {other}, which is not known to be bounded"
                gains[index] = gated(magnitude(size), Infinite("B", words))
    facts = ranges.scale(facts, abs(alpha)) if alpha != 1.0 else facts
    if len(node.inputs) > 2 and node.inputs[2]:
        if context.live(node.inputs[2]):
            copies = root(context.copies(node.inputs[2], node.outputs[0]))
            gains[2] = magnitude(abs(beta)) * copies
        facts = _plus(facts, node.inputs[2], abs(beta), context)
    return Effect(gains, facts=facts)


def _measured(
    node: Node, context: Context, matrix: "NDArray[np.generic]", name: str, alpha: float
) -> Magnitude:
    layer = context.layer(node, "linear") if alpha == 1.0 else None
    return magnitude(abs(alpha)) * context.norm(layer or matrix_layer(name, matrix, node))


def context_norm(matrix: "NDArray[np.generic]") -> Magnitude:
    """Frobenius norm: what ranges make do with where no spectral norm has been measured."""
    return magnitude(ranges.of_array(matrix).norm)


def _plus(facts: Facts, bias: str, factor: float, context: Context) -> Facts:
    known = context.facts(bias)
    shape = context.resolved.shape(bias)
    if factor != 1.0:
        known = ranges.scale(known, factor)
    fibres = known.fibres if shape is not None and len(shape) == 1 else {}
    return ranges.add(facts, Facts(known.lo, known.hi, fibres))


@rule("Einsum")
def einsum(node: Node, context: Context) -> Effect:
    """The constant's norm once its letters are sorted; ranges where there is no constant."""
    from specaudit.lipschitz.contraction import einsum_effect

    return einsum_effect(node, context)
