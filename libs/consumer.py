"""Listens to the broker for one service, and asks the publishers where the broker falls silent.

The broker is a hint. What counts is the inbox: a group that rebalances, a broker that comes back empty, or one that
never comes back changes when an event is applied, never whether or how often.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from google.protobuf.message import DecodeError

from libs.inbox import Inbox, Subscription, passing
from libs.kafka import stopped
from libs.postgres import Postgres
from libs.telemetry import logger
from protos.events.v1 import events_pb2

log = logger(__name__)

_POLL_MS = 200
_RECORDS_MAX = 2000
_REQUEST_TIMEOUT_MS = 5000
_LOG_TIMEOUT_S = 10.0
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
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._inbox = Inbox(postgres, group)
        self._subscriptions = {subscription.topic.name: subscription for subscription in subscriptions}
        self._heads_poll_seconds = heads_poll_seconds
        self._silent = asyncio.Event()

    async def run(self) -> None:
        """Never returns; raises TooManyDeadLetters, and what a handler raises by mistake."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._watch_heads())

    async def _listen(self) -> None:
        wait_s = 0.1
        while True:
            self._silent.clear()
            try:
                await self._listen_until_silent()
                wait_s = 0.1
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("the broker does not answer", error=type(error).__name__)
                wait_s = min(2 * wait_s, _WAIT_MAX_S)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _listen_until_silent(self) -> None:
        client = AIOKafkaConsumer(
            *self._subscriptions,
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            auto_offset_reset="earliest",
            enable_auto_commit=True,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2000,
            metadata_max_age_ms=5000,
        )
        try:
            async with asyncio.timeout(2 * _REQUEST_TIMEOUT_MS / 1000):
                await client.start()
            while not self._silent.is_set():
                batches = await client.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
                for place, records in batches.items():
                    await self._receive(place, records)
        finally:
            await stopped(client)

    async def _receive(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        subscription = self._subscriptions[place.topic]
        events = [event for record in records if (event := _event(record)) is not None]
        wait_s = 0.05
        while True:
            try:
                return await self._inbox.receive(subscription, place.partition, events)
            except Exception as error:
                if not passing(error):
                    raise
                log.warning("events wait", topic=place.topic, partition=place.partition, error=type(error).__name__)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
            wait_s = min(2 * wait_s, _WAIT_MAX_S)

    async def _watch_heads(self) -> None:
        """Fetches what a publisher has and nothing brought for a whole interval; then connects to the broker anew."""
        seen: dict[tuple[str, int], int] = {}
        while True:
            for subscription in self._subscriptions.values():
                try:
                    if await self._fetch_stuck(subscription, seen):
                        self._silent.set()
                except Exception as error:
                    if not passing(error):
                        raise
                    log.warning("heads not known", topic=subscription.topic.name, error=type(error).__name__)
            await asyncio.sleep(self._heads_poll_seconds)

    async def _fetch_stuck(self, subscription: Subscription[Any], seen: dict[tuple[str, int], int]) -> bool:
        topic = subscription.topic.name
        request = events_pb2.ListHeadsRequest(topic=topic)
        heads = (await subscription.log.ListHeads(request, timeout=_LOG_TIMEOUT_S)).heads
        stuck = False
        for head in heads:
            last = await self._inbox.position(subscription, head.partition)
            stood_still = seen.get((topic, head.partition)) == last
            seen[topic, head.partition] = last
            if last < head.position and stood_still:
                stuck = True
                await self._inbox.catch_up(subscription, head.partition, last)
        return stuck


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
