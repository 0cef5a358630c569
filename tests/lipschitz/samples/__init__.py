"""A small network for every rule of the table: what it must say, how tight it must be."""

from tests.lipschitz.samples import (
    activations,
    arithmetic,
    attention,
    control,
    linear,
    pooling,
    shapes,
    signals,
)
from tests.lipschitz.samples.collection import SAMPLES, Sample

FAMILIES = (activations, arithmetic, attention, control, linear, pooling, shapes, signals)

__all__ = ["FAMILIES", "SAMPLES", "Sample"]
