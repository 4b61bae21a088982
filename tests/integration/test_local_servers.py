"""The servers that the other tests stand on."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.brokers import Broker


async def test_the_database_is_postgresql_18_and_durable_where_it_counts(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert connection.get_server_version().major == 18
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.close()


async def test_a_wrong_password_is_refused(postgres_dsn: str) -> None:
    try:
        await asyncpg.connect(postgres_dsn, password="wrong")
    except asyncpg.InvalidPasswordError:
        return
    raise AssertionError("let in with a wrong password")


async def test_an_empty_database_is_made_for_each_test(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE once (id int)")
    await connection.close()


async def test_an_empty_database_is_empty_again(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    assert await connection.fetchval("SELECT to_regclass('once')") is None
    await connection.close()


async def test_redis_is_empty_at_the_start_of_each_test(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


async def test_redis_is_empty_again(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0


async def _create(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def _produce(bootstrap: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=False)
    await producer.start()
    try:
        for number in range(count):
            await producer.send_and_wait(topic, f"value {number}".encode(), key=b"key", partition=number % 4)
    finally:
        await producer.stop()


async def _consume(bootstrap: str, topic: str, group: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_group_reads_every_message_of_every_partition(kafka_bootstrap: str) -> None:
    await _create(kafka_bootstrap, "local.everything", 4)
    await _produce(kafka_bootstrap, "local.everything", 20)
    values = await _consume(kafka_bootstrap, "local.everything", "readers", 20)
    assert sorted(values) == sorted(f"value {number}".encode() for number in range(20))


async def test_a_restarted_broker_has_lost_every_topic(
    fresh_broker: Broker, eventually: Callable[..., Awaitable[object]]
) -> None:
    await _create(fresh_broker.bootstrap, "local.lost", 4)
    fresh_broker.restart()
    consumer = AIOKafkaConsumer(bootstrap_servers=fresh_broker.bootstrap)
    await consumer.start()
    try:
        assert "local.lost" not in await consumer.topics()
        assert consumer.assignment() == set[TopicPartition]()
    finally:
        await consumer.stop()
