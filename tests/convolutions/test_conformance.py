"""Every case of the table against the singular values of its matrix."""

import importlib
import os
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from specaudit.norms.symbol import operator_norm
from specaudit.report import Geometry
from tests.convolutions.cases import CASES, Case, without_size
from tests.convolutions.reference import matrix

# LAPACK's largest singular value of matrices of order under 1000 is good to this.
ROUNDING = 1e-12


def specaudit_bracket(kernel: NDArray[np.float64], case: Case) -> tuple[float, float]:
    """Return specaudit's interval, in the form in which the suite asks for one."""
    geometry = Geometry(
        case.strides,
        case.pads,
        case.dilations,
        case.group,
        case.input,
        case.output_padding,
        case.mode,  # type: ignore[arg-type]
    )
    norm = operator_norm(kernel, geometry, transposed=case.transposed)
    return norm.bracket.lower, norm.bracket.upper


def _implementation() -> Callable[[NDArray[np.float64], Case], tuple[float, float]]:
    place = os.environ.get("SPECAUDIT_CONVOLUTION")
    if not place:
        return specaudit_bracket
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


BRACKET = _implementation()


def test_table_is_large_and_names_are_unique() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    kernel = case.values()
    truth = float(np.linalg.norm(matrix(case), 2))
    lower, upper = BRACKET(kernel, case)
    assert lower <= truth * (1.0 + ROUNDING)
    assert truth <= upper * (1.0 + ROUNDING)
    _, anywhere = BRACKET(kernel, without_size(case))
    assert truth <= anywhere * (1.0 + ROUNDING)
