"""One warmed-up server for all tests of a worker."""

from collections.abc import Iterator

import pytest

from tests.hostile.jail import Jail


@pytest.fixture(scope="session")
def jail() -> Iterator[Jail]:
    with Jail() as running:
        yield running
