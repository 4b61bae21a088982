"""Payouts as the store keeps them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.payout.model import Money, Stage


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
