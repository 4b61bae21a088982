"""What a creator earned: buckets, bars, parts and statements."""

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.derived import shapes
from gateway.derived.own import CREATOR, Own, sign
from gateway.derived.packing import packed, unpacked
from gateway.derived.words import said
from gateway.route import Answer, Call, Limited, Route
from gateway.schemas.wire import Reply
from libs.rpc.deadline import deadline
from protos.distribution.v1 import ledger_pb2
from protos.leaderboard.v1 import leaderboard_pb2 as pb

_BOARDS: Final = Own("Creator", "leaderboard", pb.DESCRIPTOR.services_by_name["LeaderboardService"])
_SERIES: Final = pb.GetEarningsSeriesRequest.DESCRIPTOR
_LINES: Final = pb.ListStatementLinesRequest.DESCRIPTOR
_LEDGER: Final = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]
_COLUMNS: Final = [field.name for field in pb.StatementLine.DESCRIPTOR.fields]
_PAGE_LINES: Final = 1000
_PAGE_SECONDS: Final = 5

EarningsQuery: Any = shapes.query("EarningsQuery", _SERIES, [each for each in _SERIES.fields if each.number > 1])
StatementQuery: Any = shapes.query(
    "StatementQuery", _LINES, [each for each in _LINES.fields if each.name.endswith("_day")], ("from_day", "to_day")
)
Earnings: Any = msgspec.defstruct(
    "Earnings",
    [("series", shapes.reply(pb.GetEarningsSeriesResponse.DESCRIPTOR) | None)],
    bases=(shapes.reply(ledger_pb2.GetEarningsResponse.DESCRIPTOR),),
    namespace={"__doc__": "The seven buckets, and the bars where `bucket` asked for them."},
)


async def get_earnings(call: Call[None, Any]) -> Reply:
    services = call.room.services
    asked = ledger_pb2.GetEarningsRequest(account_id=call.caller.account_id)
    if call.query.bucket is None:
        return _earnings(await services.ledger.GetEarnings(asked), None)
    bars: Any = packed(_SERIES, call.query)
    sign(bars, call)
    # Not a TaskGroup: what is refused is told as it is, not as a group of one.
    found, series = await asyncio.gather(
        services.ledger.GetEarnings(asked), services.leaderboard.GetEarningsSeries(bars)
    )
    return _earnings(found, unpacked(series))


async def get_statement(call: Call[None, Any]) -> Answer:
    # The first page is fetched before anything is said, so that what is refused is a problem and no broken file.
    first = await _page(call, "")
    name = f"statement-{call.query.from_day}-{call.query.to_day}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Answer(_csv(call, first), content_type="text/csv; charset=utf-8", headers=headers)


async def _csv(call: Call[None, Any], page: pb.ListStatementLinesResponse) -> AsyncIterator[bytes]:
    yield _rows([_COLUMNS])
    while True:
        if page.lines:
            yield _rows([getattr(line, name) for name in _COLUMNS] for line in page.lines)
        if not page.next_page_token:
            return
        # Each page has its own time: how long all of it takes depends on who reads.
        deadline.set(time.monotonic() + _PAGE_SECONDS)
        page = await _page(call, page.next_page_token)


async def _page(call: Call[None, Any], token: str) -> pb.ListStatementLinesResponse:
    asked: Any = packed(_LINES, call.query)
    sign(asked, call)
    asked.page_size, asked.page_token = _PAGE_LINES, token
    return await call.room.services.leaderboard.ListStatementLines(asked)


def _rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _earnings(found: ledger_pb2.GetEarningsResponse, series: Reply | None) -> Reply:
    made: Reply = Earnings(**msgspec.structs.asdict(unpacked(found)), series=series)
    return made


ROUTES = (
    Route(
        method="GET",
        path="/api/creator/earnings",
        name="getMyEarnings",
        summary=said(_LEDGER.methods_by_name["GetEarnings"]),
        tag="Creator",
        access=CREATOR,
        limited=Limited.STANDARD,
        handler=get_earnings,
        query=EarningsQuery,
        answers={HTTPStatus.OK: Earnings},
        problems={HTTPStatus.BAD_REQUEST: ("SERIES_PERIOD_INVALID", "INVALID_TIMESTAMP")},
    ),
    _BOARDS.get(
        "/api/creator/earnings/breakdown",
        "GetEarningsBreakdown",
        needed=("dimension", "from_day", "to_day"),
        bad_request="DAYS_INVALID",
    ),
    Route(
        method="GET",
        path="/api/creator/statement.csv",
        name="getMyStatement",
        summary="Earnings per day and model as CSV, oldest first; days that are over, and named from five people on.",
        tag="Creator",
        access=CREATOR,
        limited=Limited.STANDARD,
        handler=get_statement,
        query=StatementQuery,
        answers={HTTPStatus.OK: "text/csv"},
        problems={HTTPStatus.BAD_REQUEST: ("DAYS_INVALID",)},
    ),
)
