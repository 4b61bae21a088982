"""Door 2, the broker: billing's charges on billing.charges.v1, beside its calls and with the same result; erasures.

Offsets are told to the broker only after everything before them is written. What it brings again, after a crash or a
rebalance, is a replay like any other.
"""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from libs import erasure
from libs.consumer import Lanes, connected
from libs.inbox import Subscription
from libs.kafka import stopped
from libs.outbox import topic_of
from libs.telemetry import logger
from protos.distribution.v1.ingestion_pb2 import BillingCharge
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import AccountErased
from services.distribution.commands import erasing
from services.distribution.commands.ingestion import Incoming, Ingestion, read
from services.distribution.store.ingestion import Place

log = logger(__name__)

GROUP: Final = "distribution-charges"
"""Not the group of the subscriptions: a rebalance of one is none of the other."""

_TOPIC: Final = topic_of(BillingCharge)
_LOOK_EVERY_S = 15.0
_WAIT_MAX_S = 5.0


def subscriptions(referral: EventLogServiceStub) -> tuple[Subscription[AccountErased], ...]:
    """What distribution listens to, and whom it asks for what it missed."""
    return (erasure.subscription(erasing.erase, referral),)


class ChargesConsumer:
    """One member of the group; any number may run. A broker that is away is waited for."""

    def __init__(self, ingestion: Ingestion, bootstrap: str, *, replication: int = 1) -> None:
        self._ingestion = ingestion
        self._bootstrap = bootstrap
        self._replication = replication

    async def run(self) -> None:
        """Never returns; raises what is neither the broker's fault nor the charges'."""
        wait_s = 0.1
        while True:
            try:
                client = await connected(self._bootstrap, GROUP, [_TOPIC], self._replication)
                wait_s = 0.1
                lost = asyncio.Event()
                try:
                    async with asyncio.TaskGroup() as tasks:
                        watching = tasks.create_task(self._watch(client, lost))
                        await Lanes(client, self._receive).run(lost)
                        watching.cancel()
                finally:
                    await stopped(client)
            except* (KafkaError, OSError, TimeoutError) as group:
                log.warning("the broker does not answer", error=type(group.exceptions[0]).__name__)
                wait_s = min(2 * wait_s, _WAIT_MAX_S)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _watch(self, client: AIOKafkaConsumer, lost: asyncio.Event) -> None:
        """A broker that lost its topics gets them again by whoever connects."""
        while not lost.is_set():
            await asyncio.sleep(_LOOK_EVERY_S)
            if not client.partitions_for_topic(_TOPIC.name):
                log.warning("the broker has lost its topics")
                lost.set()

    async def _receive(self, _place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        await self._ingestion.receive([_incoming(record) for record in records])


def _incoming(record: ConsumerRecord) -> Incoming:
    value = record.value or b""
    digest = hashlib.blake2b(value, digest_size=16, person=str(record.timestamp).encode()[:16]).digest()
    return read(Place(record.partition, record.offset, digest), value)
