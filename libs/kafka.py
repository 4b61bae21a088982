"""The broker as the relay needs it: explicit partitions, acknowledged by all replicas, topics made at need."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import (
    InvalidPartitionsError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from libs.outbox import Record, Topic
from libs.telemetry import logger

log = logger(__name__)

T = TypeVar("T")

_TIMEOUT_MS = 5000
_STOP_S = 1.0
_END_MAX_S = 2.0
_MESSAGE_BYTES_MAX = 1_000_000
"""What a broker takes unless it is told otherwise; consumers fetch a larger event by RPC, as they do any gap."""


class Publisher:
    """Connects when first needed, and again after any error. Duplicates and gaps it leaves are mended by the inbox."""

    def __init__(self, bootstrap: str, idempotent: bool, replication: int = 1) -> None:  # noqa: FBT001 - a setting
        self._bootstrap = bootstrap
        self._idempotent = idempotent
        self._replication = replication
        self._producer: AIOKafkaProducer | None = None
        self._made: set[Topic] = set()

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns when the broker has all, each partition in order; raises KafkaError, OSError, TimeoutError."""
        try:
            producer = await self._connected()
            await self._make_topics({record.topic for record in records} - self._made)
            await self._send(producer, records)
        except BaseException:
            # What was sent and what not is unknown, and the topics may be gone: begin from nothing.
            await self.close()
            raise

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
        sending = _own(_sent(producer, records))
        try:
            await _in_time(sending, 2 * _TIMEOUT_MS / 1000)
        except BaseException:
            # What a producer has in hand when it is stopped would be waited for without end.
            await self.close()
            sending.cancel()
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
                max_request_size=2 * _MESSAGE_BYTES_MAX,
                max_batch_size=_MESSAGE_BYTES_MAX // 2,
                request_timeout_ms=_TIMEOUT_MS,
            )
            await started(producer, _TIMEOUT_MS / 1000)
            self._producer = producer
        return self._producer

    async def _make_topics(self, topics: set[Topic]) -> None:
        if topics:
            await make_topics(self._bootstrap, topics, self._replication)
            self._made |= topics


async def make_topics(bootstrap: str, topics: Iterable[Topic], replication: int = 1) -> None:
    """Makes the topics that are missing, and gives those that a broker made by itself the partitions they lack.

    Raises KafkaError, OSError, TimeoutError.
    """
    await uncut(_make_topics(bootstrap, list(topics), replication), 2 * _TIMEOUT_MS / 1000)


async def _make_topics(bootstrap: str, topics: Sequence[Topic], replication: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_TIMEOUT_MS)
    try:
        await admin.start()
        there = {
            each["topic"]: len(each["partitions"]) for each in await admin.describe_topics() if not each["error_code"]
        }
        missing = [topic for topic in topics if topic.name not in there]
        narrow = [topic for topic in topics if there.get(topic.name, topic.partitions) < topic.partitions]
        if missing:
            wanted = [NewTopic(each.name, each.partitions, replication) for each in missing]
            _check((await admin.create_topics(wanted)).topic_errors, TopicAlreadyExistsError)
        if narrow:
            more = {each.name: NewPartitions(each.partitions) for each in narrow}
            _check((await admin.create_partitions(more)).topic_errors, InvalidPartitionsError)
    finally:
        await admin.close()


def _check(answers: Iterable[Sequence[object]], somebody_was_quicker: type[KafkaError]) -> None:
    for topic, code, *_ in answers:
        if code not in {0, somebody_was_quicker.errno}:
            raise for_code(code)(topic)


async def _sent(producer: AIOKafkaProducer, records: Sequence[Record]) -> None:
    small = [record for record in records if len(record.value) + len(record.key) < _MESSAGE_BYTES_MAX]
    if len(small) < len(records):
        log.warning("too large for the broker, left to the event log", events=len(records) - len(small))
    places: dict[tuple[str, int], list[Record]] = {}
    for record in small:
        places.setdefault((record.topic.name, record.partition), []).append(record)
    sending = (_sent_in_order(producer, *place, some) for place, some in places.items())
    for outcome in await asyncio.gather(*sending, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _sent_in_order(producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Record]) -> None:
    """Sends what goes to one partition in batches of this side's making: a future for each event costs more than it."""
    batch = producer.create_batch()
    for record in records:
        # A batch that holds nothing yet takes an event of any size.
        if batch.append(key=record.key, value=record.value, timestamp=None) is None:
            await _delivered(producer, topic, partition, batch)
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None)
    await _delivered(producer, topic, partition, batch)


async def _delivered(producer: AIOKafkaProducer, topic: str, partition: int, batch: BatchBuilder) -> None:
    try:
        await (await producer.send_batch(batch, topic, partition=partition))
    except MessageSizeTooLargeError:
        log.warning("too large for this broker, left to the event log", events=batch.record_count())


_INNER_TASKS = (
    ("_sender", "_sender_task"),
    ("_fetcher", "_fetch_task"),
    ("_coordinator", "_coordination_task"),
    ("_coordinator", "_heartbeat_task"),
    ("_coordinator", "_commit_refresh_task"),
)

_owned: set[asyncio.Task[Any]] = set()
"""What goes on by itself for a moment after nobody waits for it any more."""


async def uncut(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Waits so long for what a client does, and lets it come to its own end when nobody waits any more."""
    return await _in_time(_own(work), seconds)


async def started(client: AIOKafkaProducer | AIOKafkaConsumer, seconds: float) -> None:
    """Starts a client; raises KafkaError, OSError or TimeoutError, and has then given it up."""
    starting = _own(client.start())
    try:
        await _in_time(starting, seconds)
    except BaseException:
        await _wait_a_little(_own(_ended(client, starting)))
        raise


async def stopped(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Stops a client. One whose broker is gone goes on by itself: cut off, it would never close what it opened."""
    await _wait_a_little(_own(_ended(client, None)))


async def _ended(client: AIOKafkaProducer | AIOKafkaConsumer, starting: asyncio.Task[None] | None) -> None:
    try:
        if starting is not None:
            await asyncio.wait([starting], timeout=_END_MAX_S)
    finally:
        # Also where the loop itself ends and takes this task with it.
        if starting is not None:
            starting.cancel()
        await _closed(client)


async def _closed(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(_END_MAX_S):
            await client.stop()
    finally:
        # A stop that meets an error, or is cut off, leaves the rest as it was: looking inside is the one way to end it.
        for owner, name in _INNER_TASKS:
            task: asyncio.Task[None] | None = getattr(getattr(client, owner, None), name, None)
            if task is not None:
                task.cancel()
        if isinstance(client, AIOKafkaProducer):
            client._message_accumulator.fail_all(KafkaConnectionError())  # noqa: SLF001
        await (client.client if isinstance(client, AIOKafkaProducer) else client._client).close()  # noqa: SLF001


def _own(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    _owned.add(task)
    task.add_done_callback(_disown)
    return task


def _disown(task: asyncio.Task[Any]) -> None:
    _owned.discard(task)
    if not task.cancelled() and (error := task.exception()):
        log.debug("a client ended badly", error=type(error).__name__)


async def _in_time(task: asyncio.Task[T], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await asyncio.shield(task)


async def _wait_a_little(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task], timeout=_STOP_S)
