"""Charges that come by the broker: finalized as a batch is, and refused by an event instead of an answer."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from google.protobuf.message import DecodeError

from libs import outbox
from libs.clock import Clock
from libs.postgres import Postgres, is_fault, retried
from libs.refusals import Code
from libs.rpc.errors import MalformedRequest, as_refusal
from libs.telemetry import logger
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, ingestion_pb2
from services.distribution import metrics
from services.distribution.commands.finalize import Finalizer, Unread, finalize_batch
from services.distribution.commands.reading import read_charge, write_refusal
from services.distribution.model import Answer, Charge
from services.distribution.rules.refusals import BillingDisabled
from services.distribution.rules.texts import is_id
from services.distribution.store import ingestion as store
from services.distribution.store.ingestion import Place

log = logger(__name__)

BATCH = 500
_WAIT_MAX_S = 5.0
_BUG_TRIES_MAX = 5
_PASSING = frozenset({Code.UNAVAILABLE, Code.ABORTED, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED})
"""What a caller of Finalize would try again."""


class Incoming(NamedTuple):
    """A record, and the charge in it."""

    place: Place
    charge: Charge | Unread


class Refused(NamedTuple):
    """A record that was refused, and why."""

    place: Place
    charge_id: str
    error: Exception


def read(place: Place, value: bytes) -> Incoming:
    """Unpack a record; one that is no charge is refused like one that is wrong."""
    try:
        return Incoming(place, read_charge(ingestion_pb2.BillingCharge.FromString(value).charge))
    except DecodeError:
        return Incoming(place, Unread("", MalformedRequest("The record is not a BillingCharge.")))


class Ingestion:
    """Finalizes what the broker brings. When `receive` returns, everything is written: charges or their refusals."""

    def __init__(self, postgres: Postgres, clock: Clock, finalizer: Finalizer) -> None:
        self._postgres = postgres
        self._clock = clock
        self._finalizer = finalizer

    async def receive(self, incoming: Sequence[Incoming]) -> None:
        """Finalize charges of one partition, tried again for as long as something is away."""
        for first in range(0, len(incoming), BATCH):
            refused = await self._finalize(incoming[first : first + BATCH])
            if refused:
                await self._tell(refused)

    async def _finalize(self, left: Sequence[Incoming]) -> list[Refused]:
        refused: list[Refused] = []
        wait_s, bugs = 0.05, 0
        while left:
            try:
                outcomes = await finalize_batch(self._finalizer, [each.charge for each in left])
            except BillingDisabled:
                # Nothing is lost by waiting: the broker keeps it.
                outcomes = None
            again: list[Incoming] = [] if outcomes is not None else list(left)
            for each, outcome in zip(left, outcomes or (), strict=False):
                if isinstance(outcome, Answer):
                    metrics.INGESTED.labels("replayed" if outcome.replayed else "finalized").inc()
                    continue
                code = as_refusal(outcome).code
                if code in _PASSING or (code is Code.INTERNAL and bugs < _BUG_TRIES_MAX):
                    again.append(each)
                else:
                    refused.append(Refused(each.place, each.charge.inference_charge_id, outcome))
            left, bugs = again, bugs + 1
            if left:
                log.warning("charges wait", charges=len(left))
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
                wait_s = min(2 * wait_s, _WAIT_MAX_S)
        return refused

    async def _tell(self, refused: Sequence[Refused]) -> None:
        wait_s = 0.05
        while True:
            try:
                return await tell(self._postgres, self._clock, refused)
            except Exception as error:
                if not is_fault(error):
                    raise
                log.warning("refusals wait", fault=type(error).__name__)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
            wait_s = min(2 * wait_s, _WAIT_MAX_S)


@retried
async def tell(postgres: Postgres, clock: Clock, refused: Sequence[Refused]) -> None:
    """Tell that charges were refused, each record once."""
    now = clock.now()
    async with postgres.transaction() as connection:
        new = await store.note_refused(connection, [each.place for each in refused], now)
        told = [_event(each, now) for each in refused if each.place in new]
        await outbox.append_many(connection, [(message, key, None) for message, key in told], occurred_at=now)
    metrics.INGESTED.labels("refused").inc(len(told))


def _event(refused: Refused, now: datetime) -> tuple[events_pb2.ChargeRefused, str]:
    partition, offset, _ = refused.place
    event = events_pb2.ChargeRefused(
        inference_charge_id=refused.charge_id,
        refusal=write_refusal(refused.error),
        partition=partition,
        offset=offset,
        refused_at=to_timestamp(now),
    )
    # An id that is none may hold what no key may.
    return event, refused.charge_id if is_id(refused.charge_id) else f"{partition}/{offset}"
