"""Bars on a logarithmic scale: a norm's bracket, its limit, the other norm as a ghost."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from specaudit.policy import figures
from specaudit.report import Measurement

_DECADES = 12  # what is smaller still draws no bar: one stray value must not flatten the rest


@dataclass(frozen=True, slots=True)
class Scale:
    """Decades ``10**low`` to ``10**high`` laid over the unit interval."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float | None]) -> "Scale":
        """Return a scale that holds all finite positive values that are not tiny, with room."""
        logs = [math.log10(v) for v in values if v is not None and 0.0 < v < math.inf]
        low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
        low, high = min(low, 0.0), max(high, 0.0)  # 1 is where a map neither grows nor shrinks
        low = max(low, high - _DECADES)
        room = max(0.08 * (high - low), 0.05)
        return cls(low - max(room, 0.5 if high - low < 1 else 0.0), high + room)

    def at(self, value: float) -> float:
        """Return where a value lies, in [0, 1]."""
        if value <= 0.0:
            return 0.0
        if value == math.inf:
            return 1.0
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self, most: int = 8) -> Iterator[tuple[float, str]]:
        """Yield position and text of the decades, thinned out to at most `most`."""
        first, last = math.ceil(self.low), math.floor(self.high)
        step = max(1, math.ceil((last - first + 1) / most))
        for exponent in range(first + (-first) % step, last + 1, step):
            plain = -4 < exponent < 5
            text = figures.exact(10.0**exponent) if plain else f"1e{exponent}"
            yield self.at(10.0**exponent) if abs(exponent) < 300 else 0.0, text


def values_of(
    layers: Iterable[Measurement], limits: Iterable[float | None]
) -> Iterator[float | None]:
    """Yield every number that a chart of these layers has to hold."""
    for layer in layers:
        for norm in (layer.norm, layer.reshaped_norm, layer.operator_norm):
            if norm is not None:
                yield from (norm.lower, norm.upper, norm.estimate)
    yield from limits
