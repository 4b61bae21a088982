"""A refund is applied to the charges that its payment funded: before or after it came, a batch at a time."""

from collections import defaultdict
from datetime import date, datetime
from uuid import UUID

from libs import outbox
from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2
from services.distribution import metrics
from services.distribution.commands.posting import Posting, post_many
from services.distribution.model import (
    COMMONS,
    FOUNDATION,
    OPERATING,
    PAYOUT_RESERVE,
    RECEIPTS,
    community_account,
    creator_account,
)
from services.distribution.model.ledger import CLAWBACK_LOSS, TransferKind
from services.distribution.model.payments import Reversal
from services.distribution.rules import payments as rules
from services.distribution.store import earnings, payments, refunds

BATCH = 500


async def apply_refunds(postgres: Postgres, clock: Clock, payment_id: str) -> int:
    """Takes back what a payment's refunds reach; returns from how many charges. Repeating it takes nothing more."""
    total = 0
    while True:
        reversed_charges, done = await _apply_batch(postgres, clock, payment_id)
        total += reversed_charges
        if done:
            return total


async def apply_all(postgres: Postgres, clock: Clock) -> int:
    """The same for every payment that is behind: a charge came after the refund, or a crash between the two."""
    total = 0
    while True:
        async with postgres.connection() as connection:
            behind = await refunds.behind(connection, BATCH)
        for payment_id in behind:
            total += await apply_refunds(postgres, clock, payment_id)
        if len(behind) < BATCH:
            return total


@retried
async def _apply_batch(postgres: Postgres, clock: Clock, payment_id: str) -> tuple[int, bool]:
    async with postgres.transaction() as connection:
        payment = await payments.lock_payment(connection, payment_id)
        reversible_micro = rules.reversible_micro(payment)
        if reversible_micro <= payment.reversed_micro:
            return 0, True
        next_charges = await refunds.creators_behind(
            connection, payment_id, reversible_micro, payment.spent_micro, BATCH
        )
        if not next_charges:
            # What rounding down leaves, less than a micro per charge, stays where it is.
            await refunds.mark_reversed(connection, payment_id, reversible_micro)
            return 0, True
        await earnings.lock_states(connection, [creator for _, creator in next_charges if creator])
        charges = await refunds.lock_charges(connection, payment_id, [charge for charge, _ in next_charges])
        reversals = [
            reversal
            for charge in charges
            if (reversal := rules.reverse(charge, reversible_micro=reversible_micro, spent_micro=payment.spent_micro))
        ]
        await _post(connection, payment_id, reversals, clock.now())
        return len(reversals), False


async def _post(connection: Connection, payment_id: str, reversals: list[Reversal], now: datetime) -> None:
    with_ids = [(reversal, new_id()) for reversal in reversals]
    await post_many(connection, [_posting(each, transfer_id, payment_id) for each, transfer_id in with_ids], now=now)
    await refunds.write(connection, payment_id, with_ids, now)
    for creator_ref, amount_micro in _by_creator(reversals).items():
        await earnings.add_totals(connection, creator_ref, reversed_micro=amount_micro)
    await outbox.append_many(connection, _events(payment_id, with_ids, now), occurred_at=now)
    metrics.CLAWED_BACK.inc(sum(each.clawed_back_micro for each in reversals))
    metrics.CLAWBACK_LOSS.inc(sum(each.loss_micro for each in reversals))


def _posting(reversal: Reversal, transfer_id: UUID, payment_id: str) -> Posting:
    """The charge's legs taken back in part; the backing of what a creator loses goes back to operating cash."""
    charge, clawed_back_micro = reversal.charge, reversal.clawed_back_micro
    legs = {
        RECEIPTS: reversal.refunded_micro,
        COMMONS: -reversal.commons_micro,
        community_account(charge.community_id): -reversal.community_micro,
        FOUNDATION: -reversal.foundation_micro,
        CLAWBACK_LOSS: -reversal.loss_micro,
        PAYOUT_RESERVE: -clawed_back_micro,
        OPERATING: clawed_back_micro,
    }
    if charge.creator_ref and clawed_back_micro:
        legs[creator_account(charge.creator_ref, "pending")] = -clawed_back_micro
    return Posting(TransferKind.CLAWBACK, payment_id, legs, transfer_id)


def _by_creator(reversals: list[Reversal]) -> dict[str, int]:
    amounts: defaultdict[str, int] = defaultdict(int)
    for reversal in reversals:
        if reversal.charge.creator_ref and reversal.clawed_back_micro:
            amounts[reversal.charge.creator_ref] += reversal.clawed_back_micro
    return dict(sorted(amounts.items()))


def _events(payment_id: str, reversals: list[tuple[Reversal, UUID]], now: datetime) -> list[outbox.Entry]:
    """One event per creator and day of accrual, so that what was shown for that day can be taken back out."""
    amounts: defaultdict[tuple[str, date], int] = defaultdict(int)
    transfer_ids: dict[tuple[str, date], UUID] = {}
    for reversal, transfer_id in reversals:
        creator_ref = reversal.charge.creator_ref
        if creator_ref and reversal.clawed_back_micro:
            key = creator_ref, reversal.charge.accrued_at.date()
            amounts[key] += reversal.clawed_back_micro
            transfer_ids.setdefault(key, transfer_id)
    return [
        outbox.Entry(
            events_pb2.EarningsChanged(
                creator_ref=key[0],
                change=events_pb2.EARNINGS_CHANGE_CLAWED_BACK,
                amount_micro=amount_micro,
                transfer_id=str(transfer_ids[key]),
                accrued_on=key[1].isoformat(),
                cause_id=payment_id,
                changed_at=to_timestamp(now),
            ),
            key[0],
        )
        for key, amount_micro in amounts.items()
    ]
