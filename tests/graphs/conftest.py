from pathlib import Path

import pytest

from tests.graphs.building import Reading


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    return Reading(tmp_path)
