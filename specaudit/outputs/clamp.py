"""What a clamp did, as text, JSON, Markdown and HTML."""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from specaudit import __version__
from specaudit.outputs import html, json, wording
from specaudit.outputs.bars import Scale
from specaudit.outputs.escaping import shortened, size, visible
from specaudit.outputs.markdown import code, prose
from specaudit.outputs.pages import page
from specaudit.policy import Finding, figures, shared_tensor
from specaudit.report import ClampedLayer, Clamping, Norm

_NEXT_TO_NOTHING = 1e-6


def text(done: Clamping, *, verbose: bool = False) -> str:
    """Return a line for each layer that changed; with `verbose`, for the others too."""
    shown = [layer for layer in done.layers if verbose or layer.is_changed]
    written = "nothing written" if done.output is None else visible(done.output)
    lines = [f"from  {visible(done.source.path)}", f"to    {written}", ""]
    lines += [_line(layer) for layer in shown]
    lines += [f"bias  {visible(name)} scaled along" for name in done.biases]
    lines += ["", *_bounds(done)]
    lines += [f"warning[{found.rule}] {_finding(found)}" for found in findings(done)]
    lines += [f"warning  {visible(remark)}" for remark in warnings(done)]
    lines += [f"note  {visible(note)}" for note in done.notes]
    return "\n".join([*lines, "", _summary(done)]) + "\n"


def document(done: Clamping) -> dict[str, Any]:
    """Return the document of schema ``specaudit.clamp``."""
    return {
        "schema": "specaudit.clamp",
        "schema_version": "1.0",
        "tool": {"name": "specaudit", "version": __version__},
        "source": msgspec.to_builtins(done.source),
        "output": done.output,
        "mode": done.mode,
        "max_lipschitz": done.max_lipschitz,
        "settings": json.settings_of(done.settings),
        "layers": [msgspec.to_builtins(layer) for layer in done.layers],
        "biases": list(done.biases),
        "skipped": msgspec.to_builtins(done.skipped),
        "product": _both(done.products),
        "network": _both(done.networks),
        "comparison": msgspec.to_builtins(done.comparison),
        "findings": [msgspec.to_builtins(found) for found in findings(done)],
        "warnings": list(warnings(done)),
        "notes": list(done.notes),
    }


def as_json(done: Clamping) -> str:
    """Return the document as strict JSON."""
    return json.encode(document(done))


