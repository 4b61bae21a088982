"""Which records of the broker were refused."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from libs.postgres import Connection


class Place(NamedTuple):
    """A record as the broker has it."""

    partition: int
    offset: int
    digest: bytes


async def note_refused(connection: Connection, places: Sequence[Place], now: datetime) -> set[Place]:
    """Notes refused records; those that are new."""
    rows = await connection.fetch(
        """
        INSERT INTO refused_records (partition, "offset", digest, refused_at)
        SELECT *, $4 FROM unnest($1::integer[], $2::bigint[], $3::bytea[])
        ON CONFLICT DO NOTHING RETURNING partition, "offset", digest
        """,
        [each.partition for each in places],
        [each.offset for each in places],
        [each.digest for each in places],
        now,
    )
    return {Place(*row) for row in rows}
