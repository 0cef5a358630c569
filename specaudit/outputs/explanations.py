"""What the rules, the operations, the configuration and the documents mean, offline.

Every text comes from the table that the code itself uses: rules and configuration from the
policy, operations from the bound, the schemas from the files that are shipped.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.resources import files
from typing import Any, Literal

import msgspec

from specaudit.errors import UsageError
from specaudit.outputs import plain, wording
from specaudit.outputs.escaping import visible
from specaudit.policy import RULES, Allowance, Gates, LayerLimit, Policy, Verdict, figures, limit_of
from specaudit.policy.settings import choices
from specaudit.report import Report

EXIT_CODES = {
    0: "done; for `check`: everything is proved",
    1: "`check`: a limit is broken, or not proved to hold; `diff --fail-on-regression`: a "
    "regression; `clamp`: the limit could not be certified in the stored type, nothing is written",
    2: "the call or the configuration is wrong: unknown option or key, no such path, a pattern "
    "that matches nothing, an output that exists",
    3: "a file could not be audited (corrupt, truncated, unsupported, no weights, shards missing) "
    "or an output not be written",
    4: "an internal error: a bug of specaudit; --debug shows where",
    130: "interrupted",
    141: "the reader of the output went away",
}
TABLES: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("[tool.specaudit]", Policy),
    ("[tool.specaudit.gates]", Gates),
    ("[[tool.specaudit.layers]]", LayerLimit),
    ("[[tool.specaudit.allow]]", Allowance),
)
_WIDTH = 88


def explain(what: str) -> str:
    """Return the text on a rule, an operation or a subject.

    Parameters
    ----------
    what : str
        ``SA201``, ``Softmax``, ``max-norm`` and other keys of the configuration, or one of
        `SUBJECTS`; case does not matter.

    Raises
    ------
    UsageError
        If there is nothing of that name; the nearest names are suggested.
    """
    word = what.strip().lower().replace("_", "-").replace(" ", "-")
    if word in SUBJECTS:
        return SUBJECTS[word]()
    if word.upper() in RULES:
        return _rule(word.upper())
    keys = {name for _, kind in TABLES for name, _ in _keys(kind)}
    texts = [_key(word)] if word in keys else []
    operations = _operations()
    found = [
        key for key in operations if what.strip().lower() in (key[1].lower(), _name(key).lower())
    ]
    texts += [_operation(key, operations[key]) for key in found]
    if texts:
        return "\n".join(texts)
    names = [*SUBJECTS, *RULES, *keys, *map(_name, operations)]
    near = get_close_matches(what, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"try one of {', '.join(SUBJECTS)}"
    raise UsageError(f"nothing is known of `{visible(what)[:80]}`", help=hint)


def explain_layer(report: Report, verdict: Verdict, policy: Policy, name: str) -> str:
    """Return what is known of the layers of a name: norms, the policy line that won, findings."""
    lines: list[str] = []
    on_path = set(report.network.path)
    for layer in report.layers:
        if name not in (layer.name, layer.node):
            continue
        lines.append(f"{visible(layer.name)}: {layer.kind}, {wording.norm_text(layer.norm)}")
        found = limit_of(layer, policy)
        if found is None:
            lines.append("  no limit applies")
        else:
            limit, place, entry = found
            where = f" ({wording.place_text(place)})" if place else ""
            lines.append(f"  limit {figures.exact(limit)} by match = {entry.match!r}{where}")
        if layer.node is not None:
            word = "is" if layer.node in on_path else "is not"
            lines.append(f"  {visible(layer.node)} {word} on the path of the network bound")
        findings = verdict.by_layer().get((layer.name, layer.node), ())
        lines += [f"  {plain.finding_line(finding, report.model.path)}" for finding in findings]
    if not lines:
        near = get_close_matches(name, [layer.name for layer in report.layers], n=3)
        hint = (
            f"did you mean {' or '.join(map(visible, near))}?"
            if near
            else "`specaudit inspect MODEL` lists the names"
        )
        raise UsageError(f"no layer is called `{visible(name)[:80]}`", help=hint)
    return "\n".join(lines) + "\n"


def schema(name: Literal["audit", "clamp", "diff"] = "audit") -> str:
    """Return the JSON Schema of a document, as shipped."""
    return (files("specaudit.outputs") / f"{name}.schema.json").read_text("utf-8")


def _rule(code: str) -> str:
    rule = RULES[code]
    default = "on by default" if rule.default else "off by default: --select turns it on"
    head = f"{code}: {rule.title} ({default})"
    return f"{head}\n\n{_wrapped(rule.explanation)}\n\nWhat to do\n{_wrapped(rule.remedy)}\n"


def _rules() -> str:
    lines = [
        f"{code}  {rule.title}{'' if rule.default else '  (off by default)'}"
        for code, rule in RULES.items()
    ]
    return "\n".join(lines) + "\n"


def _exit_codes() -> str:
    lines = [_filled(text, f"{code:>3}  ", " " * 5) for code, text in EXIT_CODES.items()]
    note = "Of several models the highest of 4, 3, 2, 1, 0 wins; every one is audited."
    return "\n".join([*lines, "", note]) + "\n"


def _config() -> str:
    head = (
        "The policy is the file named by --config, else the nearest specaudit.toml, or\n"
        "[tool.specaudit] in pyproject.toml, from the working directory upwards. Flags win.\n"
    )
    for title, kind in TABLES:
        head += f"\n{title}\n"
        for name, text in _keys(kind):
            head += _filled(text, f"  {name:<14} ", " " * 17) + "\n"
    return head


def _key(name: str) -> str:
    """Return what a key of the configuration is for, in each table that has it."""
    found = [(title, dict(_keys(kind))) for title, kind in TABLES]
    texts = [f"{name}: in {title}\n\n{_wrapped(k[name])}\n" for title, k in found if name in k]
    return "\n".join(texts) + "\n`specaudit explain config` lists every key.\n"


def _keys(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Yield each key of a table with what it is for."""
    for field in msgspec.structs.fields(kind):
        meta = [part for part in getattr(field.type, "__metadata__", ()) if part.description]
        if not meta:
            continue
        words = ", ".join(choices(field.type))
        default = "" if field.required else f" [{_default(field)}]"
        text = f"{meta[0].description}{f': {words}' if words else ''}{default}"
        yield field.encode_name, text


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "not set" if value in (None, (), {}) or isinstance(value, Gates) else str(value)


def _operations() -> dict[tuple[str, str], Callable[..., Any]]:
    from specaudit.lipschitz import families, rules  # numpy with it: 0.1 s

    assert families.ALL
    return dict(sorted(rules.TABLE.items()))


def _name(key: tuple[str, str]) -> str:
    domain, op = key
    return f"{domain}.{op}" if domain else op


def _operation(key: tuple[str, str], function: Callable[..., Any]) -> str:
    text = inspect.getdoc(function) or "A rule without a description."
    return f"{_name(key)}: Lipschitz constant\n\n{textwrap.indent(text, '  ')}\n"


def _ops() -> str:
    names = ", ".join(map(_name, _operations()))
    head = "Operations with a rule; any other leaves the network without a bound (SA002).\n\n"
    return head + _wrapped(names) + "\n"


def _wrapped(text: str) -> str:
    return _filled(text, "  ", "  ")


def _filled(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


SUBJECTS: dict[str, Callable[[], str]] = {
    "rules": _rules,
    "ops": _ops,
    "config": _config,
    "schema": schema,
    "schema-clamp": lambda: schema("clamp"),
    "schema-diff": lambda: schema("diff"),
    "exit-codes": _exit_codes,
}
