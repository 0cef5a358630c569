"""What a policy says of a report; nothing here knows how it is shown."""

import hashlib
import os
from collections import Counter
from typing import Annotated, Literal

import msgspec

from specaudit.report import Report

Verdicts = Literal["fail", "unproven", "warn"]
Severity = Literal["error", "warning", "note"]


def _counts(description: str) -> msgspec.Meta:
    return msgspec.Meta(description=description)


class Place(msgspec.Struct, frozen=True):
    """A line of the policy file, or the flag that stands in for one."""

    path: str
    line: int | None = None


class Observed(msgspec.Struct, frozen=True):
    """What was compared with the limit; None is an end that is not a finite number."""

    lower: float | None
    upper: float | None


class Suppression(msgspec.Struct, frozen=True):
    """Why a finding does not count: an allowance, or the baseline knows it."""

    kind: Literal["allowance", "baseline"]
    reason: str
    expires: str | None = None
    place: Place | None = None


class Finding(msgspec.Struct, frozen=True):
    """One thing that a rule found.

    Parameters
    ----------
    rule : str
        ``SA201``
    verdict : {"fail", "unproven", "warn"}
        What is the case; `severity` is what it does to the run.
    message : str
        One sentence which does not repeat the subject. May quote hostile text.
    layer, node : str or None
        The weight and the graph node it is about; neither for the model as a whole.
    observed, limit : Observed or None, float or None
    severity : {"error", "warning", "note"}
        ``unproven`` is an error unless the policy says otherwise.
    fingerprint : str
        The same from run to run, whatever the folder, the numbers and the other findings.
    allowed : Suppression or None
    place : Place or None
        The line that set the limit.
    """

    rule: str
    verdict: Verdicts
    message: str
    layer: str | None = None
    node: str | None = None
    observed: Observed | None = None
    limit: float | None = None
    severity: Severity = "error"
    fingerprint: str = ""
    allowed: Suppression | None = None
    place: Place | None = None

    @property
    def subject(self) -> str:
        """The name this is about; empty for the model as a whole."""
        return self.layer or self.node or ""

    @property
    def counts(self) -> bool:
        """Whether this makes ``check`` fail."""
        return self.severity == "error" and self.allowed is None


class Summary(msgspec.Struct, frozen=True, rename={"passed": "pass"}):
    """How it came out: every finding counts once, and every layer about which there is none."""

    passed: Annotated[
        int,
        _counts("layers about which there is no finding; 0 where no policy was applied (inspect)"),
    ] = 0
    fail: Annotated[int, _counts("findings with this verdict that are not allowed")] = 0
    unproven: Annotated[int, _counts("findings with this verdict that are not allowed")] = 0
    allowed: Annotated[int, _counts("findings that an allowance or the baseline lets stand")] = 0
    warn: Annotated[int, _counts("findings with this verdict that are not allowed")] = 0


class Verdict(msgspec.Struct, frozen=True):
    """All findings on one report.

    Parameters
    ----------
    findings : tuple of Finding
        The ones that are allowed included.
    summary : Summary
    exit_code : int
        0 or 1; 3 where the file could not be read.
    limits : tuple of (float or None)
        The norm limit of each layer of the report, in its order.
    policy : str
        Where the policy was written; empty for the default.
    is_judged : bool
        False where no policy was applied: what is found is then told, and nothing passed.
    """

    findings: tuple[Finding, ...] = ()
    summary: Summary = Summary()
    exit_code: int = 0
    limits: tuple[float | None, ...] = ()
    policy: str = ""
    is_judged: bool = True

    @property
    def outcome(self) -> Literal["pass", "fail", "unproven", "measured"]:
        """What a headline says: ``pass`` only where nothing is failed or left unproved.

        ``measured`` is a report to which no policy was applied.
        """
        if not self.is_judged:
            return "measured"
        standing = [finding for finding in self.findings if finding.allowed is None]
        if any(finding.verdict == "fail" for finding in standing):
            return "fail"
        return "unproven" if any(one.verdict == "unproven" for one in standing) else "pass"

    def as_remarks(self) -> "Verdict":
        """Return the findings as remarks, which change no exit code, on what was measured."""
        replace = msgspec.structs.replace
        findings = tuple(replace(finding, severity="warning") for finding in self.findings)
        summary = replace(self.summary, passed=0)
        return replace(self, findings=findings, summary=summary, exit_code=0, is_judged=False)

    def by_layer(self) -> dict[tuple[str, str | None], tuple[Finding, ...]]:
        """Return the findings about each ``(layer, node)``."""
        found: dict[tuple[str, str | None], list[Finding]] = {}
        for finding in self.findings:
            if finding.layer is not None:
                found.setdefault((finding.layer, finding.node), []).append(finding)
        return {key: tuple(values) for key, values in found.items()}


def summarise(report: Report, findings: tuple[Finding, ...]) -> Summary:
    """Count each finding once, and the layers about which there is none.

    Two layers of one name and no node (a list of tensors can do that) pass together or not.
    """
    words = Counter("allowed" if one.allowed else one.verdict for one in findings)
    about = {(finding.layer, finding.node) for finding in findings}
    passed = sum((layer.name, layer.node) not in about for layer in report.layers)
    return Summary(passed, words["fail"], words["unproven"], words["allowed"], words["warn"])


def fingerprinted(report: Report, findings: list[Finding]) -> list[Finding]:
    """Give each finding the digest of what it is about, numbers left out."""
    model = os.path.basename(report.model.path)
    seen: dict[str, int] = {}
    result = []
    for finding in findings:
        parts = [model, finding.rule, finding.layer or "", finding.node or ""]
        text = "\0".join(parts)
        seen[text] = seen.get(text, 0) + 1
        # "surrogatepass": a name that is not Unicode must still have a fingerprint.
        digest = hashlib.sha256(f"{text}\0{seen[text]}".encode("utf-8", "surrogatepass"))
        result.append(msgspec.structs.replace(finding, fingerprint=digest.hexdigest()[:32]))
    return result
