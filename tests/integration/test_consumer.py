"""A consumer against a broker that repeats, mixes up and forgets; handlers that are slow or fail; the end of it all."""

import asyncio
import gc
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from typing import Any

import asyncpg
import pytest
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from libs import kafka
from libs.consumer import Consumer
from libs.inbox import Received, Subscription
from libs.kafka import Publisher
from libs.outbox import Record, Relay
from libs.postgres import Connection
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration
from tests.support.brokers import Broker
from tests.support.events import TOPIC, Eventually, Pair, running
from tests.support.sessions import kill_everyone

NEVER_S = 3600.0
SOON_S = 0.5
SOON_MAX_S = 4.0
"""A client that its owner has to wait for takes five seconds and more: the time-outs of its broker."""


@pytest.fixture(autouse=True)
def hasty_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker takes half of this for a group to form; others allow no less than six seconds."""
    monkeypatch.setattr("libs.consumer._SESSION_TIMEOUT_MS", 2000)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def publisher(fresh_broker: Broker) -> AsyncIterator[Publisher]:
    made = Publisher(fresh_broker.bootstrap, idempotent=False)
    yield made
    await made.close()


def consumer(
    mesh: Pair,
    broker: Broker,
    heads_poll_seconds: float = NEVER_S,
    subscription: Subscription[Registration] | None = None,
) -> Consumer:
    listens = [subscription or mesh.subscription]
    return Consumer(mesh.listener, broker.bootstrap, "leaderboard", listens, heads_poll_seconds)


def keys(start: int, count: int) -> list[str]:
    return [f"k{number}" for number in range(start, start + count)]


async def all_applied(mesh: Pair, count: int, eventually: Eventually) -> None:
    await eventually(lambda: mesh.all_applied(count), within=30)
    await mesh.assert_once_and_in_order(count)


async def records(mesh: Pair) -> list[Record]:
    return [
        Record(TOPIC, partition, event.key.encode(), event.SerializeToString())
        for partition in await mesh.heads()
        for event in await mesh.events(partition)
    ]


class TestDelivery:
    async def test_a_broker_that_repeats_mixes_up_and_forgets_changes_nothing(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        dice = random.Random(17)
        async with running(consumer(mesh, fresh_broker, SOON_S).run()):
            for round_number in range(5):
                await mesh.append(keys(200 * round_number, 200))
                await mesh.number()
                sent = [record for record in await records(mesh) if dice.random() < 0.8]
                sent += dice.sample(sent, len(sent) // 4)
                dice.shuffle(sent)
                await publisher.publish(sent)
            await all_applied(mesh, 1000, eventually)

    async def test_a_bad_event_is_put_aside_and_published_as_a_dead_letter(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        mesh.poison = {"k13", "k77"}
        await mesh.append(keys(0, 100))

        async def dead_letters() -> list[str]:
            async with mesh.listener.connection() as connection:
                rows = await connection.fetch("SELECT event FROM dead_letters")
            return sorted(events_pb2.Event.FromString(row["event"]).key for row in rows)

        relays = (Relay(each, publisher).run() for each in (mesh.publisher, mesh.listener))
        async with running(*relays, consumer(mesh, fresh_broker).run()):
            await eventually(lambda: mesh.all_applied(98), within=30)
            assert await dead_letters() == ["k13", "k77"]
            letters = [events_pb2.DeadLetter.FromString(each.payload) for each in await dead_topic(fresh_broker, 2)]
        assert sorted(letter.event.key for letter in letters) == ["k13", "k77"]
        assert {letter.error for letter in letters} == {"ValueError"}


class TestHandlers:
    async def test_a_fault_that_lasts_delays_and_gives_nothing_up(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        mesh.faults = [asyncpg.CannotConnectNowError() for _ in range(12)]
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker).run()):
            await mesh.append(keys(0, 300))
            await all_applied(mesh, 300, eventually)
        assert mesh.faults == []

    async def test_a_rebalance_in_the_middle_of_a_slow_batch_applies_it_once(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        held, go = asyncio.Event(), asyncio.Event()
        mine = mesh.subscription

        async def slow(connection: Connection, events: Sequence[Received[Registration]]) -> None:
            await mine.handler(connection, events)
            held.set()
            await go.wait()

        first = consumer(mesh, fresh_broker, subscription=Subscription(Registration, slow, mine.log))
        second = consumer(mesh, fresh_broker)
        await mesh.append(keys(0, 400))
        async with running(Relay(mesh.publisher, publisher).run(), first.run()):
            async with asyncio.timeout(60):
                await held.wait()
            async with running(second.run()):
                # The second is given partitions whose events the first is still applying.
                await eventually(lambda: given_partitions(fresh_broker, 2), within=60)
                go.set()
                await all_applied(mesh, 400, eventually)

    async def test_a_database_that_restarts_is_waited_for(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        async def appended(start: int) -> bool:
            await mesh.append(keys(start, 100))
            return True

        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker, SOON_S).run()):
            for round_number in range(5):
                await eventually(lambda start=100 * round_number: appended(start))
                await kill_everyone(mesh.dsn)
            await eventually(lambda: mesh.all_applied(500), within=30)
        await mesh.assert_once_and_in_order(500)


class TestTheEnd:
    @staticmethod
    async def cancelled_in_seconds(task: asyncio.Task[None]) -> float:
        started_at = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return time.monotonic() - started_at

    async def test_who_is_still_connecting_ends_at_once(self, mesh: Pair, fresh_broker: Broker) -> None:
        for wait_s in (0, 0.02, 0.1):
            task = asyncio.create_task(consumer(mesh, fresh_broker).run())
            await asyncio.sleep(wait_s)
            assert await self.cancelled_in_seconds(task) < SOON_MAX_S

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
    async def test_who_waits_for_a_broker_that_is_gone_ends_soon_and_leaves_nothing_behind(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually, number: signal.Signals
    ) -> None:
        before = asyncio.all_tasks()
        relay = asyncio.create_task(Relay(mesh.publisher, publisher).run())
        listener = asyncio.create_task(consumer(mesh, fresh_broker).run())
        await mesh.append(keys(0, 100))
        await eventually(lambda: mesh.all_applied(100), within=60)
        os.kill(fresh_broker.pid, number)
        await mesh.append(keys(100, 100))
        await eventually(lambda: waits_for_broker(relay))
        assert await self.cancelled_in_seconds(relay) < SOON_MAX_S
        assert await self.cancelled_in_seconds(listener) < SOON_MAX_S
        await eventually(lambda: not kafka._owned, within=60)
        await publisher.close()
        await eventually(lambda: asyncio.all_tasks() <= before)
        gc.collect()  # an unclosed connection complains here


def waits_for_broker(relay: asyncio.Task[None]) -> bool:
    return any("Sender._send_produce_req" in repr(task) for task in asyncio.all_tasks()) or relay.done()


async def given_partitions(broker: Broker, members: int) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        await admin.start()
        [answer] = await admin.describe_consumer_groups(["leaderboard"])
    finally:
        await admin.close()
    [group] = answer.groups
    return group[2] == "Stable" and len(group[5]) == members


async def dead_topic(broker: Broker, count: int) -> list[events_pb2.Event]:
    topic = f"{TOPIC.name}.dead.leaderboard"
    client = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    try:
        await client.start()
        async with asyncio.timeout(30):
            return [events_pb2.Event.FromString((await client.getone()).value) for _ in range(count)]
    finally:
        await client.stop()
