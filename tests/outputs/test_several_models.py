"""Several models in one document: each has its place, and none is taken for another."""

import json

from msgspec.structs import replace

from specaudit.outputs import RENDERERS
from specaudit.policy import judge
from tests.outputs.reports import POLICY, failing


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
