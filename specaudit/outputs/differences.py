"""A comparison of two audits as text, JSON, Markdown and HTML."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from specaudit import __version__
from specaudit.bracket import round_down, round_up
from specaudit.compare import STATUSES, Change, Comparison
from specaudit.outputs import html, json, wording
from specaudit.outputs.bars import Scale, values_of
from specaudit.outputs.escaping import shortened, size, visible
from specaudit.outputs.markdown import code, prose
from specaudit.outputs.pages import page
from specaudit.policy import figures
from specaudit.report import Measurement

_SIGNS = {
    "regressed": "▲",
    "lost": "?",
    "unclear": "~",
    "improved": "▼",
    "added": "+",
    "removed": "-",
    "unchanged": "=",
}
_STATES = {"regressed": "fail", "lost": "unproven", "unclear": "unproven"}
_MANY = 40  # layers past which text and Markdown speak of groups
_WORST = 10


def text(comparison: Comparison, *, verbose: bool = False) -> str:
    """Return a line for each layer that changed, and for each group where there are many."""
    lines = [
        f"from  {visible(comparison.before.path)}",
        f"to    {visible(comparison.after.path)}",
        "",
    ]
    moved = [change for change in comparison.changes if verbose or change.status != "unchanged"]
    if len(moved) > _MANY and not verbose:
        lines += [f"  {line}" for line in _group_lines(comparison)]
        moved = _worst(moved)
        lines += ["", f"the {len(moved)} that changed most (-v lists all)"]
    lines += [_line(change) for change in moved]
    lines += [*([""] if moved else []), *_bounds(comparison), "", _summary(comparison)]
    return "\n".join(lines) + "\n"


def document(comparison: Comparison) -> dict[str, Any]:
    """Return the document of schema ``specaudit.diff``."""
    before, after = comparison.networks
    content = {
        "schema": "specaudit.diff",
        "schema_version": "1.0",
        "tool": {"name": "specaudit", "version": __version__},
        "before": msgspec.to_builtins(comparison.before),
        "after": msgspec.to_builtins(comparison.after),
        "tolerance": comparison.tolerance,
        "layers": [_layer(change) for change in comparison.changes],
        "product": {
            "before": msgspec.to_builtins(comparison.products[0]),
            "after": msgspec.to_builtins(comparison.products[1]),
        },
        "network": {
            "status": comparison.network,
            "before": msgspec.to_builtins(before),
            "after": msgspec.to_builtins(after),
        },
        "summary": comparison.summary(),
        "regressed": comparison.regressed,
    }
    cleaned: dict[str, Any] = json.clean(content)
    return cleaned


def as_json(comparison: Comparison) -> str:
    """Return the document as strict JSON."""
    return json.encode(document(comparison))


def as_markdown(comparison: Comparison) -> str:
    """Return a page for a pull request: what is worse first, the groups folded away."""
    sign = {"fail": "❌", "unproven": "❔", "pass": "✅"}[_outcome(comparison)]
    names = code(comparison.before.path), code(comparison.after.path)
    lines = [f"### {sign} {names[0]} → {names[1]}", "", prose(_summary(comparison)), ""]
    moved = [change for change in comparison.changes if change.status != "unchanged"]
    if moved:
        lines += ["| | layer | before | after | change |", "|---|---|---|---|---|"]
    for change in _worst(moved):
        cells = (
            change.status,
            code(change.name),
            prose(_norm(change.before)),
            prose(_norm(change.after)),
            ratio(change),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {prose(line)}" for line in _bounds(comparison))]
    groups = [f"- {prose(line)}" for line in _group_lines(comparison)]
    lines += ["", f"<details><summary>{len(comparison.changes)} layers</summary>", "", *groups]
    return "\n".join([*lines, "", "</details>"]) + "\n"


def as_html(comparison: Comparison) -> str:
    """Return the page with both audits' bars over each other."""
    layers = [layer for change in comparison.changes for layer in _both(change)]
    scale = Scale.over(values_of(layers, ()))
    summary = comparison.summary()
    return page(
        "diff.html.j2",
        document(comparison),
        title=f"{visible(comparison.before.path)} → {visible(comparison.after.path)}",
        before=visible(comparison.before.path),
        after=visible(comparison.after.path),
        outcome=_outcome(comparison),
        headline="REGRESSED" if comparison.regressed else "NO REGRESSION PROVED",
        tally=_summary(comparison),
        bounds=_bounds(comparison),
        counts=[(status, summary[status]) for status in STATUSES if summary[status]],
        ticks=[(f"{100 * at:.4g}%", label) for at, label in scale.ticks(6)],
        rows=[_row(change, scale) for change in comparison.changes],
    )


