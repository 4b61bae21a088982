"""Door 2, Kafka: decode, command."""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from libs import erasure
from libs.inbox import Received, Subscription
from libs.postgres import Connection
from libs.timestamps import to_datetime
from protos.distribution.v1.events_pb2 import (
    EARNINGS_CHANGE_CLAWED_BACK,
    EARNINGS_CHANGE_FORFEITED,
    ChargesFinalized,
    EarningsChanged,
)
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import AccountErased, Registration, RegistrationFlagged
from services.leaderboard import metrics
from services.leaderboard.commands import applying, erasing, registering
from services.leaderboard.model import Flag, Referee
from services.leaderboard.rules.shares import Shares
from services.leaderboard.rules.tally import Tally

_TAKEN_BACK: Final = frozenset({EARNINGS_CHANGE_CLAWED_BACK, EARNINGS_CHANGE_FORFEITED})

_SHARES_TOGETHER: Final = 65_000
"""Shares of one statement: more would keep the process from answering while they are handed over."""


def subscriptions(
    referral: EventLogServiceStub, distribution: EventLogServiceStub
) -> tuple[
    Subscription[Registration],
    Subscription[RegistrationFlagged],
    Subscription[ChargesFinalized],
    Subscription[EarningsChanged],
]:
    """What boards are made from, and whom leaderboard asks for what it missed."""
    return (
        Subscription(Registration, registrations, referral),
        Subscription(RegistrationFlagged, flags, referral),
        Subscription(ChargesFinalized, charges, distribution),
        Subscription(EarningsChanged, changes, distribution),
    )


def erasures(referral: EventLogServiceStub) -> Subscription[AccountErased]:
    """Whom to forget; nothing that a board shows depends on it."""
    return erasure.subscription(erasing.erase, referral)


async def registrations(connection: Connection, events: Sequence[Received[Registration]]) -> None:
    """An organic registration counts for nobody."""
    came = [
        Referee(
            UUID(registration.account_ref),
            UUID(registration.referrer_ref),
            to_datetime(registration.registered_at),
            registration.channel,
        )
        for registration in (event.message for event in events)
        if registration.referrer_ref
    ]
    await registering.register(connection, came)
    metrics.APPLIED.labels("registration").inc(len(events))


async def flags(connection: Connection, events: Sequence[Received[RegistrationFlagged]]) -> None:
    """Of several of one registration the newest counts, wherever it stands."""
    newest: dict[UUID, Flag] = {}
    for told in (event.message for event in events):
        flag = Flag(UUID(told.account_ref), told.flagged, told.revision)
        newest[flag.referee_ref] = max(flag, newest.get(flag.referee_ref, flag), key=lambda each: each.revision)
    await registering.flag(connection, newest)
    metrics.APPLIED.labels("flag").inc(len(events))


async def charges(connection: Connection, events: Sequence[Received[ChargesFinalized]]) -> None:
    """A charge without a share for its referrer counts for nobody."""
    shares = Shares()
    for event in events:
        _collect(event.message, shares)
        if len(shares) >= _SHARES_TOGETHER:
            await applying.apply_shares(connection, shares)
            shares = Shares()
        # One event carries up to 512 charges, and a batch 500 events: let reads through in between.
        await asyncio.sleep(0)
    await applying.apply_shares(connection, shares)
    metrics.APPLIED.labels("charge").inc(sum(len(event.message.charges) for event in events))


async def changes(connection: Connection, events: Sequence[Received[EarningsChanged]]) -> None:
    """Of all that happens to earnings, what takes them back."""
    tally = Tally()
    for event in events:
        change = event.message
        if change.change in _TAKEN_BACK:
            day = date.fromisoformat(change.accrued_on) if change.accrued_on else to_datetime(change.changed_at).date()
            tally.reverse(change.creator_ref, day, change.amount_micro)
    await applying.apply(connection, tally)
    metrics.APPLIED.labels("change").inc(len(events))


def _collect(finalized: ChargesFinalized, shares: Shares) -> None:
    for charge in finalized.charges:
        share_micro, referrer_ref = charge.referrer_micro, charge.referrer_ref
        if share_micro and referrer_ref:
            parts = charge.model_breakdown
            shares.earn(
                referrer_ref,
                charge.payer_ref,
                _microseconds(charge.finalized_at),
                share_micro,
                charge.model,
                [(part.model, part.amount_micro) for part in parts] if parts else (),
            )


def _microseconds(timestamp: Timestamp) -> int:
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1000
