"""Text for pipes: nothing cut, nothing hidden, a line for each layer, finding and skip."""

import re
from collections.abc import Sequence

from specaudit.outputs import wording
from specaudit.outputs.escaping import size, visible
from specaudit.policy import Finding, Verdict
from specaudit.report import Measurement, Norm, Report

_WIDEST = 48  # a longer name moves its own line only
_COLOURS = {"PASS": 32, "FAIL": 31, "error": 31, "unseen": 33, "warning": 33}
_COLOURS |= {"UNPROVEN": 33, "unproven": 33}
_WORD = re.compile(rf"({'|'.join(_COLOURS)})(?:\[SA\d+\]|:)?(?= )")


def lines(
    report: Report, verdict: Verdict, layers: Sequence[tuple[Measurement, float | None]], left: str
) -> list[str]:
    """Return the lines on one model.

    Parameters
    ----------
    report, verdict : Report, Verdict
    layers : sequence of (Measurement, limit)
        Those to show, in order.
    left : str
        What to say of layers that are not shown; empty where all are.
    """
    digest = f" · sha256 {report.model.sha256}" if report.model.sha256 else ""
    result = [f"model     {visible(report.model.path)}: {wording.model_line(report)}{digest}"]
    result += [f"note      {visible(note)}" for note in report.model.notes]
    result += _layer_lines(layers, verdict)
    if left:
        result.append(f"          {left}")
    for skipped in report.skipped:
        word = "skipped " if skipped.covered else "unseen  "
        result.append(f"{word}  {wording.skipped_text(skipped)}")
    if report.model.format != "unknown":
        result += _bound_lines(report)
    return result


def finding_line(finding: Finding, path: str) -> str:
    """Return one finding in one line."""
    subject = wording.subject_of(finding)
    where = visible(path) + (f" › {subject}" if subject else "")
    allowed = wording.allowed_text(finding)
    place = wording.place_text(finding.place)
    tail = (f" [{allowed}]" if allowed else "") + (f" ({place})" if place else "")
    return f"{wording.label(finding)}[{finding.rule}] {where}: {visible(finding.message)}{tail}"


def coloured(line: str) -> str:
    """Return a line, its first word in colour where it says how things stand."""
    found = _WORD.match(line)
    if found is None:
        return line
    code = _COLOURS[found[1]]
    return f"\x1b[1;{code}m{found[0]}\x1b[0m{line[found.end() :]}"


def _layer_lines(layers: Sequence[tuple[Measurement, float | None]], verdict: Verdict) -> list[str]:
    found = verdict.by_layer()
    rows = []
    for layer, limit in layers:
        words = [wording.label(finding) for finding in found.get((layer.name, layer.node), ())]
        other = wording.other_norm(layer)
        kind = f"{layer.kind} {size(layer.shape)} {layer.dtype}"
        norm = f"{_of(layer.norm)} {wording.norm_text(layer.norm, limit)}"
        norm += f" by {visible(layer.norm.method)}"
        tail = f"; {_of(other)} {wording.norm_text(other)}" if other else ""
        tail += f"; node {visible(layer.node)}" if layer.node else ""
        tail += f"; {wording.spectrum_text(layer.spectrum)}" if layer.spectrum else ""
        tail += "".join(f"; {visible(note)}" for note in layer.notes)
        tail += f"; {', '.join(sorted(set(words)))}" if words else ""
        rows.append((visible(layer.name), kind, norm + tail))
    name = max((len(row[0]) for row in rows if len(row[0]) <= _WIDEST), default=0)
    kind_width = max((len(row[1]) for row in rows if len(row[1]) <= _WIDEST), default=0)
    return [f"layer     {a.ljust(name)}  {b.ljust(kind_width)}  {c}" for a, b, c in rows]


def _of(norm: Norm) -> str:
    return f"{norm.of} norm" if norm.of else "norm"


def _bound_lines(report: Report) -> list[str]:
    network = report.network
    result = [
        f"product   {wording.product_text(report.product)}",
        f"network   {wording.network_text(network)}",
    ]
    result += [f"          {what}: {text}" for what, text in wording.network_details(network)]
    if network.factors:
        path = " → ".join(map(wording.factor_text, network.factors))
    else:
        path = " → ".join(map(visible, network.path))
    if path:
        result.append(f"path      {path}")
    for factor in network.contributors:
        result.append(f"largest   {wording.factor_text(factor)}")
    return result
