"""From the outbox into the event log and on to the broker: one leader per service."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import asyncpg
from prometheus_client import Counter, Gauge

from libs.leader import lead
from libs.outbox.log import list_events
from libs.outbox.topic import Topic, topics_of
from libs.postgres import Connection, Postgres
from libs.telemetry import logger

log = logger(__name__)

NUMBERED = Counter("creator_relay_numbered_events_total", "Events given their position.", ["service"])
PUBLISHED = Counter("creator_relay_published_events_total", "Events the broker acknowledged.", ["service", "topic"])
PUBLISH_FAILURES = Counter("creator_relay_publish_failures_total", "Attempts the broker did not take.", ["service"])
UNPUBLISHED = Gauge("creator_relay_unpublished_events", "Events the broker has not acknowledged yet.", ["service"])

_TAKE_MAX = 1000
_PAGE_MAX = 500
# Each round costs the same, many events or few, here and at every consumer: under load it pays to look less often.
_LOOK_EVERY_S = 0.1
_LOOK_EVERY_MAX_S = 0.3
_LOOK_SLOWER = 1.2
# So many bytes of payload make one event where events may be joined; a broker takes eight times as much.
_JOINED_BYTES = 128 * 1024
_FAULT_WAIT_MIN_S = 0.02
_FAULT_WAIT_MAX_S = 5.0
_LOOK_AGAIN_S = 1.0
_MOVE: Final = """
    WITH picked AS MATERIALIZED (
        SELECT id FROM outbox ORDER BY id LIMIT $1 FOR UPDATE
    ), taken AS (
        DELETE FROM outbox USING picked WHERE outbox.id = picked.id RETURNING outbox.*
    ), bundled AS (
        SELECT *, CASE
            WHEN topic = ANY ($2) THEN ARRAY[
                count(*) FILTER (WHERE traceparent LIKE '%-01') OVER earlier,
                sum(length(payload)) OVER earlier / $3::bigint
            ]
            ELSE ARRAY[id]
        END AS bundle
        FROM taken WINDOW earlier AS (PARTITION BY topic, partition ORDER BY id)
    ), joined AS (
        SELECT topic, partition, min(id) AS id, string_agg(payload, '' ORDER BY id) AS payload,
            min(occurred_at) AS occurred_at, (array_agg(event_id ORDER BY id))[1] AS event_id,
            (array_agg(key ORDER BY id))[1] AS key, (array_agg(traceparent ORDER BY id))[1] AS traceparent
        FROM bundled GROUP BY topic, partition, bundle
    ), counted AS (
        SELECT topic, partition, count(*) AS size FROM joined GROUP BY topic, partition
    ), heads AS (
        INSERT INTO event_heads (topic, partition, position)
        SELECT topic, partition, size FROM counted ORDER BY topic, partition
        ON CONFLICT (topic, partition) DO UPDATE SET position = event_heads.position + excluded.position
        RETURNING topic, partition, position
    ), moved AS (
        INSERT INTO events (topic, partition, position, event_id, key, payload, occurred_at, traceparent)
        SELECT
            topic, partition,
            heads.position - counted.size + row_number() OVER (PARTITION BY topic, partition ORDER BY joined.id),
            joined.event_id, joined.key, joined.payload, joined.occurred_at, joined.traceparent
        FROM joined JOIN counted USING (topic, partition) JOIN heads USING (topic, partition)
    )
    SELECT (SELECT count(*) FROM taken) AS rows, (SELECT count(*) FROM joined) AS events
    """


class Record(NamedTuple):
    """One event as it goes to the broker."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes


class Moved(NamedTuple):
    """What one look at the outbox came to: rows taken, and the events that they became."""

    rows: int
    events: int


class Publisher(Protocol):
    """The broker, as the relay needs it."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns when the broker has all of them, in order; raises when it is unknown."""


