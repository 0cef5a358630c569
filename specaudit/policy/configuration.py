"""The policy file: strict, every mistake with its place, all of them at once."""

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec.structs import fields

from specaudit.errors import ConfigurationError
from specaudit.policy.patterns import matcher
from specaudit.policy.places import lines_of
from specaudit.policy.rules import RULES
from specaudit.policy.settings import Allowance, Gates, LayerLimit, Policy, choices, listed

# The parser's memory grows as the square of a dotted key's parts: 50 000 of them took 1 GB.
_MOST_DOTS = 500
_NOT_IN_FILES = {"path", "lines", "flag", "flags"}
_TABLES: dict[str, type[msgspec.Struct]] = {"gates": Gates}
_ARRAYS: dict[str, type[msgspec.Struct]] = {"layers": LayerLimit, "allow": Allowance}


class Mistakes(ConfigurationError):
    """All that is wrong with a policy file; `causes` has one error each."""

    def __init__(self, path: str, causes: tuple[ConfigurationError, ...]) -> None:
        count = "1 mistake" if len(causes) == 1 else f"{len(causes)} mistakes"
        super().__init__(f"{count} in the configuration", where=path, help=causes[0].help)
        self.causes = causes


def parse_policy(text: str, path: str) -> Policy | None:
    r"""Read a policy.

    Parameters
    ----------
    text : str
        TOML: ``[tool.specaudit]`` where there is such a table, else the whole of it.
    path : str
        Named in errors and findings; a ``pyproject.toml`` without the table has no policy.

    Returns
    -------
    Policy or None
        None where the file has no policy in it.

    Raises
    ------
    Mistakes
        With an error for each thing that is wrong.

    Examples
    --------
    >>> parse_policy("[gates]\nmax-lipschitz = 25", "specaudit.toml").gates.max_lipschitz
    25.0
    """
    try:
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise ValueError(f"a line holds more than {_MOST_DOTS} dots")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError
        cause = ConfigurationError(
            f"not TOML: {error}", where=path, help="`specaudit explain config` lists every key"
        )
        raise Mistakes(path, (cause,)) from None
    prefix: tuple[str, ...] = ()
    if "tool" in document:
        tool = document["tool"]
        if not isinstance(tool, dict) or "specaudit" not in tool:
            return None
        document, prefix = tool["specaudit"], ("tool", "specaudit")
    elif path.replace("\\", "/").rsplit("/", 1)[-1] == "pyproject.toml":
        return None
    reader = _Reader(path, _below(lines_of(text), prefix))
    policy = reader.policy(document)
    if reader.causes or policy is None:
        reader.causes.sort(key=lambda pair: pair[0])
        raise Mistakes(path, tuple(cause for _, cause in reader.causes))
    return policy


def _below(lines: dict[str, int], prefix: tuple[str, ...]) -> dict[str, int]:
    start = "".join(f"{key}." for key in prefix)
    return {key[len(start) :]: line for key, line in lines.items() if key.startswith(start)}


Keys = tuple[str | int, ...]
Mistake = tuple[Keys, str, str]


