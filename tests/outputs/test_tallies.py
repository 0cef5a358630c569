"""One count of a verdict, and every output has it."""

import csv
import html
import io
import json
import random
import re

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from msgspec.structs import replace

from specaudit.errors import UnreadableModel
from specaudit.outputs import RENDERERS, terminal, wording
from specaudit.outputs.terminal import View
from specaudit.policy import Allowance, Baseline, Gates, LayerLimit, Policy, judge, unreadable
from tests.outputs.reports import clean, failing, holes, layer

NAMES = ("a.weight", "b.weight", "c.weight")


def drawn(seed):
    """A report with a verdict, anything that a policy can say of it now and then."""
    random_ = random.Random(seed)
    report = random_.choice((clean, failing, holes))()
    layers = []
    for name in random_.choices(NAMES, k=random_.randint(0, 4)):  # names may repeat
        lower = random_.choice((0.0, 1.0, 3.0))
        upper = random_.choice((None, lower, lower + 1.0))
        status = "unbounded" if upper is None else "certified"
        layers.append(layer(name, lower, upper, status))
    report = replace(report, layers=report.layers + tuple(layers))
    patterns = ("**", "*.weight", "nothing", "head.**")
    policy = Policy(
        gates=Gates(max_lipschitz=random_.choice((None, 0.5, 50.0, 1e9)), unbounded_ops="warn"),
        layers=tuple(
            LayerLimit(match=random_.choice(patterns), max_norm=random_.choice((0.5, 2.0, 3.5)))
            for _ in range(random_.randint(0, 2))
        ),
        allow=tuple(
            Allowance(random_.choice(("SA201", "SA303", "SA003")), "x", random_.choice(patterns))
            for _ in range(random_.randint(0, 2))
        ),
        unproven=random_.choice(("fail", "warn", "pass")),
        select=random_.choice((None, ("ALL",))),
    )
    known = Baseline.of([(report, judge(report, policy))]) if random_.random() < 0.3 else None
    return report, judge(report, policy, baseline=known)


REFUSED = unreadable("m.onnx", UnreadableModel("cut"))
PAIRS = [*map(drawn, range(150)), REFUSED]


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_every_finding_counts_once_and_every_layer_without_one(pair):
    report, verdict = pair
    summary = verdict.summary
    standing = [finding.verdict for finding in verdict.findings if finding.allowed is None]
    for word in ("fail", "unproven", "warn"):
        assert getattr(summary, word) == standing.count(word)
    assert summary.allowed == len(verdict.findings) - len(standing)
    about = {(finding.layer, finding.node) for finding in verdict.findings}
    assert summary.passed == sum((one.name, one.node) not in about for one in report.layers)
    assert (verdict.outcome == "fail") == bool(summary.fail)
    assert (verdict.outcome == "unproven") == bool(summary.unproven and not summary.fail)


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_every_output_has_the_same_count(pair):
    verdict = pair[1]
    tally = wording.tally(verdict)
    assert terminal.render([pair]).splitlines()[-1].endswith(f": {tally}")
    chart = " ".join(terminal.render([pair], View(width=120)).split())
    assert chart.endswith(f" {tally}")
    assert RENDERERS["github"]([pair]).splitlines()[-1].endswith(f": {tally}")
    assert f"\n{tally} · " in RENDERERS["md"]([pair])
    assert f"<p>{html.escape(tally)}</p>" in RENDERERS["html"]([pair])
    document = json.loads(RENDERERS["json"]([pair]))
    counted = {word: number for word, number in document["summary"].items() if word != "pass"}
    assert sum(counted.values()) == len(document["findings"])
    (run,) = json.loads(RENDERERS["sarif"]([pair]))["runs"]
    assert sum("suppressions" in one for one in run["results"]) == verdict.summary.allowed
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"]([pair]))))
    passed = [row for row in rows if (row["record"], row["verdict"]) == ("layer", "pass")]
    assert len(passed) == verdict.summary.passed


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_the_totals_of_junit_are_those_of_the_verdict(pair):
    report, verdict = pair
    document = JUnitXml.fromstring(RENDERERS["junit"]([pair]).encode())
    (suite,) = document
    cases = list(suite)
    assert len({case.name for case in cases}) == len(cases)
    results = [result for case in cases for result in case.result]
    assert document.tests == suite.tests == len(cases)
    assert len(cases) == len(verdict.findings) + verdict.summary.passed
    assert len(results) == len(verdict.findings)
    failed = sum(isinstance(result, Failure | Error) for result in results)
    assert document.failures + document.errors == failed
    assert failed == sum(finding.counts for finding in verdict.findings)
    assert document.skipped == sum(isinstance(result, Skipped) for result in results)
    assert suite.time == document.time == report.run.seconds


def test_junit_has_the_time_of_each_layer_that_was_measured():
    layers = (replace(layer("a", 1.0, 1.0), seconds=0.25), layer("b", 1.0, 1.0))
    report = replace(clean(), layers=layers)
    (suite,) = JUnitXml.fromstring(RENDERERS["junit"]([(report, judge(report))]).encode())
    assert [case.time for case in suite] == [0.25, None]
    assert re.search(r'<testsuites[^>]* time="0.84"', RENDERERS["junit"]([(report, judge(report))]))


INSPECTED = [(report, verdict.as_remarks()) for report, verdict in map(drawn, range(40))]


@pytest.mark.parametrize("pair", INSPECTED, ids=range(len(INSPECTED)))
def test_where_no_policy_was_applied_nothing_has_passed(pair):
    report, verdict = pair
    pages = {name: RENDERERS[name]([pair]) for name in ("md", "csv", "junit", "github")}
    pages["html"] = RENDERERS["html"]([pair]).partition("<main")[2].partition("</main>")[0]
    pages["text"] = terminal.render([pair], View(command="inspect"))
    for name, text in pages.items():
        assert not re.search(r"\bPASS\b|\bFAIL\b|✅|✔", text), name
    (run,) = json.loads(RENDERERS["sarif"]([pair]))["runs"]
    assert "error" not in {result["level"] for result in run["results"]}
    document = json.loads(RENDERERS["json"]([pair]))
    assert (document["summary"]["pass"], document["exit_code"]) == (0, 0)
    assert len(document["findings"]) == len(verdict.findings)
    rows = csv.DictReader(io.StringIO(RENDERERS["csv"]([pair])))
    assert "pass" not in {row["verdict"] for row in rows}
    suites = JUnitXml.fromstring(RENDERERS["junit"]([pair]).encode())
    assert (suites.failures, suites.errors) == (0, 0)
    assert suites.skipped == suites.tests >= len(report.layers)
    commands = [line for line in RENDERERS["github"]([pair]).splitlines() if line[:2] == "::"]
    assert not any(line.startswith("::error") for line in commands)


def test_a_notebook_shows_no_verdict():
    assert "PASS" not in clean()._repr_html_()
