"""Events, from the transaction that makes them true to the broker: outbox, relay, event log.

A command appends to `outbox`. The relay, one leader per service, moves committed rows into `events`, gives each a
gapless position within its (topic, partition), and publishes in that order. `events` is kept: whoever missed something
on the broker asks for it with ListEvents.
"""

import asyncio
import hashlib
import importlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from libs.ids import new_id
from libs.leader import lead
from libs.postgres import FAULTS, Connection, Postgres
from libs.telemetry import current_traceparent, logger
from libs.timestamps import to_timestamp
from protos.events.v1 import events_pb2

log = logger(__name__)

_TAKE_MAX = 1000
_IDLE_S = 0.03
_PUBLISH_MAX = 500
_FAULT_WAIT_S = 0.5
_PAGE_BYTES_MAX = 2 * 1024 * 1024


Columns = tuple[list[UUID], list[str], list[int], list[str], list[bytes]]
"""event_id, topic, partition, key and payload of several events."""


class Topic(NamedTuple):
    """Where messages of one type go."""

    name: str
    partitions: int


class Entry(NamedTuple):
    """One event to append: the partition follows from the key unless it is given."""

    message: Message
    key: str
    partition: int | None = None


class Record(NamedTuple):
    """One event as it goes to the broker."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes


class Publisher(Protocol):
    """The broker, as the relay needs it."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns when the broker has all of them, in order; raises when it is unknown."""


def topic_of(message_type: type[Message]) -> Topic:
    """The topic that a message type names in its proto; raises TypeError where it names none."""
    options = message_type.DESCRIPTOR.GetOptions()
    if not options.HasExtension(events_pb2.topic):
        raise TypeError(f"{message_type.DESCRIPTOR.full_name} names no topic")
    topic = options.Extensions[events_pb2.topic]
    return Topic(topic.name, topic.partitions)


def topics_of(schema: str) -> dict[str, Topic]:
    """Topics that a service publishes, by name: what its `protos/<schema>/v1/events.proto` declares."""
    module = importlib.import_module(f"protos.{schema}.v1.events_pb2")
    messages = (getattr(module, name) for name in module.DESCRIPTOR.message_types_by_name)
    topics = [topic_of(each) for each in messages if each.DESCRIPTOR.GetOptions().HasExtension(events_pb2.topic)]
    return {topic.name: topic for topic in topics}


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process, for ever."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % partitions


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
            f"INSERT INTO outbox (event_id, topic, partition, key, payload, occurred_at, traceparent) {OUTBOX_ROWS}",
            *columns,
            occurred_at,
            current_traceparent(),
        )


OUTBOX_ROWS = """
    SELECT event_id, topic, partition, key, payload, $6::timestamptz, $7::text
    FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::bytea[])
        WITH ORDINALITY AS rows (event_id, topic, partition, key, payload, place)
    ORDER BY place
"""


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
        partitions.append(partition_of(key, topic.partitions) if partition is None else partition)
        keys.append(key)
        payloads.append(message.SerializeToString())
    return ids, topics, partitions, keys, payloads


class Relay:
    """Moves the outbox of one schema into its event log and on to the broker. Any number may run; one leads."""

    def __init__(self, postgres: Postgres, publisher: Publisher) -> None:
        self._postgres = postgres
        self._publisher = publisher
        self._topics = topics_of(postgres.schema)

    async def run(self) -> None:
        """Leads when it can; never returns."""
        await lead(self._postgres, "relay", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        # Positions are given whether or not the broker is there: consumers can ask for them by RPC.
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._number(connection))
                group.create_task(self._publish())
        except* FAULTS as faults:
            raise faults.exceptions[0] from None

    async def _number(self, connection: asyncpg.Connection) -> None:
        while True:
            if await move(connection) < _TAKE_MAX:
                await asyncio.sleep(_IDLE_S)

    async def _publish(self) -> None:
        while True:
            try:
                if await self.publish_once() < _PUBLISH_MAX:
                    await asyncio.sleep(_IDLE_S)
            except Exception as error:  # noqa: BLE001 - whatever ails the broker, the events are kept and sent later
                log.warning("publishing failed", error=type(error).__name__)
                await asyncio.sleep(_FAULT_WAIT_S)

    async def publish_once(self) -> int:
        """Sends what each partition has not acknowledged yet, a page each; returns the size of the largest page."""
        async with self._postgres.connection() as connection:
            behind = await connection.fetch(
                "SELECT topic, partition, published FROM event_heads WHERE published < position ORDER BY 1, 2"
            )
        largest = 0
        for row in behind:
            largest = max(largest, await self._publish_page(row["topic"], row["partition"], row["published"]))
        return largest

    async def _publish_page(self, topic: str, partition: int, after: int) -> int:
        async with self._postgres.connection() as connection:
            events = await list_events(connection, topic, partition, after, _PUBLISH_MAX)
        # A topic that no proto declares is one of dead letters.
        to = self._topics.get(topic, Topic(topic, 1))
        await self._publisher.publish(
            [Record(to, partition, event.key.encode(), event.SerializeToString()) for event in events]
        )
        async with self._postgres.connection() as connection:
            await connection.execute(
                "UPDATE event_heads SET published = $3 WHERE topic = $1 AND partition = $2 AND published < $3",
                topic,
                partition,
                events[-1].position,
            )
        return len(events)


async def move(connection: Connection) -> int:
    """Numbers up to a thousand committed rows of the outbox, in one statement; returns how many.

    The locked row of each head makes numbers gapless and unique even if two relays should believe that they lead.
    """
    moved: int = await connection.fetchval(
        """
        WITH taken AS (
            DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT $1 FOR UPDATE) RETURNING *
        ), counted AS (
            SELECT topic, partition, count(*) AS size FROM taken GROUP BY topic, partition
        ), heads AS (
            INSERT INTO event_heads (topic, partition, position)
            SELECT topic, partition, size FROM counted ORDER BY topic, partition
            ON CONFLICT (topic, partition) DO UPDATE SET position = event_heads.position + excluded.position
            RETURNING topic, partition, position
        ), moved AS (
            INSERT INTO events (topic, partition, position, event_id, key, payload, occurred_at, traceparent)
            SELECT
                topic, partition,
                heads.position - counted.size + row_number() OVER (PARTITION BY topic, partition ORDER BY taken.id),
                taken.event_id, taken.key, taken.payload, taken.occurred_at, taken.traceparent
            FROM taken JOIN counted USING (topic, partition) JOIN heads USING (topic, partition)
        )
        SELECT count(*) FROM taken
        """,
        _TAKE_MAX,
    )
    return moved


async def list_events(
    connection: Connection, topic: str, partition: int, after: int, limit: int
) -> list[events_pb2.Event]:
    """Events of one partition after a position, oldest first, at most two MiB of them and at least one."""
    rows = await connection.fetch(
        """
        SELECT * FROM (
            SELECT *, sum(length(payload) + 256) OVER (ORDER BY position) - length(payload) AS bytes_before
            FROM events WHERE topic = $1 AND partition = $2 AND position > $3 ORDER BY position LIMIT $4
        ) AS page WHERE bytes_before <= $5
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
