"""Figures of the launch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a period; amounts in micro-USD."""

    registered: int
    converted: int
    bonus_cost_micro: int
    revenue_micro: int
    provider_cost_micro: int
    referrer_micro: int


@dataclass(slots=True)
class Revenue:
    """What referred accounts paid within a minute, summed up."""

    charges: int = 0
    revenue_micro: int = 0
    provider_cost_micro: int = 0
    referrer_micro: int = 0
