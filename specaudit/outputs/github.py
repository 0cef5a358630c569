"""Workflow commands: annotations on the lines of the policy, as many as GitHub shows."""

from collections.abc import Iterator, Sequence

from specaudit.outputs import wording
from specaudit.outputs.escaping import shortened, visible
from specaudit.policy import RULES, Finding, Severity, Verdict
from specaudit.report import Report

# GitHub drops what exceeds this in one step, for each of the three kinds.
MOST = 10
_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}
_MESSAGE = 4000


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return a workflow command for each finding that counts, and a plain line for each model.

    Notes
    -----
    Where there are more findings than the platform shows, the last annotation of the kind
    says how many are missing; failures come before what is only unproven.
    """
    found = [
        (report, finding)
        for report, verdict in pairs
        for finding in verdict.findings
        if finding.allowed is None
    ]
    found.sort(key=lambda pair: pair[1].verdict != "fail")
    lines: list[str] = []
    for severity in _COMMANDS:
        kind = [pair for pair in found if pair[1].severity == severity]
        lines += _annotations(kind, _COMMANDS[severity])
    for report, verdict in pairs:
        outcome = wording.OUTCOMES[verdict.outcome]
        lines.append(f"{outcome}: {visible(report.model.path)}: {wording.tally(verdict)}")
    return "\n".join(lines) + "\n"


def _annotations(found: list[tuple[Report, Finding]], command: str) -> Iterator[str]:
    fitting = found if len(found) <= MOST else found[: MOST - 1]
    for report, finding in fitting:
        doubt = "unproven: " if finding.verdict == "unproven" else ""
        properties = {"title": f"{finding.rule} {doubt}{RULES[finding.rule].title}"}
        place = finding.place
        if place is not None and place.line is not None:
            properties = {"file": place.path, "line": str(place.line), **properties}
        subject = wording.subject_of(finding)
        where = visible(report.model.path) + (f" › {subject}" if subject else "")
        yield _command(command, properties, f"{shortened(where, 1000)}: {finding.message}")
    if len(found) > len(fitting):
        more = wording.counted(len(found) - len(fitting), "more finding")
        yield _command(command, {"title": "specaudit"}, f"{more} not shown here: see the report")


def _command(name: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {listed}::{_data(shortened(message, _MESSAGE))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(visible(text)).replace(":", "%3A").replace(",", "%2C")
