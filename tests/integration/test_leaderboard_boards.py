"""A board as it is read: from Redis, from PostgreSQL, and through everything that can go wrong between them."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local import servers
from deploy.local.ports import LOOPBACK
from deploy.local.processes import Process
from libs.postgres import Postgres
from services.leaderboard import metrics
from services.leaderboard.board import Board
from services.leaderboard.board import cache as board_cache
from services.leaderboard.board import reads as board_reads
from services.leaderboard.board.cache import Cache, LeaseLost, Seen
from services.leaderboard.model import Place, Timeframe, Window
from services.leaderboard.rules import windows
from services.leaderboard.store import places
from tests.conftest import Database
from tests.support.leaderboard import (
    ALL_TIME,
    DAILY,
    NOW,
    Fact,
    Leaderboard,
    Referral,
    Share,
    ago,
    apply,
    creator,
    opened,
    recomputed,
    running,
)

Eventually = Callable[..., Awaitable[Any]]


def crowd(size: int, seed: int = 1) -> list[Fact]:
    """Facts of many creators, with many ties."""
    chance = random.Random(seed)
    facts: list[Fact] = []
    for number in range(size):
        instant = ago(chance.randrange(3), hours=chance.randrange(4))
        facts += [Referral(creator(number), instant)] * chance.randrange(3)
        facts.append(Share(creator(number), instant, chance.choice([5, 50])))
    return facts


def anew() -> float:
    return float(metrics.REFRESHES.labels("anew")._value.get())


def by_changes() -> float:
    return float(metrics.REFRESHES.labels("changes")._value.get())


def fallbacks() -> float:
    return float(metrics.FALLBACKS._value.get())


async def stored(postgres: Postgres, window: Window) -> list[Place]:
    async with postgres.connection() as connection:
        return [ranked.place for ranked in await places.page(connection, window, None, 10_000)]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is slow on a slow machine is not away, nor is who refreshes a board."""
    monkeypatch.setattr(board_cache, "_TIMEOUT_S", 10.0)
    monkeypatch.setattr(board_reads, "_PATIENCE_S", 10.0)


@pytest.fixture
async def dsn(database: Database) -> str:
    return await database("leaderboard")


@pytest.fixture
async def leaderboard(dsn: str, redis_url: str) -> AsyncIterator[Leaderboard]:
    async with opened(dsn, redis_url) as leaderboard:
        yield leaderboard


@pytest.fixture
def cache(leaderboard: Leaderboard) -> Cache:
    assert leaderboard.board._cache is not None
    return leaderboard.board._cache


@pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
async def test_pages_hold_every_creator_once_in_order(dsn: str, redis_url: str, *, redis: bool) -> None:
    facts = crowd(60)
    async with opened(dsn, redis_url if redis else "", cache_seconds=60) as leaderboard:
        await leaderboard.apply(*facts)
        before = fallbacks()
        for timeframe, size in itertools.product(Timeframe, (1, 7, 100)):
            parts = await leaderboard.pages(windows.window_of(timeframe, NOW), size)
            rows = [row for part in parts for row in part.rows]
            assert [row.place for row in rows] == recomputed(facts, timeframe)
            assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
        assert (fallbacks() == before) is redis


@pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
async def test_a_creator_stands_between_up_to_three_neighbours(dsn: str, redis_url: str, *, redis: bool) -> None:
    async with opened(dsn, redis_url if redis else "") as leaderboard:
        await leaderboard.apply(*(Share(creator(number), NOW, 100 - number) for number in range(10)))
        seen = {}
        for number in (0, 1, 5, 9):
            part = await leaderboard.board.around(ALL_TIME, creator(number))
            seen[number] = [row.rank for row in part.rows]
            assert part.rows[seen[number].index(number + 1)].place.creator_ref == creator(number)
        assert seen == {0: [1, 2, 3, 4], 1: [1, 2, 3, 4, 5], 5: [3, 4, 5, 6, 7, 8, 9], 9: [7, 8, 9, 10]}
        assert (await leaderboard.board.around(ALL_TIME, creator(99))).rows == ()


@pytest.mark.parametrize("redis", [True, False], ids=["redis", "postgres"])
async def test_an_empty_board_has_no_rows(dsn: str, redis_url: str, *, redis: bool) -> None:
    async with opened(dsn, redis_url if redis else "") as leaderboard:
        before = fallbacks()
        part = await leaderboard.board.page(DAILY, None, 10)
        assert (part.rows, part.more) == ((), False)
        assert (fallbacks() == before) is redis


async def test_who_came_to_its_count_first_stands_higher_whoever_was_heard_of_first(leaderboard: Leaderboard) -> None:
    late, early = Referral(creator(1), NOW), Referral(creator(2), NOW - timedelta(microseconds=1))
    await leaderboard.apply(late)
    assert [place.creator_ref for place in await leaderboard.top()] == [creator(1)]
    await leaderboard.apply(early)
    assert [place.creator_ref for place in await leaderboard.top()] == [creator(2), creator(1)]


