"""SQL of how far the events are applied."""

from datetime import UTC, datetime

from libs.postgres import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def hold(connection: Connection) -> None:
    """Keeps a rebuild from taking over within this transaction; its first statement, before its snapshot is taken.

    A snapshot from before, of tables that were filled after it, would be empty.
    """
    await connection.execute(
        "LOCK TABLE places, referral_days, earning_days, reversal_days, open_parts, referees IN ACCESS SHARE MODE"
    )


async def generation(connection: Connection) -> int:
    """How often what is read was replaced by a rebuild."""
    number: int = await connection.fetchval("SELECT generation FROM progress")
    return number


async def positions(connection: Connection) -> dict[tuple[str, int], int]:
    """The last position applied of each topic and partition."""
    rows = await connection.fetch("SELECT topic, partition, position FROM inbox")
    return {(row["topic"], row["partition"]): row["position"] for row in rows}


async def mark_caught_up(connection: Connection, instant: datetime) -> None:
    """What was published by `instant` is applied; an earlier mark than the one there changes nothing."""
    await connection.execute(
        "UPDATE progress SET caught_up_at = $1 WHERE caught_up_at IS NULL OR caught_up_at < $1", instant
    )


async def caught_up_at(connection: Connection) -> datetime | None:
    """The same instant, where it is known."""
    instant: datetime | None = await connection.fetchval("SELECT caught_up_at FROM progress")
    return instant


async def as_of(connection: Connection) -> datetime:
    """The instant by which everything that was published is applied.

    As long as that was never known, the newest event that is applied; 1970 where there is none.
    """
    instant: datetime | None = await connection.fetchval(
        """
        SELECT coalesce(
            caught_up_at,
            (SELECT max(greatest(referred_at, earned_at)) FROM places WHERE timeframe = 4)
        ) FROM progress
        """
    )
    return instant or _EPOCH
