"""A Graph made ready: functions inlined, constants folded, shapes inferred."""

from specaudit.graphs import (  # noqa: F401  each enters its rules into the tables
    fold_arithmetic,
    fold_layout,
    fold_made,
    shape_rules_control,
    shape_rules_elementwise,
    shape_rules_layout,
    shape_rules_linear,
    shape_rules_made,
    shape_rules_microsoft,
    shape_rules_sequence,
    shape_rules_windows,
)
from specaudit.graphs.resolved import ResolvedGraph, resolve

__all__ = ["ResolvedGraph", "resolve"]
