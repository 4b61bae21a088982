"""What tiers brought and cost in the last hours, and when they were suspended."""

from datetime import datetime

from libs.postgres import Connection
from services.distribution.model.margins import Suspension, TierHour

_SUSPENSION = "suspension_id, model_tier, from_time, to_time, margin_bps"


async def hours(connection: Connection, from_time: datetime, to_time: datetime) -> list[TierHour]:
    """Sums by tier of the charges finalized between two whole minutes, not long ago."""
    rows = await connection.fetch(
        """
        SELECT model_tier, sum(revenue_micro), sum(provider_cost_micro) FROM tier_minutes
        WHERE minute >= $1 AND minute < $2 GROUP BY model_tier
        """,
        from_time,
        to_time,
    )
    return [TierHour(tier, int(revenue), int(cost)) for tier, revenue, cost in rows]


async def last_finalized_at(connection: Connection, now: datetime, model_tier: str | None = None) -> datetime | None:
    """The latest instant from now on at which a recorded charge, of one tier or of any, was finalized."""
    latest: datetime | None = await connection.fetchval(
        """
        SELECT max(last_finalized_at) FROM tier_minutes
        WHERE minute >= date_trunc('minute', $1::timestamptz) AND last_finalized_at >= $1
            AND ($2::text IS NULL OR model_tier = $2)
        """,
        now,
        model_tier,
    )
    return latest


async def drop_before(connection: Connection, instant: datetime) -> None:
    await connection.execute("DELETE FROM tier_minutes WHERE minute < $1", instant)


async def suspensions(connection: Connection) -> list[Suspension]:
    """All there ever were, in order of time."""
    rows = await connection.fetch(
        f"SELECT {_SUSPENSION} FROM tier_suspensions ORDER BY from_time",  # noqa: S608 - constant
    )
    return [Suspension(*row) for row in rows]


async def open_suspensions(connection: Connection) -> dict[str, Suspension]:
    """Those that last, by tier."""
    rows = await connection.fetch(
        f"SELECT {_SUSPENSION} FROM tier_suspensions WHERE to_time IS NULL",  # noqa: S608 - constant
    )
    return {row["model_tier"]: Suspension(*row) for row in rows}


async def last_end(connection: Connection, model_tier: str) -> datetime | None:
    """When the last suspension of a tier ended."""
    end: datetime | None = await connection.fetchval(
        "SELECT max(to_time) FROM tier_suspensions WHERE model_tier = $1", model_tier
    )
    return end


async def suspend(connection: Connection, model_tier: str, from_time: datetime, margin_bps: int) -> None:
    await connection.execute(
        "INSERT INTO tier_suspensions (model_tier, from_time, margin_bps) VALUES ($1, $2, $3)",
        model_tier,
        from_time,
        margin_bps,
    )


async def resume(connection: Connection, suspension_id: int, to_time: datetime) -> None:
    await connection.execute(
        "UPDATE tier_suspensions SET to_time = $2 WHERE suspension_id = $1 AND to_time IS NULL", suspension_id, to_time
    )


async def page(
    connection: Connection, model_tier: str, *, open_only: bool, below: int | None, limit: int
) -> list[Suspension]:
    """Suspensions, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_SUSPENSION} FROM tier_suspensions
        WHERE ($1 = '' OR model_tier = $1) AND (NOT $2 OR to_time IS NULL)
            AND ($3::bigint IS NULL OR suspension_id < $3)
        ORDER BY suspension_id DESC LIMIT $4
        """,  # noqa: S608 - constant
        model_tier,
        open_only,
        below,
        limit,
    )
    return [Suspension(*row) for row in rows]
