"""Nouns of what creators earn, after it accrued."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.distribution.model.campaigns import Order


class EarningsChange(IntEnum):
    """Moves between the buckets; numbered as in the API."""

    SETTLED = 1
    CLAWED_BACK = 2
    HELD = 3
    RETURNED = 4
    PAID_OUT = 5
    PAYOUT_FAILED = 6
    FORFEITED = 7
    FROZEN = 8
    UNFROZEN = 9


class Bucket(IntEnum):
    """Where an earning stands; numbered as in the API."""

    PENDING = 1
    MATURING = 2
    WITHDRAWABLE = 3
    FROZEN = 4
    HELD = 5
    PAID_OUT = 6
    REVERSED = 7


class LockReason(IntEnum):
    """Why a part has no date; numbered as in the API, NONE where it has one."""

    NONE = 0
    PAYMENT_UNKNOWN = 1
    PAYMENT_NOT_CLEARED = 2
    FROZEN = 3


@dataclass(frozen=True, slots=True)
class CreatorState:
    """What is kept of a creator beside its balances."""

    creator_ref: str
    frozen: bool = False
    standing_revision: int = 0
    paid_out_micro: int = 0
    reversed_micro: int = 0
    changed_at: datetime | None = None
    forfeitures: int = 0


@dataclass(frozen=True, slots=True)
class EarningsPart:
    """Earnings that unlock together (`unlocks_at`), or wait for the same (`reason`)."""

    bucket: Bucket
    amount_micro: int
    unlocks_at: datetime | None = None
    reason: LockReason = LockReason.NONE


@dataclass(frozen=True, slots=True)
class Earnings:
    """The seven buckets of one creator; together everything that ever accrued."""

    pending_micro: int
    maturing_micro: int
    withdrawable_micro: int
    frozen_micro: int
    held_micro: int
    paid_out_micro: int
    reversed_micro: int
    frozen: bool
    parts: tuple[EarningsPart, ...]
    as_of: datetime

    @property
    def accrued_micro(self) -> int:
        return (
            self.pending_micro
            + self.maturing_micro
            + self.withdrawable_micro
            + self.frozen_micro
            + self.held_micro
            + self.paid_out_micro
            + self.reversed_micro
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """What one settlement run moved for one creator."""

    creator_ref: str
    amount_micro: int
    shares: int


@dataclass(frozen=True, slots=True)
class Forfeiture:
    """One forfeiture of a creator, counted from 1; `transfer_id` is empty where there was nothing to take."""

    creator_ref: str
    number: int
    request_id: str
    order: Order
    transfer_id: str
