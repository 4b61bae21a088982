"""Which tiers earn too little for a referrer's share to be paid (money rule 7)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from libs.money import BPS
from libs.refusals import InvalidArgument
from services.distribution.model.margins import TierHour, Verdicts
from services.distribution.rules.shares import margin_below_floor
from services.distribution.rules.texts import is_label

WINDOW: Final = timedelta(hours=1)
EVERY: Final = timedelta(minutes=5)
KEPT: Final = timedelta(hours=3)
MAX_TIER: Final = 64
_INT32_MIN: Final = -(2**31)


class TierInvalid(InvalidArgument):
    """A model tier is at most 64 printable characters."""


def check_tier(model_tier: str) -> str:
    """Return the tier to list; raises TierInvalid."""
    if not is_label(model_tier, MAX_TIER):
        raise TierInvalid(field="model_tier")
    return model_tier


def is_stale(due: datetime, now: datetime) -> bool:
    """Whether a later judgement is due already: one of the past would bind nobody."""
    return due + EVERY <= now


def judge(hours: Iterable[TierHour], suspended: Iterable[str], floor_bps: int) -> Verdicts:
    """Say which tiers are to be suspended and which to resume: also one that nobody used for an hour.

    A charge that names no tier is judged for itself only.
    """
    poor = {
        hour.model_tier: margin_bps(hour)
        for hour in hours
        if hour.model_tier and margin_below_floor(hour.revenue_micro, hour.provider_cost_micro, floor_bps)
    }
    open_tiers = frozenset(suspended)
    suspend = {tier: margin for tier, margin in poor.items() if tier not in open_tiers}
    return Verdicts(suspend, open_tiers - poor.keys())


def margin_bps(hour: TierHour) -> int:
    """Return the margin of a tier that has revenue, rounded down, and never below what 32 bits hold."""
    return max((hour.revenue_micro - hour.provider_cost_micro) * BPS // hour.revenue_micro, _INT32_MIN)
