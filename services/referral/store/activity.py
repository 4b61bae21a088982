"""When referees paid: one row each, however many charges."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from libs.postgres import Connection


class Paid(NamedTuple):
    """The first and the last paid charge of a referee, as far as they were looked at."""

    referrer_ref: uuid.UUID
    first_at: datetime
    last_at: datetime


async def record(connection: Connection, paid: Mapping[uuid.UUID, Paid]) -> None:
    """Widens what is known of each referee, in the order of the ids; what tells nothing new writes nothing."""
    rows = sorted(paid.items())
    await connection.execute(
        """
        INSERT INTO referee_activity AS known (referee_ref, referrer_ref, first_paid_at, last_paid_at)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[])
        ON CONFLICT (referee_ref) DO UPDATE SET
            first_paid_at = least(known.first_paid_at, excluded.first_paid_at),
            last_paid_at = greatest(known.last_paid_at, excluded.last_paid_at)
        WHERE excluded.last_paid_at > known.last_paid_at OR excluded.first_paid_at < known.first_paid_at
        """,
        [referee_ref for referee_ref, _ in rows],
        [each.referrer_ref for _, each in rows],
        [each.first_at for _, each in rows],
        [each.last_at for _, each in rows],
    )


async def count(connection: Connection, referrer_ref: uuid.UUID, now: datetime, active: timedelta) -> tuple[int, int]:
    """Referees that ever paid, and those that paid within the time that makes one active."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS paying, count(*) FILTER (WHERE last_paid_at > $2) AS active
        FROM referee_activity WHERE referrer_ref = $1
        """,
        referrer_ref,
        now - active,
    )
    return (row["paying"], row["active"]) if row else (0, 0)


async def last_paid(connection: Connection, referee_refs: Sequence[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    """When each referee last paid; those that never did are left out."""
    rows = await connection.fetch(
        "SELECT referee_ref, last_paid_at FROM referee_activity WHERE referee_ref = ANY ($1::uuid[])", referee_refs
    )
    return {row["referee_ref"]: row["last_paid_at"] for row in rows}
