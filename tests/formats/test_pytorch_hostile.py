"""PyTorch files as nobody should write them: refused with a reason, or read as what they are."""

from pathlib import Path

import pytest

from tests.formats.opening import expect, largest
from tests.hostile import exported_files, torch_code, torch_pickles, torch_zips
from tests.hostile.cases import Case

CASES = [*torch_code.CASES, *torch_zips.CASES, *torch_pickles.CASES, *exported_files.CASES]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_hostile_files(case: Case, tmp_path: Path) -> None:
    model = expect(case, tmp_path)
    if case.sigma is not None:
        assert model is not None
        assert largest(model) == pytest.approx(case.sigma, rel=1e-6)
