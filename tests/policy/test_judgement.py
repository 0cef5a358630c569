import math
from datetime import date

import pytest
from msgspec.structs import replace

from specaudit.errors import UnreadableModel, UsageError
from specaudit.policy import (
    RULES,
    Allowance,
    Baseline,
    Gates,
    LayerLimit,
    Observed,
    Policy,
    judge,
    judge_all,
    postcondition_missed,
    shared_tensor,
    unreadable,
)
from specaudit.report import NetworkBound, Spectrum, Unbounded
from tests.outputs.reports import clean, failing, holes, layer


def norms(*layers, **changes):
    return replace(clean(), layers=layers, skipped=(), **changes)


def limited(limit, **gates):
    return Policy(layers=(LayerLimit(max_norm=limit),), gates=Gates(**gates))


def codes(verdict):
    return [finding.rule for finding in verdict.findings]


UP, DOWN = math.inf, -math.inf


@pytest.mark.parametrize(
    ("lower", "upper", "outcome"),
    [
        (3.0, 3.0, "pass"),
        (1.0, 3.0, "pass"),
        (math.nextafter(3.0, UP), 4.0, "fail"),
        (3.0, math.nextafter(3.0, UP), "unproven"),
        (math.nextafter(3.0, DOWN), math.nextafter(3.0, UP), "unproven"),
        (1.0, None, "unproven"),
        (None, None, "unproven"),
        (math.nextafter(3.0, UP), None, "fail"),
    ],
)
def test_verdicts_compare_exact_numbers(lower, upper, outcome):
    status = "certified" if upper is not None else "unbounded"
    report = norms(layer("w", lower, upper, status))
    verdict = judge(report, replace(limited(3.0), select=("SA201",)))
    assert verdict.outcome == outcome
    assert verdict.exit_code == (0 if outcome == "pass" else 1)
    assert verdict.limits == (3.0,)


@pytest.mark.parametrize(("mode", "code"), [("fail", 1), ("warn", 0), ("pass", 0)])
def test_unproven_is_never_a_pass(mode, code):
    report = norms(layer("w", 1.0, None, "estimate", estimate=1.5))
    verdict = judge(report, Policy(unproven=mode))
    assert verdict.exit_code == code
    assert verdict.outcome == "unproven"
    assert verdict.summary.unproven == 1
    assert verdict.summary.passed == 0


def test_a_disproved_limit_fails_whatever_unproven_is():
    for mode in ("fail", "warn", "pass"):
        verdict = judge(norms(layer("w", 4.0, 5.0)), replace(limited(3.0), unproven=mode))
        assert verdict.exit_code == 1


SCENARIOS = {
    "SA002": (holes(), Policy()),
    "SA003": (holes(), Policy()),
    "SA004": (failing(), Policy(select=("SA004",))),
    "SA005": (clean(), Policy(layers=(LayerLimit(match="nothing", max_norm=1.0),))),
    "SA006": (clean(), Policy(allow=(Allowance("SA201", "why", expires=date(2020, 1, 1)),))),
    "SA101": (holes(), Policy()),
    "SA102": (holes(), Policy(select=("SA102",))),
    "SA201": (failing(), limited(3.0)),
    "SA202": (clean(), Policy(layers=(LayerLimit(max_condition=50.0),))),
    "SA301": (failing(), Policy(gates=Gates(max_lipschitz=3.0))),
    "SA302": (holes(), Policy()),
    "SA303": (holes(), Policy()),
}


@pytest.mark.parametrize("code", RULES)
def test_every_rule_finds_something(code):
    if code == "SA001":
        _, verdict = unreadable("a.pt", UnreadableModel("damaged", where="a.pt"))
    elif code == "SA401":
        before = judge(norms(layer("w", 4.0, 4.1)), limited(3.0))
        baseline = Baseline.of([(norms(layer("w", 4.0, 4.1)), before)])
        verdict = judge(norms(layer("w", 5.0, 5.1)), limited(3.0), baseline=baseline)
    elif code == "SA501":
        assert postcondition_missed("w", Observed(0.9, 1.1), 1.0).rule == code
        return
    elif code == "SA502":
        assert shared_tensor("w", ("a", "b")).rule == code
        return
    else:
        report, policy = SCENARIOS[code]
        verdict = judge(report, policy, today=date(2026, 1, 1))
    assert code in codes(verdict)
    assert verdict.exit_code == (3 if code == "SA001" else 1)
    assert RULES[code].explanation
    assert RULES[code].remedy


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if rule.check])
def test_ignoring_a_rule_silences_it(code):
    report, policy = SCENARIOS[code]
    selected = replace(policy, select=("ALL",), ignore=(code,))
    assert code not in codes(judge(report, selected))


