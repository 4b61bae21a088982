"""The broker as the relay needs it: explicit partitions, acknowledged by all replicas, topics made at need."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from libs.outbox import Record, Topic

_TIMEOUT_MS = 5000
_MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class Publisher:
    """Connects when first needed, and again after any error. Duplicates and gaps it leaves are mended by the inbox."""

    def __init__(self, bootstrap: str, idempotent: bool, replication: int = 1) -> None:  # noqa: FBT001 - a setting
        self._bootstrap = bootstrap
        self._idempotent = idempotent
        self._replication = replication
        self._producer: AIOKafkaProducer | None = None
        self._made: set[str] = set()

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns when the broker has all, each partition in order; raises KafkaError, OSError, TimeoutError."""
        try:
            producer = await self._connected()
            for topic in {record.topic for record in records}:
                await self._make_topic(topic)
            async with asyncio.timeout(2 * _TIMEOUT_MS / 1000):
                sent = [
                    await producer.send(record.topic.name, record.value, record.key, partition=record.partition)
                    for record in records
                ]
                await asyncio.gather(*sent)
        except BaseException:
            # What was sent and what not is unknown, and the topics may be gone: begin from nothing.
            await self.close()
            raise

    async def close(self) -> None:
        """Drops the connection; the next record makes another."""
        producer, self._producer = self._producer, None
        self._made.clear()
        if producer is not None:
            await stopped(producer)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=self._idempotent,
                max_request_size=_MESSAGE_BYTES_MAX,
                request_timeout_ms=_TIMEOUT_MS,
            )
            try:
                async with asyncio.timeout(_TIMEOUT_MS / 1000):
                    await producer.start()
            except BaseException:
                await stopped(producer)
                raise
            self._producer = producer
        return self._producer

    async def _make_topic(self, topic: Topic) -> None:
        if topic.name in self._made:
            return
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, request_timeout_ms=_TIMEOUT_MS)
        try:
            async with asyncio.timeout(_TIMEOUT_MS / 1000):
                await admin.start()
                wanted = NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=self._replication)
                answer = await admin.create_topics([wanted])
            for _, code, *_ in answer.topic_errors:
                if code not in (0, TopicAlreadyExistsError.errno):
                    raise for_code(code)(topic.name)
        finally:
            await admin.close()
        self._made.add(topic.name)


async def stopped(client: AIOKafkaProducer) -> None:
    """Stops a client whose broker may be gone: whatever is still under way is given up."""
    try:
        async with asyncio.timeout(2):
            await client.stop()
    except (KafkaError, OSError, TimeoutError):
        return
