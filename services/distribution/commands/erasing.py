"""Forgetting: accounts that are erased, and bindings that were kept long enough."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection, Postgres, retried
from services.distribution.store import attributions

_BATCH = 1000


async def erase(connection: Connection, account_ref: UUID, _erased_at: datetime) -> int:
    """Deletes an account's id; the journal keeps the surrogate, which then leads to nobody."""
    return await attributions.erase(connection, account_ref)


async def forget_bindings(postgres: Postgres, now: datetime, *, months: int) -> int:
    """Forgets who brought the accounts that were bound so many calendar months ago; returns how many."""
    total = 0
    while forgotten := await _forget_batch(postgres, now, months):
        total += forgotten
    return total


@retried
async def _forget_batch(postgres: Postgres, now: datetime, months: int) -> int:
    async with postgres.transaction() as connection:
        return await attributions.unbind(connection, now, months=months, limit=_BATCH)
