from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.support.browsers import CHROMIUM, MISSING, chromium
from tests.support.stacks import Stack


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack behind the pages."""
    if not CHROMIUM:
        pytest.skip(MISSING)
    stack = Stack(tmp_path_factory.mktemp("pages"))
    try:
        yield stack
    finally:
        stack.clean()


@pytest.fixture(scope="module")
def gateway(running: Stack) -> str:
    """Where its pages are."""
    return str(running.line["gateway"])


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip(MISSING)
    async with chromium() as opened:
        yield opened
