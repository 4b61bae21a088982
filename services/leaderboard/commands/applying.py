"""Facts from events onto the boards, within the transaction that advances the inbox."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard import metrics, rules
from services.leaderboard.model import Earned, Referred, Rise, Timeframe, Window
from services.leaderboard.store import earnings, places

_Rises = dict[tuple[Window, UUID], Rise]


async def referrals(connection: Connection, facts: Sequence[Referred]) -> None:
    """Counts referees for their referrers."""
    if not facts:
        return
    rises: _Rises = defaultdict(Rise)
    for fact in facts:
        for rise in _rises(rises, fact.referrer_ref, fact.registered_at):
            rise.referral_count += 1
            rise.referred_at = _later(rise.referred_at, fact.registered_at)
    await places.raise_places(connection, rises)
    await places.add_referral_days(connection, [(fact.referrer_ref, _day(fact.registered_at)) for fact in facts])
    metrics.APPLIED.labels("referral").inc(len(facts))


async def shares(connection: Connection, facts: Sequence[Earned]) -> None:
    """Adds what charges gave to their referrers."""
    if not facts:
        return
    rises: _Rises = defaultdict(Rise)
    accrued: dict[tuple[UUID, date, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for fact in facts:
        for rise in _rises(rises, fact.referrer_ref, fact.finalized_at):
            rise.earned_micro += fact.earned_micro
            rise.earned_at = _later(rise.earned_at, fact.finalized_at)
        counted_under = rules.main_model(fact)
        for model, earned_micro in fact.parts:
            key = fact.referrer_ref, _day(fact.finalized_at), model
            charges, before_micro = accrued[key]
            accrued[key] = charges + (model == counted_under), before_micro + earned_micro
    await places.raise_places(connection, rises)
    await earnings.add(connection, accrued)
    metrics.APPLIED.labels("share").inc(len(facts))


def _rises(rises: _Rises, creator_ref: UUID, instant: datetime) -> Iterable[Rise]:
    """What the batch adds to a creator in each of the windows that an instant lies in."""
    for timeframe in Timeframe:
        yield rises[rules.window_of(timeframe, instant), creator_ref]


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _day(instant: datetime) -> date:
    return instant.astimezone(UTC).date()
