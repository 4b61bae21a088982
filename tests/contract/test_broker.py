"""What we ask of a broker, asked of each: the one from a wheel (`make test`) and Apache Kafka (`make test-kafka`)."""

import uuid

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.kafka import Publisher
from libs.outbox import Record, Topic
from tests.support.brokers import Broker


async def read(bootstrap: str, topic: Topic, partition: int, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic.name, partition)])
        found: list[bytes] = []
        while len(found) < count:
            batches = await consumer.getmany(timeout_ms=1000)
            found += [record.value for records in batches.values() for record in records]
        return found
    finally:
        await consumer.stop()


async def test_a_partition_keeps_the_order_of_what_was_acknowledged(shared_broker: Broker) -> None:
    topic = Topic(f"contract.{uuid.uuid4()}", 4)
    publisher = Publisher(shared_broker.bootstrap, idempotent=shared_broker.idempotent)
    try:
        for start in range(0, 200, 50):
            await publisher.publish(
                [Record(topic, number % 4, b"key", str(number).encode()) for number in range(start, start + 50)]
            )
    finally:
        await publisher.close()
    for partition in range(4):
        expected = [str(number).encode() for number in range(partition, 200, 4)]
        assert await read(shared_broker.bootstrap, topic, partition, len(expected)) == expected


async def test_a_topic_is_made_with_its_partitions_and_can_be_asked_for_again(shared_broker: Broker) -> None:
    topic = Topic(f"contract.{uuid.uuid4()}", 3)
    for _ in range(2):
        publisher = Publisher(shared_broker.bootstrap, idempotent=shared_broker.idempotent)
        try:
            await publisher.publish([Record(topic, 2, b"key", b"value")])
        finally:
            await publisher.close()
    assert await read(shared_broker.bootstrap, topic, 2, 2) == [b"value", b"value"]
