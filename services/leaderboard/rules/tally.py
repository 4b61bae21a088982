"""What a batch of registrations, flags or reversals adds to the boards; of charges see `shares`.

Sums and maxima only: neither order nor batching changes the outcome.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from services.leaderboard.model import Rise, Timeframe
from services.leaderboard.rules.windows import window_on

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_US: Final = 86_400 * 1_000_000
_MICROSECOND: Final = timedelta(microseconds=1)


class FactInvalid(ValueError):
    """An event says what cannot be: a negative share, a time before 1970."""


class Tally:
    """Collects facts by creator and day; the rest is worked out once per batch.

    Creators are the numbers of their surrogates, instants microseconds since 1970: what costs least per charge.
    """

    def __init__(self) -> None:
        self._referrals: dict[tuple[int, int], list[int]] = {}
        self._reversals: dict[tuple[int, int], int] = defaultdict(int)

    def refer(self, referrer_ref: UUID, at: datetime, *, counts: bool = True) -> None:
        """One referee more; one that does not count leaves rows of nothing, whether its flag comes before or after."""
        at_us = (at - _EPOCH) // _MICROSECOND
        row = self._referrals.setdefault((referrer_ref.int, _day(at_us)), [0, -1])
        if counts:
            row[0] += 1
            row[1] = max(row[1], at_us)

    def reverse(self, creator_ref: str, day: date, amount_micro: int) -> None:
        """Some of what had accrued on a day is taken back."""
        if amount_micro <= 0:
            raise FactInvalid(f"a reversal of {amount_micro}")
        self._reversals[UUID(creator_ref).int, day.toordinal() - _EPOCH_DAY] += amount_micro

    def rises(self) -> list[Rise]:
        """By how much each creator rises in each of its windows, in the order of the key."""
        sums: dict[tuple[int, int, int], list[int]] = {}
        for (number, day), (count, newest_us) in self._referrals.items():
            for timeframe, start in _windows(day):
                row = sums.setdefault((timeframe, start, number), [0, -1, 0])
                row[0] += count
                row[1] = max(row[1], newest_us)
        for (number, day), reversed_micro in self._reversals.items():
            for timeframe, start in _windows(day):
                sums.setdefault((timeframe, start, number), [0, -1, 0])[2] += reversed_micro
        return [
            Rise(timeframe, date.fromordinal(start), UUID(int=number), count, _instant(newest_us), taken_back)
            for (timeframe, start, number), (count, newest_us, taken_back) in sorted(sums.items())
        ]

    def referral_days(self) -> Mapping[UUID, set[date]]:
        """The UTC days on which each creator brought somebody who counts."""
        days: dict[int, set[date]] = defaultdict(set)
        for (number, day), (count, _) in self._referrals.items():
            if count:
                days[number].add(_date(day))
        return {UUID(int=number): days[number] for number in sorted(days)}

    def reversals(self) -> list[tuple[UUID, date, int]]:
        """What is taken back, by creator and UTC day, in the order of the key."""
        return [(UUID(int=number), _date(day), micro) for (number, day), micro in sorted(self._reversals.items())]


def _day(at_us: int) -> int:
    if at_us < 0:
        raise FactInvalid("a time before 1970")
    return at_us // _DAY_US


def _date(day: int) -> date:
    return date.fromordinal(_EPOCH_DAY + day)


@lru_cache(maxsize=1024)
def _windows(day: int) -> tuple[tuple[int, int], ...]:
    """Number of the timeframe and ordinal of the first day."""
    windows = (window_on(timeframe, _date(day)) for timeframe in Timeframe)
    return tuple((int(window.timeframe), window.start.toordinal()) for window in windows)


def _instant(us: int) -> datetime | None:
    return None if us < 0 else _EPOCH + timedelta(microseconds=us)