@dataclass
class _Reader:
    path: str
    lines: dict[str, int]
    causes: list[tuple[int, ConfigurationError]] = field(default_factory=list)

    def policy(self, document: Any) -> Policy | None:
        values = self._table(document, Policy, ())
        for name in _TABLES.keys() & values.keys():
            values[name] = self._built(values[name], _TABLES[name], (name,))
        for name in _ARRAYS.keys() & values.keys():
            values[name] = tuple(self._array(values[name], _ARRAYS[name], name))
        for mistake in _in_policy(values):
            self._mistake(*mistake)
        return None if self.causes else Policy(**values, path=self.path, lines=self.lines)

    def _array(self, value: Any, kind: type[msgspec.Struct], name: str) -> Iterator[object]:
        if not isinstance(value, list):
            self._mistake((name,), f"`{name}` is an array of tables", f"write [[{name}]]")
            return
        for index, entry in enumerate(value):
            yield self._built(entry, kind, (name, index))

    def _built(self, value: Any, kind: type[msgspec.Struct], where: Keys) -> object:
        before = len(self.causes)
        values = self._table(value, kind, where)
        for one in fields(kind):
            if one.required and isinstance(value, dict) and one.encode_name not in value:
                hint = f'add `{one.encode_name} = "…"`: {_described(one)}'
                self._mistake(where, f"`{_joined((*where, one.encode_name))}` is missing", hint)
        if kind is Allowance and "rule" in values:
            values["rule"] = values["rule"].upper()
        checked = {LayerLimit: _in_layers, Allowance: _in_allow}.get(kind)
        clean = len(self.causes) == before
        for keys, message, hint in checked(values) if checked else ():
            if keys or clean:  # what a table lacks as a whole may be what is wrong in it
                self._mistake((*where, *keys), message, hint)
        return None if len(self.causes) > before else kind(**values)

    def _table(self, value: Any, kind: type[msgspec.Struct], where: Keys) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._mistake(where, f"`{_joined(where)}` is not a table", "")
            return {}
        known = {one.encode_name: one for one in fields(kind) if one.name not in _NOT_IN_FILES}
        values = {}
        for key, given in value.items():
            at = (*where, key)
            if key not in known:
                near = get_close_matches(key.replace("_", "-"), known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
                self._mistake(at, f"unknown key `{_joined(at)}`", hint)
            elif kind is Policy and (key in _TABLES or key in _ARRAYS):
                values[known[key].name] = given
            else:
                try:
                    values[known[key].name] = msgspec.convert(given, known[key].type)
                except msgspec.ValidationError as error:
                    hint = _one_of(known[key].type) or _described(known[key])
                    self._mistake(at, f"`{_joined(at)}`: {_plain(error)}", hint)
        return values

    def _mistake(self, where: Keys, message: str, hint: str) -> None:
        prefixes = (".".join(map(str, where[:end])) for end in range(len(where), 0, -1))
        line = next((self.lines[keys] for keys in prefixes if keys in self.lines), 0)
        place = f"{self.path}:{line}" if line else self.path
        self.causes.append((line, ConfigurationError(message, where=place, help=hint)))


def _in_policy(values: dict[str, Any]) -> Iterator[Mistake]:
    for name in ("select", "ignore"):
        for word in values.get(name) or ():
            code = word.upper()
            if code != "ALL" and not any(code and known.startswith(code) for known in RULES):
                yield (name,), f"no such rule: `{word}`", _nearest_rule(word)
    ranges = values.get("input_range") or {}
    for low, high in ranges.values() if isinstance(ranges, dict) else [ranges]:
        if not -math.inf < low <= high < math.inf:
            yield ("input-range",), f"not a range: [{low}, {high}]", "write [LO, HI], both finite"


def _in_layers(values: dict[str, Any]) -> Iterator[Mistake]:
    yield from _in_match(values)
    if "max_norm" not in values and "max_condition" not in values:
        yield (), "this entry sets no limit", "add `max-norm` or `max-condition`"


def _in_allow(values: dict[str, Any]) -> Iterator[Mistake]:
    yield from _in_match(values)
    rule = values.get("rule", "SA201")
    if rule not in RULES:
        yield ("rule",), f"no such rule: `{rule}`", _nearest_rule(rule)
    if not values.get("reason", "some").strip():
        yield ("reason",), "an allowance needs a reason", "say why the finding may stand"


def _in_match(values: dict[str, Any]) -> Iterator[Mistake]:
    patterns = listed(values.get("match", "**"))
    if not patterns:
        yield ("match",), "no pattern", "`**` matches every name"
    for index, pattern in enumerate(patterns):
        try:
            matcher(pattern)
        except ConfigurationError as error:
            yield ("match", index), f"`{pattern[:80]}`: {error.message}", error.help


def _nearest_rule(word: str) -> str:
    near = get_close_matches(word.upper(), RULES, n=1)
    return f"did you mean {near[0]}?" if near else "`specaudit explain rules` lists them"


def _joined(where: Keys) -> str:
    text = ""
    for key in where:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _one_of(kind: Any) -> str:
    words = ", ".join(choices(kind))
    return f"one of {words}" if words else ""


def _described(key: msgspec.structs.FieldInfo) -> str:
    """Return what a key is for."""
    meta = getattr(key.type, "__metadata__", ())
    return next((part.description for part in meta if part.description), "")


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "array": "a list",
    "object": "a table",
    "bool": "true or false",
    "date": "a date",
}


def _plain(error: msgspec.ValidationError) -> str:
    """Return msgspec's message in the words of somebody who writes TOML."""
    text = re.sub(r" - at `\$.*", "", str(error))

    def spoken(found: re.Match[str]) -> str:
        kinds = [word for word in found[1].split(" | ") if word != "null"]
        return " or ".join(_WORDS.get(kind, kind) for kind in kinds)

    text = re.sub(r"`([^`]*)`", spoken, text)
    return text[:1].lower() + text[1:]
