"""What a batch of events adds to the boards. Sums and maxima only: neither order nor batching changes the outcome."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.money import largest_remainder
from services.leaderboard.model import Rise, Timeframe, Window
from services.leaderboard.rules.windows import window_on

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_DAY_US: Final = 86_400 * 1_000_000


class FactInvalid(ValueError):
    """An event says what cannot be: a negative share, a time before 1970."""


class Tally:
    """Collects facts by creator and day; instants are microseconds since 1970, which is what costs least per charge."""

    def __init__(self) -> None:
        self._referrals: dict[tuple[UUID, int], list[int]] = {}
        self._earnings: dict[tuple[UUID, int], list[int]] = {}
        self._models: dict[tuple[UUID, int, str], list[int]] = {}
        self._refs: dict[str, UUID] = {}

    def refer(self, referrer_ref: str, at_us: int) -> None:
        """One referee more."""
        row = self._referrals.setdefault((self._ref(referrer_ref), _day(at_us)), [0, at_us])
        row[0] += 1
        row[1] = max(row[1], at_us)

    def earn(
        self, referrer_ref: str, at_us: int, share_micro: int, model: str, parts: Sequence[tuple[str, int]]
    ) -> None:
        """One charge's share; `parts` are the models of an ensemble and what each cost."""
        if share_micro <= 0:
            raise FactInvalid(f"a share of {share_micro}")
        ref, day = self._ref(referrer_ref), _day(at_us)
        row = self._earnings.setdefault((ref, day), [0, at_us])
        row[0] += share_micro
        row[1] = max(row[1], at_us)
        shares = parts_of(share_micro, parts) or {model: share_micro}
        counted_under = model if model in shares else dearest(shares)
        for name, part_micro in shares.items():
            if part_micro or name == counted_under:
                entry = self._models.setdefault((ref, day, name), [0, 0])
                entry[0] += name == counted_under
                entry[1] += part_micro

    def rises(self) -> Mapping[tuple[Window, UUID], Rise]:
        """By how much each creator rises in each of its windows."""
        rises: dict[tuple[Window, UUID], Rise] = defaultdict(Rise)
        for (ref, day), (count, newest_us) in self._referrals.items():
            for window in _windows(day):
                rise = rises[window, ref]
                rise.referral_count += count
                rise.referred_at = _later(rise.referred_at, newest_us)
        for (ref, day), (earned_micro, newest_us) in self._earnings.items():
            for window in _windows(day):
                rise = rises[window, ref]
                rise.earned_micro += earned_micro
                rise.earned_at = _later(rise.earned_at, newest_us)
        return rises

    def referral_days(self) -> Mapping[UUID, set[date]]:
        """The UTC days on which each creator brought somebody."""
        days: dict[UUID, set[date]] = defaultdict(set)
        for ref, day in self._referrals:
            days[ref].add(_date(day))
        return days

    def accruals(self) -> Mapping[tuple[UUID, date, str], tuple[int, int]]:
        """Charges and micro-USD by creator, UTC day and model."""
        return {(ref, _date(day), model): (row[0], row[1]) for (ref, day, model), row in self._models.items()}

    def _ref(self, text: str) -> UUID:
        ref = self._refs.get(text)
        if ref is None:
            ref = self._refs[text] = UUID(text)
        return ref


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


def _windows(day: int) -> list[Window]:
    return [window_on(timeframe, _date(day)) for timeframe in Timeframe]


def _later(one: datetime | None, other_us: int) -> datetime:
    other = _EPOCH + timedelta(microseconds=other_us)
    return other if one is None else max(one, other)
