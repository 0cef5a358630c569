"""Comma-separated values: a row for each layer, each skip, the bounds, each other finding."""

import csv
import io
from collections.abc import Iterator, Sequence

from specaudit.outputs import wording
from specaudit.outputs.escaping import size, visible
from specaudit.policy import Finding, Observed, Verdict
from specaudit.report import Measurement, Norm, Report

COLUMNS = (
    "model",
    "record",
    "name",
    "node",
    "kind",
    "shape",
    "dtype",
    "lower",
    "upper",
    "log10_upper",
    "status",
    "method",
    "norm_of",
    "reshaped_lower",
    "reshaped_upper",
    "limit",
    "verdict",
    "rules",
    "message",
)
# What a spreadsheet takes for a formula, full-width forms included.
_FORMULA = "=+-@|%\uff1d\uff0b\uff0d\uff20"


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return a table with a header; an empty cell is a number that is not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for report, verdict in pairs:
        path = _text(report.model.path)
        for row in _rows(report, verdict):
            writer.writerow({"model": path, **row})
    return text.getvalue()


def _rows(report: Report, verdict: Verdict) -> Iterator[dict[str, object]]:
    found = verdict.by_layer()
    limits = verdict.limits or (None,) * len(report.layers)
    shown = set()
    for layer, limit in zip(report.layers, limits, strict=True):
        key = layer.name, layer.node
        shown.add(key)
        row = _layer(layer, limit, found.get(key, ()))
        if key not in found and not verdict.is_judged:
            row["verdict"] = ""
        yield row
    for skipped in report.skipped:
        key = skipped.name, None
        shown.add(key)
        yield {
            "record": "skipped" if skipped.covered else "not examined",
            "name": _text(skipped.name),
            "shape": size(skipped.shape),
            **(_judged(found[key]) if key in found else {}),
            "message": _text(skipped.reason),
        }
    for name, bound in (("product", report.product), ("network", report.network)):
        yield {
            "record": name,
            "lower": _number(report.network.lower) if name == "network" else "",
            "upper": _number(bound.upper),
            "log10_upper": _number(bound.log10_upper),
            "status": bound.status,
            "message": _text(bound.reason or ""),
        }
    for finding in verdict.findings:
        if (finding.layer, finding.node) not in shown:
            yield {
                "record": "finding",
                "name": _text(finding.layer or ""),
                "node": _text(finding.node or ""),
                **_ends("", finding.observed),
                "limit": _number(finding.limit),
                **_judged((finding,)),
            }


def _layer(
    layer: Measurement, limit: float | None, findings: tuple[Finding, ...]
) -> dict[str, object]:
    reshaped = layer.norm if layer.norm.of == "reshaped" else layer.reshaped_norm
    return {
        "record": "layer",
        "name": _text(layer.name),
        "node": _text(layer.node or ""),
        "kind": layer.kind,
        "shape": size(layer.shape),
        "dtype": _text(layer.dtype),
        **_ends("", layer.norm),
        "status": layer.norm.status,
        "method": _text(layer.norm.method),
        "norm_of": layer.norm.of or "",
        **_ends("reshaped_", reshaped),
        "limit": _number(limit),
        **_judged(findings),
    }


def _judged(findings: tuple[Finding, ...]) -> dict[str, object]:
    words = sorted({wording.label(finding) for finding in findings})
    return {
        "verdict": " ".join(words) or "pass",
        "rules": " ".join(sorted({finding.rule for finding in findings})),
        "message": _text("; ".join(finding.message for finding in findings)),
    }


def _ends(prefix: str, value: Norm | Observed | None) -> dict[str, object]:
    if value is None:
        return {}
    return {f"{prefix}lower": _number(value.lower), f"{prefix}upper": _number(value.upper)}


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _text(value: str) -> str:
    """Return a cell that no spreadsheet evaluates."""
    shown = visible(value)
    return f"'{shown}" if shown.lstrip()[:1] and shown.lstrip()[0] in _FORMULA else shown
