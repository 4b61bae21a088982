"""Standings of referrers."""

import uuid

from libs.postgres import Connection
from services.referral.model import Standing, StandingRecord


async def find(connection: Connection, account_ref: uuid.UUID) -> StandingRecord:
    """Standing of an account; good when nobody ever changed it."""
    row = await connection.fetchrow(
        "SELECT standing, reason, revision FROM standings WHERE account_ref = $1", account_ref
    )
    return StandingRecord(Standing(row["standing"]), row["reason"], row["revision"]) if row else StandingRecord()
