"""A small network for every rule of the table: what it must say, and how tight it must be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from tests.lipschitz.networks import single

RNG = np.random.default_rng(7)
D, F, I = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64  # noqa: E741


@dataclass(frozen=True)
class Sample:
    """One network; `ratio` is the least that the steepest slope found must be of its bound.

    `code` names the reason for which there must be no bound, "" where it must be finite.
    """

    op: str
    model: onnx.ModelProto
    ratio: float = 0.0
    code: str | None = ""
    box: tuple[float, float] | None = None
    starts: tuple[Any, ...] = ()
    fixed: Mapping[str, np.ndarray] = field(default_factory=dict)
    domain: str = ""
    label: str = ""
    exact: float | None = None
    runs: bool = True

    def __str__(self) -> str:
        return f"{self.domain}.{self.op}{self.label}".strip(".")


SAMPLES: list[Sample] = []


def sample(
    op: str,
    inputs: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Any] | None = None,
    *,
    ratio: float = 0.999,
    code: str | None = "",
    box: tuple[float, float] | None = None,
    starts: Sequence[Any] = (),
    fixed: Mapping[str, np.ndarray] | None = None,
    label: str = "",
    exact: float | None = None,
    domain: str = "",
    runs: bool = True,
    model: onnx.ModelProto | None = None,
    **rest: Any,
) -> None:
    if model is None:
        arrays = {k: np.asarray(v) for k, v in (constants or {}).items()}
        model = single(op, inputs or {"x": [2, 3]}, arrays, domain=domain, **rest)
    label = f" {label}" if label else f" {len(SAMPLES)}"
    SAMPLES.append(
        Sample(
            op,
            model,
            ratio if not code and code is not None else 0.0,
            code,
            box,
            tuple(starts),
            fixed or {},
            domain,
            label,
            exact,
            runs,
        )
    )


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)
