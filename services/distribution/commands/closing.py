"""Hours that are over are closed: nothing is recorded in them any more, so what moved in them is summed up for good."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from libs.postgres import Postgres, retried
from services.distribution.rules.statements import hour_of
from services.distribution.store import closing as store

GRACE: Final = timedelta(minutes=10)
"""How late an entry may be on its way, or a replica's clock be slow, before it is sent back for the time that it is."""

_LOOKS_MAX: Final = 50
_LOOK_SECONDS: Final = 0.02


async def close_hours(postgres: Postgres, now: datetime) -> int:
    """Closes the hours that ended a while ago and sums them up; returns how many of them moved anything.

    The fence comes first; summing waits for the transactions that may have been written by the former fence. Where one
    of them takes long the next run goes on.
    """
    await _fence(postgres, hour_of(now - GRACE))
    if not await _quiet(postgres):
        return 0
    hours = 0
    while await _sum_next(postgres):
        hours += 1
    return hours


@retried
async def _fence(postgres: Postgres, until: datetime) -> None:
    async with postgres.transaction() as connection:
        # The former one is finished before it is moved on.
        if await store.fenced_until(connection) < until and await store.is_summed(connection):
            await store.fence(connection, until)
    async with postgres.transaction() as connection:
        await store.date_fence(connection)


async def _quiet(postgres: Postgres) -> bool:
    for _ in range(_LOOKS_MAX):
        async with postgres.connection() as connection:
            if await store.is_quiet(connection):
                return True
        await asyncio.sleep(_LOOK_SECONDS)
    return False


@retried
async def _sum_next(postgres: Postgres) -> bool:
    async with postgres.transaction() as connection:
        hour = await store.next_hour(connection)
        if hour is None:
            await store.summed(connection, await store.fenced_until(connection))
            return False
        await store.sum_hour(connection, hour)
        return True
