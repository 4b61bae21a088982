"""Standings of referrers."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Standing(StrEnum):
    """Graduated sanctions, mildest first."""

    GOOD = "good"
    WARNED = "warned"
    BONUSES_ON_HOLD = "bonuses_on_hold"
    SUSPENDED = "suspended"
    FORFEITED = "forfeited"


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """Standing of an account; revision 0 is the standing nobody ever changed.

    Registrations up to `counted_from` were judged by an operator and count no more.
    """

    standing: Standing = Standing.GOOD
    reason: str = ""
    revision: int = 0
    changed_at: datetime | None = None
    changed_by: str = ""
    by_hand: bool = False
    counted_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Accounts that somebody referred, and how many of them are flagged."""

    referrals: int
    flagged: int


class Enforcement(StrEnum):
    """What distribution is told of a standing."""

    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    FORFEIT = "forfeit"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be told to distribution, until it answers."""

    account_ref: uuid.UUID
    revision: int
    act: Enforcement
    reason: str
    operator_id: str
    round: int
    tries: int
