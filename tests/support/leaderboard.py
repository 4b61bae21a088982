"""Leaderboard on a database of one's own, fed with facts, and an independent recomputation of what it should show."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from libs.inbox import Received
from libs.postgres import Postgres
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2 as distribution_events
from protos.referral.v1 import events_pb2 as referral_events
from services.leaderboard import consumers
from services.leaderboard.board import Board
from services.leaderboard.model import Place, Slice, Timeframe, Window
from services.leaderboard.rules import windows

NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
"""A Wednesday."""
ALL_TIME = windows.window_of(Timeframe.ALL_TIME, NOW)
DAILY = windows.window_of(Timeframe.DAILY, NOW)


class Referral(NamedTuple):
    """Somebody came; an organic one has no referrer."""

    referrer: uuid.UUID | None
    at: datetime
    referee: uuid.UUID | None = None
    channel: str = ""


class Share(NamedTuple):
    """A charge; an organic one has no referrer, and one outside the window no share."""

    referrer: uuid.UUID | None
    at: datetime
    micro: int
    model: str = "gpt"
    referee: uuid.UUID = uuid.UUID(int=1)


Fact = Referral | Share


def creator(number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"creator {number}")


def ago(days: int = 0, **more: int) -> datetime:
    return NOW - timedelta(days=days, **more)


def registration(fact: Referral) -> referral_events.Registration:
    return referral_events.Registration(
        account_ref=str(fact.referee or uuid.uuid4()),
        referrer_ref=str(fact.referrer or ""),
        registered_at=to_timestamp(fact.at),
        channel=fact.channel,
    )


def finalized(facts: Iterable[Share]) -> distribution_events.ChargesFinalized:
    return distribution_events.ChargesFinalized(
        charges=[
            distribution_events.ChargeFinalized(
                distribution_id=str(uuid.uuid4()),
                payer_ref=str(fact.referee),
                referrer_ref=str(fact.referrer or ""),
                referrer_micro=fact.micro if fact.referrer else 0,
                model=fact.model,
                finalized_at=to_timestamp(fact.at),
            )
            for fact in facts
        ]
    )


def received(message: Any) -> Received[Any]:
    return Received(1, uuid.uuid4(), NOW, "key", message)


async def apply(postgres: Postgres, facts: Sequence[Fact], group: int = 7) -> None:
    """What the inbox does with a batch of each topic; `group` charges travel in one event."""
    referrals = [received(registration(fact)) for fact in facts if isinstance(fact, Referral)]
    shares = [fact for fact in facts if isinstance(fact, Share)]
    charges = [received(finalized(shares[start : start + group])) for start in range(0, len(shares), group)]
    async with postgres.transaction() as connection:
        await consumers.registrations(connection, referrals)
    async with postgres.transaction() as connection:
        await consumers.charges(connection, charges)


@dataclass
class Leaderboard:
    postgres: Postgres
    board: Board

    async def apply(self, *facts: Fact) -> None:
        await apply(self.postgres, facts)

    async def execute(self, statement: str, *args: object) -> None:
        async with self.postgres.transaction() as connection:
            await connection.execute(statement, *args)

    async def top(self, window: Window = ALL_TIME, size: int = 100) -> list[Place]:
        return [ranked.place for ranked in (await self.board.page(window, None, size)).rows]

    async def pages(self, window: Window, size: int) -> list[Slice]:
        """Every page from the top to the end."""
        parts, after = [], None
        while True:
            parts.append(await self.board.page(window, after, size))
            if not parts[-1].more:
                return parts
            after = parts[-1].rows[-1].place


@asynccontextmanager
async def running(board: Board) -> AsyncIterator[Board]:
    """A board that refreshes itself, as in the process."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(board.run())
        try:
            yield board
        finally:
            task.cancel()
            await board.close()


@asynccontextmanager
async def opened(dsn: str, redis_url: str, cache_seconds: float = 0) -> AsyncIterator[Leaderboard]:
    async with (
        await Postgres.open(dsn, schema="leaderboard") as postgres,
        running(Board(postgres, redis_url, cache_seconds)) as board,
    ):
        yield Leaderboard(postgres, board)


@pytest.fixture(params=["redis", "postgres"])
async def leaderboard(
    request: pytest.FixtureRequest, database: Callable[[str], Awaitable[str]], redis_url: str
) -> AsyncIterator[Leaderboard]:
    """A leaderboard that answers from Redis, and one that has none."""
    async with opened(await database("leaderboard"), redis_url if request.param == "redis" else "") as leaderboard:
        yield leaderboard


_START: dict[Timeframe, Callable[[date], date]] = {
    Timeframe.DAILY: lambda day: day,
    Timeframe.WEEKLY: lambda day: date.fromisocalendar(*day.isocalendar()[:2], 1),
    Timeframe.MONTHLY: lambda day: date(day.year, day.month, 1),
    Timeframe.ALL_TIME: lambda day: date.min,
}


def recomputed(facts: Sequence[Fact], timeframe: Timeframe, on: datetime = NOW) -> list[Place]:
    """A board from nothing but the definition: every creator's facts in the window, counted and sorted."""
    start = _START[timeframe]
    within = [fact for fact in facts if start(fact.at.date()) == start(on.date()) and fact.referrer]
    rows = []
    for ref in {fact.referrer for fact in within if fact.referrer}:
        referred = [fact.at for fact in within if fact.referrer == ref and isinstance(fact, Referral)]
        earned = [fact for fact in within if fact.referrer == ref and isinstance(fact, Share) and fact.micro]
        if referred or earned:
            reached = max(referred or [fact.at for fact in earned])
            rows.append(Place(ref, len(referred), sum(fact.micro for fact in earned), reached))
    return sorted(rows, key=lambda row: (-row.referral_count, -row.earned_micro, row.reached_at, row.creator_ref))


def streaks(facts: Sequence[Fact], today: date) -> dict[uuid.UUID, int]:
    """Consecutive days with a referral up to today or yesterday, by walking back."""
    days: dict[uuid.UUID, set[date]] = {}
    for fact in facts:
        if isinstance(fact, Referral) and fact.referrer:
            days.setdefault(fact.referrer, set()).add(fact.at.date())
    lengths = {}
    for ref, marked in days.items():
        day = today if today in marked else today - timedelta(days=1)
        lengths[ref] = 0
        while day in marked:
            lengths[ref] += 1
            day -= timedelta(days=1)
    return lengths


async def books(postgres: Postgres) -> list[tuple[Any, ...]]:
    """Every row that is made from events, but for the transaction that wrote it."""
    async with postgres.connection() as connection:
        rows = [
            *await connection.fetch(
                "SELECT timeframe, window_start, creator_ref, referral_count, earned_micro, referred_at, earned_at, "
                "reversed_micro "
                "FROM places ORDER BY timeframe, window_start, creator_ref"
            ),
            *await connection.fetch("SELECT creator_ref, days::text FROM referral_days ORDER BY creator_ref"),
            *await connection.fetch("SELECT * FROM earning_days ORDER BY creator_ref, day, model"),
            *await connection.fetch("SELECT * FROM open_parts ORDER BY day, creator_ref, referee_ref, model"),
            *await connection.fetch("SELECT * FROM reversal_days ORDER BY creator_ref, day"),
        ]
    return [tuple(row) for row in rows]


async def books_and_referees(postgres: Postgres) -> list[tuple[Any, ...]]:
    """The same with everybody who came, where the same history names the same people."""
    async with postgres.connection() as connection:
        rows = await connection.fetch("SELECT * FROM referees ORDER BY referee_ref")
    return [*await books(postgres), *(tuple(row) for row in rows)]
