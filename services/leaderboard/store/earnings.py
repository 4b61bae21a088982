"""SQL of what creators accrued, by day and model."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Accrual


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


async def by_day(connection: Connection, creator_ref: UUID, first: date, after: date) -> list[tuple[date, int, int]]:
    """(day, micro-USD, charges) of every day of a period in which something accrued, oldest first."""
    rows = await connection.fetch(
        """
        SELECT day, sum(accrued_micro)::bigint, sum(charges)::bigint FROM earning_days
        WHERE creator_ref = $1 AND day >= $2 AND day < $3 GROUP BY day ORDER BY day
        """,
        creator_ref,
        first,
        after,
    )
    return [(day, accrued_micro, charges) for day, accrued_micro, charges in rows]


async def totals(connection: Connection, creator_ref: UUID, first: date, last: date) -> dict[date, tuple[int, int]]:
    """(charges, micro-USD) of every day of a period in which something accrued, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT day, sum(charges)::bigint AS charges, sum(accrued_micro)::bigint AS accrued_micro FROM earning_days
        WHERE creator_ref = $1 AND day BETWEEN $2 AND $3 GROUP BY day ORDER BY day
        """,
        creator_ref,
        first,
        last,
    )
    return {row["day"]: (row["charges"], row["accrued_micro"]) for row in rows}
