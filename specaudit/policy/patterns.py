"""Patterns over dotted names: ``*`` stays within a segment, ``**`` crosses, ``re:`` is a regex."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from specaudit.errors import ConfigurationError

Matcher = Callable[[str], bool]

MAX_PATTERN = 1000


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> Matcher:
    r"""Return the predicate that `pattern` stands for.

    Parameters
    ----------
    pattern : str
        ``*`` any run of characters without a dot, ``**`` any run, ``?`` one character other
        than a dot, ``[abc]`` ``[a-z]`` ``[!abc]`` one of a set; ``**.`` at the start and
        ``.**.`` also match nothing (``**.weight`` matches ``weight``). Only dots separate:
        a slash is a character like any other. ``re:`` in front makes the rest a Python
        regular expression that must be found somewhere (anchor it with ``^`` and ``$``).

    Returns
    -------
    callable
        ``(name) -> bool``

    Raises
    ------
    ConfigurationError
        If the pattern is empty, too long, or no valid expression.

    Examples
    --------
    >>> [matcher("head.*")(name) for name in ("head.fc", "head.fc.weight", "head")]
    [True, False, False]
    >>> matcher("**.weight")("weight"), matcher(r"re:^onnx::MatMul_\d+$")("onnx::MatMul_1")
    (True, True)

    Notes
    -----
    Globs run as a set of states kept in the bits of one integer, so that time is linear in
    the name whatever the pattern: names come from the file that is audited, and a
    backtracking matcher can be made to hang by them. A regular expression has no such
    promise; it is its author's.
    """
    if not pattern or pattern == "re:":
        raise ConfigurationError("empty pattern", help="`**` matches every name")
    if len(pattern) > MAX_PATTERN:
        raise ConfigurationError(
            f"pattern longer than {MAX_PATTERN} characters", help="use several patterns"
        )
    if pattern.startswith("re:"):
        try:
            return _found_by(re.compile(pattern[3:]))
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigurationError(
                f"not a regular expression: {error}",
                help="a backslash makes a sign of it a character; without re: it is a glob",
            ) from None
    return _Glob.compiled(pattern).matches


def any_matcher(patterns: tuple[str, ...]) -> Matcher:
    """Return the predicate "one of these patterns matches"."""
    matchers = [matcher(pattern) for pattern in patterns]
    return lambda name: any(match(name) for match in matchers)


def _found_by(expression: re.Pattern[str]) -> Matcher:
    return lambda name: expression.search(name) is not None


@dataclass(frozen=True, slots=True)
class _Token:
    accepts: Callable[[str], bool]
    repeats: bool = False


class _Glob:
    """A non-deterministic automaton; bit i of a state says "the first i tokens are matched"."""

    def __init__(self, tokens: list[_Token], skips: list[tuple[int, int]]) -> None:
        self._tokens = tokens
        self._skips = skips
        self._masks: dict[str, tuple[int, int]] = {}

    @classmethod
    def compiled(cls, pattern: str) -> "_Glob":
        tokens: list[_Token] = []
        skips: list[tuple[int, int]] = []
        words = re.findall(r"\*+|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
        for before, word, after in zip([".", *words], words, [*words[1:], ""], strict=False):
            at = len(tokens)
            if word == "**" and before == "." and after == ".":
                # `**.` may stand for no segment: past the star, unless it has begun to match.
                tokens.append(_Token(_nothing))
                skips += [(at, at + 1), (at, at + 3)]
                at += 1
            if word[0] == "*":
                tokens.append(_Token(_anything if len(word) > 1 else _within_segment, repeats=True))
                skips.append((at, at + 1))
            elif word == "?":
                tokens.append(_Token(_within_segment))
            else:
                tokens.append(_Token(_one_of(word) if len(word) > 1 else word.__eq__))
        return cls(tokens, skips)

    def matches(self, name: str) -> bool:
        states = self._closed(1)
        for character in name:
            masks = self._masks.get(character)
            if masks is None:
                masks = self._masks[character] = self._masks_of(character)
            states = self._closed(((states & masks[0]) << 1) | (states & masks[1]))
            if not states:
                return False
        return bool(states >> len(self._tokens) & 1)

    def _closed(self, states: int) -> int:
        for start, end in self._skips:  # in ascending order, so that one pass is enough
            if states >> start & 1:
                states |= 1 << end
        return states

    def _masks_of(self, character: str) -> tuple[int, int]:
        step = stay = 0
        for index, token in enumerate(self._tokens):
            if token.accepts(character):
                if token.repeats:
                    stay |= 1 << index
                else:
                    step |= 1 << index
        return step, stay


def _anything(character: str) -> bool:
    return True


def _nothing(character: str) -> bool:
    return False


def _within_segment(character: str) -> bool:
    return character != "."


def _one_of(word: str) -> Callable[[str], bool]:
    negated = word[1] == "!"
    # Everything but the range dash is literal, so that no set is a regular expression in disguise.
    body = "".join(c if c == "-" else re.escape(c) for c in word[1 + negated : -1])
    try:
        expression = re.compile(f"[{'^' if negated else ''}{body}]", re.DOTALL)
    except re.error as error:
        raise ConfigurationError(
            f"not a set of characters: {word} ({error})", help="for example [abc], [a-z], [!0-9]"
        ) from None
    return lambda character: character != "." and expression.fullmatch(character) is not None