RENDERERS: dict[str, Callable[[Comparison], str]] = {
    "text": text,
    "json": as_json,
    "md": as_markdown,
    "html": as_html,
}


def _outcome(comparison: Comparison) -> str:
    lost = comparison.network == "lost" or any(
        change.status in ("lost", "unclear") for change in comparison.changes
    )
    return "fail" if comparison.regressed else "unproven" if lost else "pass"


def ratio(change: Change) -> str:
    """Return the proved range of after over before."""
    if change.before is None or change.after is None:
        return ""
    old, new = change.before.norm.bracket, change.after.norm.bracket
    low = round_down(new.lower / old.upper) if 0.0 < old.upper < float("inf") else 0.0
    high = round_up(new.upper / old.lower) if old.lower > 0.0 else float("inf")
    shown = figures.floor(low, digits=4), figures.ceiling(high, digits=4)
    return f"×{shown[0]}" if shown[0] == shown[1] else f"×[{shown[0]}, {shown[1]}]"


def _line(change: Change) -> str:
    renamed = ""
    if change.matched == "position" and change.before is not None:
        renamed = f" (was {visible(change.before.name)})"
    parts = [_norm(change.before), _norm(change.after)]
    numbers = " → ".join(part for part in parts if part)
    sign = _SIGNS[change.status]
    return f"{sign} {change.status:<9}  {visible(change.name)}{renamed}  {numbers}  {ratio(change)}"


def _group_lines(comparison: Comparison) -> Iterator[str]:
    for prefix, group in comparison.groups().items():
        found = [change.status for change in group]
        counts = [f"{found.count(one)} {one}" for one in STATUSES if one in found]
        yield f"{visible(prefix)}: {', '.join(counts)}"


def _bounds(comparison: Comparison) -> list[str]:
    old, new = (wording.product_parts(product)[0] for product in comparison.products)
    before, after = map(wording.network_text, comparison.networks)
    network = before if before == after else f"{before} → {after}"
    return [f"product  {old} → {new}", f"network  {network} ({comparison.network})"]


def _summary(comparison: Comparison) -> str:
    counts = [f"{count} {status}" for status, count in comparison.summary().items() if count]
    return f"{', '.join(counts) or 'no layers'}; tolerance {figures.exact(comparison.tolerance)}"


def _worst(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: (STATUSES.index(change.status), -_size(change)))[
        :_WORST
    ]


def _size(change: Change) -> float:
    if change.before is None or change.after is None:
        return 0.0
    old, new = change.before.norm, change.after.norm
    return (new.upper or 0.0) / old.upper if old.upper else 0.0


def _norm(layer: Measurement | None) -> str:
    return wording.norm_text(layer.norm) if layer is not None else ""


def _both(change: Change) -> list[Measurement]:
    return [layer for layer in (change.before, change.after) if layer is not None]


def _layer(change: Change) -> dict[str, Any]:
    before, after = change.before, change.after
    latest = after or before
    return {
        "name": change.name,
        "node": latest.node if latest else None,
        "status": change.status,
        "matched": change.matched or None,
        "before_name": before.name if before else None,
        "before": msgspec.to_builtins(before.norm) if before else None,
        "after": msgspec.to_builtins(after.norm) if after else None,
    }


def _row(change: Change, scale: Scale) -> dict[str, Any]:
    latest = change.after or change.before
    before, after = change.before, change.after
    return {
        "state": _STATES.get(change.status, "pass"),
        "status": change.status,
        "mark": _SIGNS[change.status],
        "name": shortened(change.name, 300),
        "remark": f"was {shortened(before.name, 300)}"
        if before and before.name != change.name
        else "",
        "kind": wording.KINDS[latest.kind] if latest else "",
        "shape": size(latest.shape) if latest else "",
        "before": wording.upper_text(before.norm) if before else "",
        "after": wording.upper_text(after.norm) if after else "",
        "ratio": ratio(change),
        "label": f"before {_norm(before) or 'none'}, after {_norm(after) or 'none'}",
        "old": html.bar(before.norm, scale) if before else None,
        "new": html.bar(after.norm, scale) if after else None,
    }
