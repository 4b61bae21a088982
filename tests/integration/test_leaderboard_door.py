"""Leaderboard as the gateway sees it: the real servicer behind a real port, beside the real referral."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import pytest

from libs import rpc
from libs.clock import ManualClock
from libs.postgres import Postgres
from libs.timestamps import to_datetime, to_timestamp
from protos.leaderboard.v1 import events_pb2, leaderboard_pb2_grpc
from protos.leaderboard.v1 import leaderboard_pb2 as pb
from protos.referral.v1 import referral_pb2_grpc
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.leaderboard import servicer
from services.leaderboard.addresses import ShortAddresses
from services.leaderboard.board import Board
from services.leaderboard.rules import boards
from services.leaderboard.store import progress
from tests.conftest import Database
from tests.support.distribution import RunningReferral, referral_running
from tests.support.leaderboard import NOW, Fact, Referral, Share, ago, apply, running

KEY = "a key of the tests, long enough"
DAILY, WEEKLY, MONTHLY, ALL_TIME = (
    pb.TIMEFRAME_DAILY,
    pb.TIMEFRAME_WEEKLY,
    pb.TIMEFRAME_MONTHLY,
    pb.TIMEFRAME_ALL_TIME,
)


@dataclass
class Door:
    stub: Any
    postgres: Postgres
    clock: ManualClock
    referral: RunningReferral

    async def ref(self, account_id: str) -> uuid.UUID:
        return uuid.UUID(await self.referral.commands.ref(account_id))

    async def apply(self, *facts: Fact) -> None:
        await apply(self.postgres, facts)

    async def board(self, timeframe: pb.Timeframe.ValueType = ALL_TIME, **more: Any) -> Any:
        return await self.stub.GetBoard(pb.GetBoardRequest(timeframe=timeframe, **more))

    async def rank(self, account_id: str, timeframe: pb.Timeframe.ValueType = ALL_TIME) -> Any:
        return await self.stub.GetRank(pb.GetRankRequest(timeframe=timeframe, account_id=account_id))

    async def name(self, account_id: str, display_name: str) -> Any:
        return (
            await self.stub.SetProfile(pb.SetProfileRequest(account_id=account_id, display_name=display_name))
        ).profile

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.postgres.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query)]


@asynccontextmanager
async def opened(dsn: str, redis_url: str, referral: RunningReferral, cache_seconds: float = 0) -> AsyncIterator[Door]:
    clock = ManualClock(NOW)
    server = rpc.Server("leaderboard", test_mode=True, drain_wait_seconds=0)
    async with (
        await Postgres.open(dsn, schema="leaderboard") as postgres,
        running(Board(postgres, redis_url, cache_seconds)) as board,
        rpc.channel(f"127.0.0.1:{referral.server.port}", caller="leaderboard") as to_referral,
        rpc.channel("127.0.0.1:1", caller="leaderboard") as nowhere,
    ):
        stub = referral_pb2_grpc.ReferralServiceStub(to_referral)
        addresses = ShortAddresses(ScoreServiceStub(nowhere))
        door = servicer.LeaderboardServicer(postgres, clock, board, stub, addresses, KEY, cache_seconds)
        registrar = leaderboard_pb2_grpc.add_LeaderboardServiceServicer_to_server
        server.add(registrar, door, "creator.leaderboard.v1.LeaderboardService", servicer.CALLERS)
        await server.start()
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="gateway") as channel:
                yield Door(leaderboard_pb2_grpc.LeaderboardServiceStub(channel), postgres, clock, referral)
        finally:
            await server.drain(hasty=True)


@pytest.fixture
async def door(database: Database, redis_url: str) -> AsyncIterator[Door]:
    async with (
        referral_running(await database("referral")) as referral,
        opened(await database("leaderboard"), redis_url, referral) as door,
    ):
        yield door


async def reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return rpc.refusal_of(refused.value).reason


async def test_a_board_shows_pseudonyms_counts_earnings_and_streaks(door: Door) -> None:
    ann, bob = await door.ref("ann"), await door.ref("bob")
    await door.apply(*(Referral(ann, ago(days=number)) for number in range(3)), Share(ann, ago(days=9), 7))
    await door.apply(Share(bob, NOW, 10**15), Referral(bob, ago(days=2)))
    board = await door.board(account_id="bob")
    assert [
        (row.rank, row.referral_count, row.earned_micro, row.streak_days, row.me) for row in board.rows
    ] == [(1, 3, 7, 3, False), (2, 1, 10**15, 0, True)]  # fmt: skip
    assert [row.display_name for row in board.rows] == [boards.pseudonym(KEY.encode(), each) for each in (ann, bob)]
    assert not board.next_page_token
    assert not board.HasField("window_start")
    daily = await door.board(DAILY)
    assert [(row.referral_count, row.earned_micro, row.me) for row in daily.rows] == [(1, 0, False), (0, 10**15, False)]
    assert to_datetime(daily.window_start) == datetime(2026, 3, 11, tzinfo=UTC)
    assert to_datetime(daily.window_end) == datetime(2026, 3, 12, tzinfo=UTC)


async def test_a_streak_ends_when_a_whole_day_passed(door: Door) -> None:
    await door.apply(Referral(await door.ref("ann"), NOW))
    seen = []
    for _ in range(3):
        seen.append((await door.board()).rows[0].streak_days)
        door.clock.advance(timedelta(days=1))
    assert seen == [1, 1, 0]


async def test_a_referral_from_the_future_ends_no_streak(door: Door) -> None:
    ann = await door.ref("ann")
    await door.apply(*(Referral(ann, ago(days=number)) for number in (0, 1, -40)))
    assert (await door.board()).rows[0].streak_days == 2


async def test_pages_go_on_where_they_stopped_also_after_midnight(door: Door) -> None:
    await door.apply(*[Share(await door.ref(f"creator-{number}"), NOW, 100 - number) for number in range(5)])
    first = await door.board(DAILY, page_size=2)
    second = await door.board(DAILY, page_size=2, page_token=first.next_page_token)
    door.clock.advance(timedelta(days=1))
    third = await door.board(DAILY, page_size=2, page_token=second.next_page_token)
    pages = [first, second, third]
    assert [[row.rank for row in page.rows] for page in pages] == [[1, 2], [3, 4], [5]]
    assert [row.earned_micro for page in pages for row in page.rows] == [100, 99, 98, 97, 96]
    assert third.window_start == first.window_start
    assert not third.next_page_token
    assert not (await door.board(DAILY)).rows


async def test_a_creator_finds_itself_among_its_neighbours(door: Door) -> None:
    await door.apply(*[Share(await door.ref(f"creator-{number}"), NOW, 100 - number) for number in range(9)])
    found = await door.rank("creator-4")
    assert (found.row.rank, found.row.me) == (5, True)
    assert [(row.rank, row.me) for row in found.neighbours] == [(rank, rank == 5) for rank in range(2, 9)]
    assert to_datetime(found.as_of) == NOW  # the newest event that is applied


@pytest.mark.parametrize("account_id", ["stranger", "idler"])
async def test_who_is_not_on_the_board_has_no_row_and_gets_no_surrogate_by_asking(door: Door, account_id: str) -> None:
    await door.ref("idler")
    await door.apply(Share(await door.ref("ann"), NOW, 1))
    found = await door.rank(account_id)
    assert not found.HasField("row")
    assert not found.neighbours
    assert (await door.board(account_id=account_id)).rows[0].me is False
    known = await door.referral.commands.rows("SELECT account_id FROM accounts ORDER BY account_id")
    assert [row["account_id"] for row in known] == ["ann", "idler"]


async def test_a_name_is_shown_at_once_and_gone_at_once(door: Door) -> None:
    ann = await door.ref("ann")
    await door.apply(Referral(ann, NOW))
    pseudonym = (await door.board()).rows[0].display_name
    named = await door.name("ann", "Zoe\u0308")
    assert (named.display_name, named.pseudonym, to_datetime(named.updated_at)) == ("Zoë", pseudonym, NOW)
    assert (await door.board()).rows[0].display_name == "Zoë"
    door.clock.advance(timedelta(hours=1))
    again = await door.name("ann", "Zoë")
    assert to_datetime(again.updated_at) == NOW
    anonymous = await door.name("ann", "")
    assert (anonymous.display_name, anonymous.pseudonym) == ("", pseudonym)
    assert (await door.board()).rows[0].display_name == pseudonym
    assert (await door.stub.GetProfile(pb.GetProfileRequest(account_id="ann"))).profile == anonymous
    events = [
        events_pb2.ProfileChanged.FromString(payload)
        for (payload,) in await door.rows("SELECT payload FROM outbox ORDER BY id")
    ]
    assert [(event.account_ref, event.named, event.revision) for event in events] == [
        (str(ann), True, 1),
        (str(ann), False, 2),
    ]
    assert b"Zo" not in b"".join(event.SerializeToString() for event in events)


async def test_a_page_that_is_remembered_marks_each_reader_s_own_row_and_shows_a_new_name_at_once(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A referral that is slow on a slow machine is not away.
    monkeypatch.setattr(servicer, "_MARK_WAIT_S", 5.0)
    async with (
        referral_running(await database("referral")) as referral,
        opened(await database("leaderboard"), redis_url, referral, cache_seconds=60) as door,
    ):
        for name in ("ann", "bob"):
            await door.apply(Referral(await door.ref(name), NOW))
        marked = {name: [row.me for row in (await door.board(account_id=name)).rows] for name in ("ann", "bob", "cyd")}
        assert sorted(marked["ann"]) == sorted(marked["bob"]) == [False, True]
        assert marked["ann"] != marked["bob"]
        assert marked["cyd"] == [False, False]
        place = marked["ann"].index(True)
        for display_name in ("Ann", "Anna"):
            await door.name("ann", display_name)
            assert (await door.board()).rows[place].display_name == display_name


async def test_two_creators_may_have_one_name(door: Door) -> None:
    assert (await door.name("ann", "Sam")).display_name == (await door.name("bob", "Sam")).display_name == "Sam"


async def test_who_never_set_a_profile_has_an_empty_one(door: Door) -> None:
    profile = (await door.stub.GetProfile(pb.GetProfileRequest(account_id="stranger"))).profile
    assert profile == pb.Profile()
    await door.ref("ann")
    profile = (await door.stub.GetProfile(pb.GetProfileRequest(account_id="ann"))).profile
    assert (profile.display_name, profile.HasField("updated_at")) == ("", False)
    assert profile.pseudonym.startswith("0x")
    assert (await door.name("bob", "")).display_name == ""
    assert await door.rows("SELECT * FROM outbox") == []


REFUSED: list[tuple[Any, str]] = [
    (pb.GetBoardRequest(), "TIMEFRAME_INVALID"),
    (pb.GetBoardRequest(timeframe=9), "TIMEFRAME_INVALID"),  # type: ignore[arg-type] # what a newer client may send
    (pb.GetBoardRequest(timeframe=ALL_TIME, page_size=101), "PAGE_SIZE_INVALID"),
    (pb.GetBoardRequest(timeframe=ALL_TIME, page_size=-1), "PAGE_SIZE_INVALID"),
    (pb.GetBoardRequest(timeframe=ALL_TIME, page_token="nonsense"), "PAGE_TOKEN_INVALID"),
    (pb.GetBoardRequest(timeframe=ALL_TIME, account_id="ann\x00"), "CREATOR_ID_INVALID"),
    (pb.GetRankRequest(timeframe=ALL_TIME), "CREATOR_ID_INVALID"),
    (pb.GetRankRequest(account_id="ann"), "TIMEFRAME_INVALID"),
    (pb.SetProfileRequest(account_id="ann", display_name="0x12ab"), "DISPLAY_NAME_RESERVED"),
    (pb.SetProfileRequest(account_id="ann", display_name="\u202eann"), "DISPLAY_NAME_INVALID"),
    (pb.SetProfileRequest(display_name="Ann"), "CREATOR_ID_INVALID"),
    (pb.GetEarningsSeriesRequest(account_id="ann"), "BUCKET_INVALID"),
    (pb.GetEarningsBreakdownRequest(account_id="ann"), "DIMENSION_INVALID"),
    (
        pb.GetEarningsBreakdownRequest(account_id="ann", dimension=pb.DIMENSION_MODEL, from_day="2026-3-1"),
        "DAYS_INVALID",
    ),
    (
        pb.GetEarningsBreakdownRequest(
            account_id="ann", dimension=pb.DIMENSION_MODEL, from_day="2026-03-02", to_day="2026-03-01"
        ),
        "DAYS_INVALID",
    ),
    (pb.ListStatementLinesRequest(account_id="ann", from_day="2024-01-01", to_day="2026-03-01"), "DAYS_INVALID"),
    (
        pb.ListStatementLinesRequest(account_id="ann", from_day="2026-03-01", to_day="2026-03-01", page_token="\u0663"),
        "LINES_PAGE_INVALID",
    ),
    (
        pb.ListStatementLinesRequest(account_id="ann", from_day="2026-03-01", to_day="2026-03-01", page_size=1001),
        "LINES_PAGE_INVALID",
    ),
    (pb.RebuildRequest(operator_id="op"), "REBUILD_ORDER_INVALID"),
    (pb.RebuildRequest(reason="because"), "REBUILD_ORDER_INVALID"),
]


async def test_what_is_asked_wrongly_is_refused_with_a_reason(door: Door) -> None:
    for request, expected in REFUSED:
        method = type(request).__name__.removesuffix("Request")
        assert await reason(getattr(door.stub, method)(request)) == expected


async def test_a_series_sums_what_a_creator_accrued(door: Door) -> None:
    ann = await door.ref("ann")
    await door.apply(Share(ann, ago(days=20), 1), Share(ann, ago(days=1), 2), Share(ann, NOW, 4, model="glm"))
    await door.apply(Share(await door.ref("bob"), NOW, 1000))
    request = pb.GetEarningsSeriesRequest(account_id="ann", bucket=pb.BUCKET_MONTH)
    series = await door.stub.GetEarningsSeries(request)
    points = [(to_datetime(point.start).date(), point.accrued_micro, point.charges) for point in series.points]
    assert points == [(date(2026, 2, 1), 1, 1), (date(2026, 3, 1), 6, 2)]
    assert series.accrued_micro == 7
    request = pb.GetEarningsSeriesRequest(
        account_id="ann", bucket=pb.BUCKET_DAY, from_time=to_timestamp(ago(days=1)), to_time=to_timestamp(NOW)
    )
    assert (await door.stub.GetEarningsSeries(request)).accrued_micro == 6
    nobody = pb.GetEarningsSeriesRequest(account_id="stranger", bucket=pb.BUCKET_DAY)
    assert not (await door.stub.GetEarningsSeries(nobody)).points


async def test_the_surrogate_is_asked_for_once_and_then_known(door: Door) -> None:
    ann = await door.ref("ann")
    await door.apply(Share(ann, NOW, 1))
    await door.rank("ann")
    assert await door.rows("SELECT account_id, account_ref FROM accounts") == [("ann", ann)]
    await door.referral.server.drain(hasty=True)
    assert (await door.rank("ann")).row.rank == 1


async def test_without_referral_boards_are_shown_and_only_one_s_own_place_is_not_known(door: Door) -> None:
    await door.apply(Share(await door.ref("ann"), NOW, 1))
    await door.referral.server.drain(hasty=True)
    assert [row.me for row in (await door.board(account_id="ann")).rows] == [False]
    assert await reason(door.rank("ann")) == "DEPENDENCY_UNAVAILABLE"


async def test_as_of_is_what_is_known_to_be_applied_not_the_time_of_the_read(door: Door) -> None:
    async with door.postgres.transaction() as connection:
        await progress.mark_caught_up(connection, ago(hours=2))
    assert to_datetime((await door.board()).as_of) == ago(hours=2)
    assert to_datetime((await door.rank("stranger")).as_of) == ago(hours=2)
