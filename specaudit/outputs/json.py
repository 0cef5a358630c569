"""The document of the JSON contract, and a report read back from it."""

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from specaudit import __version__
from specaudit.errors import UnreadableModel
from specaudit.outputs.consistency import contradiction, repeated_key
from specaudit.policy import Finding, Verdict
from specaudit.report import SCHEMA_VERSION, Geometry, Measurement, Norm, Report, Settings

SCHEMA = "specaudit.audit"

Document = dict[str, Any]

_PLAIN = Geometry((), (), ())
_REMAKE = "audit the model again: `specaudit inspect MODEL -r json=MODEL.audit.json`"


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return one object, or an array where there are several models."""
    documents = [document(report, verdict) for report, verdict in pairs]
    return _written(documents[0] if len(documents) == 1 else documents)


def encode(value: object) -> str:
    """Return strict JSON text, indented, with every unsafe character as an escape.

    Notes
    -----
    A number that JSON has no word for becomes null; a lone surrogate, which no strict
    parser would take, its escape as text. Keys keep the order they were given in.
    """
    return _written(clean(value))


def _written(value: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return escaped(text) + "\n"


def escaped(text: str) -> str:
    """Return JSON text with every unsafe character, which only strings hold, as an escape."""
    return _UNSAFE.sub(_escape, text)


def document(report: Report, verdict: Verdict) -> Document:
    """Return the document of one report, as the contract orders its keys."""
    settings = settings_of(report.settings)
    settings["input_shapes"] = dict(sorted(settings["input_shapes"].items()))
    run = report.run
    model = _ordered(report.model, ("path", "sha256", "format", "opset", "parameters"))
    content: Document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "specaudit", "version": __version__},
        "run": _ordered(run, ("started", "seconds", "device", "jobs")),
        "model": model,
        "settings": _first(settings, ("method", "rtol", "conv", "seed")),
        "layers": [_layer(layer) for layer in report.layers],
        "skipped": [_ordered(skipped, ("name", "shape", "reason")) for skipped in report.skipped],
        "product": _ordered(report.product, ("upper", "log10_upper", "status", "layers")),
        "network": _ordered(
            report.network,
            ("status", "upper", "log10_upper", "lower", "method", "path", "unbounded"),
        ),
        "findings": [_finding(finding) for finding in verdict.findings],
        "summary": msgspec.to_builtins(verdict.summary),
        "exit_code": verdict.exit_code,
    }
    cleaned: Document = clean(content)
    return cleaned


def settings_of(settings: Settings) -> Document:
    """Return the settings as the document has them: which width was wanted of what."""
    content: Document = msgspec.to_builtins(settings)
    del content["rtol_given"]
    return content | {"convolution_rtol": settings.convolution_rtol}


def parse(text: str | bytes, where: str = "") -> Report:
    """Read one saved audit back; `parse_all` takes an array as well."""
    reports = parse_all(text, where)
    if len(reports) != 1:
        raise UnreadableModel(
            f"{len(reports)} audits in one file where one is wanted",
            where=where,
            help="save one audit a file: `specaudit inspect MODEL -r json=MODEL.audit.json`",
        )
    return reports[0]


def parse_all(text: str | bytes, where: str = "") -> tuple[Report, ...]:
    """Read the reports of saved audits back.

    Parameters
    ----------
    text : str or bytes
        What `render` made, one document or an array.
    where : str
        The file, for errors.

    Returns
    -------
    tuple of Report
        Equal to those that were rendered but for `seconds` of a measurement and
        `rtol_given` of the settings, which stay out of the document.

    Raises
    ------
    UnreadableModel
        If it is not such a document, or contradicts itself.
    """
    try:
        saved = msgspec.json.decode(text, type=_Saved | list[_Saved])
        saved = saved if isinstance(saved, list) else [saved]
        if any(one.schema != SCHEMA for one in saved):
            raise UnreadableModel(f"not an audit: {saved[0].schema}", where=where, help=_REMAKE)
        if any(one.schema_version.split(".")[0] != "1" for one in saved):
            raise UnreadableModel(
                f"schema version {saved[0].schema_version} is newer than this program",
                where=where,
                help="upgrade specaudit, or audit the model again",
            )
        twice = repeated_key(text)
        reports = tuple(_report(one) for one in saved)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UnreadableModel(f"not a saved audit: {error}", where=where, help=_REMAKE) from None
    if twice is not None:
        reason = f"a key is there twice: {twice[:40]!a}"
        raise UnreadableModel(reason, where=where, help=_REMAKE)
    for report in reports:
        _refuse_contradictions(report, where)
    return reports


class _Saved(Report, frozen=True, kw_only=True):
    schema: str
    schema_version: str


def _report(saved: _Saved) -> Report:
    report = Report(*(getattr(saved, name) for name in Report.__struct_fields__))
    return replace(report, layers=tuple(map(_restored, report.layers)))


def _refuse_contradictions(report: Report, where: str) -> None:
    problem = contradiction(report)
    if problem:
        raise UnreadableModel(problem, where=where, help=_REMAKE)


def _layer(layer: Measurement) -> Document:
    content: Document = msgspec.to_builtins(layer)
    del content["seconds"]
    for name in ("norm", "reshaped_norm", "operator_norm"):
        norm = getattr(layer, name)
        content[name] = None if norm is None else _norm(norm)
    if layer.geometry is not None:
        for name in ("output_padding", "padding_mode"):
            if getattr(layer.geometry, name) == getattr(_PLAIN, name):
                del content["geometry"][name]
    if layer.operator_norm in (None, layer.norm):  # `_restored` puts it back
        del content["operator_norm"]
    for name in ("spectrum", "op"):
        if content[name] is None:
            del content[name]
    first = "name", "node", "kind", "shape", "dtype", "geometry", "norm", "reshaped_norm", "notes"
    return _first(content, first)


def _restored(layer: Measurement) -> Measurement:
    """Return a layer with the operator norm that was not written twice."""
    both = layer.norm.of == "operator" and layer.reshaped_norm is not None
    if layer.operator_norm is None and both:
        return replace(layer, operator_norm=layer.norm)
    return layer


def _norm(norm: Norm) -> Document:
    content: Document = msgspec.to_builtins(norm)
    optional = ("of", "estimate", "failure_probability", "reason")
    return {key: content[key] for key in content if key not in optional or content[key] is not None}


def _finding(finding: Finding) -> Document:
    content = msgspec.to_builtins(finding)
    order = ("rule", "verdict", "layer", "node", "observed", "limit", "message", "fingerprint")
    return _first(content, order)


def _ordered(value: object, first: tuple[str, ...]) -> Document:
    return _first(msgspec.to_builtins(value), first)


def _first(content: Document, first: tuple[str, ...]) -> Document:
    return {key: content[key] for key in first} | content


def clean(value: Any) -> Any:
    """Return `value` with null for what is not finite and with text that is Unicode."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is str:
        # A lone surrogate becomes the text of its escape.
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if kind is dict:
        return {clean(key): clean(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [clean(item) for item in value]
    return value


# DEL, C1, soft hyphen, zero-width and bidirectional marks, separators, tags, non-characters.
_UNSAFE = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffc\ufffe\uffff"
    "\U000e0000-\U000e0fff]"
)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
