"""Door 2, Kafka: decode, command."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from libs.clock import Clock
from libs.inbox import Received, Subscription
from libs.postgres import Connection
from libs.timestamps import to_datetime
from protos.distribution.v1.events_pb2 import (
    PAYMENT_STATE_CONFIRMED,
    PAYMENT_STATE_PARTIALLY_REFUNDED,
    PAYMENT_STATE_REFUNDED,
    ChargesFinalized,
    PaymentChanged,
)
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from services.referral.commands import qualifying
from services.referral.model.bonuses import BonusTerms, Purchase
from services.referral.store import activity

_REFUNDED = frozenset({PAYMENT_STATE_PARTIALLY_REFUNDED, PAYMENT_STATE_REFUNDED})


def subscriptions(clock: Clock, terms: BonusTerms, distribution: EventLogServiceStub) -> list[Subscription[Any]]:
    """What referral listens to, and whom it asks for what it missed. A topic has one handler, whatever it feeds."""

    async def payments(connection: Connection, events: Sequence[Received[PaymentChanged]]) -> None:
        purchases = [_purchase(event.message) for event in events]
        await qualifying.take_purchases(connection, purchases, now=clock.now(), terms=terms)

    return [Subscription(PaymentChanged, payments, distribution), Subscription(ChargesFinalized, charges, distribution)]


async def charges(connection: Connection, events: Sequence[Received[ChargesFinalized]]) -> None:
    """Charges of referees that were paid, at least in part, with real money."""
    paid: dict[UUID, activity.Paid] = {}
    for event in events:
        _note_paid(event.message, paid)
        # One event carries up to 512 charges, and a batch 500 events: let calls through in between.
        await asyncio.sleep(0)
    if paid:
        await activity.record(connection, paid)


def _note_paid(finalized: ChargesFinalized, paid: dict[UUID, activity.Paid]) -> None:
    for charge in finalized.charges:
        if not charge.referrer_ref or charge.promotional_micro >= charge.revenue_micro:
            continue
        payer_ref, at = UUID(charge.payer_ref), to_datetime(charge.finalized_at)
        known = paid.get(payer_ref)
        first, last = (min(known.first_at, at), max(known.last_at, at)) if known else (at, at)
        paid[payer_ref] = activity.Paid(UUID(charge.referrer_ref), first, last)


def _purchase(changed: PaymentChanged) -> Purchase:
    return Purchase(
        order_id=changed.order_id,
        account_ref=UUID(changed.account_ref),
        confirmed=changed.state == PAYMENT_STATE_CONFIRMED,
        net_paid_micro=changed.net_paid_micro,
        refunded=changed.state in _REFUNDED,
        changed_at=to_datetime(changed.changed_at),
    )
