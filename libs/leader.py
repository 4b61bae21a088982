"""One replica does it: leadership by a session lock of PostgreSQL; a killed leader is followed within seconds."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import asyncpg

from libs.postgres import Postgres, is_fault
from libs.telemetry import logger

log = logger(__name__)

_ASK_AGAIN_S = 0.5
_FAULT_WAIT_S = 0.5


async def lead(postgres: Postgres, name: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
    """Waits to lead `name` within this schema, runs `work` as long as it leads, and begins again; never returns.

    The lock lives in the session of the connection that `work` is given: whatever is written through that connection is
    written by the leader. A lost database is waited for; any other error of `work` surfaces.
    """
    key = _key(postgres.schema, name)
    while True:
        try:
            await _lead_once(postgres, name, key, work)
        except Exception as error:
            if not is_fault(error):
                raise
            log.warning("leadership lost", name=name, fault=type(error).__name__)
        await asyncio.sleep(_FAULT_WAIT_S)


async def _lead_once(
    postgres: Postgres, name: str, key: int, work: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    connection = await postgres.dedicated()
    try:
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):  # noqa: ASYNC110 - asks the server
            await asyncio.sleep(_ASK_AGAIN_S)
        log.info("leading", name=name)
        await work(connection)
    finally:
        # Cut, not closed: a statement may be under way, and the lock must go now.
        connection.terminate()


def _key(schema: str, name: str) -> int:
    digest = hashlib.blake2b(f"{schema}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
