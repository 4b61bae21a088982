"""Waiting for what comes by events, and saying what did not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def patience(seconds: float, what: str) -> AsyncIterator[None]:
    """Bound a block's waiting; raises TimeoutError, with words for whoever watches the demo."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimeoutError(
            f"{what}: not so after {seconds:.0f} s, which a machine with much else to do may need"
        ) from None