async def test_a_new_day_begins_with_an_empty_board(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Referral(creator(1), ago(days=1)))
    assert await leaderboard.top(DAILY) == []
    assert len(await leaderboard.top(windows.window_of(Timeframe.WEEKLY, NOW))) == 1


async def test_a_board_brought_up_to_date_is_the_board_made_anew(
    leaderboard: Leaderboard, cache: Cache, dsn: str
) -> None:
    before = by_changes()
    for number in range(8):
        await leaderboard.apply(*crowd(40, seed=number))
        await leaderboard.top()
    assert by_changes() == before + 7
    order = await cache._client.zrange("leaderboard:{4:0001-01-01}:order", 0, -1)
    held = await cache._client.hgetall("leaderboard:{4:0001-01-01}:places")
    await cache._client.flushall()
    assert await leaderboard.top() == await stored(leaderboard.postgres, ALL_TIME)
    assert await cache._client.zrange("leaderboard:{4:0001-01-01}:order", 0, -1) == order
    assert await cache._client.hgetall("leaderboard:{4:0001-01-01}:places") == held


async def test_many_changes_make_a_board_anew(leaderboard: Leaderboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_reads, "CHANGES_MAX", 5)
    monkeypatch.setattr(board_reads, "_CHUNK", 7)
    await leaderboard.apply(*crowd(5))
    await leaderboard.top()
    await leaderboard.apply(*crowd(40))
    before = anew()
    assert await leaderboard.top() == await stored(leaderboard.postgres, ALL_TIME)
    assert anew() == before + 1


async def test_a_commit_that_was_late_is_not_missed(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Referral(creator(1), NOW))
    await leaderboard.top()
    async with leaderboard.postgres.connection() as slow, slow.transaction():
        await slow.execute(
            "INSERT INTO places (timeframe, window_start, creator_ref, referral_count, earned_micro, referred_at) "
            "VALUES (4, '-infinity', $1, 9, 0, $2)",
            creator(2),
            NOW,
        )
        # Others commit after it began, and boards are refreshed meanwhile.
        for number in (3, 4):
            await leaderboard.apply(Referral(creator(number), NOW))
            assert creator(2) not in [place.creator_ref for place in await leaderboard.top()]
    assert (await leaderboard.top())[0].creator_ref == creator(2)


async def test_a_flushed_redis_is_filled_again(leaderboard: Leaderboard, cache: Cache) -> None:
    await leaderboard.apply(*crowd(30))
    expected = await leaderboard.top()
    await cache._client.flushall()
    before = fallbacks()
    assert await leaderboard.top() == expected
    assert fallbacks() == before


async def test_an_evicted_part_costs_a_refresh_and_nothing_else(dsn: str, redis_url: str) -> None:
    async with opened(dsn, redis_url, cache_seconds=60) as leaderboard:
        await leaderboard.apply(*crowd(30))
        expected = await leaderboard.top()
        cache = leaderboard.board._cache
        assert cache is not None
        for part in ("order", "places", "about", "fresh", "current", "whole"):
            assert await cache._client.delete(f"leaderboard:{{4:0001-01-01}}:{part}") == 1
            assert await leaderboard.top() == expected
            around = await leaderboard.board.around(ALL_TIME, expected[3].creator_ref)
            assert [row.rank for row in around.rows] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_flush_in_the_middle_of_a_refresh_never_shows_half_a_board(
    leaderboard: Leaderboard, cache: Cache
) -> None:
    await leaderboard.apply(*crowd(30))
    expected = await leaderboard.top()
    lease = await cache.lease(ALL_TIME)
    assert lease is not None
    assert await lease.seen() is not None
    await cache._client.flushall()
    for step in (
        lease.change(expected[:3]),
        lease.make(expected[:3]),
        lease.swap(),
        lease.finish(NOW, Seen(0, 1), 60_000),
    ):
        with pytest.raises(LeaseLost):
            await step
    assert await cache.page(ALL_TIME, None, 10) is None
    assert await leaderboard.top() == expected


async def test_a_refresher_that_slept_too_long_changes_nothing(leaderboard: Leaderboard, cache: Cache) -> None:
    await leaderboard.apply(Referral(creator(1), NOW))
    old = await leaderboard.top()
    sleeper = await cache.lease(ALL_TIME)
    assert sleeper is not None
    assert await cache.lease(ALL_TIME) is None
    await cache._client.delete("leaderboard:{4:0001-01-01}:lock")  # its time is over
    await leaderboard.apply(Referral(creator(1), NOW))
    new = await leaderboard.top()
    for step in (sleeper.change(old), sleeper.make(old), sleeper.swap(), sleeper.finish(NOW, Seen(0, 1), 60_000)):
        with pytest.raises(LeaseLost):
            await step
    await sleeper.release()
    reading = await cache.page(ALL_TIME, None, 10)
    assert reading is not None
    assert [*reading.places] == new != old


