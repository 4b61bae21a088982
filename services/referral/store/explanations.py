"""What was kept of decisions."""

import uuid
from datetime import datetime

from libs.postgres import Connection
from services.referral.model import Attempt, Outcome, Standing


async def attempts_of(connection: Connection, referee_ref: uuid.UUID, *, limit: int) -> list[Attempt]:
    """The newest attempts of an account, oldest first; what was typed stays where it is."""
    rows = await connection.fetch(
        """
        SELECT outcome, reason, attempted_at FROM referral_attribution_log
        WHERE referee_ref = $1 ORDER BY attempted_at DESC, attempt_id DESC LIMIT $2
        """,
        referee_ref,
        limit,
    )
    return [
        Attempt(
            referee_ref=referee_ref,
            code_typed="",
            code_ref=None,
            channel=None,
            outcome=Outcome(row["outcome"]),
            reason=row["reason"],
            attempted_at=row["attempted_at"],
        )
        for row in reversed(rows)
    ]


async def window_end(connection: Connection, registered_at: datetime, *, months: int) -> datetime:
    """The first instant after a window of so many calendar months (UTC)."""
    end: datetime = await connection.fetchval(
        "SELECT (($1::timestamptz AT TIME ZONE 'UTC') + make_interval(months => $2)) AT TIME ZONE 'UTC'",
        registered_at,
        months,
    )
    return end


async def standing_at(connection: Connection, account_ref: uuid.UUID, at: datetime) -> Standing:
    """The standing that an account had at an instant, by the audit log, which every change is written to."""
    act: str | None = await connection.fetchval(
        """
        SELECT act FROM audit_log WHERE account_ref = $1 AND act = ANY ($3::text[]) AND acted_at <= $2
        ORDER BY sequence DESC LIMIT 1
        """,
        account_ref,
        at,
        [f"STANDING_{standing.name}" for standing in Standing],
    )
    return Standing[act.removeprefix("STANDING_")] if act else Standing.GOOD


async def count_bindings(connection: Connection, code_ref: uuid.UUID, since: datetime, until: datetime) -> int:
    """Bindings through a code after an instant, up to another one."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM referral_registrations
        WHERE kind = 'referred' AND code_ref = $1 AND created_at > $2 AND created_at <= $3
        """,
        code_ref,
        since,
        until,
    )
    return count
