"""One self-contained page: no network, no script needed, light and dark."""

from collections.abc import Iterator, Sequence
from typing import Any

from specaudit.outputs import json, wording
from specaudit.outputs.bars import Scale, values_of
from specaudit.outputs.escaping import shortened, size, visible
from specaudit.outputs.pages import page
from specaudit.policy import RULES, Finding, Verdict, figures
from specaudit.report import Factor, Geometry, Measurement, Norm, Report, Spectrum

Values = dict[str, Any]

_NAME = 300
_STEPS = 300  # of the path; the rest is in the embedded document
_FINDINGS = 200
_VISIBLE = 0.002  # of the width of a bar: what is narrower is not drawn apart
CODES = {
    "D": "discontinuous",
    "G": "its slope has no bound",
    "B": "product of two activations",
    "I": "indexes by data",
    "R": "random",
}
_MARKS = {"fail": "✘", "unproven": "?", "warn": "!", "allowed": "○", "pass": "✔", "measured": ""}
_ORDER = ("fail", "unproven", "warn", "allowed")


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return the page on all models, the JSON document embedded."""
    documents = [json.document(report, verdict) for report, verdict in pairs]
    title = visible(pairs[0][0].model.path) if len(pairs) == 1 else f"{len(pairs)} models"
    return page(
        "report.html.j2",
        documents[0] if len(documents) == 1 else documents,
        title=title,
        models=[
            _model(report, verdict, document)
            for (report, verdict), document in zip(pairs, documents, strict=True)
        ],
    )


def _model(report: Report, verdict: Verdict, document: Values) -> Values:
    return {
        **_verdict(report, verdict),
        **_layers(report, verdict),
        **_bound(report),
        "unseen": [wording.skipped_text(one) for one in report.skipped if not one.covered],
        "skipped": [
            (visible(reason), [(shortened(one.name, _NAME), size(one.shape)) for one in group])
            for reason, group in wording.skipped_groups(report.skipped).items()
        ],
        "settings": [
            (key.replace("_", " "), visible(str(value)))
            for key, value in document["settings"].items()
            if value not in (None, {}, [])
        ],
    }


def _verdict(report: Report, verdict: Verdict) -> Values:
    order = ("error", "unproven", "warning", "note")
    standing = [finding for finding in verdict.findings if finding.allowed is None]
    standing.sort(key=lambda finding: order.index(wording.label(finding)))
    allowed = [finding for finding in verdict.findings if finding.allowed is not None]
    return {
        "path": shortened(report.model.path, _NAME),
        "line": wording.model_line(report),
        "digest": report.model.sha256,
        "notes": [visible(note) for note in report.model.notes],
        "outcome": verdict.outcome,
        "headline": wording.OUTCOMES[verdict.outcome],
        "tally": wording.tally(verdict),
        "findings": _by_rule(standing[:_FINDINGS]),
        "count": len(standing),
        "more_findings": max(len(standing) - _FINDINGS, 0),
        "allowed": [_finding(finding) for finding in allowed[:_FINDINGS]],
        "more_allowed": max(len(allowed) - _FINDINGS, 0),
    }


def _layers(report: Report, verdict: Verdict) -> Values:
    limits = verdict.limits or (None,) * len(report.layers)
    scale = Scale.over(values_of(report.layers, limits))
    found = verdict.by_layer()
    plain = "pass" if verdict.is_judged else "measured"
    rows = [
        _row(layer, limit, scale, found.get((layer.name, layer.node), ()), plain)
        for layer, limit in zip(report.layers, limits, strict=True)
    ]
    return {
        "rows": rows,
        "ticks": [(_percent(at), text) for at, text in scale.ticks(6)],
        "has_limits": any(limit is not None for limit in limits),
        "other": next((row["other_of"] for row in rows if row["other_of"]), ""),
    }


def _bound(report: Report) -> Values:
    network = report.network
    causes = (*network.unbounded, *network.unmodelled)
    return {
        "product": wording.product_parts(report.product),
        "network": wording.network_parts(network),
        "details": list(wording.network_terms(network)),
        "path_steps": list(_steps(network.factors))[:_STEPS],
        "path_still": len(network.factors) - len(wording.stretching(network.factors)),
        "path_nodes": [shortened(name, 80) for name in network.path][:_STEPS],
        "path_length": max(len(network.path), len(network.factors)),
        "unbounded": [
            (
                shortened(one.node, _NAME),
                visible(one.op),
                visible(one.reason),
                CODES.get(one.code or "", ""),
            )
            for one in causes
        ],
    }


def _row(
    layer: Measurement,
    limit: float | None,
    scale: Scale,
    findings: tuple[Finding, ...],
    plain: str,
) -> Values:
    words = ["allowed" if finding.allowed else finding.verdict for finding in findings]
    state = next((word for word in _ORDER if word in words), plain)
    other = wording.other_norm(layer)
    return {
        "state": state,
        "mark": _MARKS[state],
        "name": shortened(layer.name, _NAME),
        "node": shortened(layer.node, _NAME) if layer.node else "",
        "kind": wording.KINDS[layer.kind],
        "shape": size(layer.shape),
        "dtype": visible(layer.dtype),
        "lower": "—" if layer.norm.lower is None else figures.floor(layer.norm.lower, limit),
        "upper": wording.upper_text(layer.norm, limit),
        "limit": "" if limit is None else figures.exact(limit),
        "other": wording.upper_text(other) if other else "",
        "other_of": (other.of or "") if other else "",
        "status": layer.norm.status.replace("_", " "),
        "method": visible(layer.norm.method),
        "label": f"{wording.norm_text(layer.norm, limit)}"
        + (f", limit {figures.exact(limit)}" if limit is not None else ""),
        "bar": bar(layer.norm, scale, limit, other),
        "geometry": _geometry(layer.geometry),
        "notes": [visible(note) for note in layer.notes],
        "findings": [visible(f"{finding.rule} {finding.message}") for finding in findings],
        "spectrum": _spectrum(layer.spectrum),
    }


def bar(norm: Norm, scale: Scale, limit: float | None = None, other: Norm | None = None) -> Values:
    """Return where the parts of a bar lie, in per cent of its width."""
    lower, upper = norm.lower or 0.0, norm.upper
    start = scale.at(lower)
    end = 1.0 if upper is None else scale.at(upper)
    return {
        "finite": norm.status != "non_finite",
        "solid": _percent(start) if lower else "",
        "span": _percent(end - start) if end - start > _VISIBLE else "",
        "reach": _percent(end) if upper else "",
        "open": upper is None,
        "limit": _percent(scale.at(limit)) if limit else "",
        "ghost": _percent(scale.at(other.upper)) if other is not None and other.upper else "",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _by_rule(findings: list[Finding]) -> list[Values]:
    """Return the findings of each rule and severity under one heading."""
    groups: dict[tuple[str, str], list[Values]] = {}
    for finding in findings:
        key = wording.label(finding), finding.rule
        groups.setdefault(key, []).append(_finding(finding))
    return [
        {
            "label": label,
            "rule": rule,
            "title": RULES[rule].title,
            "remedy": RULES[rule].remedy,
            "members": members,
        }
        for (label, rule), members in groups.items()
    ]


def _finding(finding: Finding) -> Values:
    return {
        "rule": finding.rule,
        "subject": shortened(wording.subject_of(finding), _NAME),
        "message": visible(finding.message),
        "place": wording.place_text(finding.place),
        "allowed": wording.allowed_text(finding),
    }


def _steps(factors: tuple[Factor, ...]) -> Iterator[Values]:
    moving = wording.stretching(factors)
    longest = max((abs(factor.log10_factor) for factor in moving), default=1.0)
    for factor in moving:
        share = 50 * abs(factor.log10_factor) / longest
        grows = factor.log10_factor > 0.0
        yield {
            "node": shortened(factor.node, 120),
            "op": visible(factor.op),
            "factor": wording.factor_text(factor).rsplit(" ", 1)[-1],
            "grows": grows,
            "x": f"{50.0 if grows else 50 - share:.4g}%",
            "width": f"{max(share, 0.4):.4g}%",
        }


def _geometry(geometry: Geometry | None) -> str:
    if geometry is None:
        return ""
    parts = [f"stride {size(geometry.strides)}", f"pads {', '.join(map(str, geometry.pads))}"]
    if any(step != 1 for step in geometry.dilations):
        parts.append(f"dilation {size(geometry.dilations)}")
    if geometry.group != 1:
        parts.append(f"{geometry.group} groups")
    parts.append(f"input {size(geometry.input)}" if geometry.input else "any input size")
    return ", ".join(parts)


def _spectrum(spectrum: Spectrum | None) -> Values | None:
    """Return bars of the histogram and dots of the leading values, ready to draw."""
    if spectrum is None:
        return None
    highest = max(spectrum.histogram_counts, default=0) or 1
    columns = max(len(spectrum.histogram_counts), 1)
    return {
        "leading": ", ".join(f"{value:.6g}" for value in spectrum.leading[:8]),
        "more": max(len(spectrum.leading) - 8, 0),
        "condition": "" if spectrum.condition is None else f"{spectrum.condition:.4g}",
        "columns": [
            {
                "x": f"{100 * index / columns:.4g}%",
                "width": f"{90 / columns:.4g}%",
                "y": f"{100 - 100 * count / highest:.4g}%",
                "height": f"{100 * count / highest:.4g}%",
                "count": count,
            }
            for index, count in enumerate(spectrum.histogram_counts)
        ],
        "low": f"{10 ** spectrum.histogram_edges[0]:.3g}" if spectrum.histogram_edges else "",
        "high": f"{10 ** spectrum.histogram_edges[-1]:.3g}" if spectrum.histogram_edges else "",
    }
