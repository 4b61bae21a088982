"""Qualifying actions, and the bonuses they earn."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class ActionKind(StrEnum):
    """What may earn a bonus."""

    DNFT_MINT = "dnft_mint"
    CREDIT_PURCHASE = "credit_purchase"


class ActionSource(StrEnum):
    """Who told of an action: billing by RPC, or the events of purchases."""

    BILLING = "billing"
    PURCHASE = "purchase"


class ActionOutcome(StrEnum):
    """What came of an action."""

    BONUS = "bonus"
    ORGANIC = "organic"
    BELOW_MINIMUM = "below_minimum"
    NOT_FIRST = "not_first"


class BonusState(StrEnum):
    """pending → withheld | granted | denied; withheld → granted | denied."""

    PENDING = "pending"
    WITHHELD = "withheld"
    GRANTED = "granted"
    DENIED = "denied"


class Budget(StrEnum):
    """A bonus's money at distribution: asked → reserved → granted, or → releasing → released; none: never asked."""

    NONE = "none"
    ASKED = "asked"
    RESERVED = "reserved"
    RELEASING = "releasing"
    RELEASED = "released"
    GRANTED = "granted"


class ClearedBy(StrEnum):
    """Who found nothing wrong with a bonus."""

    CHECKS = "checks"
    REVIEW = "review"


class DenialReason(StrEnum):
    """Why a bonus was denied, besides what a reviewer says."""

    REFERRER_CAP = "REFERRER_CAP"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    ACCOUNT_CAP = "ACCOUNT_CAP"
    REFUNDED = "REFUNDED"
    REFERRER_FORFEITED = "REFERRER_FORFEITED"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a referee did, net of what was paid back."""

    source: ActionSource
    kind: ActionKind
    action_id: str
    account_ref: uuid.UUID
    paid_micro: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Purchase:
    """How a purchase stands; `confirmed` once its whole price had cleared, `refunded` once any of it was paid back."""

    order_id: str
    account_ref: uuid.UUID
    confirmed: bool
    net_paid_micro: int
    refunded: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Bonus:
    """A signup bonus; `sent_at` while a grant is under way whose answer is not recorded."""

    bonus_id: uuid.UUID
    referee_ref: uuid.UUID
    referrer_ref: uuid.UUID
    source: ActionSource
    kind: ActionKind
    action_id: str
    amount_micro: int
    created_at: datetime
    hold_until: datetime
    changed_at: datetime
    state: BonusState = BonusState.PENDING
    reason: str = ""
    budget: Budget = Budget.ASKED
    campaign_id: uuid.UUID | None = None
    checked_at: datetime | None = None
    flagged: bool | None = None
    risk_score: int | None = None
    cleared_at: datetime | None = None
    cleared_by: ClearedBy | None = None
    refunded_at: datetime | None = None
    sent_at: datetime | None = None
    lot_id: uuid.UUID | None = None
    next_try_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Not decided yet."""
        return self.state in (BonusState.PENDING, BonusState.WITHHELD)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks say of a bonus whose hold period is over; `reason` (UPPER_SNAKE) where it is flagged."""

    flagged: bool
    risk_score: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BonusTerms:
    """What earns how much, and how fast."""

    amount_micro: int = 5_000_000
    mint_minimum_micro: int = 1_000_000
    purchase_minimum_micro: int = 5_000_000
    hold: timedelta = timedelta(days=7)
    cap: int = 20
    cap_window: timedelta = timedelta(days=30)
    clock_skew: timedelta = timedelta(minutes=5)
