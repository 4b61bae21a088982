"""Standings of referrers."""

from dataclasses import dataclass
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
    """Standing of an account; revision 0 is the standing nobody ever changed."""

    standing: Standing = Standing.GOOD
    reason: str = ""
    revision: int = 0
