"""Random graphs, most of them nonsense: an error of our own or an answer, and one that is true."""

from collections.abc import Iterator

import numpy as np
import pytest

from specaudit.errors import SpecauditError
from specaudit.graphs import resolve
from specaudit.graphs.fold import FOLDS
from specaudit.graphs.shapes import RULES
from specaudit.graphs.signatures import SIGNATURES
from specaudit.model import Graph, Node, ValueInfo
from tests.graphs.building import weight

ATTRIBUTES = """
axis axes perm keepdims kernel_shape strides pads dilations group auto_pad split starts ends shape
to hidden_size direction layout equation num_scan_inputs body then_branch else_branch scales sizes
blocksize mode k value dtype output_shape output_padding ceil_mode N num_heads kv_num_heads start
q_num_heads block_size transA transB alpha beta end allowzero noop_with_empty_axes fmod reverse
exclusive batch_dims upper pooled_shape ngram_indexes saturate onesided inverse new_axis reduction
"""
BODIES = (
    Graph("b", (Node("z", "Neg", ("x",), ("zz",)),), (), (ValueInfo("zz"),)),
    Graph("b", (), (ValueInfo("s"),), (ValueInfo("s"),)),
)
VALUES = (
    *(0, 1, 2, -1, -2, 7, 2**62, 1.5, float("nan"), "SAME_UPPER", "bidirectional", "ij,jk->ik"),
    *((), (0,), (1,), (1, 1), (2, 2), (0, 1), (1, 0), (1, 1, 1, 1), (3, 3), ("a",), (0.5, 2.0)),
    *("...i,ij->...j", b"x", weight("q", np.array([1])), *BODIES),
)
SHAPES = (None, (), (2,), (2, 3), ("N", 3), (1, 3, 8, 8), (None, 3, 8, 8), (2, 3, 4), (0, 3))
DTYPES = ("float32", "int64", "int64", "bool", "int32", "uint8", "float16")


def graphs(seed: int, count: int) -> Iterator[Graph]:
    rng = np.random.default_rng(seed)
    operations, names = [*RULES, *FOLDS], ATTRIBUTES.split()

    def pick(items):
        return items[rng.integers(len(items))]

    for _ in range(count):
        constants = {}
        for index in range(4):
            shape = tuple(rng.integers(0, 4, pick((0, 1, 1, 2, 3))))
            array = rng.integers(-3, 6, shape).astype(pick(DTYPES))
            constants[f"c{index}"] = weight(f"c{index}", np.asarray(array))
        known, nodes = ["x", "z", "", *constants], []
        for index in range(rng.integers(1, 6)):
            domain, op = pick(operations)
            inputs, outputs = operands(op, known, index, rng)
            attributes = {pick(names): pick(VALUES) for _ in range(rng.integers(0, 4))}
            nodes.append(Node(f"n{index}", op, inputs, outputs, attributes, domain))
            known += outputs * 3
        infos = (
            ValueInfo("x", "float32", pick(SHAPES)),
            ValueInfo("z", pick((None, "float32", "int64", "bool")), pick(SHAPES)),
        )
        opsets = {"": pick((7, 9, 11, 13, 17, 18, 21, 25, 28))}
        yield Graph("g", tuple(nodes), infos, (), constants, opsets=opsets)


def operands(
    op: str, known: list[str], index: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As many as an operation takes, seldom another number: that is refused at once."""
    forms = [form for form, names in SIGNATURES.items() if op in names.replace("@", " ").split()]
    form = forms[rng.integers(len(forms))] if forms and rng.random() < 0.98 else "???*>?*"
    counts = [
        sum(letter == "x" or rng.random() < 0.5 for letter in side) + ("+" in side)
        for side in form.split(">")
    ]
    named = [name for name in known if name]
    inputs = tuple(named[rng.integers(len(named))] for _ in range(counts[0]))
    return inputs, tuple(f"n{index}_{k}" for k in range(counts[1]))


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_is_answered_and_folded_values_have_the_inferred_shapes(seed: int) -> None:
    folded = 0
    for graph in graphs(seed, 800):
        try:
            resolved = resolve(graph)
        except SpecauditError:
            continue
        for name in (output for node in resolved.nodes for output in node.outputs):
            resolved.roots(name)
            value, shape = resolved.constant(name), resolved.shape(name)
            if value is None:
                continue
            folded += 1
            assert resolved.is_constant(name)
            assert shape is None or len(shape) == value.ndim
            assert all(
                mine == true
                for mine, true in zip(shape or (), value.shape, strict=False)
                if isinstance(mine, int)
            )
    assert folded > 20
