"""SARIF 2.1.0, for code scanning: a result for each finding, on the line that set the limit."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from specaudit import __version__
from specaudit.outputs import wording
from specaudit.outputs.escaping import visible
from specaudit.outputs.json import encode
from specaudit.policy import RULES, Finding, Rule, Verdict
from specaudit.report import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

Object = dict[str, Any]


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return a log with one run over all models.

    Notes
    -----
    A model is no text, so that a result points at the line of the policy, where a person
    can act, and names the layer as its logical location; without a policy file it points at
    the model. Allowances and the baseline are suppressions.
    """
    rules = list(RULES.values())
    indices = {rule.code: index for index, rule in enumerate(rules)}
    results = [
        _result(report, finding, indices[finding.rule], model)
        for model, (report, verdict) in enumerate(pairs)
        for finding in verdict.findings
    ]
    driver = {
        "name": "specaudit",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(pairs)],
        "artifacts": [_artifact(report) for report, _ in pairs],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule) -> Object:
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.title.replace("-", " ").split()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation},
        "help": {"text": rule.remedy, "markdown": rule.remedy},
        "defaultConfiguration": {"enabled": rule.default, "level": "error"},
    }


def _result(report: Report, finding: Finding, index: int, model: int) -> Object:
    subject = wording.subject_of(finding)
    prefix = f"{visible(report.model.path)}" + (f" › {subject}" if subject else "")
    result: Object = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{prefix}: {visible(finding.message)}"},
        "locations": [_location(report, finding)],
        "analysisTarget": {"uri": _uri(report.model.path), "index": model},
        "partialFingerprints": {"specaudit/v2": _fingerprint(report, finding)},
        "properties": {"verdict": finding.verdict},
    }
    if finding.observed is not None:
        result["properties"]["observed"] = msgspec.to_builtins(finding.observed)
    if finding.limit is not None:
        result["properties"]["limit"] = finding.limit
    if finding.allowed is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": wording.allowed_text(finding),
            }
        ]
    return result


def _fingerprint(report: Report, finding: Finding) -> str:
    """Return the finding's, made another for each path: two models may have one name."""
    text = f"{_uri(report.model.path)}\0{finding.fingerprint}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _location(report: Report, finding: Finding) -> Object:
    place = finding.place
    if place is not None and place.line is not None:
        physical: Object = {
            "artifactLocation": {"uri": _uri(place.path)},
            "region": {"startLine": place.line},
        }
    else:
        physical = {"artifactLocation": {"uri": _uri(report.model.path)}}
    location: Object = {"physicalLocation": physical}
    logical = []
    for name, kind in ((finding.layer, "parameter"), (finding.node, "function")):
        if name:
            logical.append({"fullyQualifiedName": visible(name), "kind": kind})
    if logical:
        location["logicalLocations"] = logical
    return location


def _artifact(report: Report) -> Object:
    artifact: Object = {
        "location": {"uri": _uri(report.model.path)},
        "roles": ["analysisTarget"],
    }
    if report.model.sha256:
        artifact["hashes"] = {"sha-256": report.model.sha256}
    return artifact


def _invocation(pairs: Sequence[tuple[Report, Verdict]]) -> Object:
    unread = [
        (report, finding)
        for report, verdict in pairs
        for finding in verdict.findings
        if finding.rule == "SA001"
    ]
    return {
        "executionSuccessful": not unread,
        "exitCode": max((verdict.exit_code for _, verdict in pairs), default=0),
        "toolExecutionNotifications": [
            {
                "level": "error",
                "message": {"text": f"{visible(report.model.path)}: {visible(finding.message)}"},
            }
            for report, finding in unread
        ],
    }


def _uri(path: str) -> str:
    # A path is a relative reference; its first segment must not look like a scheme.
    prefix = "file://" if os.path.isabs(path) else "./" if ":" in path.split("/", 1)[0] else ""
    return prefix + quote(path.encode("utf-8", "surrogatepass"), safe="/-._~!$&'()*+,;=@:")
