"""Relay, broker and consumer together, while the broker and the consumers come and go."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from libs.consumer import Consumer
from libs.inbox import TooManyDeadLetters
from libs.kafka import Publisher, make_topics
from libs.outbox import Record, Relay, Topic
from tests.support.brokers import Broker
from tests.support.events import TOPIC, Eventually, Pair, running

SOON_S = 0.5


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
    made = Publisher(fresh_broker.bootstrap, idempotent=fresh_broker.idempotent)
    yield made
    await made.close()


def consumer(mesh: Pair, broker: Broker, heads_poll_seconds: float = SOON_S) -> Consumer:
    return Consumer(mesh.listener, broker.bootstrap, "leaderboard", [mesh.subscription], heads_poll_seconds)


def keys(start: int, count: int) -> list[str]:
    return [f"k{number}" for number in range(start, start + count)]


async def all_applied(mesh: Pair, count: int, eventually: Eventually, within: float = 60) -> None:
    await eventually(lambda: mesh.all_applied(count), within=within)
    await mesh.assert_once_and_in_order(count)


async def has_members(broker: Broker, count: int) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        await admin.start()
        [answer] = await admin.describe_consumer_groups(["leaderboard"])
    finally:
        await admin.close()
    [group] = answer.groups
    return group[2] == "Stable" and len(group[5]) == count


class TestTheWholeWay:
    async def test_every_event_arrives_once_and_in_order_by_the_broker_alone(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker, 3600).run()):
            # What is there when it starts it would fetch from the log.
            await eventually(lambda: mesh.log.looked_at > 0)
            for start in range(0, 2000, 100):
                await mesh.append(keys(start, 100))
            await all_applied(mesh, 2000, eventually)
        assert mesh.log.asked == 0

    async def test_a_consumer_that_starts_late_gets_everything(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        await mesh.append(keys(0, 1000))
        await mesh.number()
        listener = consumer(mesh, fresh_broker, 3600)
        async with running(Relay(mesh.publisher, publisher).run(), listener.run()):
            await all_applied(mesh, 1000, eventually)
            assert await listener.caught_up()

    async def test_a_consumer_does_without_a_broker(
        self, mesh: Pair, fresh_broker: Broker, eventually: Eventually
    ) -> None:
        fresh_broker.kill()
        async with running(consumer(mesh, fresh_broker, 0.1).run()):
            for start in range(0, 300, 100):
                await mesh.append(keys(start, 100))
                await mesh.number()
                await all_applied(mesh, start + 100, eventually)

    async def test_a_stranger_on_the_topic_is_ignored(
        self,
        mesh: Pair,
        fresh_broker: Broker,
        publisher: Publisher,
        eventually: Eventually,
        logs: list[MutableMapping[str, Any]],
    ) -> None:
        await make_topics(fresh_broker.bootstrap, [TOPIC])
        stranger = AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap)
        await stranger.start()
        for value in (b"\xff\xff", b"", None, b"\x20\x05"):
            for partition in range(TOPIC.partitions):
                await stranger.send_and_wait(TOPIC.name, value, b"key", partition=partition)
        await stranger.stop()
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker, 3600).run()):
            await mesh.append(keys(0, 100))
            await all_applied(mesh, 100, eventually)
        assert any(line["event"] == "not an event" for line in logs)

    async def test_events_too_large_for_the_broker_are_fetched(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        large = "x" * 600_000  # as key and in the payload: more than a broker takes
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker).run()):
            await mesh.append(["a", large, "b", large, "c"])
            await all_applied(mesh, 5, eventually)

    async def test_a_bad_release_stops(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        mesh.poison = set(keys(0, 200))
        await mesh.append(keys(0, 200))
        async with running(Relay(mesh.publisher, publisher).run()):
            with pytest.raises(ExceptionGroup) as stopped:
                async with asyncio.timeout(60):
                    await consumer(mesh, fresh_broker).run()
        assert stopped.group_contains(TooManyDeadLetters)


class TestTheBrokerFails:
    async def test_a_broker_that_lost_everything_costs_nothing(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker).run()):
            for round_number in range(1, 4):
                await mesh.append(keys(round_number, 200))
                if round_number == 1:
                    await all_applied(mesh, 200, eventually)
                fresh_broker.restart()
            await all_applied(mesh, 600, eventually)
            # And the broker is in use again.
            await eventually(lambda: has_members(fresh_broker, 1), within=60)

    async def test_a_broker_that_is_away_delays_and_no_more(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        fresh_broker.kill()
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker, 3600).run()):
            await mesh.append(keys(0, 300))
            await eventually(mesh.heads)
            fresh_broker.start()
            await all_applied(mesh, 300, eventually)

    async def test_a_topic_deleted_under_the_relay_is_made_again_with_all_its_partitions(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker).run()):
            await mesh.append(keys(0, 100))
            await all_applied(mesh, 100, eventually)
            await delete(fresh_broker, TOPIC.name)
            await mesh.append(keys(100, 300))
            await all_applied(mesh, 400, eventually)
        await eventually(lambda: published(publisher, Record(TOPIC, 0, b"", b"")), within=30)
        assert await partitions(fresh_broker, TOPIC.name) == TOPIC.partitions

    async def test_publishing_to_nobody_raises_and_works_later(
        self, fresh_broker: Broker, publisher: Publisher
    ) -> None:
        record = Record(Topic("later", 2), 1, b"k", b"v")
        fresh_broker.kill()
        with pytest.raises((KafkaError, OSError, TimeoutError)):
            await publisher.publish([record])
        fresh_broker.start()
        await publisher.publish([record])
        assert await values(fresh_broker, "later") == [b"v"]

    async def test_topics_are_made_by_whoever_comes_first(self, fresh_broker: Broker) -> None:
        topics = [Topic("one", 3), Topic("two", 1)]
        await asyncio.gather(*(make_topics(fresh_broker.bootstrap, topics) for _ in range(5)))
        assert await partitions(fresh_broker, "one") == 3
        assert await partitions(fresh_broker, "two") == 1


class TestTheGroup:
    async def test_members_come_and_go_and_every_event_is_applied_once(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        async with running(Relay(mesh.publisher, publisher).run(), consumer(mesh, fresh_broker).run()):
            await mesh.append(keys(0, 500))
            await eventually(lambda: has_members(fresh_broker, 1), within=60)
            async with running(consumer(mesh, fresh_broker).run()):
                await mesh.append(keys(500, 500))
                await eventually(lambda: has_members(fresh_broker, 2), within=60)
                await mesh.append(keys(1000, 500))
            await mesh.append(keys(1500, 500))
            await all_applied(mesh, 2000, eventually)

    async def test_consumers_killed_in_the_middle_apply_once(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        dice = random.Random(13)
        async with running(Relay(mesh.publisher, publisher).run()):
            for round_number in range(4):
                await mesh.append(keys(500 * round_number, 500))
                async with running(consumer(mesh, fresh_broker).run()):
                    await asyncio.sleep(dice.uniform(0, 0.4))
            async with running(consumer(mesh, fresh_broker).run()):
                await all_applied(mesh, 2000, eventually)

    async def test_a_partition_that_must_wait_holds_up_no_other(
        self, mesh: Pair, fresh_broker: Broker, publisher: Publisher, eventually: Eventually
    ) -> None:
        await mesh.append(keys(0, 400))
        await mesh.number()
        # The publisher cannot be asked, and one partition begins with a gap on the broker.
        mesh.log.down = True
        records = [
            Record(TOPIC, event.partition, event.key.encode(), event.SerializeToString())
            for partition in range(TOPIC.partitions)
            for event in await mesh.events(partition, after=5 if partition == 0 else 0)
        ]
        await publisher.publish(records)
        heads = await mesh.heads()

        async def others_are_done() -> bool:
            applied = await mesh.applied()
            return all(len(applied.get(partition, [])) == heads[partition] for partition in (1, 2, 3))

        async with running(consumer(mesh, fresh_broker, 0.2).run()):
            await eventually(others_are_done, within=60)
            assert 0 not in await mesh.applied()
            mesh.log.down = False
            await all_applied(mesh, 400, eventually)


async def partitions(broker: Broker, topic: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        await admin.start()
        [found] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return len(found["partitions"])


async def published(publisher: Publisher, record: Record) -> bool:
    """As the relay does it, which tries again: of a topic that was just made not every broker knows who leads it."""
    await publisher.publish([record])
    return True


async def delete(broker: Broker, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        await admin.start()
        await admin.delete_topics([topic])
    finally:
        await admin.close()


async def values(broker: Broker, topic: str) -> list[bytes]:
    client = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    try:
        await client.start()
        return [(await client.getone()).value]
    finally:
        await client.stop()
