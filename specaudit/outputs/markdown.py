"""Markdown that fits a pull request: the verdict, the worst ten, the rest folded away."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from specaudit.outputs import wording
from specaudit.outputs.escaping import shortened, size, visible
from specaudit.policy import Finding, Verdict, figures
from specaudit.report import Report

MOST_BYTES = 60 * 1024  # GitHub takes 65 536 characters
WORST = 10
_NAME = 120
_TAIL = 400  # kept free for closing tags and for saying what was left out
_SIGNS = {"pass": "✅", "fail": "❌", "unproven": "❔", "measured": "📏"}
_WORD_SIGNS = {"error": "❌", "unproven": "❔", "warning": "⚠️", "note": "ℹ️", "allowed": "➖"}
_LAYER_HEAD = [
    "| | layer | kind | shape | norm | limit | reshaped |",
    "|---|---|---|---|---|---|---|",
]
_SPECIAL = re.compile(r"([\\`*_{}\[\]<#!|~$&])")


def render(pairs: Sequence[tuple[Report, Verdict]]) -> str:
    """Return the page, at most `MOST_BYTES` of UTF-8; what did not fit is counted.

    Notes
    -----
    Of several models the verdicts come first, then a section each, of which a large
    one does not crowd out the ones after it.
    """
    if len(pairs) == 1:
        return _section(*pairs[0], MOST_BYTES)
    page = _Page(MOST_BYTES // 3)
    page.lines(["### specaudit\n", "| | model | |", "|---|---|---|"], "line")
    page.lines(itertools.starmap(_overview, pairs), "model")
    head = page.text()
    whole = [_section(report, verdict, MOST_BYTES) for report, verdict in pairs]
    sizes = [len(part.encode()) + 1 for part in whole]
    shares = _shares(sizes, MOST_BYTES - len(head.encode()))
    parts = [
        part if need <= share else _section(*pair, share - 1)
        for part, need, share, pair in zip(whole, sizes, shares, pairs, strict=True)
    ]
    return "\n".join(filter(None, [head, *parts]))


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """Return how much of the room each has: what the small ones leave is for the large."""
    shares = [0] * len(sizes)
    for done, index in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[index] = min(sizes[index], room // (len(sizes) - done))
        room -= shares[index]
    return shares


def _section(report: Report, verdict: Verdict, budget: int) -> str:
    """Return what there is to say of one model, in so many bytes; empty where nothing fits."""
    page = _Page(budget - _TAIL)
    page.lines([_headline(report, verdict)], "model")
    page.lines(_worst(report, verdict), "finding")
    bounds = [f"- {text}" for text in _bounds(report)]
    page.section("Bounds", [], bounds, "line on the bounds")
    rows = list(_layer_rows(report, verdict))
    page.section(wording.counted(len(rows), "layer"), _LAYER_HEAD, rows, "layer")
    skips = [f"- {code(one.name)} {size(one.shape)}: {prose(one.reason)}" for one in report.skipped]
    page.section(f"{len(skips)} skipped", [], skips, "skipped tensor")
    allowed = [
        f"- {finding.rule} {_subject(finding)}: {prose(wording.allowed_text(finding))}"
        for finding in verdict.findings
        if finding.allowed is not None
    ]
    page.section(f"{len(allowed)} allowed", [], allowed, "allowance")
    return page.text()


def _overview(report: Report, verdict: Verdict) -> str:
    return f"| {_SIGNS[verdict.outcome]} | {code(report.model.path)} | {wording.tally(verdict)} |"


def _headline(report: Report, verdict: Verdict) -> str:
    outcome = verdict.outcome
    name = code(report.model.path)
    title = f"### {_SIGNS[outcome]} {wording.OUTCOMES[outcome]} {name}\n"
    return f"{title}\n{wording.tally(verdict)} · {wording.model_line(report)}\n"


def _worst(report: Report, verdict: Verdict) -> list[str]:
    standing = [finding for finding in verdict.findings if finding.allowed is None]
    if not standing:
        return []
    order = ("error", "unproven", "warning", "note")
    standing.sort(key=lambda finding: (order.index(wording.label(finding)), -_excess(finding)))
    rows = ["\n| | rule | where | what |", "|---|---|---|---|"]
    for finding in standing[:WORST]:
        sign = _WORD_SIGNS[wording.label(finding)]
        where = _subject(finding) or code(report.model.path)
        place = f" ({code(wording.place_text(finding.place))})" if finding.place else ""
        rows.append(f"| {sign} | {finding.rule} | {where} | {prose(finding.message)}{place} |")
    if len(standing) > WORST:
        more = wording.counted(len(standing) - WORST, "more finding")
        rows.append(f"| | | | … and {more} |")
    return rows


def _excess(finding: Finding) -> float:
    """How far over its limit a finding is, as a ratio."""
    if finding.observed is None or not finding.limit:
        return 0.0
    return (finding.observed.upper or float("inf")) / finding.limit


def _bounds(report: Report) -> Iterator[str]:
    yield f"product: {prose(wording.product_text(report.product))}"
    yield f"network: {prose(wording.network_text(report.network))}"
    for what, text in wording.network_details(report.network):
        yield f"{what}: {prose(text)}"
    steps = [wording.factor_text(factor) for factor in report.network.factors]
    for factor in steps or map(visible, report.network.path):
        yield f"path: {code(factor)}"


def _layer_rows(report: Report, verdict: Verdict) -> Iterator[str]:
    found = verdict.by_layer()
    plain = _SIGNS["pass"] if verdict.is_judged else ""
    limits = verdict.limits or (None,) * len(report.layers)
    for layer, limit in zip(report.layers, limits, strict=True):
        words = {wording.label(finding) for finding in found.get((layer.name, layer.node), ())}
        sign = next((_WORD_SIGNS[word] for word in _WORD_SIGNS if word in words), plain)
        other = wording.other_norm(layer)
        cells = (
            sign,
            code(layer.name),
            wording.KINDS[layer.kind],
            size(layer.shape),
            prose(wording.norm_text(layer.norm, limit)),
            "" if limit is None else figures.exact(limit),
            prose(wording.upper_text(other)) if other else "",
        )
        yield f"| {' | '.join(cells)} |"


def _subject(finding: Finding) -> str:
    names = [name for name in (finding.layer, finding.node) if name]
    return " ".join(map(code, names))


def code(text: str) -> str:
    """Return a name as a code span, in which nothing is markup and nobody is mentioned."""
    shown = shortened(text, _NAME).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown[:1] in "` " or shown[-1:] in "` " or not shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def prose(text: str) -> str:
    """Return a sentence, its markup, mentions and links made into text."""
    escaped = _SPECIAL.sub(r"\\\1", shortened(text, 4 * _NAME))
    # A comment ends a mention, an issue number's link or a URL before it begins.
    return re.sub(r"(@|://|www\.)", r"\1<!-- -->", escaped)


class _Page:
    """Text under a budget of bytes; what does not fit is counted at the end."""

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._parts: list[str] = []
        self._omitted: dict[str, int] = {}

    def lines(self, lines: Iterable[str], noun: str) -> None:
        for line in lines:
            if not self._add(line + "\n"):
                self._omitted[noun] = self._omitted.get(noun, 0) + 1

    def section(self, title: str, head: list[str], lines: list[str], noun: str) -> None:
        start = "\n".join([f"\n<details><summary>{title}</summary>\n", *head, ""])
        end = "\n</details>\n"
        if lines and self._add(start, reserve=len(end)):
            self.lines(lines, noun)
            self._parts.append(end)
        elif lines:
            self._omitted[noun] = self._omitted.get(noun, 0) + len(lines)

    def text(self) -> str:
        """Return the text; empty where not even its first line fits."""
        counts = [wording.counted(count, f"more {noun}") for noun, count in self._omitted.items()]
        if counts and self._parts:
            self._parts.append(f"\n… {', '.join(counts)}: see the full report\n")
        return "".join(self._parts)

    def _add(self, text: str, reserve: int = 0) -> bool:
        cost = len(text.encode()) + reserve
        if self._omitted or cost > self._left:
            return False  # nothing after the first thing left out: the order says what counts
        self._left -= cost
        self._parts.append(text)
        return True
