"""What a batch of events adds to the boards. Sums and maxima only: neither order nor batching changes the outcome."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from libs.money import largest_remainder
from services.leaderboard.model import Accrual, OpenPart, Rise, Timeframe
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
        self._earnings: dict[tuple[int, int], list[int]] = {}
        self._parts: dict[tuple[int, int, int, str], list[int]] = {}
        self._reversals: dict[tuple[int, int], int] = defaultdict(int)
        self._numbers: dict[str, int] = {}

    def refer(self, referrer_ref: UUID, at: datetime, *, counts: bool = True) -> None:
        """One referee more; one that does not count leaves rows of nothing, whether its flag comes before or after."""
        at_us = (at - _EPOCH) // _MICROSECOND
        row = self._referrals.setdefault((referrer_ref.int, _day(at_us)), [0, -1])
        if counts:
            row[0] += 1
            row[1] = max(row[1], at_us)

    def earn(
        self,
        referrer_ref: str,
        referee_ref: str,
        at_us: int,
        share_micro: int,
        model: str,
        parts: Sequence[tuple[str, int]],
    ) -> None:
        """One charge's share; `parts` are the models of an ensemble and what each cost."""
        if share_micro <= 0:
            raise FactInvalid(f"a share of {share_micro}")
        number, referee, day = self._number(referrer_ref), self._number(referee_ref), _day(at_us)
        row = self._earnings.setdefault((number, day), [0, at_us])
        row[0] += share_micro
        row[1] = max(row[1], at_us)
        shares = parts_of(share_micro, parts) or {model: share_micro}
        counted_under = model if model in shares else dearest(shares)
        for name, part_micro in shares.items():
            if part_micro or name == counted_under:
                entry = self._parts.setdefault((day, number, referee, name), [0, 0])
                entry[0] += name == counted_under
                entry[1] += part_micro

    def reverse(self, creator_ref: str, day: date, amount_micro: int) -> None:
        """Some of what had accrued on a day is taken back."""
        if amount_micro <= 0:
            raise FactInvalid(f"a reversal of {amount_micro}")
        self._reversals[self._number(creator_ref), day.toordinal() - _EPOCH_DAY] += amount_micro

    def rises(self) -> list[Rise]:
        """By how much each creator rises in each of its windows, in the order of the key."""
        sums: dict[tuple[int, int, int], list[int]] = {}
        for (number, day), (count, newest_us) in self._referrals.items():
            for timeframe, start in _windows(day):
                row = sums.setdefault((timeframe, start, number), [0, 0, -1, -1, 0])
                row[0] += count
                row[2] = max(row[2], newest_us)
        for (number, day), (earned_micro, newest_us) in self._earnings.items():
            for timeframe, start in _windows(day):
                row = sums.setdefault((timeframe, start, number), [0, 0, -1, -1, 0])
                row[1] += earned_micro
                row[3] = max(row[3], newest_us)
        for (number, day), reversed_micro in self._reversals.items():
            for timeframe, start in _windows(day):
                sums.setdefault((timeframe, start, number), [0, 0, -1, -1, 0])[4] += reversed_micro
        return [
            Rise(
                timeframe,
                date.fromordinal(start),
                UUID(int=number),
                count,
                earned,
                _instant(referred),
                _instant(charged),
                taken_back,
            )
            for (timeframe, start, number), (count, earned, referred, charged, taken_back) in sorted(sums.items())
        ]

    def referral_days(self) -> Mapping[UUID, set[date]]:
        """The UTC days on which each creator brought somebody who counts."""
        days: dict[int, set[date]] = defaultdict(set)
        for (number, day), (count, _) in self._referrals.items():
            if count:
                days[number].add(_date(day))
        return {UUID(int=number): days[number] for number in sorted(days)}

    def accruals(self) -> list[Accrual]:
        """Charges and micro-USD by creator, UTC day and model, in the order of the key."""
        models: dict[tuple[int, int, str], list[int]] = {}
        for (day, number, _, model), (charges, accrued_micro) in self._parts.items():
            row = models.setdefault((number, day, model), [0, 0])
            row[0] += charges
            row[1] += accrued_micro
        return [
            Accrual(UUID(int=number), _date(day), model, *row) for (number, day, model), row in sorted(models.items())
        ]

    def open_parts(self, after: date | None) -> list[OpenPart]:
        """The same by referee too, of days after one, in the order of the key."""
        least = after.toordinal() - _EPOCH_DAY if after else -1
        return [
            OpenPart(_date(day), UUID(int=number), UUID(int=referee), model, *row)
            for (day, number, referee, model), row in sorted(self._parts.items())
            if day > least
        ]

    def reversals(self) -> list[tuple[UUID, date, int]]:
        """What is taken back, by creator and UTC day, in the order of the key."""
        return [(UUID(int=number), _date(day), micro) for (number, day), micro in sorted(self._reversals.items())]

    def _number(self, ref: str) -> int:
        number = self._numbers.get(ref)
        if number is None:
            number = self._numbers[ref] = UUID(ref).int
        return number


def parts_of(share_micro: int, parts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """A share divided among the models of an ensemble by what each cost, exactly; empty where nothing says how."""
    weights: dict[str, int] = {}
    for name, amount_micro in parts:
        weights[name] = weights.get(name, 0) + amount_micro
    return largest_remainder(share_micro, weights) if sum(weights.values()) > 0 else {}


def dearest(shares: Mapping[str, int]) -> str:
    """The model that an ensemble's charge is counted under: the one with the largest part, then the greater name."""
    return max(shares, key=lambda name: (shares[name], name))


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
