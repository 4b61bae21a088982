"""Calendar windows in UTC, streaks, and bars of time."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from libs.refusals import InvalidArgument
from services.leaderboard.model import Point, Run, Timeframe, Window

BEGINNING: Final = date(1, 1, 1)
POINTS_MAX: Final = 400

_DAY: Final = timedelta(days=1)


class TimeframeInvalid(InvalidArgument):
    """A timeframe is daily, weekly, monthly or all_time."""


class BucketInvalid(InvalidArgument):
    """A bucket is a day, a week or a month."""


class SeriesPeriodInvalid(InvalidArgument):
    """A series ends after it begins and has at most 400 buckets."""


def check_timeframe(number: int) -> Timeframe:
    """Raises TimeframeInvalid."""
    if number not in set(Timeframe):
        raise TimeframeInvalid(field="timeframe")
    return Timeframe(number)


def check_bucket(number: int) -> Timeframe:
    """The timeframe whose windows are the buckets: day, week or month."""
    if number not in {Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY}:
        raise BucketInvalid(field="bucket")
    return Timeframe(number)


def window_on(timeframe: Timeframe, day: date) -> Window:
    """The window that a UTC day lies in; weeks begin on Monday (ISO 8601)."""
    match timeframe:
        case Timeframe.DAILY:
            return Window(timeframe, day)
        case Timeframe.WEEKLY:
            return Window(timeframe, date.fromordinal(max(1, day.toordinal() - day.weekday())))
        case Timeframe.MONTHLY:
            return Window(timeframe, day.replace(day=1))
        case Timeframe.ALL_TIME:
            return Window(timeframe, BEGINNING)


def window_of(timeframe: Timeframe, instant: datetime) -> Window:
    """The window that an instant lies in."""
    return window_on(timeframe, instant.astimezone(UTC).date())


def bounds_of(window: Window) -> tuple[datetime, datetime] | None:
    """The first instant of a window and the first one after it; None for all time."""
    match window.timeframe:
        case Timeframe.ALL_TIME:
            return None
        case Timeframe.DAILY:
            end = window.start + _DAY
        case Timeframe.WEEKLY:
            end = window.start + 7 * _DAY
        case Timeframe.MONTHLY:
            end = (window.start + 31 * _DAY).replace(day=1)
    return midnight(window.start), midnight(end)


def midnight(day: date) -> datetime:
    """The first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def last_closed(instant: datetime | None, grace: timedelta) -> date | None:
    """The last UTC day that was over, so long ago, at an instant; None where the instant is not known."""
    return None if instant is None else (instant - grace).astimezone(UTC).date() - _DAY


def streak_on(run: Run | None, today: date) -> int:
    """Days of a creator's newest run of days with a referral, if it lasted until today or yesterday; else it is over.

    What lies after today (a clock that is ahead) does not count yet.
    """
    if run is None or run.last < today - _DAY:
        return 0
    return max(0, (min(run.last, today) - run.first).days + 1)


def check_period(start: datetime | None, end: datetime | None, now: datetime) -> tuple[date, date]:
    """The first day of a period and the first day after it."""
    first = start.astimezone(UTC).date() if start else BEGINNING
    last = (end or now).astimezone(UTC)
    after = last.date() if last == midnight(last.date()) or last.date() == date.max else last.date() + _DAY
    if after <= first:
        raise SeriesPeriodInvalid(field="to_time")
    return first, after


def series(days: Iterable[Point], timeframe: Timeframe) -> list[Point]:
    """Days, oldest first, summed up by bucket; at most 400, else SeriesPeriodInvalid."""
    points: dict[date, Point] = {}
    for day in days:
        start = window_on(timeframe, day.start).start
        before = points.get(start, Point(start, 0, 0))
        points[start] = Point(
            start,
            before.accrued_micro + day.accrued_micro,
            before.charges + day.charges,
            before.reversed_micro + day.reversed_micro,
        )
    if len(points) > POINTS_MAX:
        raise SeriesPeriodInvalid(field="from_time")
    return list(points.values())
