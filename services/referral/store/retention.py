"""Removing what was kept long enough; months are calendar months in UTC, as those of the window are."""

from datetime import datetime

from libs.postgres import Connection

_ERASING = "SET LOCAL referral.erasing = 'on'"
_OLD = "(({0} AT TIME ZONE 'UTC') + make_interval(months => $2)) <= ($1 AT TIME ZONE 'UTC')"


async def purge_bindings(connection: Connection, now: datetime, *, months: int, limit: int) -> int:
    """Puts an organic row of the same time in a binding's place: the account stays decided. Returns how many."""
    await connection.execute(_ERASING)
    rows = await connection.fetch(
        f"""
        DELETE FROM referral_registrations WHERE referee_ref IN (
            SELECT referee_ref FROM referral_registrations
            WHERE kind = 'referred' AND created_at <= $1 AND {_OLD.format("created_at")} ORDER BY created_at LIMIT $3
        ) AND kind = 'referred' RETURNING referee_ref, created_at
        """,  # noqa: S608 - constants
        now,
        months,
        limit,
    )
    await connection.execute(
        """
        INSERT INTO referral_registrations (referee_ref, kind, created_at)
        SELECT referee_ref, 'organic', created_at
        FROM unnest($1::uuid[], $2::timestamptz[]) AS bound (referee_ref, created_at)
        """,
        [row["referee_ref"] for row in rows],
        [row["created_at"] for row in rows],
    )
    return len(rows)


async def purge_attempts(connection: Connection, now: datetime, *, months: int, limit: int) -> int:
    """Deletes lines of the attribution log; returns how many."""
    await connection.execute(_ERASING)
    rows = await connection.fetch(
        f"""
        DELETE FROM referral_attribution_log WHERE attempt_id IN (
            SELECT attempt_id FROM referral_attribution_log
            WHERE attempted_at <= $1 AND {_OLD.format("attempted_at")} ORDER BY attempted_at LIMIT $3
        ) RETURNING 1
        """,  # noqa: S608 - constants
        now,
        months,
        limit,
    )
    return len(rows)