class Relay:
    """Moves the outbox of one schema into its event log and on to the broker. Any number may run; one leads."""

    def __init__(self, postgres: Postgres, publisher: Publisher) -> None:
        self._postgres = postgres
        self._publisher = publisher
        self._topics = topics_of(postgres.schema)
        self._numbered = asyncio.Event()

    async def run(self) -> None:
        """Leads when it can; never returns."""
        await lead(self._postgres, "relay", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        # Positions are given whether or not the broker is there: consumers can ask for them by RPC.
        publishing = asyncio.create_task(self._publish())
        try:
            await self._number(connection)
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])

    async def _number(self, connection: asyncpg.Connection) -> None:
        # The outbox is asked, not listened to: NOTIFY would make all commits of the database queue for one lock.
        # Plans made while it is nearly empty would read a backlog from end to end, each time.
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        wait_s = _LOOK_EVERY_S
        while True:
            moved = await move(connection, self._topics.values())
            if moved.events:
                NUMBERED.labels(self._postgres.schema).inc(moved.events)
                self._numbered.set()
            # The longer it goes on, the more is taken at once; after a pause the next event is looked for soon again.
            wait_s = min(_LOOK_SLOWER * wait_s, _LOOK_EVERY_MAX_S) if moved.rows else _LOOK_EVERY_S
            if moved.rows < _TAKE_MAX:
                await asyncio.sleep(wait_s)

    async def _publish(self) -> None:
        fault_wait_s = _FAULT_WAIT_MIN_S
        while True:
            self._numbered.clear()
            try:
                more = await self.publish_once()
                fault_wait_s = _FAULT_WAIT_MIN_S
            except Exception as error:  # noqa: BLE001 - whatever ails the broker, the events are kept and sent later
                PUBLISH_FAILURES.labels(self._postgres.schema).inc()
                log.warning("publishing failed", error=type(error).__name__)
                await asyncio.sleep(fault_wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
                fault_wait_s = min(2 * fault_wait_s, _FAULT_WAIT_MAX_S)
                continue
            if not more:
                await _soon(self._numbered)

    async def publish_once(self) -> bool:
        """Sends a page of what each partition has not acknowledged yet; True where there is more.

        A topic that fails keeps no other from being sent; the first failure is raised at the end.
        """
        async with self._postgres.connection() as connection:
            behind = await connection.fetch(
                "SELECT topic, partition, position, published FROM event_heads WHERE published < position ORDER BY 1, 2"
            )
        UNPUBLISHED.labels(self._postgres.schema).set(sum(row["position"] - row["published"] for row in behind))
        failures: list[Exception] = []
        more = False
        for topic, rows in itertools.groupby(behind, key=lambda row: str(row["topic"])):
            try:
                more |= await self._publish_topic(topic, list(rows))
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(error)
        if failures:
            raise failures[0]
        return more

    async def _publish_topic(self, name: str, behind: Sequence[asyncpg.Record]) -> bool:
        async with self._postgres.connection() as connection:
            pages = [
                await list_events(connection, name, row["partition"], row["published"], _PAGE_MAX) for row in behind
            ]
        # A topic that no proto declares is one of dead letters.
        topic = self._topics.get(name, Topic(name, 1))
        await self._publisher.publish(
            [
                Record(topic, event.partition, event.key.encode(), event.SerializeToString())
                for page in pages
                for event in page
            ]
        )
        async with self._postgres.connection() as connection:
            await connection.execute(
                """
                UPDATE event_heads SET published = sent.position
                FROM unnest($2::smallint[], $3::bigint[]) AS sent (partition, position)
                WHERE topic = $1 AND event_heads.partition = sent.partition AND published < sent.position
                """,
                name,
                [page[-1].partition for page in pages],
                [page[-1].position for page in pages],
            )
        PUBLISHED.labels(self._postgres.schema, name).inc(sum(map(len, pages)))
        return any(page[-1].position < row["position"] for page, row in zip(pages, behind, strict=True))


async def _soon(event: asyncio.Event) -> None:
    """Waits for an event, but not long: what another leader left unpublished announces itself to nobody."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_AGAIN_S):
            await event.wait()


async def move(connection: Connection, topics: Iterable[Topic] = ()) -> Moved:
    """Numbers up to a thousand committed rows of the outbox, in one statement; an empty outbox costs a short look.

    The locked row of each head makes numbers gapless and unique even if two relays should believe that they lead. Of
    `topics`, those that are `joined` get one event for many rows; a row that somebody traces begins an event, so that
    its trace goes on.
    """
    # By the index: a queue's first pages hold rows that are gone.
    if await connection.fetchval("SELECT id FROM outbox ORDER BY id LIMIT 1") is None:
        return Moved(0, 0)
    [moved] = await connection.fetch(
        _MOVE,
        _TAKE_MAX,
        [topic.name for topic in topics if topic.joined],
        _JOINED_BYTES,
    )
    return Moved(moved["rows"], moved["events"])
