"""Nouns of the margin by tier."""

from datetime import datetime
from typing import NamedTuple


class Suspension(NamedTuple):
    """An interval in which referrers earn nothing on a tier; `to_time` is the first instant after it."""

    suspension_id: int
    model_tier: str
    from_time: datetime
    to_time: datetime | None
    margin_bps: int


class TierHour(NamedTuple):
    """What the charges of one tier brought and cost within an hour, promotional part and all."""

    model_tier: str
    revenue_micro: int
    provider_cost_micro: int


class Verdicts(NamedTuple):
    """Tiers that are to be suspended, with their margin in 1/10000 of the revenue, and those that are to resume."""

    suspend: dict[str, int]
    resume: frozenset[str]
