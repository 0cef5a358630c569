import pytest
from msgspec.structs import replace

from specaudit.errors import ConfigurationError
from specaudit.policy import RULES, Baseline, LayerLimit, Policy, judge
from specaudit.report import LEFT_OUT, Skipped
from tests.outputs.reports import clean, failing, layer

POLICY = Policy(layers=(LayerLimit(max_norm=3.0),))


ALL = frozenset(RULES)


def report(*layers, skipped=()):
    return replace(clean(), layers=layers, skipped=skipped)


def judged(*layers, baseline=None):
    found = report(*layers)
    return found, judge(found, POLICY, baseline=baseline)


def test_known_findings_pass_and_new_ones_fail():
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1))])
    _, same = judged(layer("a", 4.0, 4.1), baseline=baseline)
    assert same.exit_code == 0
    assert same.summary.allowed == 1
    _, more = judged(layer("a", 4.0, 4.1), layer("b", 4.0, 4.1), baseline=baseline)
    assert more.exit_code == 1


@pytest.mark.parametrize(
    ("lower", "upper", "worse"),
    [(4.05, 4.2, False), (4.1, 4.2, False), (4.1000001, 4.2, True), (3.5, 3.6, False)],
)
def test_only_what_is_proved_to_be_worse_fails(lower, upper, worse):
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1))])
    _, verdict = judged(layer("a", lower, upper), baseline=baseline)
    assert verdict.exit_code == worse
    assert ("SA401" in [finding.rule for finding in verdict.findings]) == worse


def test_a_bound_that_is_lost_is_unproven():
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1))])
    found = report(layer("a", 4.0, None, "unbounded"))
    verdict = judge(found, replace(POLICY, ignore=("SA303",)), baseline=baseline)
    (regression,) = (one for one in verdict.findings if one.rule == "SA401")
    assert regression.verdict == "unproven"
    assert verdict.exit_code == 1


def test_without_the_rule_a_worse_finding_stands_by_itself():
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1))])
    found = report(layer("a", 5.0, 5.1))
    verdict = judge(found, replace(POLICY, ignore=("SA401",)), baseline=baseline)
    assert [finding.rule for finding in verdict.findings if finding.counts] == ["SA201"]


def test_it_shrinks_and_tightens_and_never_grows():
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1), layer("b", 5.0, 5.1))])
    better = judged(layer("a", 3.5, 3.6), layer("b", 1.0, 1.0), baseline=baseline)
    shrunk = baseline.shrunk([better], enforced=ALL)
    assert [known.subject for known in shrunk.findings] == ["a"]
    assert shrunk.findings[0].observed.upper == 3.6
    worse = judged(layer("a", 9.0, 9.1), layer("c", 9.0, 9.1), baseline=shrunk)
    assert shrunk.shrunk([worse], enforced=ALL) == shrunk


def test_entries_of_models_that_were_not_audited_are_kept():
    other = failing(), judge(failing(), POLICY)
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1)), other])
    shrunk = baseline.shrunk([judged(layer("a", 1.0, 1.0), baseline=baseline)], enforced=ALL)
    assert {known.model for known in shrunk.findings} == {"models/backbone.onnx"}


def at(path, *layers):
    found = report(*layers)
    return replace(found, model=replace(found.model, path=path))


def test_two_models_of_one_name_do_not_share_entries():
    weak, strong = at("a/m.onnx", layer("w", 4.0, 4.1)), at("b/m.onnx", layer("w", 8.0, 8.1))
    both = Baseline.of([(one, judge(one, POLICY)) for one in (weak, strong)])
    assert len(both.findings) == 2
    swapped = at("a/m.onnx", layer("w", 8.0, 8.1))
    assert judge(swapped, POLICY, baseline=both).exit_code == 1
    for alone, other in ((weak, strong), (strong, weak)):
        verdict = judge(alone, POLICY, baseline=both)
        assert verdict.exit_code == 0
        assert both.shrunk([(alone, verdict)], enforced=ALL) == both
        only = Baseline.of([(alone, judge(alone, POLICY))])
        assert judge(other, POLICY, baseline=only).exit_code == 1


def test_a_path_is_taken_from_the_folder_of_the_baseline(tmp_path, monkeypatch):
    """So that another checkout, another working directory, a full path find the same entry."""
    monkeypatch.chdir(tmp_path)
    found = at("models/./m.onnx", layer("w", 4.0, 4.1))
    baseline = Baseline.of([(found, judge(found, POLICY))], "ci")
    assert [known.model for known in baseline.findings] == ["../models/m.onnx"]
    text = baseline.render()
    elsewhere = tmp_path / "other" / "checkout"
    (elsewhere / "models").mkdir(parents=True)
    monkeypatch.chdir(elsewhere / "models")
    for path in ("m.onnx", str(elsewhere / "models" / "m.onnx")):
        for where in ("../ci/base.json", str(elsewhere / "ci" / "base.json")):
            again = Baseline.parse(text, where)
            moved = at(path, layer("w", 4.0, 4.1))
            assert judge(moved, POLICY, baseline=again).exit_code == 0


def test_what_nobody_looked_at_is_kept():
    """A layer left out, a rule not enforced, a limit not given: nothing is mended by that."""
    baseline = Baseline.of([judged(layer("a", 4.0, 4.1), layer("b", 5.0, 5.1))])
    left_out = report(layer("a", 1.0, 1.0), skipped=(Skipped("b", (2, 2), LEFT_OUT),))
    shrunk = baseline.shrunk([(left_out, judge(left_out, POLICY))], enforced=ALL)
    assert [known.subject for known in shrunk.findings] == ["b"]
    whole = report(layer("a", 4.0, 4.1), layer("b", 5.0, 5.1))
    assert baseline.shrunk([(whole, judge(whole, Policy()))], enforced=ALL) == baseline
    assert baseline.shrunk([(whole, judge(whole, Policy()))], enforced={"SA301"}) == baseline
    gone = report(layer("a", 4.0, 4.1))
    shrunk = baseline.shrunk([(gone, judge(gone, POLICY))], enforced=ALL)
    assert [known.subject for known in shrunk.findings] == ["a"]


def test_it_survives_its_file_and_stands_by_itself():
    found = judged(layer("a\udc80\n", 4.0, 4.1), layer("b", 4.0, None, "unbounded"))
    baseline = Baseline.of([found])
    again = Baseline.parse(baseline.render(), "baseline.json")
    assert again == baseline
    deeper = Baseline.parse(baseline.render(), "ci/baseline.json")
    assert deeper.folder == "ci"
    assert judge(found[0], POLICY, baseline=deeper).exit_code == 1
    assert judge(found[0], POLICY, baseline=again).exit_code == 0
    # Written from a run that a baseline already silenced, nothing is lost.
    silenced = found[0], judge(found[0], POLICY, baseline=baseline)
    assert Baseline.of([silenced]) == baseline


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "specaudit.audit"}', "[" * 10_000])
def test_what_is_no_baseline_is_refused(text):
    with pytest.raises(ConfigurationError, match="not a baseline"):
        Baseline.parse(text, "b.json")


@pytest.mark.parametrize(("version", "word"), [("1.0", "file name alone"), ("3.0", "newer")])
def test_another_form_is_refused_with_what_to_do(version, word):
    text = Baseline.of([judged(layer("a", 4.0, 4.1))]).render().replace('"2.0"', f'"{version}"')
    with pytest.raises(ConfigurationError, match=word) as caught:
        Baseline.parse(text, "b.json")
    assert "--write-baseline" in caught.value.help
