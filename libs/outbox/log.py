"""Reading the event log: what was published, by position."""

import asyncpg

from libs.postgres import Connection
from libs.timestamps import to_timestamp
from protos.events.v1 import events_pb2

_PAGE_BYTES_MAX = 2 * 1024 * 1024


async def list_events(
    connection: Connection, topic: str, partition: int, after: int, limit: int
) -> list[events_pb2.Event]:
    """Events of one partition after a position, oldest first, at most two MiB of them and at least one."""
    rows = await connection.fetch(
        """
        SELECT * FROM (
            SELECT
                *, sum(length(payload) + 256) OVER in_order AS bytes, row_number() OVER in_order AS place
            FROM events WHERE topic = $1 AND partition = $2 AND position > $3
            WINDOW in_order AS (ORDER BY position) ORDER BY position LIMIT $4
        ) AS page WHERE bytes <= $5 OR place = 1
        """,
        topic,
        partition,
        after,
        limit,
        _PAGE_BYTES_MAX,
    )
    return [_event(row) for row in rows]


def _event(row: asyncpg.Record) -> events_pb2.Event:
    return events_pb2.Event(
        event_id=str(row["event_id"]),
        topic=row["topic"],
        partition=row["partition"],
        position=row["position"],
        occurred_at=to_timestamp(row["occurred_at"]),
        key=row["key"],
        traceparent=row["traceparent"],
        payload=row["payload"],
    )