def as_markdown(done: Clamping) -> str:
    """Return a page for a pull request."""
    target = code(done.output) if done.output is not None else "nothing written"
    lines = [f"### {code(done.source.path)} → {target}", "", prose(_summary(done)), ""]
    if done.changed:
        lines += [
            "| layer | before | after | factor | change | limit |",
            "|---|---|---|---|---|---|",
        ]
    for layer in done.changed:
        cells = (
            code(layer.name),
            prose(_norm(layer.before, layer.limit)),
            prose(_norm(layer.after, layer.limit)),
            f"{layer.factor:.6g}",
            f"{layer.relative_change:.3g}",
            "" if layer.limit is None else figures.exact(layer.limit),
        )
        lines.append(f"| {' | '.join(cells)} |")
    remarks = [*_bounds(done), *_remarks(done)]
    lines += ["", *(f"- {prose(remark)}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def as_html(done: Clamping) -> str:
    """Return the page with the bars before and after over each other."""
    values = [end for row in done.layers for norm in (row.before, row.after)
              for end in (norm.lower, norm.upper)]  # fmt: skip
    scale = Scale.over([*values, *(row.limit for row in done.layers)])
    return page(
        "clamp.html.j2",
        document(done),
        title=f"{visible(done.source.path)}, clamped",
        before=visible(done.source.path),
        after="nothing written" if done.output is None else visible(done.output),
        outcome="pass",
        headline="CERTIFIED",
        tally=_summary(done),
        bounds=[*_bounds(done), *_remarks(done)],
        ticks=[(f"{100 * at:.4g}%", label) for at, label in scale.ticks(6)],
        rows=[_row(layer, scale) for layer in done.layers],
    )


RENDERERS: dict[str, Callable[[Clamping], str]] = {
    "text": text,
    "json": as_json,
    "md": as_markdown,
    "html": as_html,
}


def findings(done: Clamping) -> list[Finding]:
    """Return what has to be known of tensors that several layers share (SA502)."""
    found: dict[tuple[str, ...], list[str]] = {}
    for layer in done.changed:
        if layer.consumers:
            name = f"{layer.name} ({layer.node})" if layer.node else layer.name
            found.setdefault(layer.tensors, []).append(name)
    return [
        shared_tensor(names[0], tuple(dict.fromkeys([*names, *_others(done, tensors)])))
        for tensors, names in found.items()
    ]


def warnings(done: Clamping) -> list[str]:
    """Return of which layers a limit, or the type that stores them, left next to nothing."""
    return [f"{row.name}: {why}" for row in done.changed if (why := _ruin(row)) is not None]


def _ruin(row: ClampedLayer) -> str | None:
    size = math.prod(row.shape)
    if row.after.upper == 0.0:
        return f"all {size} entries are zero now"
    small = row.entries_lost + row.entries_subnormal
    if 2 * small > size:
        return (
            f"{row.entries_lost} of {size} entries were rounded to zero and "
            f"{row.entries_subnormal} lost digits: the limit is too small for {row.dtype}"
        )
    if row.factor < _NEXT_TO_NOTHING:
        return f"scaled by {row.factor:.3g}, next to nothing is left of it"
    return None


def _remarks(done: Clamping) -> list[str]:
    return [*map(_finding, findings(done)), *map(visible, [*warnings(done), *done.notes])]


def _others(done: Clamping, tensors: tuple[str, ...]) -> list[str]:
    return [name for row in done.changed if row.tensors == tensors for name in row.consumers]


def _finding(found: Finding) -> str:
    return f"{visible(found.layer or '')}: {visible(found.message)}"


def _line(layer: ClampedLayer) -> str:
    before, after = _norm(layer.before, layer.limit), _norm(layer.after, layer.limit)
    name = visible(layer.name) + (f" ({visible(layer.node)})" if layer.node else "")
    if not layer.is_changed:
        return f"=  {name}  {before}"
    limit = "" if layer.limit is None else f"  limit {figures.exact(layer.limit)}"
    change = f"×{layer.factor:.6g}, changed by {100 * layer.relative_change:.3g} %"
    notes = "".join(f"; {visible(note)}" for note in layer.notes)
    return f"▼  {name}  {before} → {after}  {change}{limit}{notes}"


def _norm(norm: Norm, limit: float | None = None) -> str:
    return wording.norm_text(norm, limit)


def _bounds(done: Clamping) -> list[str]:
    old, new = map(wording.product_text, done.products)
    before, after = map(wording.network_text, done.networks)
    lines = [f"product  {old.split(';')[0]} → {new.split(';')[0]}", f"network  {before} → {after}"]
    drift = done.comparison
    if drift is not None:
        lines.append(
            f"outputs  on {wording.counted(drift.inputs, 'random input')}: largest change "
            f"{drift.largest:.3g}, relative {drift.relative:.3g}"
        )
    return lines


def _summary(done: Clamping) -> str:
    changed = wording.counted(len(done.changed), "layer")
    rest = len(done.layers) - len(done.changed)
    verb = (
        "would be changed" if done.output is None and done.source.format != "module" else "changed"
    )
    return f"{changed} {verb} ({done.mode}), {rest} left as they are"


def _both(pair: tuple[msgspec.Struct, msgspec.Struct]) -> dict[str, Any]:
    return {"before": msgspec.to_builtins(pair[0]), "after": msgspec.to_builtins(pair[1])}


def _row(layer: ClampedLayer, scale: Scale) -> dict[str, Any]:
    return {
        "state": "pass",
        "mark": "▼" if layer.is_changed else "=",
        "status": "changed" if layer.is_changed else "unchanged",
        "name": shortened(layer.name, 300),
        "kind": wording.KINDS[layer.kind],
        "shape": size(layer.shape),
        "before": wording.upper_text(layer.before),
        "after": wording.upper_text(layer.after, layer.limit),
        "remark": "" if layer.limit is None else f"limit {figures.exact(layer.limit)}",
        "ratio": f"×{layer.factor:.6g}" if layer.is_changed else "",
        "label": f"before {_norm(layer.before)}, after {_norm(layer.after)}",
        "old": html.bar(layer.before, scale),
        "new": html.bar(layer.after, scale, layer.limit),
    }
