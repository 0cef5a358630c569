"""The work of ``--witness``: a long search, and the pair it found in a file."""

from typing import TYPE_CHECKING

from specaudit.cli import talk
from specaudit.errors import SpecauditError, UsageError
from specaudit.formats import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specaudit.pipeline import Prepared
    from specaudit.witness import Witness


def check_target(path: str, models: "Sequence[str]") -> None:
    """Refuse, before any work, what cannot be written."""
    if len(models) != 1:
        raise UsageError("--witness takes one model", help="inspect the models one by one")
    writing.check_target(path, inputs=models, force=True)


def search(prepared: "Prepared", path: str) -> "tuple[Witness | None, int]":
    """Search and save; return the pair, and the exit code of the attempt.

    The audit goes on without one: what is wrong is said, and the code says that there is no
    file.
    """
    from specaudit import pipeline

    try:
        found = pipeline.witness(prepared, long=True)
    except SpecauditError as problem:
        problem.where = problem.where or prepared.model.path
        talk.error(problem)
        return None, problem.exit_code
    assert found is not None
    import numpy as np

    with writing.replacing(path, force=True) as file:
        np.savez(file, allow_pickle=False, **{_key(k): v for k, v in found.arrays().items()})
    if not found.lower:
        talk.remark(
            f"witness: a slope of {found.quotient:.6g} by onnxruntime, whose rounding nobody "
            "bounds: an observation, not a proof"
        )
    return found, 0


def _key(name: str) -> str:
    """A name that stays inside the archive, whatever the model calls its values."""
    return name.replace("..", "__").replace("\\", "_").replace("\0", "_")
