"""Linear runs as one operator: kernels with the scales around them, and small runs densely."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specaudit.bracket import ONE, ZERO, Magnitude
from specaudit.lipschitz.context import Context, OneSample
from specaudit.lipschitz.kernels import fuse_kernels
from specaudit.lipschitz.linear import matrix_layer
from specaudit.lipschitz.rules import MALFORMED, Gain, magnitude
from specaudit.lipschitz.steps import Option, Step, finite
from specaudit.model import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SINK = "<outputs>"
_SMALL_SIDE = 2048
_LARGE_SIDE = 8192
_MOST_ELEMENTS = 1 << 23
_MOST_NODES = 400
# Beyond these the residual stream of a deep network would be formed again at every block.
_MOST_PARTS = 6
_ALL_FLOPS = 5e10


def contract(
    steps: Sequence[Step], sources: Sequence[str], outputs: tuple[str, ...], context: Context
) -> tuple[list[Step], tuple[str, ...]]:
    """Replace linear runs by their operators, wherever that can be proved cheaply.

    Parameters
    ----------
    steps : sequence of Step
    sources, outputs : names
    context : Context

    Returns
    -------
    steps : list of Step
        For the same function, with no larger constants.
    outputs : tuple of str
        The outputs as one value, `SINK`, where there are several.
    """
    outputs = tuple(name for name in outputs if context.live(name)) or outputs[:1]
    steps, outputs = _joined_outputs(list(fuse_kernels(steps, outputs, context)), outputs)
    plan = _Plan(steps, frozenset(sources), outputs, context)
    fused = [plan.contracted(step) or step for step in steps]
    return _needed(fused, outputs), outputs


def _joined_outputs(
    steps: list[Step], outputs: tuple[str, ...]
) -> tuple[list[Step], tuple[str, ...]]:
    if len(outputs) < 2:
        return steps, outputs
    option = Option((ONE,) * len(outputs), joint=True)
    return [*steps, Step(SINK, "Concat", outputs, (SINK,), (option,))], (SINK,)


def _needed(steps: Sequence[Step], outputs: tuple[str, ...]) -> list[Step]:
    """Leave out the steps that nothing reads any more."""
    wanted = set(outputs)
    kept: list[Step] = []
    for step in reversed(steps):
        if not wanted.isdisjoint(step.outputs):
            kept.append(step)
            wanted.update(
                name
                for index, name in enumerate(step.inputs)
                if any(option.gains[index] != ZERO for option in step.options)
            )
    return kept[::-1]


@dataclass(slots=True)
class _Run:
    """A value, the linear nodes that make it, and the values these start from."""

    output: str
    nodes: list[Node]
    frontier: list[str]
    weighty: int


class _Plan:
    """Which values are worth an operator of their own, and that operator."""

    def __init__(
        self,
        steps: Sequence[Step],
        sources: frozenset[str],
        outputs: tuple[str, ...],
        context: Context,
    ) -> None:
        from specaudit.lipschitz.evaluation import LINEAR

        self.context, self.sources, self.outputs = context, sources, outputs
        self.by_name = {node.name: node for node in context.resolved.nodes}
        self.linear: dict[str, Step] = {}
        self.order = {name: k for k, step in enumerate(steps) for name in step.outputs}
        self.flops = _ALL_FLOPS
        read_by_others: set[str] = set(outputs)
        for step in steps:
            node = self.by_name.get(step.node)
            plain = step.node == SINK or (
                node is not None and not node.domain and step.rule in ("", "kernel")
            )
            if plain and (step.op in LINEAR or step.node == SINK) and _is_finite(step):
                self.linear.update(dict.fromkeys(step.outputs, step))
            else:
                read_by_others.update(step.inputs)
        self.anchors = read_by_others

    def contracted(self, step: Step) -> Step | None:
        """The step's output as one linear map of where its run begins, or None."""
        if len(step.outputs) != 1 or step.outputs[0] not in self.anchors:
            return None
        name = step.outputs[0]
        if name not in self.linear or name in self.sources:
            return None
        for whole in (True, False):
            run = self._run(name, whole)
            if run is None or run.weighty < 2 or len(run.frontier) > _MOST_PARTS:
                continue
            options = self._options(run)
            if options is not None:
                rule = f"linear run of {len(run.nodes)} nodes"
                return replace(
                    step, inputs=tuple(run.frontier), options=options, rule=rule, selects=None
                )
        return None

    def _run(self, name: str, whole: bool) -> _Run | None:
        """Walk back from a value through linear steps; without `whole`, to the next anchors."""
        found: dict[int, Step] = {}
        frontier: dict[str, None] = {}
        stack, seen = [name], {name}
        joins = 0
        while stack:
            value = stack.pop()
            step = self.linear.get(value)
            stops = value in self.sources or (value != name and not whole and value in self.anchors)
            if step is None or stops:
                frontier[value] = None
                continue
            found[self.order[value]] = step
            for source in step.inputs:
                if not self.context.live(source):
                    continue
                if source in seen:
                    joins += 1
                else:
                    seen.add(source)
                    stack.append(source)
            if len(found) > _MOST_NODES:
                return None
        ordered = [found[k] for k in sorted(found)]
        nodes: dict[str, Node] = {}
        for step in ordered:
            for part in (*step.parts, step.node):
                if part in self.by_name:
                    nodes[part] = self.by_name[part]
        heavy = sum(not _is_isometry(step) for step in ordered)
        return _Run(name, list(nodes.values()), list(frontier), heavy + joins)

    def _options(self, run: _Run) -> tuple[Option, ...] | None:
        try:
            blocks = self._matrix(run)
            if blocks is None:
                return None
            matrix, widths, lost = blocks
            import numpy as np

            parts = np.split(matrix, np.cumsum(widths)[:-1], axis=1)
            whole = self._norm(run, matrix) + lost
            if len(parts) == 1:
                return (Option((whole,)),)
            gains: list[Gain] = [(self._norm(run, part) + lost).min(whole) for part in parts]
        except MALFORMED:
            return None
        return Option(tuple(gains)), Option((whole,) * len(parts), joint=True)

    def _norm(self, run: _Run, matrix: "NDArray[np.float64]") -> Magnitude:
        node = run.nodes[-1]
        return self.context.norm(matrix_layer(f"linear run to {run.output}", matrix, node))

    def _matrix(self, run: _Run) -> "tuple[NDArray[np.float64], list[int], Magnitude] | None":
        """The run as a dense matrix, its blocks' widths, and a bound of what rounding changed."""
        import numpy as np

        from specaudit.lipschitz.evaluation import roundings

        context = self._per_sample(run)
        widths = [context.count(name) for name in run.frontier]
        ends = self._ends(run.output)
        height, width = sum(context.count(name) for name in ends), sum(widths)
        if min(height, width) > _SMALL_SIDE or max(height, width) > _LARGE_SIDE:
            return None
        if height == 0 or width == 0:
            return None
        sizes = [context.count(name) for node in run.nodes for name in node.outputs if name]
        work = float(width) * sum(
            context.count(node.outputs[0]) * max(_inner(node, context), 1) for node in run.nodes
        ) + 4.0 * min(height, width) ** 2 * max(height, width)
        if work > self.flops:
            return None
        self.flops -= work
        rows = max(1, _MOST_ELEMENTS // max(sizes))
        columns = []
        for begin in range(0, width, rows):
            vectors = np.zeros((min(rows, width - begin), width))
            vectors[np.arange(vectors.shape[0]), begin + np.arange(vectors.shape[0])] = 1.0
            columns.append(self._push(run, context, vectors, widths, False))
        matrix = np.concatenate(columns, axis=0).T
        # Entry by entry the error is at most gamma_K times the matrix of moduli, whose
        # Frobenius norm the l2 norm of its row sums bounds.
        moduli = self._push(run, context, np.ones((1, width)), widths, True)
        steps = sum(roundings(node, context) for node in run.nodes)
        gamma = steps * 2.0**-52
        lost = magnitude(gamma * float(np.linalg.norm(moduli)) * 1.001)
        return matrix, widths, lost

    def _ends(self, output: str) -> tuple[str, ...]:
        return self.linear[output].inputs if output == SINK else (output,)

    def _per_sample(self, run: _Run) -> Context:
        """The graph as it is, or with one sample where the batch has no size."""
        shape = self.context.shape(self._ends(run.output)[0])
        symbol = shape[0] if shape else None
        return OneSample(self.context, symbol) if isinstance(symbol, str) else self.context

    def _push(
        self,
        run: _Run,
        context: Context,
        vectors: "NDArray[np.float64]",
        widths: list[int],
        absolute: bool,
    ) -> "NDArray[np.float64]":
        import numpy as np

        from specaudit.lipschitz.evaluation import LINEAR

        count = vectors.shape[0]
        values: dict[str, NDArray[np.float64]] = {}
        start = 0
        for name, width in zip(run.frontier, widths, strict=True):
            part = vectors[:, start : start + width]
            values[name] = part.reshape(count, *context.sizes(name))
            start += width
        for node in run.nodes:
            arguments = [values.get(name) if name else None for name in node.inputs]
            results = LINEAR[node.op](node, context, arguments, absolute)
            made = zip(node.outputs, results, strict=False)
            values.update({name: result for name, result in made if name not in run.frontier})
        ends = [values[name].reshape(count, -1) for name in self._ends(run.output)]
        return np.concatenate(ends, axis=1)


def _inner(node: Node, context: Context) -> int:
    """Products for one element of the output."""
    for name in node.inputs[1:2] if node.op != "MatMul" else node.inputs[:2]:
        value = context.constant(name)
        if value is not None and value.ndim > 1 and node.op in ("Conv", "MatMul", "Gemm"):
            return int(value[0].size if node.op == "Conv" else max(value.shape[-2:]))
    return 1


def _is_finite(step: Step) -> bool:
    return all(finite(gain).is_finite for option in step.options for gain in option.gains)


def _is_isometry(step: Step) -> bool:
    """Whether a step leaves norms alone: nothing is gained by fusing a chain of them."""
    gains = [gain for option in step.options for gain in option.gains if gain != ZERO]
    return len(gains) == 1 and gains[0] == ONE
