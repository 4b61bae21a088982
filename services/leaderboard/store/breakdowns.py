"""SQL of breakdowns: what waits for its day to be published, and what was published."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.rules.breakdowns import OTHER, UNTAGGED, Contribution, Dimension, Part


async def lock_published_through(connection: Connection) -> date | None:
    """The last published day, for who publishes the next."""
    day: date | None = await connection.fetchval("SELECT published_through FROM progress FOR UPDATE")
    return day


async def published_through(connection: Connection) -> date | None:
    """The last published day."""
    day: date | None = await connection.fetchval("SELECT published_through FROM progress")
    return day


async def first_open_day(connection: Connection, after: date | None) -> date | None:
    """The oldest day that waits to be published."""
    day: date | None = await connection.fetchval(
        "SELECT min(day) FROM open_parts WHERE $1::date IS NULL OR day > $1", after
    )
    return day


async def creators_of(connection: Connection, day: date, after: UUID, limit: int) -> list[UUID]:
    """Creators with open parts on a day, in the order of their surrogates."""
    rows = await connection.fetch(
        "SELECT DISTINCT creator_ref FROM open_parts WHERE day = $1 AND creator_ref > $2 ORDER BY 1 LIMIT $3",
        day,
        after,
        limit,
    )
    return [row["creator_ref"] for row in rows]


async def contributions(
    connection: Connection, day: date, creator_refs: Sequence[UUID]
) -> dict[UUID, list[Contribution]]:
    """What was brought to creators on a day."""
    rows = await connection.fetch(
        """
        SELECT creator_ref, referee_ref, model, coalesce(nullif(channel, ''), $3) AS channel,
            coalesce(to_char(registered_on, 'YYYY-MM'), $4) AS cohort, charges, accrued_micro
        FROM open_parts LEFT JOIN referees USING (referee_ref) WHERE day = $1 AND creator_ref = ANY ($2::uuid[])
        """,
        day,
        creator_refs,
        UNTAGGED,
        OTHER,
    )
    found: dict[UUID, list[Contribution]] = {}
    for creator_ref, *contribution in rows:
        found.setdefault(creator_ref, []).append(Contribution(*contribution))
    return found


async def show(connection: Connection, day: date, shown: Sequence[tuple[UUID, Dimension, Part]]) -> None:
    """Writes what is shown of a day, for ever."""
    await connection.executemany(
        """
        INSERT INTO shown_parts (creator_ref, dimension, day, name, charges, accrued_micro)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        [(creator_ref, int(dimension), day, *part) for creator_ref, dimension, part in shown],
    )


async def mark_published(connection: Connection, day: date) -> None:
    """A day is published, and all before it; who brought what to them is forgotten."""
    await connection.execute("UPDATE progress SET published_through = $1", day)
    await connection.execute("DELETE FROM open_parts WHERE day <= $1", day)


async def parts(
    connection: Connection, creator_ref: UUID, dimension: Dimension, first: date, last: date
) -> list[tuple[date, Part]]:
    """What is shown of days, oldest first."""
    rows = await connection.fetch(
        """
        SELECT day, name, charges, accrued_micro FROM shown_parts
        WHERE creator_ref = $1 AND dimension = $2 AND day BETWEEN $3 AND $4 ORDER BY day, name
        """,
        creator_ref,
        int(dimension),
        first,
        last,
    )
    return [(row["day"], Part(row["name"], row["charges"], row["accrued_micro"])) for row in rows]
