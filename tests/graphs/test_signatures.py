"""What operations take, held to the schemas of ONNX itself."""

import onnx
import pytest
from onnx.defs import OpSchema, get_all_schemas_with_history

from specaudit.errors import UnreadableModel
from specaudit.graphs import resolve
from specaudit.graphs.signatures import SIGNATURES, check
from specaudit.graphs.words import WORDS, check_words
from specaudit.model import Graph, Node, ValueInfo

OPTIONS = OpSchema.FormalParameterOption
# Deprecated, or another's: their signatures stand though ONNX has no schema of them.
OTHERS = {"SimplifiedLayerNormalization"}


def letters(parameters) -> str:
    of = {OPTIONS.Single: "x", OPTIONS.Optional: "?"}
    return "".join(of.get(p.option, "+" if p.min_arity else "*") for p in parameters)


def test_the_table_is_that_of_the_schemas() -> None:
    found: dict[str, dict[int, str]] = {}
    for schema in get_all_schemas_with_history():
        if not schema.domain and not schema.deprecated:
            form = f"{letters(schema.inputs)}>{letters(schema.outputs)}"
            found.setdefault(schema.name, {})[schema.since_version] = form
    wrong = []
    for form, names in SIGNATURES.items():
        for entry in set(names.split()) - OTHERS:
            op, _, since = entry.partition("@")
            versions = found.get(op)
            if versions is None:
                assert tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23), op
            elif form not in versions.values() or (since and versions[int(since)] != form):
                wrong.append(entry)
    assert not wrong
    listed = {entry.partition("@")[0] for names in SIGNATURES.values() for entry in names.split()}
    assert found.keys() <= listed


def test_every_version_is_read_by_its_own_signature() -> None:
    for schema in get_all_schemas_with_history():
        if schema.domain or schema.deprecated:
            continue
        inputs = tuple(f"i{k}" for k in range(len(schema.inputs)))
        outputs = tuple(f"o{k}" for k in range(len(schema.outputs)))
        check(Node("n", schema.name, inputs, outputs), schema.since_version)
        if letters(schema.inputs)[-1:] not in ("*", "+"):
            with pytest.raises(UnreadableModel, match="at most"):
                check(Node("n", schema.name, (*inputs, "more"), outputs), schema.since_version)


@pytest.mark.parametrize("inputs", [(), ("x",), ("", "x"), ("x", ""), ("x", "x", "x")])
def test_a_product_of_one_or_three_is_refused(inputs: tuple[str, ...]) -> None:
    node = Node("product", "Mul", inputs, ("y",))
    graph = Graph("g", (node,), (ValueInfo("x", "float32", (2,)),), (ValueInfo("y"),))
    with pytest.raises(UnreadableModel, match=r"Mul (must have|takes)"):
        resolve(graph)


def test_what_may_be_left_out_may_be() -> None:
    check(Node("n", "Clip", ("x", "", ""), ("y",)), 13)
    check(Node("n", "Clip", ("x", "", "high"), ("y",)), 13)
    check(Node("n", "LSTM", ("x", "w", "r", "", "", "h"), ("", "h", "")), 14)
    check(Node("n", "Loop", ("", "go", "v"), ("v", "z")), 13)
    check(Node("n", "Conv", (), (), {}, "com.example"), 1)


def test_a_word_that_an_operation_has_not_is_refused() -> None:
    """Where a loss is to be reduced in a way that it does not know, onnxruntime adds."""
    for op, name in WORDS:
        with pytest.raises(UnreadableModel, match=f"{op} has no {name}"):
            check_words(Node("n", op, ("x",), ("y",), {name: "average"}))
    loss = Node("n", "SoftmaxCrossEntropyLoss", ("x", "t"), ("y",), {"reduction": "average"})
    inputs = ValueInfo("x", "float32", (2, 3)), ValueInfo("t", "int64", (2,))
    with pytest.raises(UnreadableModel, match="has no reduction"):
        resolve(Graph("g", (loss,), inputs, (ValueInfo("y"),)))


def test_the_words_are_those_of_the_schemas() -> None:
    described: dict[tuple[str, str], str] = {}
    for schema in get_all_schemas_with_history():
        for name, attribute in schema.attributes.items() if not schema.domain else ():
            key = schema.name, name
            if attribute.default_value.s:
                default = attribute.default_value.s.decode()
                slip = default == "foward"  # GRU's, of opset 1
                assert slip or default in WORDS.get(key, {default}), key
            described[key] = described.get(key, "") + attribute.description + schema.doc
    for key, words in WORDS.items():
        assert [word for word in words if word not in described[key]] == [], key
