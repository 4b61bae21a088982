"""The leaderboard."""

from http import HTTPStatus

from gateway.route import Access, Call, Limited, Route
from gateway.routes.packing import instant
from gateway.schemas.boards import Board, BoardQuery, BoardRow, Rank, RankQuery
from gateway.schemas.wire import micro
from protos.leaderboard.v1 import leaderboard_pb2 as pb


async def get_board(call: Call[None, BoardQuery]) -> Board:
    asked = call.query
    page = await call.room.services.leaderboard.GetBoard(
        pb.GetBoardRequest(
            timeframe=_timeframe(asked.timeframe),
            page_size=asked.limit,
            page_token=asked.page_token or "",
            account_id=call.caller.account_id,
        )
    )
    return Board(
        timeframe=asked.timeframe,
        rows=[_row(row) for row in page.rows],
        next_page_token=page.next_page_token or None,
        as_of=instant(page, "as_of"),
        window_start=instant(page, "window_start"),
        window_end=instant(page, "window_end"),
    )


async def get_rank(call: Call[None, RankQuery]) -> Rank:
    asked = call.query
    found = await call.room.services.leaderboard.GetRank(
        pb.GetRankRequest(timeframe=_timeframe(asked.timeframe), account_id=call.caller.account_id)
    )
    return Rank(
        timeframe=asked.timeframe,
        row=_row(found.row) if found.HasField("row") else None,
        neighbours=[_row(row) for row in found.neighbours],
        as_of=instant(found, "as_of"),
    )


def _timeframe(name: str) -> pb.Timeframe.ValueType:
    return pb.Timeframe.Value(f"TIMEFRAME_{name.upper()}")


def _row(row: pb.BoardRow) -> BoardRow:
    return BoardRow(
        rank=row.rank,
        display_name=row.display_name,
        referral_count=row.referral_count,
        earned_micro=micro(row.earned_micro),
        streak_days=row.streak_days,
        me=row.me,
    )


ROUTES = (
    Route(
        method="GET",
        path="/api/referrals/leaderboard",
        name="getLeaderboard",
        summary="A page of a leaderboard.",
        tag="Leaderboard",
        access=Access.ANY_TOKEN,
        limited=Limited.STANDARD,
        handler=get_board,
        query=BoardQuery,
        answers={HTTPStatus.OK: Board},
        problems={HTTPStatus.BAD_REQUEST: ("PAGE_TOKEN_INVALID",)},
        fields={"page_size": "?limit"},
    ),
    Route(
        method="GET",
        path="/api/referrals/leaderboard/me",
        name="getMyRank",
        summary="The account's own place and its neighbours.",
        tag="Leaderboard",
        access=Access.ANY_TOKEN,
        limited=Limited.STANDARD,
        handler=get_rank,
        query=RankQuery,
        answers={HTTPStatus.OK: Rank},
    ),
)
