"""Appending to the outbox, in the transaction that makes the event true."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from google.protobuf.message import Message

from libs.ids import new_id
from libs.outbox.topic import Topic, partition_of, topic_of
from libs.postgres import Connection
from libs.telemetry import current_traceparent

PAYLOAD_BYTES_MAX = 3 * 1024 * 1024
"""An event must fit into one answer of the event log."""

Columns = tuple[list[UUID], list[str], list[int], list[str], list[bytes]]
"""event_id, topic, partition, key and payload of several events."""


class Entry(NamedTuple):
    """One event to append: the partition follows from the key unless it is given."""

    message: Message
    key: str
    partition: int | None = None


async def append(
    connection: Connection, message: Message, *, key: str, occurred_at: datetime, partition: int | None = None
) -> None:
    """Adds one event to the transaction under way."""
    await append_many(connection, [Entry(message, key, partition)], occurred_at=occurred_at)


async def append_many(
    connection: Connection, entries: Iterable[Entry | tuple[Message, str, int | None]], *, occurred_at: datetime
) -> None:
    """Adds events to the transaction under way, in their order, with one statement."""
    await _insert(connection, outbox_columns(entries), occurred_at)


async def append_to(connection: Connection, topic: Topic, message: Message, *, key: str, occurred_at: datetime) -> None:
    """Adds one event on a topic that its message does not name itself: a dead letter."""
    partition = partition_of(key, topic.partitions)
    columns = [new_id()], [topic.name], [partition], [key], [message.SerializeToString()]
    await _insert(connection, columns, occurred_at)


async def _insert(connection: Connection, columns: Columns, occurred_at: datetime) -> None:
    if columns[0]:
        await connection.execute(
            f"INSERT INTO outbox ({_COLUMNS}) {OUTBOX_ROWS}", *columns, occurred_at, current_traceparent()
        )


_COLUMNS = "event_id, topic, partition, key, payload, occurred_at, traceparent"
OUTBOX_ROWS = """
    SELECT event_id, topic, partition, key, payload, $6::timestamptz, $7::text
    FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::bytea[])
        WITH ORDINALITY AS rows (event_id, topic, partition, key, payload, place)
    ORDER BY place
"""
TELLING_WRITTEN = f"""
    INSERT INTO outbox ({_COLUMNS}) SELECT told.* FROM ({OUTBOX_ROWS}) AS told WHERE EXISTS (SELECT FROM written)
"""  # noqa: S608 - constants
"""Part of a statement that changes something as `written`, and tells of it where it did; see `telling`."""


def telling(messages: Iterable[Message], *, key: str, occurred_at: datetime) -> tuple[object, ...]:
    """The first seven parameters of a statement with TELLING_WRITTEN."""
    return *outbox_columns([Entry(message, key) for message in messages]), occurred_at, current_traceparent()


def outbox_columns(entries: Iterable[Entry | tuple[Message, str, int | None]]) -> Columns:
    """The first five parameters of OUTBOX_ROWS, for a statement that writes the outbox beside other tables."""
    ids: list[UUID] = []
    topics: list[str] = []
    partitions: list[int] = []
    keys: list[str] = []
    payloads: list[bytes] = []
    for message, key, partition in entries:
        topic = topic_of(type(message))
        ids.append(new_id())
        topics.append(topic.name)
        partitions.append(_partition(topic, key, partition))
        keys.append(key)
        payloads.append(_payload(message))
    return ids, topics, partitions, keys, payloads


def _partition(topic: Topic, key: str, chosen: int | None) -> int:
    if chosen is None:
        return partition_of(key, topic.partitions)
    # Nobody could list its events, and the broker would take none of the topic's any more.
    if not 0 <= chosen < topic.partitions:
        raise ValueError(f"{topic.name} has {topic.partitions} partitions, and no {chosen}")
    return chosen


def _payload(message: Message) -> bytes:
    payload = message.SerializeToString()
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an event of {len(payload)} bytes: make several")
    return payload
