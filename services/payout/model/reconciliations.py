"""Comparisons with the provider and the ledger, and what they find."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID


class Kind(IntEnum):
    """Numbers of creator.payout.v1.DifferenceKind."""

    UNKNOWN_AT_OURS = 1
    MISSING_AT_PROVIDER = 2
    STATE = 3
    CONTENT = 4
    LEDGER = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A difference before it is written down."""

    kind: Kind
    payout_id: UUID | None
    provider_payout_id: str
    theirs: str
    ours: str
    explanation: str

    @property
    def key(self) -> tuple[Kind, UUID | None, str]:
        return self.kind, self.payout_id, self.provider_payout_id


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference as it is kept."""

    difference_id: UUID
    kind: Kind
    payout_id: UUID | None
    provider_payout_id: str
    theirs: str
    ours: str
    explanation: str
    closed_by: str
    seen_at: datetime
    closed_at: datetime | None


class ReconciliationState(IntEnum):
    """Numbers of creator.payout.v1.ReconciliationState."""

    RUNNING = 1
    MATCHED = 2
    DIFFERS = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One comparison."""

    reconciliation_id: UUID
    state: ReconciliationState
    payouts: int
    provider_sent_micro: int
    ledger_sent_micro: int
    differences: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class OurPayout:
    """A payout as far as it is compared."""

    payout_id: UUID
    stage: int
    money: int
    round: int
    amount_micro: int
    fee_micro: int
    changed_at: datetime


class HoldState(IntEnum):
    """Numbers of creator.distribution.v1.PayoutHoldState."""

    HELD = 1
    RETURNED = 2
    BURNED = 3
    COMPLETED = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class Hold:
    """One round of a payout in the ledger."""

    payout_id: UUID
    round: int
    state: HoldState
    amount_micro: int
    sent_micro: int
    fee_micro: int
