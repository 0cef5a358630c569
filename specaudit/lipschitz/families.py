"""Every family of rules, imported so that its rules are in the table."""

from specaudit.lipschitz import (
    activations,
    arithmetic,
    attention,
    control,
    linear,
    losses,
    microsoft,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
    signals,
    special,
)

ALL = (
    activations,
    arithmetic,
    attention,
    control,
    linear,
    losses,
    microsoft,
    normalization,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
    signals,
    special,
)
