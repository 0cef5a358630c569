"""A convolution or matrix product and the scales around it as one kernel."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from specaudit.bracket import Magnitude
from specaudit.lipschitz import ranges
from specaudit.lipschitz.context import Context, attribute
from specaudit.lipschitz.convolution import convolution_layer
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.normalization import affine
from specaudit.lipschitz.rules import Missing, magnitude
from specaudit.lipschitz.steps import Option, Step
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scale = NDArray[np.float64]

_KERNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def fuse_kernels(
    steps: Sequence[Step], outputs: tuple[str, ...], context: Context
) -> Iterable[Step]:
    """Multiply the per-channel scales after a kernel, and right before it, into the kernel.

    Batch normalisation after a convolution is such a scale: the norm of the product is at
    most, and usually well below, the product of the norms.
    """
    nodes = {node.name: node for node in context.resolved.nodes}
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    made = {name: step for step in steps for name in step.outputs}
    kept = set(outputs)
    gone: set[int] = set()
    placed: dict[int, Step] = {}
    for step in steps:
        node = nodes.get(step.node)
        if node is None or step.op not in _KERNELS or step.rule or node.domain:
            continue
        chain = _chain(step, node, nodes, readers, made, kept, gone, context)
        fused = _fused(step, node, chain, nodes, context)
        if fused is not None:
            members = [*chain[0], step, *chain[1]]
            gone.update(id(member) for member in members)
            placed[id(members[-1])] = fused
    return [
        placed.get(id(step), step) for step in steps if id(step) not in gone or id(step) in placed
    ]


_Chain = tuple[list[Step], list[Step]]


def _chain(
    step: Step,
    node: Node,
    nodes: dict[str, Node],
    readers: dict[str, list[Step]],
    made: dict[str, Step],
    kept: set[str],
    gone: set[int],
    context: Context,
) -> _Chain:
    """The scales before and after a kernel that nothing else reads."""
    after: list[Step] = []
    value = node.outputs[0]
    while value not in kept and len(readers.get(value, ())) == 1:
        reader = readers[value][0]
        if (
            reader.rule
            or id(reader) in gone
            or _scale(nodes.get(reader.node), value, node, context) is None
        ):
            break
        after.append(reader)
        value = reader.outputs[0]
    before: list[Step] = []
    value = node.inputs[0]
    while node.op == "Conv" and value in made and value not in kept:
        maker = made[value]
        alone = len(readers.get(value, ())) == 1 and len(maker.inputs) >= 1
        below = nodes.get(maker.node)
        if not alone or maker.rule or id(maker) in gone or below is None or not below.inputs:
            break
        moving = next((name for name in below.inputs if context.live(name)), "")
        if _scale(below, moving, node, context) is None:
            break
        before.insert(0, maker)
        value = moving
    return before, after


def _scale(node: Node | None, value: str, kernel: Node, context: Context) -> "Scale | None":
    """The factors, one a channel (or one for all), that a node multiplies a value by."""
    import numpy as np

    if node is None or node.domain or not node.outputs or len(node.outputs) != 1:
        return None
    if sum(name == value for name in node.inputs) != 1:
        return None
    if any(context.live(name) for name in node.inputs if name != value):
        return None
    try:
        if node.op == "BatchNormalization" and not attribute(node, "training_mode", 0):
            return affine(node, context)[0] if kernel.op not in ("MatMul",) else None
        if node.op in ("Identity", "Add", "Sub"):
            same = context.resolved.shape(value) == context.resolved.shape(node.outputs[0])
            known = None not in (context.resolved.shape(value) or (None,))
            plain = node.op != "Sub" or node.inputs[0] == value
            return np.ones(1) if plain and same and known else None
        if node.op in ("Mul", "Div") and (node.op == "Mul" or node.inputs[0] == value):
            other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
            return _factors(context.value(other, "a factor"), node, value, kernel, context)
    except Missing:
        return None
    return None


def _factors(
    constant: "NDArray[np.generic]", node: Node, value: str, kernel: Node, context: Context
) -> "Scale | None":
    """A constant that is spread over everything but the channels."""
    import numpy as np

    factors = np.asarray(constant, dtype=np.float64)
    shape = context.resolved.shape(value)
    if shape is None or factors.ndim > len(shape) or not np.isfinite(factors).all():
        return None
    if node.op == "Div":
        if not factors.all():
            return None
        factors = 1.0 / factors
    if factors.size == 1:
        return factors.reshape(1)
    channels = 1 if kernel.op.startswith("Conv") else len(shape) - 1
    place = channels - (len(shape) - factors.ndim)
    if place < 0 or factors.shape[place] != factors.size or factors.size != shape[channels]:
        return None
    return factors.reshape(-1)


def _fused(
    step: Step, node: Node, chain: _Chain, nodes: dict[str, Node], context: Context
) -> Step | None:
    """One step for the whole chain, if any of its scales is more than 1."""
    import numpy as np

    before, after = chain
    live = [name for name in node.inputs if context.live(name)]
    if not (before or after) or live != [node.inputs[0]]:
        return None
    weight = context.constant(node.inputs[1])
    if weight is None or (node.op == "MatMul" and weight.ndim != 2):
        return None
    outer, inner = np.ones(1), np.ones(1)
    for part in after:
        outer = outer * _scale_of(part, nodes, node, context)
    for part in before:
        inner = inner * _scale_of(part, nodes, node, context)
    gain = step.options[0].gains[0]
    if np.all(outer == 1.0) and np.all(inner == 1.0):
        bound: Magnitude | None = gain if isinstance(gain, Magnitude) else None
    else:
        bound = _norm(
            node, weight.astype(np.float64), outer, inner, len(before) + len(after), context
        )
    if bound is None:
        return None
    start = before[0] if before else step
    source = next(name for name in start.inputs if context.live(name))
    parts = (*(s.node for s in before), step.node, *(s.node for s in after))
    return replace(
        step,
        inputs=(source,),
        outputs=(after[-1] if after else step).outputs,
        options=(Option((bound,)),),
        rule="kernel",
        parts=parts,
    )


def _scale_of(step: Step, nodes: dict[str, Node], kernel: Node, context: Context) -> "Scale":
    import numpy as np

    node = nodes[step.node]
    moving = next(name for name in node.inputs if context.live(name))
    found = _scale(node, moving, kernel, context)
    return np.ones(1) if found is None else found


def _norm(
    node: Node, weight: "Scale", outer: "Scale", inner: "Scale", count: int, context: Context
) -> Magnitude | None:
    """The norm of the scaled kernel, what rounding its entries changed included."""
    import numpy as np

    try:
        if node.op in ("MatMul", "Gemm"):
            matrix = weight.T if node.op == "MatMul" or not attribute(node, "transB", 0) else weight
            if attribute(node, "transA", 0):
                return None
            scaled = matrix * outer[:, None] * attribute(node, "alpha", 1.0)
            layer = matrix_layer(node.inputs[1], scaled, node)
            total = ranges.of_array(scaled).norm
        else:
            scaled = _scaled_kernel(node, weight, outer, inner)
            layer = convolution_layer(node, context, scaled)
            taps = np.sqrt(np.square(scaled).sum(axis=(0, 1)))
            total = float(taps.sum()) * (1.0 + 2.0**-20)
        # A symbol is a sum over taps, so its norm moves by at most the sum of theirs.
        lost = magnitude((8 * count + 8) * 2.0**-53 * total)
        return context.norm(layer) + lost
    except Missing:
        return None


def _scaled_kernel(node: Node, weight: "Scale", outer: "Scale", inner: "Scale") -> "Scale":
    import numpy as np

    ones = (1,) * (weight.ndim - 2)
    group = attribute(node, "group", 1)
    if node.op == "ConvTranspose":
        # (in, out/group, k…): the channels of the output run group by group.
        per = weight.shape[1]
        full = np.broadcast_to(outer, (group * per,)) if outer.size == 1 else outer
        rows = np.repeat(full.reshape(group, per), weight.shape[0] // group, axis=0)
        return weight * rows.reshape(*rows.shape, *ones)
    scaled = weight * outer.reshape(-1, 1, *ones)
    if inner.size == 1:
        return scaled * inner.reshape(1, 1, *ones)
    columns = np.repeat(inner.reshape(group, -1), weight.shape[0] // group, axis=0)
    return scaled * columns.reshape(*columns.shape, *ones)
