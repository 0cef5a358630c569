"""JUnit XML: a suite for each model, a case for each finding and each layer without one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from specaudit.outputs import wording
from specaudit.outputs.escaping import visible
from specaudit.policy import Finding, Verdict
from specaudit.report import Measurement, Report

if TYPE_CHECKING:
    from junitparser import TestSuite
    from junitparser.junitparser import Result


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return the document.

    Notes
    -----
    The cases are what `Summary` counts, so that the totals agree. What makes the check fail
    is a ``failure``, of type ``fail`` or ``unproven``; what is allowed or only a warning is
    ``skipped`` with its reason, so that no panel counts it as proved. A file that could not
    be read is a suite with an ``error``. Times are those of measuring a layer, where they
    are known (a saved audit has none), and of the whole run for the suite.
    """
    from junitparser import JUnitXml  # 20 ms that other formats do not pay

    document = JUnitXml("specaudit")
    for report, verdict in pairs:
        document.add_testsuite(_suite(report, verdict))
    document.update_statistics()
    for suite, (report, _) in zip(document, pairs, strict=True):
        suite.time = report.run.seconds  # the statistics had the sum of the cases
    document.time = round(sum(report.run.seconds for report, _ in pairs), 3)
    text: str = document.tostring().decode("utf-8")
    return text.rstrip("\n") + "\n"


def _suite(report: Report, verdict: Verdict) -> "TestSuite":
    from junitparser import Skipped, TestCase, TestSuite

    model = visible(report.model.path)
    suite = TestSuite(model)
    seen: Counter[str] = Counter()
    cases = []
    for name, layer, finding in _subjects(report, verdict):
        seen[name] += 1
        # A panel knows a case by its name, which must be there once.
        title = name if seen[name] == 1 else f"{name} ({seen[name]})"
        seconds = round(layer.seconds, 6) if layer is not None and layer.seconds else None
        case = TestCase(title, classname=model, time=seconds)
        if finding is not None:
            case.result = [_result(finding)]
        elif not verdict.is_judged:
            case.result = [Skipped("measured: no policy was applied")]
        cases.append(case)
    suite.add_testcases(cases)  # one at a time, each would count all the others again
    return suite


def _subjects(
    report: Report, verdict: Verdict
) -> Iterator[tuple[str, Measurement | None, Finding | None]]:
    """Yield the name of each case, the layer whose time it has, and its finding.

    The worst finding on a layer has the layer's own name, which is also that of the layer
    when it passes: panels then show one history. Further ones add their rule.
    """
    found = verdict.by_layer()
    left = dict(found)
    for layer in report.layers:
        key = layer.name, layer.node
        name = " ".join(visible(part) for part in key if part) or "layer"
        if key not in found:
            yield name, layer, None
        for index, finding in enumerate(sorted(left.pop(key, ()), key=lambda one: not one.counts)):
            yield (f"{name} {finding.rule}", None, finding) if index else (name, layer, finding)
    layers = {(layer.name, layer.node) for layer in report.layers}
    for finding in verdict.findings:
        if (finding.layer, finding.node) not in layers:
            yield f"{wording.subject_of(finding) or 'network'} {finding.rule}", None, finding


def _result(finding: Finding) -> "Result":
    from junitparser import Error, Failure, Skipped

    message = f"{finding.rule} {visible(finding.message)}"
    if finding.rule == "SA001":
        result: Result = Error(message, "unreadable")
    elif finding.counts:
        result = Failure(message, finding.verdict)
    else:
        result = Skipped(message, wording.label(finding))
    result.text = _details(finding)
    return result


def _details(finding: Finding) -> str:
    lines = [wording.title(finding), visible(finding.message)]
    if finding.place is not None:
        lines.append(f"policy: {wording.place_text(finding.place)}")
    if finding.allowed is not None:
        lines.append(wording.allowed_text(finding))
    return "\n".join(lines)