def test_without_configuration_the_promised_rules_are_enforced():
    assert set(codes(judge(holes()))) == {"SA002", "SA003", "SA101", "SA302", "SA303"}
    assert judge(clean()).findings == ()


def test_select_by_beginning_and_a_code_that_does_not_exist():
    verdict = judge(holes(), Policy(select=("SA1",)))
    assert set(codes(verdict)) == {"SA101", "SA102"}
    with pytest.raises(UsageError, match="SA999"):
        judge(holes(), Policy(select=("SA999",)))
    with pytest.raises(UsageError):
        judge(holes(), Policy(ignore=("",)))


def test_nothing_measured_is_never_green():
    assert judge(norms()).exit_code == 1
    assert judge(norms(), Policy(gates=Gates(min_coverage=0.0))).exit_code == 1


def test_coverage_counts_holes_and_not_what_is_rightly_left_out():
    report = holes()  # six layers, one hole, three skips that are right
    assert judge(report, Policy(select=("SA003",), gates=Gates(min_coverage=6 / 7))).exit_code == 0
    almost = math.nextafter(6 / 7, UP)
    assert judge(report, Policy(select=("SA003",), gates=Gates(min_coverage=almost))).exit_code == 1


def test_the_last_entry_that_sets_a_limit_wins():
    layers = (
        LayerLimit(match="**", max_norm=1.0),
        LayerLimit(match="a.*", max_norm=5.0),
        LayerLimit(match="a.b", max_condition=10.0),
    )
    report = norms(layer("a.b", 2.0, 2.0), layer("c", 2.0, 2.0))
    verdict = judge(report, Policy(layers=layers, select=("SA201",)))
    assert [finding.layer for finding in verdict.findings] == ["c"]
    assert verdict.limits == (5.0, 1.0)


def test_an_infinite_limit_lifts_an_earlier_one_but_not_the_need_for_a_bound():
    layers = (LayerLimit(max_norm=1.0), LayerLimit(match="free", max_norm=math.inf))
    report = norms(layer("free", 2.0, 2.0), layer("wild", 2.0, None, "unbounded"))
    verdict = judge(report, Policy(layers=layers))
    assert verdict.limits == (None, 1.0)
    assert codes(verdict) == ["SA201", "SA303"]


def test_op_selects_by_the_graph_and_by_the_kind():
    limits = (LayerLimit(op=["Gemm"], max_norm=1.0),)
    report = norms(
        layer("a", 2.0, 2.0, op="Gemm"),
        layer("b", 2.0, 2.0, op="MatMul"),
        layer("c", 2.0, 2.0),
        layer("d", 2.0, 2.0, kind="embedding"),
    )
    verdict = judge(report, Policy(layers=limits))
    assert [finding.layer for finding in verdict.findings] == ["a", "c"]


def test_a_flag_is_the_last_word():
    policy = Policy(layers=(LayerLimit(max_norm=9.0),), gates=Gates(max_lipschitz=1e9))
    verdict = judge(failing(), policy.with_flags(max_norm=0.1, max_lipschitz=0.1))
    assert len(verdict.findings) == 6
    assert {finding.place.path for finding in verdict.findings} == {"--max-norm", "--max-lipschitz"}


def test_a_bare_checkpoint_has_no_network_bound():
    report = replace(clean(), network=NetworkBound.not_computed("a checkpoint has no graph"))
    bare = replace(report, model=replace(report.model, opset=None, format="pytorch"))
    assert judge(bare).findings == ()
    (finding,) = judge(bare, Policy(gates=Gates(max_lipschitz=1e300))).findings
    assert (finding.rule, finding.verdict) == ("SA301", "unproven")
    assert "no graph" in finding.message
    # With a graph, a bound that could not be computed may hide an unbounded operation.
    assert codes(judge(report)) == ["SA302"]


def test_a_bound_past_binary64_is_not_proved_to_be_small():
    network = NetworkBound("certified", None, 400.0)
    report = replace(clean(), network=network)
    (finding,) = judge(report, Policy(gates=Gates(max_lipschitz=1e308))).findings
    assert finding.verdict == "unproven"
    assert "10^400" in finding.message


def test_unbounded_operations_may_be_allowed_or_warned_of():
    for word, code in (("forbid", 1), ("warn", 0), ("allow", 0)):
        policy = Policy(select=("SA302",), gates=Gates(unbounded_ops=word))
        verdict = judge(holes(), policy)
        assert verdict.exit_code == code
        assert len(verdict.findings) == (0 if word == "allow" else 2)


