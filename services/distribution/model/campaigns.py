"""Nouns of campaigns: budgets, grants, credits, and the score pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple

from services.distribution.model.ledger import SCORE_REWARDS, campaign_account

SIGNUP_POOL: Final = "referral:signup"
SCORE_POOL: Final = "score:rewards"
POOLS: Final = (SIGNUP_POOL, SCORE_POOL)
"""Every pool that credits are granted into."""


class CampaignType(IntEnum):
    """What a campaign is for; numbered as in the API."""

    REFERRAL = 1
    SCORE_WEIGHTED = 2


class CampaignState(IntEnum):
    """draft → active → paused → active …; active or paused → completed."""

    DRAFT = 1
    ACTIVE = 2
    PAUSED = 3
    COMPLETED = 4


class ReservationState(IntEnum):
    """reserved → granted | released."""

    RESERVED = 1
    GRANTED = 2
    RELEASED = 3


class StagedGrantState(IntEnum):
    """open → committed | abandoned."""

    OPEN = 1
    COMMITTED = 2
    ABANDONED = 3


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign, without its money."""

    campaign_id: str
    name: str
    type: CampaignType
    state: CampaignState
    account_cap_micro: int
    granted_micro: int
    created_at: datetime
    changed_at: datetime

    @property
    def pool(self) -> str:
        """Where its credits go."""
        return SCORE_POOL if self.type is CampaignType.SCORE_WEIGHTED else SIGNUP_POOL

    @property
    def available_account(self) -> str:
        """The ledger account of its free budget: a score campaign's is the score pool itself."""
        if self.type is CampaignType.SCORE_WEIGHTED:
            return SCORE_REWARDS
        return campaign_account(self.campaign_id, "available")

    @property
    def reserved_account(self) -> str:
        """The ledger account of what it has set aside."""
        return campaign_account(self.campaign_id, "reserved")


class Budget(NamedTuple):
    """A campaign's money that is not granted."""

    available_micro: int
    reserved_micro: int


class Wanted(NamedTuple):
    """The campaign that a call is about: by id, or the active one of a type."""

    campaign_id: str | None
    type: CampaignType | None


class Order(NamedTuple):
    """Who wants something done, and why."""

    operator_id: str
    reason: str


class Reservation(NamedTuple):
    """Budget set aside for one later grant."""

    reservation_id: str
    campaign_id: str
    account_ref: str
    amount_micro: int
    state: ReservationState


class Grant(NamedTuple):
    """Credits for one account, out of a reservation where it names one."""

    grant_id: str
    account_ref: str
    amount_micro: int
    reservation_id: str


class GrantedLot(NamedTuple):
    """What a grant made, so that the same one again can be told."""

    grant_id: str
    lot_id: str
    account_ref: str
    campaign_id: str
    granted_micro: int


class StagedGrant(NamedTuple):
    """A grant in the making."""

    staged_grant_id: str
    number: int
    campaign_id: str
    state: StagedGrantState
    wanted_micro: int
    accept_less: bool
    reserved_micro: int
    staged_count: int
    staged_micro: int
    transfer_id: str | None
    opened_at: datetime
    closed_at: datetime | None


class StagedLot(NamedTuple):
    """One grant of a staged one."""

    grant_id: str
    account_ref: str
    amount_micro: int
    lot_id: str
    account_id: int


class Lot(NamedTuple):
    """Credits granted at once, and what is left of them."""

    lot_id: str
    pool: str
    grant_id: str
    granted_micro: int
    remaining_micro: int
    granted_at: datetime


class Slice(NamedTuple):
    """A part of a lot."""

    lot_id: str
    pool: str
    amount_micro: int


class Burn(NamedTuple):
    """What was burned for a charge."""

    inference_charge_id: str
    account_ref: str
    up_to_micro: int
    spent_micro: int
    slices: Sequence[Slice]
    returned: bool


class ScorePoolFunding(NamedTuple):
    """One period's money for the score pool."""

    number: int
    period: str
    net_foundation_micro: int
    funding_bps: int
    funded_micro: int
    funded_at: datetime
