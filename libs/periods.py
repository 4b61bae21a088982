"""Periods that are named: UTC months ("2026-11") and ISO weeks ("2026-W47")."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from libs.refusals import FailedPrecondition, InvalidArgument

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})", re.ASCII)
_DAYS_PER_WEEK = 7
_LONGEST_MONTH = 31


class PeriodInvalid(InvalidArgument):
    """A period is a UTC month such as 2026-11, or an ISO week such as 2026-W47."""


class PeriodNotOver(FailedPrecondition):
    """The period is not over yet."""


class Period(NamedTuple):
    """A UTC month or ISO week, from its first day to the first day after it."""

    name: str
    first: date
    after: date

    @property
    def starts_at(self) -> datetime:
        """Its first instant."""
        return starts_at(self.first)

    @property
    def over_at(self) -> datetime:
        """The first instant after it."""
        return starts_at(self.after)


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


def month_of(day: date) -> Period:
    """Return the month that a day is in."""
    return read_period(f"{day.year:04}-{day.month:02}")


def week_of(day: date) -> Period:
    """Return the ISO week that a day is in."""
    year, week, _ = day.isocalendar()
    return read_period(f"{year:04}-W{week:02}")


def starts_at(day: date) -> datetime:
    """Return the first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def check_over(period: Period, now: datetime) -> None:
    """Raise PeriodNotOver while the period lasts."""
    if now < period.over_at:
        raise PeriodNotOver(over_at=period.over_at.isoformat())
