"""Listens to the broker for one service, and asks the publishers where the broker falls silent.

The broker is a hint. What counts is the inbox: a group that rebalances, a broker that comes back empty, or one that
never comes back changes when an event is applied, never whether or how often.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from google.protobuf.message import DecodeError
from prometheus_client import Gauge

from libs.inbox import Inbox, Subscription, asking_the_log
from libs.kafka import make_topics, started, stopped
from libs.outbox import Topic
from libs.postgres import Postgres
from libs.telemetry import logger
from protos.events.v1 import events_pb2

log = logger(__name__)

LAG = Gauge(
    "creator_consumer_lag_events", "How far behind the publisher, at the last look.", ["service", "topic", "partition"]
)

_POLL_MS = 200
_BUSY_POLL_MS = 10
# Some brokers look for news only as often as this.
_FETCH_WAIT_MS = 100
_RECORDS_MAX = 2000
# As short as brokers allow: a killed member is missed that soon, and a group takes about half of it to form.
_SESSION_TIMEOUT_MS = 6000
# A broker answers who joins only when the whole group has joined.
_REQUEST_TIMEOUT_MS = 3 * _SESSION_TIMEOUT_MS
_SILENCE_S = 20.0
_LOG_TIMEOUT_S = 10.0
_COMMIT_EVERY_S = 1.0
_WAIT_MAX_S = 5.0


class Consumer:
    """One member of the group of a service. Any number may run; partitions are shared among them."""

    def __init__(
        self,
        postgres: Postgres,
        bootstrap: str,
        group: str,
        subscriptions: Sequence[Subscription[Any]],
        heads_poll_seconds: float = 60.0,
        *,
        replication: int = 1,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._inbox = Inbox(postgres, group)
        self._subscriptions = {subscription.topic.name: subscription for subscription in subscriptions}
        self._heads_poll_seconds = heads_poll_seconds
        self._replication = replication
        self._silent = asyncio.Event()
        self._heard_at: dict[str, float] = {}

    async def run(self) -> None:
        """Never returns; raises TooManyDeadLetters, and what is neither a fault nor an event's own, as a group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            for subscription in self._subscriptions.values():
                group.create_task(self._watch_heads(subscription))

    async def caught_up(self) -> bool:
        """True when everything that the publishers have numbered is applied."""
        behind = [await self._behind(subscription) for subscription in self._subscriptions.values()]
        return not any(behind)

    async def _listen(self) -> None:
        wait_s = 0.1
        while True:
            self._silent.clear()
            self._heard_at.clear()
            try:
                client = await self._connected()
                wait_s = 0.1
                try:
                    await Lanes(client, self._receive).run(self._silent)
                finally:
                    await stopped(client)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("the broker does not answer", error=type(error).__name__)
                wait_s = min(2 * wait_s, _WAIT_MAX_S)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _connected(self) -> AIOKafkaConsumer:
        topics = [subscription.topic for subscription in self._subscriptions.values()]
        client = await connected(self._bootstrap, self._group, topics, self._replication)
        self._heard_at = dict.fromkeys(self._subscriptions, time.monotonic())
        return client

    async def _receive(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        self._heard_at[place.topic] = time.monotonic()
        subscription = self._subscriptions[place.topic]
        events = [event for record in records if (event := _event(record)) is not None]
        wait_s = 0.05
        while True:
            try:
                return await self._inbox.receive(subscription, place.partition, events)
            except Exception as error:
                if not subscription.passing(error):
                    raise
                log.warning("events wait", topic=place.topic, partition=place.partition, error=type(error).__name__)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
            wait_s = min(2 * wait_s, _WAIT_MAX_S)

    async def _watch_heads(self, subscription: Subscription[Any]) -> None:
        """Fetches what is missing at the start, and later whatever nothing brought for a whole interval."""
        seen: dict[int, int] | None = None
        while True:
            wait_s = self._heads_poll_seconds
            try:
                behind = await self._behind(subscription)
                stuck = {each for each, (last, _) in behind.items() if seen is None or seen.get(each) == last}
                if stuck and seen is not None:
                    self._suspect_the_broker(subscription)
                for partition in stuck:
                    await self._inbox.catch_up(subscription, partition, *behind[partition])
                seen = {each: last for each, (last, _) in behind.items()}
            except Exception as error:
                if not subscription.passing(error):
                    raise
                log.warning("heads not known", topic=subscription.topic.name, error=type(error).__name__)
                wait_s = min(wait_s, _WAIT_MAX_S)
            await asyncio.sleep(wait_s * random.uniform(0.8, 1))  # noqa: S311 - jitter

    def _suspect_the_broker(self, subscription: Subscription[Any]) -> None:
        """There are events, and the broker brings none: it has lost something, or its client has. Connect anew."""
        heard_at = self._heard_at.get(subscription.topic.name)
        if heard_at is not None and time.monotonic() - heard_at > max(_SILENCE_S, self._heads_poll_seconds):
            log.warning("the broker is silent", topic=subscription.topic.name)
            self._silent.set()

    async def _behind(self, subscription: Subscription[Any]) -> dict[int, tuple[int, int]]:
        """The last position applied and the publisher's newest, of each partition of which it has more."""
        topic = subscription.topic.name
        request = events_pb2.ListHeadsRequest(topic=topic)
        behind = {}
        with asking_the_log():
            heads = (await subscription.log.ListHeads(request, timeout=_LOG_TIMEOUT_S)).heads
        for head in heads:
            last = await self._inbox.position(subscription, head.partition)
            LAG.labels(self._group, topic, head.partition).set(max(0, head.position - last))
            if last < head.position:
                behind[head.partition] = last, head.position
        return behind


async def connected(bootstrap: str, group: str, topics: Sequence[Topic], replication: int = 1) -> AIOKafkaConsumer:
    """Joins a group that listens to topics. Raises KafkaError, OSError, TimeoutError; `libs.kafka.stopped` ends it."""
    # A broker that makes topics by itself would give them one partition.
    await make_topics(bootstrap, topics, replication)
    client = AIOKafkaConsumer(
        *(topic.name for topic in topics),
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        session_timeout_ms=_SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=_SESSION_TIMEOUT_MS // 6,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        metadata_max_age_ms=5000,
    )
    await started(client, 2 * _REQUEST_TIMEOUT_MS / 1000)
    return client


class Lanes:
    """A lane for each partition: one that waits for its publisher or its database holds up no other."""

    def __init__(
        self, client: AIOKafkaConsumer, receive: Callable[[TopicPartition, Sequence[ConsumerRecord]], Awaitable[None]]
    ) -> None:
        self._client = client
        self._receive = receive
        self._driving: dict[TopicPartition, asyncio.Task[None]] = {}
        self._applied: dict[TopicPartition, int] = {}

    async def run(self, until: asyncio.Event) -> None:
        """Hands each free lane what the broker has for it; raises the broker's faults, and what a lane raises."""
        try:
            async with asyncio.TaskGroup() as lanes:
                committing = lanes.create_task(self._commit_now_and_then())
                while not until.is_set():
                    for place, records in (await self._fetched()).items():
                        self._driving[place] = lanes.create_task(self._drive(place, records))
                for task in (committing, *self._driving.values()):
                    task.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _fetched(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        free = self._client.assignment() - self._driving.keys()
        if not free and self._driving:
            await asyncio.wait(self._driving.values(), timeout=_POLL_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
            return {}
        # A lane that becomes free meanwhile is asked for soon.
        wait_ms = _BUSY_POLL_MS if self._driving else _POLL_MS
        fetched: dict[TopicPartition, list[ConsumerRecord]] = await self._client.getmany(
            *free, timeout_ms=wait_ms, max_records=_RECORDS_MAX
        )
        return fetched

    async def _drive(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        await self._receive(place, records)
        self._applied[place] = records[-1].offset + 1
        del self._driving[place]

    async def _commit_now_and_then(self) -> None:
        """Tells the broker how far the group is, so that a restart does not begin far back; no more than a hint."""
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            ours = self._client.assignment()
            offsets = {place: offset for place, offset in self._applied.items() if place in ours}
            self._applied.clear()
            try:
                if offsets:
                    await self._client.commit(offsets)
            except KafkaError as error:
                log.info("offsets not committed", error=type(error).__name__)


def _event(record: ConsumerRecord) -> events_pb2.Event | None:
    """The event in a record; None for one that no publisher of ours wrote: then its position, if any, is a gap."""
    try:
        event = events_pb2.Event.FromString(record.value or b"")
    except DecodeError:
        event = events_pb2.Event()
    if event.topic == record.topic and event.partition == record.partition and event.position > 0:
        return event
    log.error("not an event", topic=record.topic, partition=record.partition, offset=record.offset)
    return None
