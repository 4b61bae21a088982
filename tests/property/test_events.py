"""Any schedule of commits, crashes, publishing and losses, against a list: every event once, in order per partition."""

import asyncio
import contextlib
import random
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs import outbox
from libs.inbox import Inbox
from libs.outbox import Record, Relay
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration
from tests.support.events import NOON, TOPIC, Pair

KEYS = [f"k{number}" for number in range(12)]
POISON = "k7"


class Crash(Exception):
    """The process is gone at this point."""


@dataclass
class Broker:
    """Keeps what it is sent, partition by partition, until it loses it; `takes` is how much before a crash."""

    kept: list[events_pb2.Event] = field(default_factory=list)
    takes: int | None = None
    acknowledges: bool = True

    async def publish(self, records: Sequence[Record]) -> None:
        taken = records if self.takes is None else records[: self.takes]
        self.kept += [events_pb2.Event.FromString(record.value) for record in taken]
        if self.takes is not None or not self.acknowledges:
            raise Crash


@dataclass
class Append:
    """A transaction with one event for each key, committed or not."""

    keys: list[str]
    commits: bool


@dataclass
class Move:
    """The relay gives positions, and is killed before or after that commits."""

    commits: bool


@dataclass
class Publish:
    """All, or some before a crash, or all and a crash before the relay notes it."""

    takes: int | None
    acknowledges: bool


@dataclass
class Deliver:
    """What the broker holds reaches a member: shuffled, doubled, with some dropped; the member may be new."""

    seed: int
    share: float
    restarted: bool


@dataclass
class LoseAll:
    """The broker comes back empty."""


@dataclass
class Recover:
    """A member asks the publisher for whatever it has missed."""


Step = Append | Move | Publish | Deliver | LoseAll | Recover
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(
            Append, st.lists(st.sampled_from(KEYS), min_size=1, max_size=8), st.sampled_from([True, True, False])
        ),
        st.builds(Move, st.sampled_from([True, True, False])),
        st.builds(Publish, st.one_of(st.none(), st.integers(0, 10)), st.booleans()),
        st.builds(Deliver, st.integers(0, 1000), st.sampled_from([1.0, 0.7, 0.3]), st.booleans()),
        st.just(LoseAll()),
        st.just(Recover()),
    ),
    min_size=10,
    max_size=30,
)


class World:
    """The real outbox, relay and inbox on one database, with a broker and processes that fail as told."""

    def __init__(self, pair: Pair) -> None:
        pair.poison = {POISON}
        self.pair = pair
        self.broker = Broker()
        self.inbox = Inbox(pair.listener, "leaderboard")
        self.expected: dict[int, list[tuple[str, str]]] = {}
        self.number = 0

    async def take(self, step: Step) -> None:
        match step:
            case Append():
                await self._append(step)
            case Move():
                await self._move(step.commits)
            case Publish():
                self.broker.takes, self.broker.acknowledges = step.takes, step.acknowledges
                with contextlib.suppress(Crash):
                    await Relay(self.pair.publisher, self.broker).publish_once()
            case Deliver():
                await self._deliver(step)
            case LoseAll():
                self.broker.kept.clear()
            case Recover():
                await self.recover()

    async def _append(self, step: Append) -> None:
        numbered = [(key, f"{key}/{self.number + place}") for place, key in enumerate(step.keys)]
        self.number += len(numbered)
        with contextlib.suppress(Crash):
            async with self.pair.publisher.transaction() as connection:
                entries = [outbox.Entry(Registration(account_ref=name), key) for key, name in numbered]
                await outbox.append_many(connection, entries, occurred_at=NOON)
                if not step.commits:
                    raise Crash
            for key, name in numbered:
                self.expected.setdefault(outbox.partition_of(key, TOPIC.partitions), []).append((key, name))

    async def _move(self, commits: bool) -> None:  # noqa: FBT001 - of the step
        with contextlib.suppress(Crash):
            async with self.pair.publisher.transaction() as connection:
                await outbox.move(connection)
                if not commits:
                    raise Crash

    async def _deliver(self, step: Deliver) -> None:
        dice = random.Random(step.seed)
        some = [event for event in self.broker.kept if dice.random() < step.share]
        some += dice.sample(some, len(some) // 3)
        dice.shuffle(some)
        if step.restarted:
            self.inbox = Inbox(self.pair.listener, "leaderboard")
        for partition in range(TOPIC.partitions):
            mine = [event for event in some if event.partition == partition]
            await self.inbox.receive(self.pair.subscription, partition, mine)

    async def recover(self) -> None:
        for partition, head in (await self.pair.heads()).items():
            last = await self.inbox.position(self.pair.subscription, partition)
            await self.inbox.catch_up(self.pair.subscription, partition, last, head)

    async def assert_applied(self, *, all_of_it: bool) -> None:
        async with self.pair.listener.connection() as connection:
            rows = await connection.fetch("SELECT partition, position, key, account_ref FROM applied ORDER BY nr")
            dead = await connection.fetch("SELECT partition, position FROM dead_letters ORDER BY 1, 2")
        for partition in range(TOPIC.partitions):
            wanted = self.expected.get(partition, [])
            applied = [
                (row["position"], row["key"], row["account_ref"]) for row in rows if row["partition"] == partition
            ]
            reached = await self.inbox.position(self.pair.subscription, partition)
            assert reached == len(wanted) if all_of_it else reached <= len(wanted)
            places = list(enumerate(wanted[:reached], 1))
            assert applied == [(place, *each) for place, each in places if each[0] != POISON]
            put_aside = [row["position"] for row in dead if row["partition"] == partition]
            assert put_aside == [place for place, each in places if each[0] == POISON]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
async def test_whatever_happens_every_event_is_applied_once_and_in_order(mesh: Pair, steps: list[Step]) -> None:
    await mesh.empty()
    world = World(mesh)
    for step in steps:
        await world.take(step)
        await world.assert_applied(all_of_it=False)
    await world.pair.number()
    await world.recover()
    await world.assert_applied(all_of_it=True)


async def test_members_that_race_over_a_broken_broker_apply_once_and_in_order(mesh: Pair) -> None:
    dice = random.Random(3)
    world = World(mesh)
    for _ in range(10):
        await world.take(Append([dice.choice(KEYS) for _ in range(30)], commits=True))
        await world.take(Move(commits=True))
        await world.take(Publish(None, acknowledges=dice.random() < 0.5))
    worlds = [world, World(mesh), World(mesh)]
    for each in worlds[1:]:
        each.broker = world.broker
    deliveries = (Deliver(dice.randrange(1000), 0.6, restarted=False) for _ in range(3))
    await asyncio.gather(*(each.take(step) for each, step in zip(worlds, deliveries, strict=True)))
    await asyncio.gather(*(each.recover() for each in worlds))
    await world.assert_applied(all_of_it=True)
