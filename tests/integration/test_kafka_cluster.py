"""What only Apache Kafka can be asked (`make test-kafka`): to keep what it acknowledged when brokers are killed."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from libs.consumer import Consumer
from libs.kafka import Publisher
from libs.outbox import Relay
from protos.events.v1 import events_pb2
from tests.support import brokers
from tests.support.brokers import Cluster, cluster_of
from tests.support.events import TOPIC, Eventually, Pair, running

NEVER_S = 3600.0
ROUND = 400


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    if brokers.require() != "kafka":
        pytest.skip("asks what only Apache Kafka does: `make test-kafka`")
    with cluster_of(request.param, tmp_path) as made:
        yield made


def keys(number: int) -> list[str]:
    return [f"k{each}" for each in range(ROUND * number, ROUND * (number + 1))]


async def leads(cluster: Cluster, number: int) -> bool:
    """Whether a node leads a partition of the topic, of which every node has a copy."""
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    try:
        await admin.start()
        [found] = await admin.describe_topics([TOPIC.name])
    finally:
        await admin.close()
    assert all(len(each["replicas"]) == min(3, len(cluster.nodes)) for each in found["partitions"])
    return number in {each["leader"] for each in found["partitions"]}


async def kept(cluster: Cluster, partition: int, head: int) -> list[int]:
    """Positions that the broker itself has of a partition, each once, in the order in which they first appear."""
    client = AIOKafkaConsumer(
        bootstrap_servers=cluster.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await client.start()
    try:
        client.assign([TopicPartition(TOPIC.name, partition)])
        found: dict[int, None] = {}
        async with asyncio.timeout(30):
            while len(found) < head:
                for records in (await client.getmany(timeout_ms=500)).values():
                    found |= dict.fromkeys(events_pb2.Event.FromString(each.value).position for each in records)
    finally:
        await client.stop()
    return list(found)


async def nothing_is_lost(mesh: Pair, cluster: Cluster, count: int, asked: int) -> None:
    """Every event was applied once, by what the broker kept alone: nobody asked the publisher."""
    await mesh.assert_once_and_in_order(count)
    assert mesh.log.asked == asked
    for partition, head in (await mesh.heads()).items():
        assert await kept(cluster, partition, head) == list(range(1, head + 1))


async def flow(mesh: Pair, rounds: Sequence[int]) -> None:
    for number in rounds:
        for start in range(0, ROUND, 20):
            await mesh.append(keys(number)[start : start + 20])


@pytest.mark.parametrize("cluster", [3], indirect=True, ids=["three brokers"])
async def test_a_leader_killed_in_mid_flow_loses_nothing(mesh: Pair, cluster: Cluster, eventually: Eventually) -> None:
    publisher = Publisher(cluster.bootstrap, idempotent=True, replication=3)
    listener = Consumer(mesh.listener, cluster.bootstrap, "leaderboard", [mesh.subscription], NEVER_S, replication=3)
    async with running(Relay(mesh.publisher, publisher).run(), listener.run()):
        await flow(mesh, [0])
        await eventually(lambda: mesh.all_applied(ROUND), within=60)
        asked = mesh.log.asked
        # Each of the three in turn, so that a leader of every partition is among them.
        for number in range(3):
            await eventually(lambda: leads(cluster, number + 1), within=30)  # noqa: B023 - waited for here
            async with asyncio.TaskGroup() as group:
                group.create_task(flow(mesh, [2 * number + 1, 2 * number + 2]))
                group.create_task(asyncio.to_thread(cluster.kill, number))
            await eventually(lambda: mesh.all_applied(ROUND * (2 * number + 3)), within=60)  # noqa: B023 - waited for here
            cluster.start(number)
        await nothing_is_lost(mesh, cluster, 7 * ROUND, asked)
    await publisher.close()


@pytest.mark.parametrize("cluster", [1], indirect=True, ids=["one broker"])
async def test_a_broker_killed_and_started_again_has_what_it_acknowledged(
    mesh: Pair, cluster: Cluster, eventually: Eventually
) -> None:
    publisher = Publisher(cluster.bootstrap, idempotent=True)
    async with running(Relay(mesh.publisher, publisher).run()):
        await flow(mesh, [0])
        listener = Consumer(mesh.listener, cluster.bootstrap, "leaderboard", [mesh.subscription], NEVER_S)
        async with running(listener.run()):
            await eventually(lambda: mesh.all_applied(ROUND), within=60)
            asked = mesh.log.asked
            for number in range(1, 4):
                await flow(mesh, [number])
                cluster.kill(0)
                cluster.start(0)
            await eventually(lambda: mesh.all_applied(4 * ROUND), within=60)
            await nothing_is_lost(mesh, cluster, 4 * ROUND, asked)
    await publisher.close()
