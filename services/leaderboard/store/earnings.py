"""SQL of what creators accrued, by day and model."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Accrual, Point


async def add(connection: Connection, accruals: Sequence[Accrual]) -> None:
    """Adds charges and micro-USD per creator, UTC day and model, in the order of the key."""
    await connection.execute(
        """
        INSERT INTO earning_days (creator_ref, day, model, charges, accrued_micro)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::text[], $4::bigint[], $5::bigint[])
        ON CONFLICT (creator_ref, day, model) DO UPDATE SET
            charges = earning_days.charges + excluded.charges,
            accrued_micro = earning_days.accrued_micro + excluded.accrued_micro
        """,
        *map(list, zip(*accruals, strict=True)),
    )


async def add_reversals(connection: Connection, reversals: Sequence[tuple[UUID, date, int]]) -> None:
    """Adds what was taken back per creator and UTC day, in the order of the key."""
    await connection.execute(
        """
        INSERT INTO reversal_days AS known (creator_ref, day, reversed_micro)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::bigint[])
        ON CONFLICT (creator_ref, day) DO UPDATE SET reversed_micro = known.reversed_micro + excluded.reversed_micro
        """,
        *map(list, zip(*reversals, strict=True)),
    )


async def by_day(connection: Connection, creator_ref: UUID, first: date, after: date) -> list[Point]:
    """Every day of a period on which something accrued, or had accrued that was taken back, oldest first."""
    rows = await connection.fetch(
        """
        SELECT day, sum(accrued_micro)::bigint, sum(charges)::bigint, sum(reversed_micro)::bigint FROM (
            SELECT day, accrued_micro, charges, 0 AS reversed_micro FROM earning_days
            WHERE creator_ref = $1 AND day >= $2 AND day < $3
            UNION ALL
            SELECT day, 0, 0, reversed_micro FROM reversal_days WHERE creator_ref = $1 AND day >= $2 AND day < $3
        ) AS days GROUP BY day ORDER BY day
        """,
        creator_ref,
        first,
        after,
    )
    return [Point(*row) for row in rows]
