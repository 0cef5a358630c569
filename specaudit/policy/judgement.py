"""From a report and a policy to a verdict."""

from collections.abc import Iterable, Sequence
from datetime import date
from difflib import get_close_matches

from msgspec.structs import replace

from specaudit.errors import SpecauditError, UsageError
from specaudit.policy.baseline import Baseline
from specaudit.policy.checks import applies, limit_of
from specaudit.policy.findings import (
    Finding,
    Place,
    Severity,
    Suppression,
    Verdict,
    fingerprinted,
    summarise,
)
from specaudit.policy.patterns import any_matcher
from specaudit.policy.rules import RULES
from specaudit.policy.settings import LayerLimit, Policy, Unproven, listed
from specaudit.report import ModelInfo, NetworkBound, Product, Report, Run, Settings


def judge(
    report: Report,
    policy: Policy | None = None,
    *,
    today: date | None = None,
    baseline: Baseline | None = None,
) -> Verdict:
    """Return what `policy` says of one report; see `judge_all`."""
    return judge_all([report], policy, today=today, baseline=baseline)[0]


def judge_all(
    reports: Sequence[Report],
    policy: Policy | None = None,
    *,
    today: date | None = None,
    baseline: Baseline | None = None,
) -> tuple[Verdict, ...]:
    """Return what a policy says of several reports.

    Parameters
    ----------
    reports : sequence of Report
    policy : Policy or None
        None enforces the rules that are on by default and sets no limit.
    today : date or None
        The day against which allowances expire; None lets none expire.
    baseline : Baseline or None
        Findings that it knows are allowed unless they became worse.

    Returns
    -------
    tuple of Verdict
        One a report. What concerns the policy itself (SA005, SA006) is with the first.

    Raises
    ------
    UsageError
        If `select` or `ignore` name a rule that does not exist.
    """
    policy = policy or Policy()
    active = active_rules(policy)
    used: set[int] = set()
    raw = [_found(report, policy, active) for report in reports]
    shown = [_allowed(findings, policy, today, used) for findings in raw]
    if shown:
        shown[0] += _on_the_policy(reports, policy, active, today, used)
    verdicts = []
    for report, found in zip(reports, shown, strict=True):
        findings = fingerprinted(report, [_weighed(finding, policy) for finding in found])
        if baseline is not None:
            findings = baseline.applied(report, findings, regressions="SA401" in active)
        verdicts.append(_verdict(report, tuple(findings), policy))
    return tuple(verdicts)


def active_rules(policy: Policy) -> frozenset[str]:
    """Return the codes that are enforced: `select` (or the default) without `ignore`."""
    default = {code for code, rule in RULES.items() if rule.default}
    chosen = default if policy.select is None else _codes(policy.select)
    return frozenset(chosen - _codes(policy.ignore))


def rules_with_limits(policy: Policy) -> frozenset[str]:
    """Return the codes that are enforced, without those whose limit the policy does not give."""
    missing = {code for code, places in _limits(policy).items() if not places}
    return active_rules(policy) - missing


def refuse_idle(policy: Policy, *, has_baseline: bool, chosen: bool = False) -> None:
    """Raise if a limit that a flag sets is not enforced, or nothing is: green without a check.

    `chosen` says that the same command chose the rules, and so left the limit out on purpose.

    Raises
    ------
    UsageError
    """
    for name, code, place in unenforced_limits(policy):
        if place == Place(f"--{name}") and not chosen:
            raise UsageError(
                f"--{name} is not enforced: `select` or `ignore` leaves {code} out",
                help=f"add {code} to --select, take it out of --ignore, or drop --{name}",
            )
    idle = {"SA501", "SA502"}  # of `clamp`
    if not has_baseline:
        idle.add("SA401")
    if not policy.allow:
        idle |= {"SA006"} if policy.layers else {"SA005", "SA006"}
    if not rules_with_limits(policy) - idle:
        left = ", ".join(sorted(active_rules(policy)))
        raise UsageError(
            f"nothing is left to enforce{f': {left} has no limit to hold' if left else ''}",
            where=policy.path,
            help="widen --select or --ignore less; SA201 takes --max-norm, SA301 --max-lipschitz, "
            "SA401 --baseline",
        )


def unenforced_limits(policy: Policy) -> tuple[tuple[str, str, Place | None], ...]:
    """Return the limits that no enforced rule holds: each one's name, rule and place."""
    active = active_rules(policy)
    return tuple(
        (name, code, place)
        for code, places in _limits(policy).items()
        if code not in active
        for name, place in places
    )


