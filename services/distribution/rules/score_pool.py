"""How much of a period's foundation revenue goes to the score pool."""

import re
from datetime import UTC, date, datetime, timedelta

from libs.money import BPS
from libs.refusals import FailedPrecondition, InvalidArgument
from services.distribution.model.campaigns import Period

MAX_PAGE = 200
PAGE = 50

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})", re.ASCII)
_DAYS_PER_WEEK = 7
_LONGEST_MONTH = 31
_DIGITS_MAX = 18


class PeriodInvalid(InvalidArgument):
    """A period is a UTC month such as 2026-11, or an ISO week such as 2026-W47."""


class PeriodNotOver(FailedPrecondition):
    """The period is not over yet."""


class PeriodOverlaps(FailedPrecondition):
    """Days of this period were funded with another one."""


class FundingPageInvalid(InvalidArgument):
    """A page has 1 to 200 fundings, and its token is one that an answer gave."""


def read_period(name: str) -> Period:
    """Return the period that a name names. Raises PeriodInvalid."""
    try:
        if month := _MONTH.fullmatch(name):
            first = date(int(month[1]), int(month[2]), 1)
            return Period(name, first, (first + timedelta(days=_LONGEST_MONTH)).replace(day=1))
        if week := _WEEK.fullmatch(name):
            first = date.fromisocalendar(int(week[1]), int(week[2]), 1)
            return Period(name, first, first + timedelta(days=_DAYS_PER_WEEK))
    except (ValueError, OverflowError):
        pass
    raise PeriodInvalid(field="period")


def starts_at(day: date) -> datetime:
    """Return the first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def check_over(period: Period, now: datetime) -> None:
    """Raise PeriodNotOver while the period lasts."""
    if now < starts_at(period.after):
        raise PeriodNotOver(over_at=starts_at(period.after).isoformat())


def funding(net_foundation_micro: int, funding_bps: int, foundation_micro: int) -> int:
    """Return what goes to the pool: the part of what is net, rounded down, and never more than the foundation holds."""
    part_micro = max(net_foundation_micro, 0) * funding_bps // BPS
    return min(part_micro, max(foundation_micro, 0))


def check_page(size: int, token: str) -> tuple[int, int | None]:
    """Return the size of a page of fundings, and the number that it goes on below."""
    if not 0 <= size <= MAX_PAGE:
        raise FundingPageInvalid(field="page_size", limit=MAX_PAGE)
    if token and not (token.isascii() and token.isdecimal() and len(token) <= _DIGITS_MAX):
        raise FundingPageInvalid(field="page_token")
    return size or PAGE, int(token) if token else None
