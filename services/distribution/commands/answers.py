"""Answers that are kept for repeats, and which of them are not kept for ever."""

from datetime import timedelta
from typing import Final

from libs import idempotency
from libs.postgres import Postgres

PURGED: Final = ("ApproveReserveChange", "BatchGrant", "RejectReserveChange", "RunAudit")
"""Methods whose repeat moves nothing without the kept answer: a grant is known by its id, a reserve change is
decided once, an audit moves nothing. All others are kept for ever, for they have no other key: a campaign
funded, a creator's forfeiture, a reserve change asked for, a switch thrown would be done again by a repeat.
They are few: each is an operator's. Charges, holds, payments, burns and staged grants keep no answer here: they
are rows with keys."""

_BATCH: Final = 5_000


async def purge(postgres: Postgres, keep: timedelta) -> int:
    """Drops the answers that are too old, a batch at a time; returns how many."""
    total = 0
    while True:
        async with postgres.transaction() as connection:
            dropped = await idempotency.purge(connection, methods=PURGED, keep=keep, limit=_BATCH)
        total += dropped
        if dropped < _BATCH:
            return total
