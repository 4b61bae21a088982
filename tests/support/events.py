"""A publisher and a listener in one database, to see that every event is applied once and in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs import outbox
from libs.eventlog import EventLogServicer
from libs.inbox import Received, Subscription
from libs.postgres import Connection, Postgres, migrate
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration
from tests.support.databases import Databases

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
TOPIC = outbox.topic_of(Registration)
NO_MIGRATIONS = Path(__file__).parent / "none"


Eventually = Callable[..., Awaitable[object]]


class Unanswered(grpc.aio.AioRpcError):
    """What a channel raises when nobody is there."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


class Log:
    """The publisher's event log without a network between; it may be down, or lose what it says."""

    def __init__(self, publisher: Postgres) -> None:
        self._servicer = EventLogServicer(publisher)
        self.down = False
        self.asked = 0
        self.looked_at = 0

    async def ListEvents(  # noqa: N802 - the protocol's name
        self, request: events_pb2.ListEventsRequest, **_options: object
    ) -> events_pb2.ListEventsResponse:
        self.asked += 1
        if self.down:
            raise Unanswered
        context: Any = None
        return await self._servicer.ListEvents(request, context)

    async def ListHeads(  # noqa: N802 - the protocol's name
        self, request: events_pb2.ListHeadsRequest, **_options: object
    ) -> events_pb2.ListHeadsResponse:
        if self.down:
            raise Unanswered
        context: Any = None
        heads = await self._servicer.ListHeads(request, context)
        self.looked_at += 1
        return heads


class Pair:
    """`publisher` is the schema referral, `listener` the schema leaderboard with a table of what it applied."""

    def __init__(self, dsn: str, publisher: Postgres, listener: Postgres) -> None:
        self.dsn = dsn
        self.publisher = publisher
        self.listener = listener
        self.log = Log(publisher)
        self.poison: set[str] = set()
        """Keys that the handler cannot bear."""
        self.faults: list[BaseException] = []
        """What the handler raises next, before it does anything."""

    @property
    def subscription(self) -> Subscription[Registration]:
        log: Any = self.log
        return Subscription(Registration, self._handle, log)

    async def _handle(self, connection: Connection, events: Sequence[Received[Registration]]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        await connection.executemany(
            "INSERT INTO applied (partition, position, key, account_ref) VALUES ($1, $2, $3, $4)",
            [
                (outbox.partition_of(each.key, TOPIC.partitions), each.position, each.key, each.message.account_ref)
                for each in events
            ],
        )
        for each in events:
            if each.key in self.poison:
                raise ValueError(each.key)

    async def empty(self) -> None:
        """As if nothing had been published, nor applied."""
        async with self.publisher.connection() as connection:
            await connection.execute("DELETE FROM outbox; DELETE FROM events; DELETE FROM event_heads")
        async with self.listener.connection() as connection:
            await connection.execute("DELETE FROM inbox; DELETE FROM applied; DELETE FROM dead_letters")
            await connection.execute("DELETE FROM outbox; DELETE FROM events; DELETE FROM event_heads")

    async def append(self, keys: Iterable[str]) -> None:
        """One transaction with one event for each key."""
        async with self.publisher.transaction() as connection:
            entries = [outbox.Entry(Registration(account_ref=key), key) for key in keys]
            await outbox.append_many(connection, entries, occurred_at=NOON)

    async def number(self) -> None:
        """Gives all that was appended its position."""
        async with self.publisher.connection() as connection:
            while (await outbox.move(connection, outbox.topics_of(self.publisher.schema).values())).rows:
                pass

    async def events(self, partition: int, after: int = 0) -> list[events_pb2.Event]:
        async with self.publisher.connection() as connection:
            return await outbox.list_events(connection, TOPIC.name, partition, after, 100_000)

    async def heads(self) -> dict[int, int]:
        async with self.publisher.connection() as connection:
            rows = await connection.fetch(
                "SELECT partition, position FROM event_heads WHERE topic = $1 ORDER BY 1", TOPIC.name
            )
        return {row["partition"]: row["position"] for row in rows}

    async def applied(self) -> dict[int, list[int]]:
        """Positions of each partition in the order in which they were applied."""
        async with self.listener.connection() as connection:
            rows = await connection.fetch("SELECT partition, position FROM applied ORDER BY nr")
        made: dict[int, list[int]] = {}
        for row in rows:
            made.setdefault(row["partition"], []).append(row["position"])
        return made

    async def all_applied(self, count: int) -> bool:
        async with self.listener.connection() as connection:
            return bool(await connection.fetchval("SELECT count(*) >= $1 FROM applied", count))

    async def assert_once_and_in_order(self, count: int) -> None:
        applied = await self.applied()
        assert applied == {partition: list(range(1, head + 1)) for partition, head in (await self.heads()).items()}
        assert sum(map(len, applied.values())) == count


@asynccontextmanager
async def pair(dsn: str) -> AsyncIterator[Pair]:
    for schema in ("referral", "leaderboard"):
        await migrate(dsn, schema=schema, directory=NO_MIGRATIONS)
    async with (
        await Postgres.open(dsn, schema="referral") as publisher,
        await Postgres.open(dsn, schema="leaderboard") as listener,
    ):
        async with listener.connection() as connection:
            await connection.execute(
                """
                CREATE TABLE IF NOT EXISTS applied (
                    nr bigserial PRIMARY KEY, partition int, position bigint, key text, account_ref text
                )
                """
            )
        made = Pair(dsn, publisher, listener)
        await made.empty()
        yield made


@pytest.fixture(scope="session")
async def events_dsn(databases: Databases) -> AsyncIterator[str]:
    name = await databases.create(None)
    yield databases.dsn_of(name)
    await databases.drop(name)


@pytest.fixture
async def mesh(events_dsn: str) -> AsyncIterator[Pair]:
    """A publisher and a listener of events that have done nothing yet."""
    async with pair(events_dsn) as made:
        yield made


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Runs what never returns, for as long as the block; its crash is the test's."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
