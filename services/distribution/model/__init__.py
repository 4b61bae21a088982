from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from libs.money import Rates, Split


class ReferrerOutcome(IntEnum):
    """Why the referrer got what it got; numbered as in the API and in the journal."""

    ATTRIBUTED = 1
    ORGANIC = 2
    BEFORE_WINDOW = 3
    WINDOW_ENDED = 4
    MARGIN_FLOOR = 5
    TIER_SUSPENDED = 6
    PROMOTIONAL = 7
    RATE_ZERO = 8


class Part(NamedTuple):
    """A named part of a charge: what one model earned of it, or what one payment paid of it."""

    name: str
    amount_micro: int


class Charge(NamedTuple):
    """One inference charge as billing reports it. A tuple: one is made per call of the hot path."""

    inference_charge_id: str
    payer_account_id: str
    community_id: str
    revenue_micro: int
    promotional_micro: int
    provider_cost_micro: int
    model: str
    model_tier: str
    model_breakdown: tuple[Part, ...]
    funding: tuple[Part, ...]
    finalized_at: datetime

    @property
    def paid_micro(self) -> int:
        """The part paid with real money: what is split."""
        return self.revenue_micro - self.promotional_micro


@dataclass(frozen=True, slots=True)
class Attribution:
    """What referral decided about a payer, once and for ever; `window_end` is the first instant outside the window.

    Surrogates are UUIDs in text everywhere here: they are written to rows and events as they are.
    """

    payer_ref: str
    referrer_ref: str | None
    registered_at: datetime
    window_end: datetime


@dataclass(frozen=True, slots=True)
class Rule:
    """One revenue rule, in force from `active_from` until the next one's."""

    rule_version: int
    rates: Rates
    margin_floor_bps: int
    active_from: datetime


class Interval(NamedTuple):
    """From an instant until just before another one, or without end."""

    from_time: datetime
    to_time: datetime | None


class Terms(NamedTuple):
    """What charges are decided by: rules in order of `active_from`, and by tier when it was suspended, in order."""

    rules: tuple[Rule, ...]
    suspensions: dict[str, list[Interval]]


class Decision(NamedTuple):
    """How one charge is split, by which rule, and why the referrer got what it got."""

    rule_version: int
    referrer_outcome: ReferrerOutcome
    split: Split


class Posted(NamedTuple):
    """What the journal holds of a finalized charge: enough to answer it, and to tell whether it is the same again."""

    inference_charge_id: str
    distribution_id: str
    fingerprint: bytes
    decision: Decision


class Answer(NamedTuple):
    """A distribution as its caller gets it; `replayed` where an earlier call made it."""

    posted: Posted
    replayed: bool


class Row(NamedTuple):
    """One row of the journal before it is written."""

    posted: Posted
    charge: Charge
    attribution: Attribution


class Distribution(NamedTuple):
    """One row of the journal as it stands."""

    posted: Posted
    payer_ref: str
    referrer_ref: str | None
    community_id: str
    revenue_micro: int
    promotional_micro: int
    provider_cost_micro: int
    model: str
    model_tier: str
    model_breakdown: tuple[Part, ...]
    funding: tuple[Part, ...]
    finalized_at: datetime
    recorded_at: datetime


class Balance(NamedTuple):
    """What a ledger account holds."""

    account_name: str
    balance_micro: int


class Family(NamedTuple):
    """All ledger accounts of one kind, summed."""

    family: str
    accounts: int
    balance_micro: int


class AccountKind(StrEnum):
    """Kinds of ledger accounts (money rule 8); the schema says which of them may go below zero."""

    RECEIPTS = "receipts"
    COMMONS = "commons"
    COMMUNITY = "community"
    FOUNDATION = "foundation"
    CREATOR_PENDING = "creator_pending"
    CREATOR_SETTLED = "creator_settled"
    CREATOR_HELD = "creator_held"
    OPERATING = "operating"
    PAYOUT_RESERVE = "payout_reserve"
    IN_FLIGHT = "in_flight"
    SENT = "sent"
    PROVIDER_FEES = "provider_fees"
    PAID_OUT = "paid_out"
    CLAWBACK_LOSS = "clawback_loss"
    FORFEITED = "forfeited"
    PROMOTIONAL_SPEND = "promotional_spend"
    MARKETING = "marketing"
    SCORE_REWARDS = "score_rewards"
    CAMPAIGN_AVAILABLE = "campaign_available"
    CAMPAIGN_RESERVED = "campaign_reserved"
    CREDITS = "credits"


RECEIPTS = "platform:receipts"
COMMONS = "commons"
FOUNDATION = "foundation"
OPERATING = "treasury:operating"
PAYOUT_RESERVE = "treasury:payout_reserve"


def community_account(community_id: str) -> str:
    """Name of the account that a community's shares go to."""
    return f"community:{community_id}"


def creator_account(referrer_ref: str, part: str) -> str:
    """Name of a creator's pending, settled or held account."""
    return f"creator:{referrer_ref}:{part}"