def _limits(policy: Policy) -> dict[str, list[tuple[str, Place | None]]]:
    """Return, for each rule that needs a limit, those that the policy sets, and where."""
    found: dict[str, list[tuple[str, Place | None]]] = {"SA201": [], "SA202": [], "SA301": []}
    for index, entry in enumerate(policy.layers):
        for code, key in (("SA201", "max-norm"), ("SA202", "max-condition")):
            if getattr(entry, key.replace("-", "_")) is not None:
                place = Place(entry.flag) if entry.flag else policy.place("layers", index, key)
                found[code].append((key, place))
    if policy.gates.max_lipschitz is not None:
        found["SA301"].append(("max-lipschitz", policy.place("gates", "max-lipschitz")))
    return found


def unreadable(path: str, error: SpecauditError) -> tuple[Report, Verdict]:
    """Return the report and the verdict of a file that could not be audited (SA001)."""
    reason = "the file could not be read"
    report = Report(
        ModelInfo(path, "", "unknown", 0),
        Settings(),
        (),
        (),
        Product(None, None, "not_computed", 0, "", reason),
        NetworkBound.not_computed(reason),
        Run("", 0.0, "cpu", 1),
    )
    where = f" ({error.where})" if error.where not in ("", path) else ""
    findings = fingerprinted(report, [Finding("SA001", "fail", f"{error.message}{where}")])
    verdict = _verdict(report, tuple(findings), Policy())
    return report, replace(verdict, exit_code=error.exit_code)


def _codes(words: Iterable[str]) -> set[str]:
    chosen: set[str] = set()
    for word in words:
        start = word.upper()
        codes = {code for code in RULES if start == "ALL" or (start and code.startswith(start))}
        if not codes:
            near = get_close_matches(start, RULES, n=1)
            hint = f"did you mean {near[0]}?" if near else "`specaudit explain rules` lists them"
            raise UsageError(f"no such rule: {word}", help=hint)
        chosen |= codes
    return chosen


def _found(report: Report, policy: Policy, active: frozenset[str]) -> list[Finding]:
    return [
        finding
        for code, rule in RULES.items()
        if code in active and rule.check is not None
        for finding in rule.check(report, policy)
    ]


def _allowed(
    findings: list[Finding], policy: Policy, today: date | None, used: set[int]
) -> list[Finding]:
    """Mark what an allowance silences; remember in `used` which allowances did."""
    live = [
        (index, allowance, any_matcher(listed(allowance.match)))
        for index, allowance in enumerate(policy.allow)
        if not _expired(allowance.expires, today)
    ]
    result = []
    for finding in findings:
        for index, allowance, match in live:
            names = [name for name in (finding.layer, finding.node) if name is not None] or [""]
            if allowance.rule == finding.rule and any(match(name) for name in names):
                used.add(index)
                expires = allowance.expires.isoformat() if allowance.expires else None
                place = policy.place("allow", index)
                finding = replace(
                    finding, allowed=Suppression("allowance", allowance.reason, expires, place)
                )
                break
        result.append(finding)
    return result


def _on_the_policy(
    reports: Sequence[Report],
    policy: Policy,
    active: frozenset[str],
    today: date | None,
    used: set[int],
) -> list[Finding]:
    findings = []
    for index, allowance in enumerate(policy.allow):
        place = policy.place("allow", index)
        what = f"{allowance.rule} for {_quoted(allowance.match)}"
        if _expired(allowance.expires, today):
            if "SA006" in active:
                message = f"the allowance of {what} expired on {allowance.expires}"
                findings.append(Finding("SA006", "fail", message, place=place))
        elif "SA005" in active and index not in used:
            message = f"the allowance of {what} silences nothing"
            findings.append(Finding("SA005", "warn", message, place=place))
    for index, entry in enumerate(policy.layers):
        dead = not any(applies(entry, layer) for report in reports for layer in report.layers)
        if dead and "SA005" in active and entry.flag is None:
            message = f"no layer matches {_description(entry)}"
            place = policy.place("layers", index)
            findings.append(Finding("SA005", "fail", message, place=place))
    return findings


def _expired(expires: date | None, today: date | None) -> bool:
    return expires is not None and today is not None and expires < today


def _description(entry: LayerLimit) -> str:
    operations = listed(entry.op)
    return _quoted(entry.match) + (f" with op {', '.join(operations)}" if operations else "")


def _quoted(match: str | list[str]) -> str:
    return ", ".join(f"`{pattern}`" for pattern in listed(match))


def _weighed(finding: Finding, policy: Policy) -> Finding:
    if finding.verdict == "fail":
        return finding
    if finding.verdict == "warn":
        return replace(finding, severity="warning")
    return replace(finding, severity=_WEIGHTS[policy.unproven])


_WEIGHTS: dict[Unproven, Severity] = {"fail": "error", "warn": "warning", "pass": "note"}


def _verdict(report: Report, findings: tuple[Finding, ...], policy: Policy) -> Verdict:
    limits = []
    for layer in report.layers:
        found = limit_of(layer, policy)
        limits.append(found[0] if found else None)
    return Verdict(
        findings,
        summarise(report, findings),
        1 if any(finding.counts for finding in findings) else 0,
        tuple(limits),
        policy.path,
    )
