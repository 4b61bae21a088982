"""What documents for partners are made of."""

from datetime import datetime
from typing import NamedTuple

from libs.money import Rates, Split
from services.distribution.model import ReferrerOutcome


class Billed(NamedTuple):
    """One distribution, with its rule's rates."""

    distribution_id: str
    inference_charge_id: str
    referrer_ref: str | None
    community_id: str
    provider_cost_micro: int
    model: str
    model_tier: str
    finalized_at: datetime
    outcome: ReferrerOutcome
    split: Split
    rates: Rates


class Credited(NamedTuple):
    """What one refund took back of one distribution; `loss_micro` of it the platform bore."""

    credit_note_id: str
    distribution_id: str
    referrer_ref: str | None
    community_id: str
    clawed_back_micro: int
    loss_micro: int
    commons_micro: int
    community_micro: int
    foundation_micro: int
    recorded_at: datetime


class PaidOut(NamedTuple):
    """A completed payout, and the creator's first distribution, which stands for what was earned."""

    payout_id: str
    distribution_id: str
    creator_ref: str
    amount_micro: int
    completed_at: datetime


class Escrowed(NamedTuple):
    """One round of a payout's money; `state` numbered as holds are."""

    escrow_id: str
    creator_ref: str
    amount_micro: int
    state: int
    held_at: datetime
    changed_at: datetime


class Happened(NamedTuple):
    """A distribution (kind 1) or a transfer, as partners hear of it."""

    event_id: str
    kind: int
    cause_id: str
    amount_micro: int
    recorded_at: datetime
