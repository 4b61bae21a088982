"""Door 2, Kafka: decode, command."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

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
from protos.payout.v1.events_pb2 import DESTINATION_STATE_REMOVED, DestinationChanged
from protos.score.v1.events_pb2 import WALLET_STATE_LINKED, WalletChanged
from services.referral.commands import addresses, qualifying
from services.referral.model.bonuses import BonusTerms, Purchase
from services.referral.model.figures import Revenue
from services.referral.model.risk import AccountAddress, AddressKind
from services.referral.store import activity, figures

_REFUNDED = frozenset({PAYMENT_STATE_PARTIALLY_REFUNDED, PAYMENT_STATE_REFUNDED})


def subscriptions(clock: Clock, terms: BonusTerms, distribution: EventLogServiceStub) -> list[Subscription[Any]]:
    """What referral listens to, and whom it asks for what it missed. A topic has one handler, whatever it feeds."""

    async def payments(connection: Connection, events: Sequence[Received[PaymentChanged]]) -> None:
        purchases = [_purchase(event.message) for event in events]
        await qualifying.take_purchases(connection, purchases, now=clock.now(), terms=terms)

    return [Subscription(PaymentChanged, payments, distribution), Subscription(ChargesFinalized, charges, distribution)]


def address_subscriptions(
    clock: Clock, score: EventLogServiceStub, payout: EventLogServiceStub
) -> list[Subscription[Any]]:
    """Wallets and payout destinations: who shares one."""

    async def wallets(connection: Connection, events: Sequence[Received[WalletChanged]]) -> None:
        await addresses.take_addresses(connection, [_wallet(event.message) for event in events], clock.now())

    async def destinations(connection: Connection, events: Sequence[Received[DestinationChanged]]) -> None:
        await addresses.take_addresses(connection, [_destination(event.message) for event in events], clock.now())

    return [Subscription(WalletChanged, wallets, score), Subscription(DestinationChanged, destinations, payout)]


async def charges(connection: Connection, events: Sequence[Received[ChargesFinalized]]) -> None:
    """Charges of referees: who paid, at least in part with real money, and what all of them paid together."""
    paid: dict[str, _Paid] = {}
    minutes: dict[int, Revenue] = {}
    for event in events:
        _note_paid(event.message, paid)
        _note_revenue(event.message, minutes)
        # One event carries up to 512 charges, and a batch 500 events: let calls through in between.
        await asyncio.sleep(0)
    if paid:
        rows = {
            UUID(payer_ref): activity.Paid(UUID(each[0]), *map(_instant, each[1:])) for payer_ref, each in paid.items()
        }
        await activity.record(connection, rows)
    if minutes:
        revenue = {_instant((minute * 60, 0)): each for minute, each in minutes.items()}
        await figures.add_revenue(connection, revenue)


_Paid = tuple[str, tuple[int, int], tuple[int, int]]
"""Referrer, first and last instant in seconds and nanoseconds: what is cheap to compare for each of many charges."""


def _note_paid(finalized: ChargesFinalized, paid: dict[str, _Paid]) -> None:
    for charge in finalized.charges:
        if not charge.referrer_ref or charge.promotional_micro >= charge.revenue_micro:
            continue
        at = charge.finalized_at.seconds, charge.finalized_at.nanos
        known = paid.get(charge.payer_ref)
        first, last = (min(known[1], at), max(known[2], at)) if known else (at, at)
        paid[charge.payer_ref] = charge.referrer_ref, first, last


def _note_revenue(finalized: ChargesFinalized, minutes: dict[int, Revenue]) -> None:
    for charge in finalized.charges:
        if charge.referrer_ref:
            revenue = minutes.setdefault(charge.finalized_at.seconds // 60, Revenue())
            revenue.charges += 1
            revenue.revenue_micro += charge.revenue_micro
            revenue.provider_cost_micro += charge.provider_cost_micro
            revenue.referrer_micro += charge.referrer_micro


def _instant(at: tuple[int, int]) -> datetime:
    return to_datetime(Timestamp(seconds=at[0], nanos=at[1]))


def _wallet(changed: WalletChanged) -> AccountAddress:
    return AccountAddress(
        UUID(changed.account_ref),
        AddressKind.WALLET,
        UUID(changed.wallet_ref),
        active=changed.state == WALLET_STATE_LINKED,
        changed_at=to_datetime(changed.changed_at),
    )


def _destination(changed: DestinationChanged) -> AccountAddress:
    return AccountAddress(
        UUID(changed.account_ref),
        AddressKind.DESTINATION,
        UUID(changed.address_ref),
        active=changed.state != DESTINATION_STATE_REMOVED,
        changed_at=to_datetime(changed.changed_at),
        shared_with=tuple(UUID(each) for each in changed.shared_with_refs),
    )


def _purchase(changed: PaymentChanged) -> Purchase:
    return Purchase(
        order_id=changed.order_id,
        account_ref=UUID(changed.account_ref),
        confirmed=changed.state == PAYMENT_STATE_CONFIRMED,
        net_paid_micro=changed.net_paid_micro,
        refunded=changed.state in _REFUNDED,
        changed_at=to_datetime(changed.changed_at),
    )
