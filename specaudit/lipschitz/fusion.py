"""Linear runs as one operator."""

from collections.abc import Sequence

from specaudit.lipschitz.context import Context
from specaudit.lipschitz.steps import Step


def contract(
    steps: Sequence[Step], sources: Sequence[str], outputs: tuple[str, ...], context: Context
) -> list[Step] | None:
    """Nothing is fused yet."""
    return None
