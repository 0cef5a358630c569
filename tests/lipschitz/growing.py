"""A graph that grows node by node, and the table of what it grows by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper


@dataclass
class Grower:
    """A graph that grows by templates; every value is double, of a known small shape."""

    rng: Any
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    serial: int = 0

    def fresh(self) -> str:
        self.serial += 1
        return f"v{self.serial}"

    def const(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, shape: tuple[int, ...], **attributes: Any) -> str:
        name = self.fresh()
        self.nodes.append(
            helper.make_node(op, list(inputs), [name], name=f"{op}_{name}", **attributes)
        )
        self.shapes[name] = shape
        return name

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def pick(self, rank: int | None = None) -> str:
        names = [n for n, s in self.shapes.items() if rank is None or len(s) == rank]
        # Late values mostly: the graph should be deep; but early ones too, for skips.
        place = int(len(names) * (1.0 - self.rng.random() ** 2 * 0.9))
        return names[min(place, len(names) - 1)]

    def like(self, shape: tuple[int, ...]) -> str | None:
        names = [n for n, s in self.shapes.items() if s == shape]
        return names[int(self.rng.integers(len(names)))] if names else None


Template = Callable[[Grower], Any]
TEMPLATES: list[Template] = []


def template(function: Template) -> Template:
    TEMPLATES.append(function)
    return function
