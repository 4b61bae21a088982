"""What was kept long enough: bindings and attempts to register."""

from datetime import datetime

from libs.postgres import Postgres, retried
from services.referral import metrics
from services.referral.store import retention

_BATCH = 500


async def purge(postgres: Postgres, now: datetime, *, months: int) -> None:
    """Forgets who brought the accounts that were bound so many calendar months ago, and attempts that old."""
    while purged := await _purge_bindings(postgres, now, months):
        metrics.purged("binding", purged)
    while purged := await _purge_attempts(postgres, now, months):
        metrics.purged("attempt", purged)


@retried
async def _purge_bindings(postgres: Postgres, now: datetime, months: int) -> int:
    async with postgres.transaction() as connection:
        return await retention.purge_bindings(connection, now, months=months, limit=_BATCH)


@retried
async def _purge_attempts(postgres: Postgres, now: datetime, months: int) -> int:
    async with postgres.transaction() as connection:
        return await retention.purge_attempts(connection, now, months=months, limit=_BATCH)
