"""Payouts as the store keeps them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.payout.model import Money, Stage
from services.payout.model.destinations import Destination


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout. Amounts in micro-USD; `fee_micro` is the quote's until `fee_final`.

    `address` and `memo` are None once their owner is erased. `due_at`: not handed over before. `manual`: sent by hand,
    never handed to the provider. `held`: the ledger held the money of this round at some time.
    """

    payout_id: UUID
    account_ref: UUID
    destination_id: UUID
    address: str | None
    memo: str | None
    currency: str
    amount_micro: int
    fee_micro: int
    fee_final: bool
    net_amount: Decimal
    quoted_until: datetime
    stage: Stage
    reason: str
    round: int
    revision: int
    money: Money
    held: bool
    manual: bool
    needs_confirmation: bool
    approvals_needed: int
    approval_reasons: tuple[str, ...]
    cumulative_micro: int
    confirmed_at: datetime | None
    approved_at: datetime | None
    due_at: datetime
    tries: int
    sent_amount: Decimal | None
    transaction_hash: str
    request_id: str
    requested_at: datetime
    changed_at: datetime

    @property
    def net_micro(self) -> int:
        """Gross less fee, in micro-USD."""
        return self.amount_micro - self.fee_micro


def begun(
    payout_id: UUID,
    destination: Destination,
    amount_micro: int,
    *,
    fee_micro: int,
    net_amount: Decimal,
    quoted_until: datetime,
    needs_confirmation: bool,
    approvals_needed: int,
    approval_reasons: tuple[str, ...],
    cumulative_micro: int,
    due_at: datetime,
    request_id: str,
    now: datetime,
) -> Payout:
    """Return a payout as it begins: requested, its money asked for, nothing happened to it yet."""
    return Payout(
        payout_id,
        destination.account_ref,
        destination.destination_id,
        destination.address,
        destination.memo,
        destination.currency,
        amount_micro,
        fee_micro,
        fee_final=False,
        net_amount=net_amount,
        quoted_until=quoted_until,
        stage=Stage.REQUESTED,
        reason="",
        round=1,
        revision=1,
        money=Money.ASKED,
        held=False,
        manual=False,
        needs_confirmation=needs_confirmation,
        approvals_needed=approvals_needed,
        approval_reasons=approval_reasons,
        cumulative_micro=cumulative_micro,
        confirmed_at=None,
        approved_at=None,
        due_at=due_at,
        tries=0,
        sent_amount=None,
        transaction_hash="",
        request_id=request_id,
        requested_at=now,
        changed_at=now,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a payout's stage, for ever."""

    payout_id: UUID
    revision: int
    stage: Stage
    reason: str
    round: int
    actor: str
    changed_at: datetime
