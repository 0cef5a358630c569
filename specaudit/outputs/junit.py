"""JUnit XML: a suite for each model, a case for each layer and each other subject."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from specaudit.outputs import wording
from specaudit.outputs.escaping import visible
from specaudit.policy import Finding, Verdict
from specaudit.report import Report

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return the document.

    Notes
    -----
    What makes the check fail is a ``failure``, of type ``fail`` or ``unproven``; what is
    allowed or only a warning is ``skipped`` with its reason, so that no panel counts it as
    proved. A file that could not be read is a suite with an ``error``.
    """
    from junitparser import JUnitXml  # 20 ms that other formats do not pay

    document = JUnitXml("specaudit")
    for report, verdict in pairs:
        document.add_testsuite(_suite(report, verdict))
    document.update_statistics()
    text: str = document.tostring().decode("utf-8")
    return text.rstrip("\n") + "\n"


def _suite(report: Report, verdict: Verdict) -> "TestSuite":
    from junitparser import TestSuite

    suite = TestSuite(visible(report.model.path))
    found: dict[tuple[str | None, str | None], list[Finding]] = {}
    for layer in report.layers:
        found.setdefault((layer.name, layer.node), [])
    for finding in verdict.findings:
        found.setdefault((finding.layer, finding.node), []).append(finding)
    cases = []
    for (name, node), findings in found.items():
        title = " ".join(visible(part) for part in (name, node) if part)
        cases.append(_case(title or "network", visible(report.model.path), findings))
    suite.add_testcases(cases)  # one at a time, each would count all the others again
    return suite


def _case(name: str, model: str, findings: list[Finding]) -> "TestCase":
    from junitparser import Error, Failure, Skipped, TestCase

    case = TestCase(name, classname=model)
    results = []
    for finding in findings:
        message = f"{finding.rule} {visible(finding.message)}"
        if finding.rule == "SA001":
            result = Error(message, "unreadable")
        elif finding.counts:
            result = Failure(message, finding.verdict)
        else:
            result = Skipped(message, wording.label(finding))
        result.text = _details(finding)
        results.append(result)
    # Readers that take one result a case take the first: what failed must be it.
    case.result = sorted(results, key=lambda result: isinstance(result, Skipped))
    return case


def _details(finding: Finding) -> str:
    lines = [wording.title(finding), visible(finding.message)]
    if finding.place is not None:
        lines.append(f"policy: {wording.place_text(finding.place)}")
    if finding.allowed is not None:
        lines.append(wording.allowed_text(finding))
    return "\n".join(lines)
