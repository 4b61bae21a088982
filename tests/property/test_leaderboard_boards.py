"""Boards are a function of the set of events: neither order, nor batching, nor how they are read changes a byte."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.postgres import Postgres
from services.leaderboard.board import Board
from services.leaderboard.model import Place, Timeframe
from services.leaderboard.rules import boards, windows
from services.leaderboard.store import places
from tests.conftest import Database
from tests.support.leaderboard import NOW, Fact, Referral, Share, apply, books, creator, recomputed, running, streaks

# Few creators, days and amounts, so that ties, gaps and shared windows are common.
CREATORS = st.one_of(st.none(), st.integers(0, 4).map(creator))
INSTANTS = st.builds(
    lambda days, us: NOW - timedelta(days=days, microseconds=us),
    st.one_of(st.integers(0, 5), st.integers(0, 80)),
    st.sampled_from([0, 1, 3_600_000_000, 43_200_000_000]),
)
FACTS: st.SearchStrategy[Fact] = st.one_of(
    st.builds(Referral, CREATORS, INSTANTS, st.just(None), st.just("")),
    st.builds(
        Share,
        CREATORS,
        INSTANTS,
        st.sampled_from([0, 1, 7, 1000, 10**15]),
        st.sampled_from(["gpt", "glm"]),
        st.integers(0, 2).map(creator),
    ),
)
TIE = [Referral(creator(1), NOW), Referral(creator(0), NOW), Referral(creator(2), NOW - timedelta(microseconds=1))]


@pytest.fixture
async def postgres(database: Database) -> AsyncIterator[Postgres]:
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres:
        yield postgres


async def empty(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        await connection.execute("TRUNCATE places, referral_days, earning_days, open_parts, referees")


@given(facts=st.lists(FACTS, max_size=25), data=st.data())
@example(facts=TIE, data=None)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=settings().max_examples // 2 or 1,
)
async def test_any_order_and_batching_gives_the_same_books_and_the_right_boards(
    postgres: Postgres, facts: list[Fact], data: st.DataObject | None
) -> None:
    shuffled = data.draw(st.permutations(facts)) if data else facts[::-1]
    size = data.draw(st.integers(1, 10)) if data else 1
    await empty(postgres)
    await apply(postgres, facts)
    at_once = await books(postgres)
    await empty(postgres)
    for start in range(0, len(shuffled), size):
        await apply(postgres, shuffled[start : start + size], group=size)
    assert await books(postgres) == at_once
    async with postgres.connection() as connection:
        for timeframe in Timeframe:
            rows = await places.page(connection, windows.window_of(timeframe, NOW), None, 100)
            assert [ranked.place for ranked in rows] == recomputed(facts, timeframe)
            assert [ranked.rank for ranked in rows] == list(range(1, len(rows) + 1))
        lengths = streaks(facts, NOW.date())
        faces = await places.faces(connection, list(lengths), NOW.date())
    assert {ref: windows.streak_on(face.run, NOW.date()) for ref, face in faces.items()} == lengths


@given(batches=st.lists(st.lists(FACTS, max_size=8), max_size=6))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=settings().max_examples // 2 or 1,
)
async def test_a_board_that_was_refreshed_in_between_is_the_board(
    postgres: Postgres, redis_url: str, batches: list[list[Fact]]
) -> None:
    await empty(postgres)
    facts: list[Fact] = []
    async with running(Board(postgres, redis_url, 0)) as board:
        # The database is the same for all examples, so what earlier ones left in Redis would be found there.
        assert board._cache is not None
        await board._cache._client.flushall()
        for batch in batches:
            await apply(postgres, batch)
            facts += batch
            for timeframe in Timeframe:
                page = await board.page(windows.window_of(timeframe, NOW), None, 100)
                assert [ranked.place for ranked in page.rows] == recomputed(facts, timeframe)


PLACES = st.builds(
    Place,
    st.integers(0, 2**128 - 1).map(lambda number: uuid.UUID(int=number)),
    st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1)),
    st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1)),
    st.datetimes(timezones=st.just(UTC)),
)


@given(one=PLACES, other=PLACES)
def test_bytes_are_ordered_as_places_are(one: Place, other: Place) -> None:
    def order(place: Place) -> tuple[int, int, datetime, uuid.UUID]:
        return -place.referral_count, -place.earned_micro, place.reached_at, place.creator_ref

    assert (boards.encode(one) < boards.encode(other)) == (order(one) < order(other))
    assert boards.decode(boards.encode(one)) == one
