"""Several models in one document: each has its place, and none is taken for another."""

import json
import re

import pytest
from msgspec.structs import replace

from specaudit.outputs import RENDERERS, wording
from specaudit.policy import judge
from tests.outputs.reports import POLICY, failing, layer
from tests.outputs.reports import pairs as fixed

PAIRS = fixed()


def at(path):
    report = replace(failing(), model=replace(failing().model, path=path))
    return report, judge(report, POLICY)


def test_sarif_tells_models_of_one_name_apart():
    pairs = [at("a/m.onnx"), at("b/m.onnx")]
    (run,) = json.loads(RENDERERS["sarif"](pairs))["runs"]
    marks = [result["partialFingerprints"]["specaudit/v2"] for result in run["results"]]
    assert len(set(marks)) == len(marks) > 2
    again = json.loads(RENDERERS["sarif"](pairs[1:]))["runs"][0]["results"]
    assert {one["partialFingerprints"]["specaudit/v2"] for one in again} < set(marks)


def sections(text):
    """Return the part below each heading that names a model."""
    return re.split(r"^(?=### \S+ (?:PASS|FAIL|UNPROVEN))", text, flags=re.MULTILINE)[1:]


def test_each_section_of_markdown_is_one_model():
    """In the summary of a workflow nobody may have to guess whose table it is."""
    pairs = [PAIRS["clean"], PAIRS["failing"], PAIRS["holes"]]
    text = RENDERERS["md"](pairs)
    overview = text[: text.index("### ✅")]
    parts = sections(text)
    assert len(parts) == 3
    for (report, verdict), part in zip(pairs, parts, strict=True):
        assert f"`{report.model.path}`" in overview
        assert f"`{report.model.path}`" in part.splitlines()[0]
        assert wording.tally(verdict) in part
        assert all(f"`{layer.name}`" in part for layer in report.layers)
        others = {layer.name for other, _ in pairs for layer in other.layers}
        strangers = others - {layer.name for layer in report.layers}
        assert not any(f"`{name}`" in part for name in strangers)


@pytest.mark.parametrize("count", [2, 7, 40, 500])
def test_markdown_of_several_models_fits_a_comment(count):
    large = tuple(
        layer("a.long.name.of.a.layer." * 3 + str(i), 4.0, 4.1)
        for i in range(900 if count < 40 else 60)
    )
    pairs = []
    for index in range(count):
        report = failing() if index % 2 else replace(failing(), layers=large)
        report = replace(report, model=replace(report.model, path=f"models/{index}.onnx"))
        pairs.append((report, judge(report, POLICY)))
    text = RENDERERS["md"](pairs)
    assert len(text.encode()) <= 60 * 1024
    assert text.count("<details>") == text.count("</details>")
    if count <= 40:
        assert all(f"`models/{index}.onnx`" in text for index in range(count))
    else:
        assert "more models" in text
    if count <= 40:
        # A large model does not crowd out the small one after it.
        assert all("block.fc1.weight" in part for part in sections(text)[1::2])