def test_a_constant_that_only_lacks_a_size_is_unproven():
    network = NetworkBound("not_computed", unbounded=(Unbounded("/n", "Resize", "size unknown"),))
    (finding,) = judge(replace(clean(), network=network)).findings
    assert (finding.rule, finding.verdict) == ("SA302", "unproven")


def test_condition_numbers_near_the_limit_are_unproven():
    spectrum = Spectrum((2.0, 1.0), (), (), 50.0)
    report = norms(layer("w", 2.0, 2.0, spectrum=spectrum))
    at = judge(report, Policy(layers=(LayerLimit(max_condition=50.0),)))
    assert [finding.verdict for finding in at.findings] == ["unproven"]
    above = judge(report, Policy(layers=(LayerLimit(max_condition=50.001),)))
    assert above.findings == ()
    below = judge(report, Policy(layers=(LayerLimit(max_condition=49.999),)))
    assert [finding.verdict for finding in below.findings] == ["fail"]
    unknown = judge(norms(layer("w", 2.0, 2.0)), Policy(layers=(LayerLimit(max_condition=9.0),)))
    assert [finding.verdict for finding in unknown.findings] == ["unproven"]


def test_allowances_silence_and_are_counted():
    policy = replace(limited(3.0), allow=(Allowance("SA201", "known", "stem.**"),))
    verdict = judge(failing(), policy)
    allowed = [finding for finding in verdict.findings if finding.allowed]
    assert [finding.layer for finding in allowed] == ["stem.conv.weight"]
    assert verdict.summary.allowed == 1
    everything = Allowance("SA201", "known")
    assert judge(failing(), replace(policy, allow=(everything,))).exit_code == 0
    assert judge(failing(), replace(policy, allow=(everything,))).outcome == "pass"


def test_an_allowance_of_another_rule_or_layer_silences_nothing():
    for allowance in (Allowance("SA303", "x"), Allowance("SA201", "x", "nothing.**")):
        verdict = judge(failing(), replace(limited(3.0), allow=(allowance,)))
        assert verdict.exit_code == 1
        assert [one.verdict for one in verdict.findings if one.rule == "SA005"] == ["warn"]


def test_an_allowance_holds_through_its_last_day():
    allowance = Allowance("SA201", "soon", expires=date(2026, 5, 1))
    policy = replace(limited(3.0), allow=(allowance,))
    assert judge(failing(), policy, today=date(2026, 5, 1)).exit_code == 0
    late = judge(failing(), policy, today=date(2026, 5, 2))
    assert late.exit_code == 1
    assert "SA006" in codes(late)


def test_an_entry_is_dead_only_if_no_model_has_such_a_layer():
    policy = Policy(layers=(LayerLimit(match="head.fc.weight", max_norm=9.0),))
    assert "SA005" in codes(judge(clean(), policy))
    verdicts = judge_all([clean(), failing()], policy)
    assert [codes(verdict) for verdict in verdicts] == [[], []]


def test_fingerprints_are_stable_and_tell_findings_apart():
    first = judge(failing(), limited(3.0)).findings
    assert len({finding.fingerprint for finding in first}) == len(first)
    moved = replace(failing(), model=replace(failing().model, path="/elsewhere/backbone.onnx"))
    shifted = replace(moved, layers=tuple(reversed(moved.layers)))
    again = judge(shifted, limited(3.5)).findings
    assert {finding.fingerprint for finding in again} <= {one.fingerprint for one in first}
    twins = norms(layer("w", 4.0, 4.0), layer("w", 4.0, 4.0))
    assert len({finding.fingerprint for finding in judge(twins, limited(3.0)).findings}) == 2


def test_an_undecided_bound_and_a_dead_entry_both_count():
    """Neither hides the other, though both are about the model as a whole."""
    network = NetworkBound("certified", 9.0, 0.96, 1.0)
    dead = LayerLimit(match="nothing.**", max_norm=1.0)
    policy = replace(limited(0.5), gates=Gates(max_lipschitz=4.0))
    policy = replace(policy, layers=(*policy.layers, dead))
    report = replace(norms(layer("a", 1, 1), layer("b", 0.1, 0.1)), network=network)
    summary = judge(report, policy).summary
    assert (summary.passed, summary.fail, summary.unproven) == (1, 2, 1)


def test_several_models_each_have_their_verdict():
    verdicts = judge_all([clean(), failing()], limited(3.0))
    assert [verdict.exit_code for verdict in verdicts] == [0, 1]
