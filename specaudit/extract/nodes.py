"""The operations of a graph that apply a weight, each with the matrix that it applies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from specaudit.extract.constants import operand
from specaudit.extract.entries import Effective, Entry, Reals, exact
from specaudit.extract.geometry import of_node
from specaudit.graphs.resolved import ResolvedGraph
from specaudit.model import Node
from specaudit.report import Kind


@dataclass(frozen=True, slots=True)
class Use:
    """A node, and the weights among its inputs."""

    resolved: ResolvedGraph
    node: Node

    def weight(self, index: int) -> Effective | None:
        """Return the constant at an input, or None if there is none or it is no constant."""
        if index >= len(self.node.inputs):
            return None
        return operand(self.resolved, self.node.inputs[index])

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        value = self.node.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def real(self, name: str, default: float) -> float:
        """Return a float attribute; its default is of single precision, as all of them are."""
        value = self.node.attributes.get(name)
        return float(value) if isinstance(value, int | float) else float(np.float32(default))

    def entries(self, weight: Effective, kind: Kind) -> Iterator[Entry]:
        """Yield a weight of this node that has no geometry."""
        return weight.entries(kind, node=self.node.name)


Rule: TypeAlias = Callable[[Use], Iterator[Entry]]
OPERATIONS: dict[tuple[str, str], Rule] = {}
MICROSOFT = "com.microsoft"


def applies(*operations: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Enter a rule for operations that apply a weight."""

    def enter(rule: Rule) -> Rule:
        for operation in operations:
            OPERATIONS[domain, operation] = rule
        return rule

    return enter


@applies("Conv")
@applies("FusedConv", domain=MICROSOFT)
def _convolution(use: Use) -> Iterator[Entry]:
    yield from convolved(use, use.weight(1), "convolution")


@applies("ConvTranspose")
def _transposed_convolution(use: Use) -> Iterator[Entry]:
    yield from convolved(use, use.weight(1), "convolution_transposed")


def convolved(use: Use, weight: Effective | None, kind: Kind) -> Iterator[Entry]:
    """Yield the kernel of a convolution with the geometry of its node."""
    if weight is None:
        return
    geometry = None
    if not 3 <= len(weight.shape) <= 5:
        problem = f"a kernel of rank {len(weight.shape)}"
        weight = replace(weight, problem=weight.problem or problem)
    elif not weight.problem:
        found = of_node(use.resolved, use.node, kind, weight.shape)
        if found is None:
            weight = replace(weight, problem="a convolution whose attributes do not fit its kernel")
        else:
            geometry = found.geometry
            weight = replace(weight, notes=weight.notes + found.notes)
    yield from weight.entries(kind, geometry, use.node.name)


@applies("Gemm")
@applies("FusedGemm", domain=MICROSOFT)
def _gemm(use: Use) -> Iterator[Entry]:
    left, right = bool(use.integer("transA", 0)), bool(use.integer("transB", 0))
    yield from multiplied(use, left, right, use.real("alpha", 1.0))


@applies("MatMul")
def _matmul(use: Use) -> Iterator[Entry]:
    yield from multiplied(use, False, False, 1.0)


