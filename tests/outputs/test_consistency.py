"""A saved audit that does not agree with itself is refused, whatever it would be judged as."""

import json

import pytest

from specaudit.errors import UnreadableModel
from specaudit.outputs import json as documents
from specaudit.outputs.consistency import repeated_key
from specaudit.policy import judge
from tests.outputs.reports import clean

TEXT = documents.render([(clean(), judge(clean()))])
NORM = ("layers", 0, "norm")
FORGERIES = {
    "a bound that is called unbounded": ((*NORM, "status"), "unbounded"),
    "an estimate with a proved end": ((*NORM, "status"), "estimate"),
    "a norm that was not computed and has an end": ((*NORM, "status"), "not_computed"),
    "NaN in a weight, and an end": ((*NORM, "status"), "non_finite"),
    "a negative shape": (("layers", 0, "shape"), [-1, 2]),
    "negative parameters": (("model", "parameters"), -1),
    "a smaller product": (("product", "upper"), 0.5),
    "a product of another logarithm": (("product", "log10_upper"), -5.0),
    "a product that is not certified": (("product", "status"), "estimate"),
    "a network of another logarithm": (("network", "log10_upper"), -9.0),
    "a network bound that was not computed": (("network", "status"), "not_computed"),
    "an unbounded network with a bound": (("network", "status"), "unbounded"),
    "a bound of an input of another logarithm": (("network", "inputs"), [
        {"name": "x", "upper": 1.0, "log10_upper": 9.0}]),
    "a condition number below 1": (("layers", 0, "spectrum"), {
        "leading": [1.0], "histogram_edges": [], "histogram_counts": [], "condition": 0.5}),
    "singular values that ascend": (("layers", 0, "spectrum"), {
        "leading": [1.0, 2.0], "histogram_edges": [], "histogram_counts": []}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_audit_is_refused(name: str) -> None:
    (*path, last), value = FORGERIES[name]
    document = json.loads(TEXT)
    place = document
    for key in path:
        place = place[key]
    place[last] = value
    with pytest.raises(UnreadableModel):
        documents.parse(json.dumps(document), "a.audit.json")


def test_layers_may_be_taken_out_of_an_audit() -> None:
    document = json.loads(TEXT)
    del document["layers"][0]
    assert len(documents.parse(json.dumps(document)).layers) == len(clean().layers) - 1


@pytest.mark.parametrize("key", ["layers", "skipped", "sha256", "upper", "z"])
def test_a_key_that_is_there_twice_is_refused(key: str) -> None:
    """Readers differ on which of the two they take: a hole could be hidden behind none."""
    twice = TEXT.replace("{", f'{{"{key}": [], "\\u{ord(key[0]):04x}{key[1:]}": [], ', 1)
    with pytest.raises(UnreadableModel):
        documents.parse(twice)
    assert repeated_key(twice) == key
    assert repeated_key(TEXT) is None
