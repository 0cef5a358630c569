"""Text for people: a chart of the layers where there is a terminal, plain lines where not."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from specaudit.outputs import plain, wording
from specaudit.outputs.bars import Scale, values_of
from specaudit.outputs.chart import Columns, Judged, axis, bar, cell
from specaudit.outputs.escaping import shortened, visible
from specaudit.policy import RULES, Finding, Verdict
from specaudit.report import Report

if TYPE_CHECKING:
    from rich.text import Text

_BLOCKS = 20  # findings shown in full; the rest is counted, and listed by -v
_STEPS = 8  # of the path
_REASONS = 6  # for which something was skipped
_COLOURS = {"fail": "red", "unproven": "yellow", "warn": "yellow", "pass": "green"}
_MARKS = {"fail": "✘", "unproven": "?", "warn": "!", "allowed": "○", "pass": "✔"}


@dataclass(frozen=True, slots=True)
class View:
    """How much of it is shown, and on what.

    Parameters
    ----------
    width : int or None
        Columns of the terminal; None where there is none.
    color : bool
    sort : {"depth", "norm", "name"}
    top : int or None
        Show that many layers.
    verbose : bool
        List what is otherwise grouped.
    command : {"inspect", "check"}
        ``check`` speaks of verdicts, ``inspect`` mentions problems.
    """

    width: int | None = None
    color: bool = False
    sort: Literal["depth", "norm", "name"] = "depth"
    top: int | None = None
    verbose: bool = False
    command: Literal["inspect", "check"] = "check"


def render(pairs: Sequence[tuple[Report, Verdict]], view: View | None = None) -> str:
    """Return the text on all models."""
    view = view or View()
    return "\n".join(_one(report, verdict, view) for report, verdict in pairs)


def block(finding: Finding, path: str = "") -> str:
    """Return one finding as a block: what, where, the numbers, who says so, what mends it."""
    return "\n".join(_block_lines(finding, path, remedy=True))


def _one(report: Report, verdict: Verdict, view: View) -> str:
    limits = verdict.limits or (None,) * len(report.layers)
    everything = list(zip(report.layers, limits, strict=True))
    layers = _chosen(everything, view)
    hidden = len(everything) - len(layers)
    left = f"… {wording.counted(hidden, 'more layer')} (--top {view.top})" if hidden else ""
    if view.width is not None:
        return _Chart(report, verdict, view, view.width).text(layers, left)
    lines = plain.lines(report, verdict, layers, left)
    lines += [plain.finding_line(finding, report.model.path) for finding in verdict.findings]
    if view.command == "check":
        outcome = wording.OUTCOMES[verdict.outcome]
        lines.append(f"{outcome}: {visible(report.model.path)}: {wording.tally(verdict)}")
    if view.color:
        lines = [plain.coloured(line) for line in lines]
    return "\n".join(lines) + "\n"


def _chosen(layers: list[Judged], view: View) -> list[Judged]:
    if view.sort == "norm":
        layers = sorted(layers, key=lambda pair: -pair[0].norm.bracket.upper)
    elif view.sort == "name":
        layers = sorted(layers, key=lambda pair: pair[0].name)
    return layers if view.top is None else layers[: view.top]


def _block_lines(finding: Finding, path: str, *, remedy: bool) -> list[str]:
    subject = wording.subject_of(finding)
    where = " › ".join(part for part in (visible(path), subject) if part)
    lines = [wording.title(finding)]
    if where:
        lines.append(f"  --> {where}")
    lines.append(f"      {visible(finding.message)}")
    place = wording.place_text(finding.place)
    if place:
        lines.append(f"      policy: {place}")
    if finding.allowed is not None:
        lines.append(f"      {wording.allowed_text(finding)}")
    elif remedy:
        lines.append(f"  help: {RULES[finding.rule].remedy}")
    return lines


class _Chart:
    """One model on a terminal of a known width."""

    def __init__(self, report: Report, verdict: Verdict, view: View, width: int) -> None:
        from rich.console import Console  # 60 ms that a pipe does not pay

        self.report, self.verdict, self.view = report, verdict, view
        self.width = max(width, 40)
        self.out = io.StringIO()
        self.console = Console(
            file=self.out,
            width=self.width,
            force_terminal=view.color,
            color_system="standard" if view.color else None,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self, layers: list[Judged], left: str) -> str:
        self._say(shortened(self.report.model.path, self.width - 1), "bold")
        if self.report.model.format != "unknown":
            self._wrapped(wording.model_line(self.report), "", "", "dim")
            for note in self.report.model.notes:
                self._paragraph("note", visible(note))
            self._say("")
            self._rows(layers)
            if left:
                self._say(f"  {left}", "dim")
            self._spectra(layers)
            self._say("")
            self._notes(layers)
            self._bounds()
            self._skipped()
        if self.view.command == "check":
            self._blocks()
        else:
            self._problems()
        return self.out.getvalue()

    def _rows(self, layers: list[Judged]) -> None:
        from rich.text import Text

        if not layers:
            return
        limits = [limit for _, limit in layers]
        scale = Scale.over(values_of((layer for layer, _ in layers), limits))
        columns = Columns.fitting(layers, self.width)
        header = Text("  ")
        for title, width, right in columns.titles():
            header.append(cell(title, width, right=right) + "  ", "dim")
        header.append(axis(scale, columns.bar), "dim")
        self._line(header)
        found = self.verdict.by_layer()
        for layer, limit in layers:
            state = _state(found.get((layer.name, layer.node), ()))
            colour = _COLOURS.get(state, "cyan")
            judged = self.view.command == "check"
            mark = _MARKS[state] if judged or state != "pass" else " "
            row = Text().append(f"{mark} ", f"bold {colour}")
            for value, width, right in columns.cells(layer, limit):
                row.append(cell(value, width, right=right) + "  ", "")
            row.append_text(bar(layer, limit, scale, columns.bar, colour if judged else "cyan"))
            self._line(row)

    def _spectra(self, layers: list[Judged]) -> None:
        for layer, _ in layers:
            if layer.spectrum is not None:
                self._say("")
                self._say(f"  {shortened(layer.name, self.width - 2)}")
                self._wrapped(wording.spectrum_text(layer.spectrum), " " * 4, " " * 4, "cyan")

    def _notes(self, layers: list[Judged]) -> None:
        for note, names in wording.noted(layer for layer, _ in layers).items():
            shown = names if self.view.verbose else names[:2]
            more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            listed = ", ".join(shortened(name, 40) for name in shown)
            self._paragraph("note", f"{visible(note)}: {listed}{more}")

    def _bounds(self) -> None:
        network = self.report.network
        self._paragraph("product", wording.product_text(self.report.product))
        self._paragraph("network", wording.network_text(network))
        details = list(wording.network_details(network))
        shown = details if self.view.verbose else details[:8]
        for what, text in shown:
            self._paragraph("", f"{what} {text}")
        if len(details) > len(shown):
            more = wording.counted(len(details) - len(shown), "more reason")
            self._paragraph("", f"… {more} (-v)")
        self._path()

    def _path(self) -> None:
        network = self.report.network
        factors = list(network.factors)
        if not self.view.verbose:
            factors = wording.stretching(factors)
        steps = list(map(wording.factor_text, factors)) or list(map(visible, network.path))
        cut = len(steps) > _STEPS and not self.view.verbose
        largest = map(wording.factor_text, wording.stretching(network.contributors))
        unseen = [step for step in largest if cut or step not in steps]
        if unseen:
            self._paragraph("", f"largest factors: {', '.join(unseen)}")
        if cut:
            steps = [*steps[:4], f"… {len(steps) - 7} more (-v) …", *steps[-3:]]
        still = len(network.factors) - len(factors)
        if still:
            steps.append(f"({wording.counted(still, 'node')} ×1 left out)")
        if steps:
            self._paragraph("path", " → ".join(steps).replace(" → (", " ("))

    def _skipped(self) -> None:
        for hole in self.report.skipped:
            if not hole.covered:
                self._paragraph("unseen", wording.skipped_text(hole), "yellow")
        groups = list(wording.skipped_groups(self.report.skipped).items())
        shown = groups if self.view.verbose else groups[:_REASONS]
        for reason, group in shown:
            if self.view.verbose:
                for one in group:
                    self._paragraph("skipped", wording.skipped_text(one), "dim")
                continue
            names = ", ".join(shortened(one.name, 40) for one in group[:3])
            more = f" and {len(group) - 3} more (-v)" if len(group) > 3 else ""
            text = f"{len(group)} × {visible(reason)}: {names}{more}"
            self._paragraph("skipped", text, "dim")
        rest = groups[len(shown) :]
        if rest:
            why = wording.counted(len(rest), "other reason")
            count = sum(len(group) for _, group in rest)
            self._paragraph("skipped", f"{count} × for {why} (-v)", "dim")

    def _blocks(self) -> None:
        standing = [finding for finding in self.verdict.findings if finding.allowed is None]
        standing.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
        shown = standing if self.view.verbose else standing[:_BLOCKS]
        explained: set[str] = set()
        for finding in shown:
            self._say("")
            remedy = finding.rule not in explained
            explained.add(finding.rule)
            title, *rest = _block_lines(finding, self.report.model.path, remedy=remedy)
            self._say(title, f"bold {_COLOURS[finding.verdict]}")
            for line in rest:
                indent = line[: len(line) - len(line.lstrip())]
                self._wrapped(line.strip(), indent, indent + "      "[: 8 - len(indent)])
        if len(standing) > len(shown):
            self._say(f"\n… {wording.counted(len(standing) - len(shown), 'more finding')} (-v)")
        self._allowed()
        outcome = self.verdict.outcome
        self._say("")
        style = f"bold {_COLOURS[outcome]}"
        headline = f"{wording.OUTCOMES[outcome]}  {wording.tally(self.verdict)}"
        self._wrapped(headline, "", " " * 6, style)

    def _allowed(self) -> None:
        allowed = [finding for finding in self.verdict.findings if finding.allowed is not None]
        shown = allowed if self.view.verbose else allowed[:3]
        if shown:
            self._say("")
        for finding in shown:
            subject = f" {wording.subject_of(finding)}" if finding.subject else ""
            text = f"{finding.rule}{subject}: {wording.allowed_text(finding)}"
            self._paragraph("allowed", text, "dim")
        if len(allowed) > len(shown):
            self._paragraph("", f"… {len(allowed) - len(shown)} more allowed (-v)", "dim")

    def _problems(self) -> None:
        standing = [finding for finding in self.verdict.findings if finding.allowed is None]
        for finding in standing:
            subject = wording.subject_of(finding)
            text = f"{subject}: {visible(finding.message)}" if subject else visible(finding.message)
            self._paragraph(finding.rule, text, _COLOURS[finding.verdict])

    def _paragraph(self, label: str, text: str, style: str = "") -> None:
        self._wrapped(text, f"  {label:<9}", " " * 11, style)

    def _wrapped(self, text: str, first: str, rest: str, style: str = "") -> None:
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_on_hyphens=False,
        )
        for line in lines or [first]:
            self._say(line, style)

    def _say(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self._line(Text(text, style))

    def _line(self, text: "Text") -> None:
        text.rstrip()
        self.console.print(text, soft_wrap=True)


def _state(findings: tuple[Finding, ...]) -> str:
    words = ["allowed" if finding.allowed else finding.verdict for finding in findings]
    order = ("fail", "unproven", "warn", "allowed")
    return next((word for word in order if word in words), "pass")