async def test_a_database_that_was_restored_is_read_whole(leaderboard: Leaderboard, cache: Cache) -> None:
    await leaderboard.apply(*crowd(10))
    await leaderboard.top()
    # As if the cluster that Redis was filled from had counted far more transactions.
    await cache._client.hset("leaderboard:{4:0001-01-01}:about", "seen", 10**15)
    await leaderboard.execute("DELETE FROM places WHERE creator_ref = $1", creator(3))
    assert await leaderboard.top() == await stored(leaderboard.postgres, ALL_TIME)


async def test_however_many_read_at_once_one_refreshes(dsn: str, redis_url: str) -> None:
    async with opened(dsn, redis_url, cache_seconds=60) as one, running(Board(one.postgres, redis_url, 60)) as other:
        await one.apply(*crowd(200))
        before = anew()
        boards = [one.board, other] * 50
        parts = await asyncio.gather(*(board.page(ALL_TIME, None, 20) for board in boards))
        assert {part.rows for part in parts} == {parts[0].rows}
        assert len(parts[0].rows) == 20
        assert anew() == before + 1


async def test_a_board_is_not_read_again_before_its_time(dsn: str, redis_url: str) -> None:
    async with opened(dsn, redis_url, cache_seconds=60) as leaderboard:
        await leaderboard.apply(Referral(creator(1), NOW))
        before = await leaderboard.top()
        await leaderboard.apply(Referral(creator(2), NOW))
        assert await leaderboard.top() == before


async def test_a_board_that_is_due_is_shown_at_once_and_then_refreshed(
    dsn: str, redis_url: str, eventually: Eventually
) -> None:
    async with opened(dsn, redis_url, cache_seconds=60) as leaderboard:
        await leaderboard.apply(Referral(creator(1), NOW))
        before = await leaderboard.top()
        await leaderboard.apply(Referral(creator(2), NOW))
        cache = leaderboard.board._cache
        assert cache is not None
        await cache._client.delete("leaderboard:{4:0001-01-01}:fresh")
        assert await leaderboard.top() == before

        async def refreshed() -> bool:
            return len(await leaderboard.top()) == 2

        await eventually(refreshed)


class Valkey:
    """One of this test's own, that it may stop and start again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "redis.log"
        self._process, self.port = servers.start_anywhere(lambda port: servers.valkey(directory, port), self._log)
        self.url = f"redis://{LOOPBACK}:{self.port}/0"

    def kill(self) -> None:
        self._process.kill()

    def start(self) -> None:
        self._process = Process(servers.valkey(self._directory, self.port), self._log)
        self._process.wait_ready(30)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with ExitStack() as stack:
        valkey = Valkey(tmp_path)
        stack.callback(valkey.kill)
        yield valkey


async def test_without_redis_postgres_answers_the_same_and_with_it_again_redis_does(
    dsn: str, valkey: Valkey, eventually: Eventually
) -> None:
    async with opened(dsn, valkey.url) as leaderboard:
        await leaderboard.apply(*crowd(30))
        expected = await leaderboard.board.page(ALL_TIME, None, 10)
        around = await leaderboard.board.around(ALL_TIME, expected.rows[4].place.creator_ref)
        valkey.kill()
        before = fallbacks()
        assert await leaderboard.board.page(ALL_TIME, None, 10) == expected
        assert await leaderboard.board.around(ALL_TIME, expected.rows[4].place.creator_ref) == around
        assert [len(part.rows) for part in await leaderboard.pages(ALL_TIME, 12)] == [12, 12, 6]
        assert fallbacks() > before
        valkey.start()

        async def cached() -> bool:
            before = fallbacks()
            assert await leaderboard.board.page(ALL_TIME, None, 10) == expected
            return fallbacks() == before

        await eventually(cached)


async def test_a_redis_that_holds_the_connection_and_says_nothing_is_left_alone(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    monkeypatch.setattr(board_cache, "_TIMEOUT_S", 0.5)
    monkeypatch.setattr(board_reads, "_SHUN_S", 60.0)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, LOOPBACK, 0)
    async with server, opened(dsn, f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/0") as leaderboard:
        await leaderboard.apply(*crowd(30))

        async def read() -> None:
            parts = await asyncio.gather(*(leaderboard.board.page(ALL_TIME, None, 10) for _ in range(20)))
            assert {len(part.rows) for part in parts} == {10}

        async with asyncio.timeout(5):
            await read()
        first_asked, asked = asked, 0
        await read()
        assert (first_asked, asked) == (20, 0)
        leaderboard.board._shunned_until = 0  # its time is over: one tries, nobody else waits for it
        await read()
        assert asked == 1


async def test_batches_that_meet_do_not_block_each_other(leaderboard: Leaderboard) -> None:
    facts = crowd(100)
    shuffled = [random.Random(seed).sample(facts, len(facts)) for seed in range(6)]
    await asyncio.gather(*(apply(leaderboard.postgres, each) for each in shuffled))
    assert await stored(leaderboard.postgres, ALL_TIME) == recomputed(facts * 6, Timeframe.ALL_TIME)