@applies("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def _fused_matmul(use: Use) -> Iterator[Entry]:
    if use.integer("transBatchA", 0) or use.integer("transBatchB", 0):
        return  # its constants are then listed as what no rule covers
    yield from _gemm(use)


def multiplied(use: Use, left: bool, right: bool, alpha: float) -> Iterator[Entry]:
    """Yield the constant factor of ``alpha * A B``, A and B transposed if told so."""
    weight = use.weight(1)
    if weight is not None:  # y = x B applies the transpose of B
        turned = not right
    else:
        weight, turned = use.weight(0), left
    if weight is None:
        return
    yield from product(use, weight.times(alpha, "alpha"), turned)


def product(use: Use, weight: Effective, turned: bool) -> Iterator[Entry]:
    """Yield the matrices of one factor of a product: itself, or each of its batch."""
    rank = len(weight.shape)
    if weight.problem or rank < 2:
        yield from use.entries(weight if weight.problem else weight.reshaped(1, -1), "linear")
        return
    stack = weight if rank == 3 else weight.reshaped(-1, *weight.shape[-2:])
    for matrix in stack.parts() if rank > 2 else (weight,):
        yield from use.entries(matrix.transposed() if turned else matrix, "linear")


@applies("Einsum")
def _einsum(use: Use) -> Iterator[Entry]:
    equation = use.node.attributes.get("equation", "")
    text = equation.decode("ascii", "replace") if isinstance(equation, bytes) else str(equation)
    terms, arrow, result = text.replace(" ", "").partition("->")
    inputs = terms.split(",")
    constants = [index for index in range(len(inputs)) if use.weight(index) is not None]
    if len(inputs) != 2 or len(constants) != 1 or not arrow:
        return
    index = constants[0]
    weight, letters, others = use.weight(index), inputs[index], inputs[1 - index]
    if weight is None or len(set(letters)) != len(letters) or not letters.isalpha():
        return
    batch = [letter for letter in letters if letter in others and letter in result]
    rows = [letter for letter in letters if letter not in others and letter in result]
    columns = [letter for letter in letters if letter in others and letter not in result]
    if len(batch) + len(rows) + len(columns) != len(letters) or len(letters) != len(weight.shape):
        return
    size = dict(zip(letters, weight.shape, strict=True))
    stack = weight.transposed(*(letters.index(letter) for letter in (*batch, *rows, *columns)))
    m, n = (int(np.prod([size[letter] for letter in part])) for part in (rows, columns))
    for matrix in stack.reshaped(-1, m, n).parts():
        yield from use.entries(matrix, "linear")


@applies("LSTM", "GRU", "RNN")
def _recurrent(use: Use) -> Iterator[Entry]:
    for index in (1, 2):
        weight = use.weight(index)
        if weight is not None:
            yield from directions(use, weight)


def directions(use: Use, weight: Effective) -> Iterator[Entry]:
    """Yield the gates' matrix of each direction: (gates * hidden, input)."""
    if not weight.problem and len(weight.shape) != 3:
        weight = replace(weight, problem="recurrent weights that are not of rank 3")
    if weight.problem:
        yield from use.entries(weight, "recurrent")
        return
    names = ("forward", "reverse") if weight.shape[0] == 2 else None
    for part in weight.parts(names):
        yield from use.entries(part, "recurrent")


@applies("EmbedLayerNormalization", domain=MICROSOFT)
def _embed_layer_normalization(use: Use) -> Iterator[Entry]:
    for index in (2, 3, 4):
        table = use.weight(index)
        if table is not None and len(table.shape) > 1:
            yield from use.entries(table, "embedding")
    yield from _scale(use, 5)


@applies("Attention", domain=MICROSOFT)
def _attention(use: Use) -> Iterator[Entry]:
    weight = use.weight(1)
    if weight is not None:
        note = "query, key and value projections packed as rows"
        packed = replace(weight, notes=(*weight.notes, note))
        yield from product(use, packed, turned=True)


@applies("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization")
@applies("SimplifiedLayerNormalization")
@applies("GroupNorm", "LayerNormalization", "SimplifiedLayerNormalization", domain=MICROSOFT)
def _normalization(use: Use) -> Iterator[Entry]:
    yield from _scale(use, 1)


@applies("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def _skip_normalization(use: Use) -> Iterator[Entry]:
    yield from _scale(use, 2)


def _scale(use: Use, index: int) -> Iterator[Entry]:
    gamma = use.weight(index)
    if gamma is not None:
        yield from use.entries(gamma if gamma.problem else gamma.reshaped(-1), "scale")


@applies("BatchNormalization")
def _batch_normalization(use: Use) -> Iterator[Entry]:
    gamma, variance = use.weight(1), use.weight(4)
    if gamma is None:
        return
    if variance is None or use.integer("training_mode", 0) or gamma.shape != variance.shape:
        note = "gamma alone: it is divided by the deviation of each batch"
        yield from use.entries(replace(gamma, notes=(*gamma.notes, note)), "scale")
        return
    eps = use.real("epsilon", 1e-5)
    read, read_variance, write = gamma.read, variance.read, gamma.write

    def deviation() -> Reals:
        with np.errstate(invalid="ignore"):
            return np.sqrt(exact(read_variance()) + eps)

    def effective() -> Reals:
        with np.errstate(invalid="ignore", divide="ignore"):
            return exact(read()) / deviation()

    scale = replace(
        gamma,
        tensors=tuple(dict.fromkeys((*gamma.tensors, *variance.tensors))),
        read=effective,
        write=None if write is None else lambda values: write(exact(values) * deviation()),
        notes=(*gamma.notes, f"gamma / sqrt({variance.name} + {eps:g})"),
        roundings=gamma.roundings + variance.roundings + 3,
        problem=gamma.problem or variance.problem,
    )
    yield from use.entries(scale, "scale")
