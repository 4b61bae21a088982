from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.support.browsers import CHROMIUM, MISSING, chromium
from tests.support.stacks import Stack


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a whole stack's pages are."""
    if not CHROMIUM:
        pytest.skip(MISSING)
    stack = Stack(tmp_path_factory.mktemp("pages"))
    try:
        yield stack.line["gateway"]
    finally:
        stack.clean()


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip(MISSING)
    async with chromium() as opened:
        yield opened
