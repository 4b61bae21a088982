"""Breakdowns as a creator gets them: closed days only, nobody singled out, and the same answer for ever."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from libs import rpc
from libs.clock import ManualClock
from libs.jobs import Jobs
from libs.postgres import Postgres
from protos.leaderboard.v1 import leaderboard_pb2 as pb
from protos.leaderboard.v1 import leaderboard_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.leaderboard import servicer
from services.leaderboard.addresses import ShortAddresses
from services.leaderboard.board import Board
from services.leaderboard.commands import breakdowns
from services.leaderboard.jobs import all_jobs
from services.leaderboard.store import progress
from tests.conftest import Database
from tests.support.distribution import referral_running
from tests.support.leaderboard import Fact, Referral, Share, apply

DAY = date(2026, 3, 2)
HOUR = timedelta(hours=1)
MODEL, CHANNEL, COHORT = pb.DIMENSION_MODEL, pb.DIMENSION_CHANNEL, pb.DIMENSION_COHORT


def at(day: int, hour: int = 12) -> datetime:
    """An hour of a day counted from DAY."""
    return datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=UTC) + timedelta(days=day)


def name_of(day: int) -> str:
    return (DAY + timedelta(days=day)).isoformat()


def person(number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"person {number}")


@dataclass
class Creator:
    """One creator who looks at what it is told, and what happens to it."""

    stub: Any
    postgres: Postgres
    ref: uuid.UUID

    async def came(self, people: range, channel: str = "", day: int = -3) -> None:
        await self.apply(*(Referral(self.ref, at(day), person(number), channel) for number in people))

    async def paid(self, people: range, micro: int = 10, model: str = "a", day: int = 0) -> None:
        await self.apply(*(Share(self.ref, at(day), micro, model, person(number)) for number in people))

    async def apply(self, *facts: Fact) -> None:
        await apply(self.postgres, facts)

    async def publish(self, caught_up_at: datetime) -> None:
        async with self.postgres.transaction() as connection:
            await progress.mark_caught_up(connection, caught_up_at)
        await breakdowns.publish(self.postgres, HOUR)

    async def breakdown(
        self, dimension: pb.Dimension.ValueType = MODEL, first: int = 0, last: int = 0
    ) -> dict[str, tuple[int, int]]:
        answer = await self.stub.GetEarningsBreakdown(
            pb.GetEarningsBreakdownRequest(
                account_id="creator", dimension=dimension, from_day=name_of(first), to_day=name_of(last)
            )
        )
        return {part.name: (part.charges, part.accrued_micro) for part in answer.parts}

    async def lines(self, first: int = 0, last: int = 0, size: int = 0) -> list[tuple[str, str, int, int]]:
        found, token = [], ""
        while True:
            answer = await self.stub.ListStatementLines(
                pb.ListStatementLinesRequest(
                    account_id="creator",
                    from_day=name_of(first),
                    to_day=name_of(last),
                    page_size=size,
                    page_token=token,
                )
            )
            found += [(line.day, line.model, line.charges, line.accrued_micro) for line in answer.lines]
            token = answer.next_page_token
            if not token:
                return found

    async def total(self) -> int:
        request = pb.GetEarningsSeriesRequest(account_id="creator", bucket=pb.BUCKET_DAY)
        return int((await self.stub.GetEarningsSeries(request)).accrued_micro)

    async def open_rows(self) -> int:
        async with self.postgres.connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM open_parts"))


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Creator]:
    server = rpc.Server("leaderboard", test_mode=True, drain_wait_seconds=0)
    async with (
        referral_running(await database("referral")) as referral,
        await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres,
        rpc.channel(f"127.0.0.1:{referral.server.port}", caller="leaderboard") as to_referral,
    ):
        stub = referral_pb2_grpc.ReferralServiceStub(to_referral)
        board = Board(postgres, "", 0)
        addresses = ShortAddresses(ScoreServiceStub(to_referral))
        door = servicer.LeaderboardServicer(postgres, ManualClock(at(5)), board, stub, addresses, "k" * 16)
        registrar = leaderboard_pb2_grpc.add_LeaderboardServiceServicer_to_server
        server.add(registrar, door, "creator.leaderboard.v1.LeaderboardService", servicer.CALLERS)
        await server.start()
        ref = uuid.UUID(await referral.commands.ref("creator"))
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="gateway") as channel:
                yield Creator(leaderboard_pb2_grpc.LeaderboardServiceStub(channel), postgres, ref)
        finally:
            await server.drain(hasty=True)


@pytest.fixture
async def creator(database: Database) -> AsyncIterator[Creator]:
    async with running(database) as creator:
        yield creator


async def test_a_day_is_published_on_the_next_and_not_before_all_of_it_is_applied(creator: Creator) -> None:
    await creator.paid(range(6))
    for early in (at(0, 23), at(1, 0), at(1, 0) + timedelta(minutes=59)):
        await creator.publish(early)
        assert await creator.breakdown() == {}
        assert await creator.lines() == []
    await creator.publish(at(1, 1))
    assert await creator.breakdown() == {"a": (6, 60)}
    assert await creator.lines() == [(name_of(0), "a", 6, 60)]


async def test_a_day_is_published_when_all_of_it_is_applied_however_long_it_is_over(creator: Creator) -> None:
    """The clock has jumped over weeks: the job looks at once, before anybody knows how far the events are."""
    clock = ManualClock(at(15))
    jobs = Jobs(creator.postgres, clock, all_jobs(creator.postgres, HOUR), 1.0)
    await creator.paid(range(6))
    session = await creator.postgres.dedicated()
    await jobs.run_due(session)
    assert await creator.breakdown() == {}
    await progress.mark_caught_up(session, clock.now())
    clock.advance(timedelta(seconds=10))
    await jobs.run_due(session)
    await session.close()
    assert await creator.breakdown() == {"a": (6, 60)}


async def test_who_brought_what_is_forgotten_when_the_day_is_published(creator: Creator) -> None:
    await creator.paid(range(6))
    await creator.paid(range(2), day=1)
    assert await creator.open_rows() == 8
    await creator.publish(at(1, 1))
    assert await creator.open_rows() == 2
    await creator.publish(at(2, 1))
    assert await creator.open_rows() == 0


async def test_channels_and_cohorts_are_those_of_the_registrations(creator: Creator) -> None:
    await creator.came(range(5), "discord")
    await creator.came(range(5, 10), "x")
    await creator.came(range(10, 15))
    await creator.paid(range(15))
    await creator.publish(at(1, 1))
    assert await creator.breakdown(CHANNEL) == {"discord": (5, 50), "untagged": (5, 50), "x": (5, 50)}
    assert await creator.breakdown(COHORT) == {"2026-02": (15, 150)}


async def test_several_days_are_the_sum_of_each(creator: Creator) -> None:
    await creator.paid(range(6))
    await creator.paid(range(6), model="b", day=1)
    await creator.paid(range(3), model="c", day=2)
    await creator.publish(at(3, 1))
    assert await creator.breakdown(first=0, last=5) == {"a": (6, 60), "b": (6, 60), "other": (3, 30)}
    assert await creator.lines(0, 5, size=2) == [
        (name_of(0), "a", 6, 60),
        (name_of(1), "b", 6, 60),
        (name_of(2), "other", 3, 30),
    ]


async def test_what_comes_late_changes_no_part_that_was_shown(creator: Creator) -> None:
    await creator.paid(range(6))
    await creator.paid(range(4), model="b")
    await creator.publish(at(1, 1))
    assert await creator.breakdown() == {"other": (10, 100)}
    # A fifth user of `b` would make both be shown, and the difference would be his.
    await creator.paid(range(4, 5), micro=77, model="b")
    await creator.publish(at(4, 1))
    assert await creator.breakdown() == {"other": (11, 177)}
    assert await creator.open_rows() == 0


async def test_a_creator_that_asks_again_and_again_singles_nobody_out(creator: Creator) -> None:
    """All day long, in every way, before and after: the only difference it ever sees is that of its total.

    The victim's sums are such that any number they alone make up would be recognized.
    """
    victim, amounts = range(99, 100), (1_000_003, 2_000_029, 4_000_037)
    await creator.came(range(12), "discord")
    await creator.came(victim, "x", day=-40)
    seen: set[int] = set()

    async def look() -> None:
        for dimension in (MODEL, CHANNEL, COHORT):
            for first, last in ((0, 0), (0, 1), (1, 1), (0, 3), (2, 3)):
                answers.append(
                    {name: micro for name, (_, micro) in (await creator.breakdown(dimension, first, last)).items()}
                )
        answers.append({model: micro for day, model, _, micro in await creator.lines(0, 3) if day == name_of(0)})

    answers: list[dict[str, int]] = []
    for day, amount in enumerate(amounts):
        await creator.paid(range(12), model="a", day=day)
        await look()
        await creator.paid(victim, amount, "rare", day)
        await look()
        await creator.paid(range(7), 13, "b", day)
        await creator.publish(at(day + 1, 1))
        await look()
        # Sends one more charge of its own friends late, to see what moves.
        await creator.paid(range(1), 1, "rare", day)
        await look()
    for answer in answers:
        seen |= set(answer.values())
    differences = {abs(one - other) for one in seen for other in seen} | seen
    totals = {sum(amounts[first : last + 1]) for first in range(3) for last in range(first, 3)}
    assert differences.isdisjoint(totals)
    # While the totals are exact, as they are meant to be.
    assert await creator.total() == sum(amounts) + 3 * (120 + 7 * 13 + 1)
