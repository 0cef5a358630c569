"""The rows of the chart on a terminal: columns of a fixed width, and a bar."""

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from specaudit.outputs import wording
from specaudit.outputs.bars import Scale
from specaudit.outputs.escaping import shortened, size, visible
from specaudit.policy import figures
from specaudit.report import Measurement

if TYPE_CHECKING:
    from rich.text import Text

Judged = tuple[Measurement, float | None]


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of the columns; 0 leaves one out."""

    name: int
    kind: int
    shape: int
    norm: int
    other: int
    bar: int
    wide: bool
    other_title: str

    @classmethod
    def fitting(cls, layers: list[Judged], width: int) -> "Columns":
        """Return the widths with which rows of these layers fill `width` columns."""
        from rich.cells import cell_len

        wide = width >= 110
        names = max(cell_len(visible(layer.name)) for layer, _ in layers)
        others = [other for layer, _ in layers if (other := wording.other_norm(layer))]
        kind = max(len(wording.KINDS[layer.kind]) for layer, _ in layers) if wide else 0
        longest = max(len(size(layer.shape)) for layer, _ in layers)
        shape = max(min(longest, 20 if wide else 12), 5)
        norm = max(max(len(_norm_cell(layer, limit, wide)) for layer, limit in layers), 6)
        norm = min(norm, 40 if wide else 18)
        beside = 11 if others else 0
        spent = 2 + sum(column + 2 for column in (kind, shape, norm, beside) if column)
        name = max(min(names, width - spent - 2 - (20 if wide else 10)), 8)
        title = "operator ≤" if others and others[0].of == "operator" else "reshaped ≤"
        bar = max(width - spent - name - 2, 8)
        return cls(name, kind, shape, norm, beside, bar, wide, title)

    def titles(self) -> list[tuple[str, int, bool]]:
        """Return text, width and alignment to the right of each head."""
        norm = "norm in" if self.wide else "norm ≤"
        return self._present("layer", "kind", "shape", norm, self.other_title)

    def cells(self, layer: Measurement, limit: float | None) -> list[tuple[str, int, bool]]:
        """Return text, width and alignment to the right of each cell of a layer."""
        other = wording.other_norm(layer)
        return self._present(
            layer.name,
            wording.KINDS[layer.kind],
            size(layer.shape),
            _norm_cell(layer, limit, self.wide),
            wording.upper_text(other) if other else "",
        )

    def _present(self, *values: str) -> list[tuple[str, int, bool]]:
        widths = self.name, self.kind, self.shape, self.norm, self.other
        aligned = False, False, False, True, True
        columns = zip(values, widths, aligned, strict=True)
        return [(value, width, right) for value, width, right in columns if width]


def _norm_cell(layer: Measurement, limit: float | None, wide: bool) -> str:
    if not wide or layer.norm.upper is None:
        return wording.upper_text(layer.norm, limit)
    return figures.interval(layer.norm.lower, layer.norm.upper, limit)


def cell(text: str, width: int, *, right: bool) -> str:
    """Return `text` in exactly so many columns, whatever the width of its characters."""
    from rich.cells import cell_len, set_cell_size

    shown = shortened(text, width)
    missing = width - cell_len(shown)
    if missing < 0:
        return set_cell_size(shown, width)
    return " " * missing + shown if right else shown + " " * missing


def axis(scale: Scale, width: int) -> str:
    """Return the decades of a scale over `width` columns, as many as have room."""
    line = [" "] * width
    end = -2
    for position, text in scale.ticks(max(width // 7, 1)):
        start = round(position * (width - 1))
        if start > end + 1 and start + len(text) <= width:
            line[start : start + len(text)] = text
            end = start + len(text)
    return "".join(line)


def bar(layer: Measurement, limit: float | None, scale: Scale, width: int, colour: str) -> "Text":
    """Return the bar of a layer: solid to the lower end, dotted to the upper, limit and ghost."""
    from rich.text import Text

    norm = layer.norm
    if norm.status == "non_finite":
        return Text("NaN or Inf"[:width], "red")
    cells = [(" ", "")] * width
    column = width - 1
    solid = round(scale.at(norm.lower or 0.0) * column)
    reach = column if norm.upper is None else round(scale.at(norm.upper) * column)
    for index in range(solid + 1, reach + 1):
        cells[index] = ("┄", colour)
    if norm.lower:
        for index in range(solid + 1):
            cells[index] = ("━", colour)
    if norm.upper is None:
        cells[column] = ("▶", colour)
    other = wording.other_norm(layer)
    if other is not None and other.upper:
        cells[round(scale.at(other.upper) * column)] = ("◇", "")
    if limit is not None and limit > 0.0:
        cells[round(scale.at(limit) * column)] = ("│", "bold")
    runs = groupby(cells, key=itemgetter(1))
    return Text.assemble(*(("".join(mark for mark, _ in run), style) for style, run in runs))
