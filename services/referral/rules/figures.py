"""Figures of the launch (PRD section 9): what a referral costs, and what is left."""

from datetime import datetime, timedelta
from typing import Final

from libs.money import BPS
from libs.refusals import InvalidArgument
from services.referral.model.figures import Counted

PERIOD_MAX: Final = timedelta(days=3 * 366)

_INT32_MIN: Final = -(2**31)


class FiguresPeriodInvalid(InvalidArgument):
    """A period ends after it begins, and lasts three years at most."""


def check_period(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Raises FiguresPeriodInvalid."""
    if not timedelta(0) < end - start <= PERIOD_MAX:
        raise FiguresPeriodInvalid(field="to_time")
    return start, end


def conversion_bps(counted: Counted) -> int:
    """Converted by registered, rounded down; 0 where nobody registered."""
    return counted.converted * BPS // counted.registered if counted.registered else 0


def cac_micro(counted: Counted) -> int:
    """What a converted referral cost in bonuses, rounded down; 0 where none converted."""
    return counted.bonus_cost_micro // counted.converted if counted.converted else 0


def net_margin_bps(counted: Counted) -> int:
    """What is left of revenue less provider cost, referrers' shares and bonuses, rounded down; 0 without revenue.

    It is bounded from below by what its field holds.
    """
    if not counted.revenue_micro:
        return 0
    net_micro = counted.revenue_micro - counted.provider_cost_micro - counted.referrer_micro - counted.bonus_cost_micro
    return max(_INT32_MIN, net_micro * BPS // counted.revenue_micro)
