"""Leaderboard's publishers with real logs behind real ports, and what they tell."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from libs import outbox, rpc
from libs.clock import ManualClock
from libs.eventlog import EventLogServicer
from libs.inbox import Inbox
from libs.postgres import Postgres
from protos.events.v1.events_pb2_grpc import EventLogServiceStub, add_EventLogServiceServicer_to_server
from services.leaderboard import consumers
from services.leaderboard.jobs import CatchingUp
from services.leaderboard.store import progress
from tests.support.leaderboard import NOW, Fact, Referral, Share, ago, creator, finalized, registration

EVENT_LOG = "creator.events.v1.EventLogService"
PARTITIONS = 4


@dataclass
class Published:
    """One service that publishes: its outbox, its relay when it runs, its event log behind a real port."""

    postgres: Postgres
    log: EventLogServiceStub
    messages: list[tuple[Message, str, int | None]] = field(default_factory=list)

    async def append(self, messages: Sequence[tuple[Message, str, int | None]]) -> None:
        async with self.postgres.transaction() as connection:
            await outbox.append_many(connection, messages, occurred_at=NOW)

    async def number(self) -> None:
        """What the relay does before it publishes."""
        async with self.postgres.transaction() as connection:
            await outbox.move(connection)


@asynccontextmanager
async def publishing(dsn: str, schema: str) -> AsyncIterator[Published]:
    server = rpc.Server(schema, test_mode=True, drain_wait_seconds=0)
    async with await Postgres.open(dsn, schema=schema) as postgres:
        servicer = EventLogServicer(postgres)
        server.add(add_EventLogServiceServicer_to_server, servicer, EVENT_LOG, frozenset({"leaderboard"}))
        await server.start()
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="leaderboard") as channel:
                yield Published(postgres, EventLogServiceStub(channel))
        finally:
            await server.drain(hasty=True)


@dataclass
class World:
    referral: Published
    distribution: Published
    postgres: Postgres
    clock: ManualClock

    def subscriptions(self) -> Any:
        return consumers.subscriptions(self.referral.log, self.distribution.log)

    def catching_up(self) -> CatchingUp:
        logs = {each.topic.name: each.log for each in self.subscriptions()}
        return CatchingUp(self.postgres, self.clock, logs, 0.05)

    async def tell(self, facts: Sequence[Fact]) -> None:
        """Each publisher writes down its part, charges a few to an event as distribution does."""
        referrals = [fact for fact in facts if isinstance(fact, Referral)]
        shares: dict[int, list[Share]] = defaultdict(list)
        for fact in facts:
            if isinstance(fact, Share):
                shares[outbox.partition_of(str(fact.referrer), PARTITIONS)].append(fact)
        await self.referral.append([(registration(fact), str(fact.referrer), None) for fact in referrals])
        await self.distribution.append(
            [
                (finalized(some[start : start + 3]), str(partition), partition)
                for partition, some in shares.items()
                for start in range(0, len(some), 3)
            ]
        )

    async def as_of(self) -> Any:
        async with self.postgres.connection() as connection:
            return await progress.as_of(connection)

    async def replay(self) -> None:
        """Everything from the event logs, as after a rebuild from nothing."""
        inbox = Inbox(self.postgres, "leaderboard")
        for subscription in self.subscriptions():
            for partition in range(PARTITIONS):
                await inbox.catch_up(subscription, partition, 0, 10**9)


@asynccontextmanager
async def world_at(database: Callable[[str], Awaitable[str]]) -> AsyncIterator[World]:
    async with (
        publishing(await database("referral"), "referral") as referral,
        publishing(await database("distribution"), "distribution") as distribution,
        await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres,
    ):
        yield World(referral, distribution, postgres, ManualClock(NOW))


@asynccontextmanager
async def background(*parts: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def lives(size: int, seed: int = 1) -> list[Fact]:
    """A history of a dozen creators over two months, organic accounts among them."""
    chance = random.Random(seed)
    facts: list[Fact] = []
    for _ in range(size):
        who = creator(chance.randrange(12)) if chance.random() < 0.8 else None
        instant = ago(chance.randrange(60), seconds=chance.randrange(10**5))
        facts.append(Referral(who, instant) if chance.random() < 0.5 else Share(who, instant, chance.randrange(10**6)))
    return facts
