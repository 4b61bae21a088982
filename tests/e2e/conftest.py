from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stacks import Stack


@pytest.fixture(scope="module")
def stack(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The whole stack, for one module of tests."""
    running = Stack(scratch / request.module.__name__)
    yield running
    running.down()
