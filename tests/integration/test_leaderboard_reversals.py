"""What is taken back counts no more: on boards, in the series, in statements; told before or after what it takes."""

import uuid
from datetime import date, timedelta

from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2
from services.leaderboard import consumers
from services.leaderboard.model import Point
from services.leaderboard.rules.breakdowns import OTHER, Line, Part, lines
from services.leaderboard.store import earnings
from tests.support.leaderboard import (
    ALL_TIME,
    DAILY,
    NOW,
    Leaderboard,
    Referral,
    Share,
    ago,
    creator,
    received,
)

ANN, BOB = creator(1), creator(2)


async def taken_back(leaderboard: Leaderboard, who: uuid.UUID, micro: int, day: date | None = None) -> None:
    change = events_pb2.EarningsChanged(
        creator_ref=str(who),
        change=events_pb2.EARNINGS_CHANGE_CLAWED_BACK if day else events_pb2.EARNINGS_CHANGE_FORFEITED,
        amount_micro=micro,
        accrued_on=day.isoformat() if day else "",
        changed_at=to_timestamp(NOW),
    )
    harmless = events_pb2.EarningsChanged(
        creator_ref=str(who),
        change=events_pb2.EARNINGS_CHANGE_SETTLED,
        amount_micro=10**6,
        changed_at=to_timestamp(NOW),
    )
    async with leaderboard.postgres.transaction() as connection:
        await consumers.changes(connection, [received(harmless), received(change)])


async def earned(leaderboard: Leaderboard) -> list[tuple[uuid.UUID, int, int]]:
    return [(place.creator_ref, place.referral_count, place.earned_micro) for place in await leaderboard.top(ALL_TIME)]


async def test_a_refund_lowers_who_earned_by_it(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Share(ANN, ago(3), 100), Share(BOB, ago(3), 60))
    assert await earned(leaderboard) == [(ANN, 0, 100), (BOB, 0, 60)]
    await taken_back(leaderboard, ANN, 70, ago(3).date())
    assert await earned(leaderboard) == [(BOB, 0, 60), (ANN, 0, 30)]
    await leaderboard.apply(Share(ANN, NOW, 5))
    assert [place.earned_micro for place in await leaderboard.top(DAILY)] == [5]


async def test_who_has_nothing_left_is_on_no_board_and_may_come_back(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Share(ANN, ago(3), 100), Share(BOB, ago(3), 60))
    assert len(await earned(leaderboard)) == 2
    await taken_back(leaderboard, ANN, 100)
    assert await earned(leaderboard) == [(BOB, 0, 60)]
    await leaderboard.apply(Share(ANN, NOW, 7))
    assert await earned(leaderboard) == [(BOB, 0, 60), (ANN, 0, 7)]


async def test_with_referrals_it_stays_also_without_earnings(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Referral(ANN, ago(1)), Share(ANN, ago(1), 100))
    await taken_back(leaderboard, ANN, 100, ago(1).date())
    assert await earned(leaderboard) == [(ANN, 1, 0)]


async def test_told_before_what_it_takes_back_it_comes_to_the_same(leaderboard: Leaderboard) -> None:
    await taken_back(leaderboard, ANN, 70, ago(3).date())
    assert await earned(leaderboard) == []
    await leaderboard.apply(Share(ANN, ago(3), 100))
    assert await earned(leaderboard) == [(ANN, 0, 30)]
    async with leaderboard.postgres.connection() as connection:
        days = await earnings.by_day(connection, ANN, ago(9).date(), NOW.date() + timedelta(days=1))
    assert days == [Point(ago(3).date(), 100, 1, 70)]


def test_a_statement_names_what_was_taken_back_with_no_model() -> None:
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    shown = [(first, Part("b", 5, 50)), (first, Part("a", 5, 60))]
    assert lines(shown, [Point(first, 110, 10, 7), Point(second, 3, 1, 0)]) == [
        Line(first, Part("a", 5, 60), 0),
        Line(first, Part("b", 5, 50), 0),
        Line(first, Part(OTHER, 0, 0), 7),
        Line(second, Part(OTHER, 1, 3), 0),
    ]
