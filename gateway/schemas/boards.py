from typing import Annotated, Literal

from msgspec import Meta

from gateway.schemas.wire import Count, Cursor, Instant, Micro, Reply, Request

Timeframe = Literal["daily", "weekly", "monthly", "all_time"]


class BoardQuery(Request):
    """Which part of which board."""

    timeframe: Annotated[Timeframe, Meta(description="Calendar window in UTC; weeks are ISO weeks.")] = "weekly"
    limit: Annotated[int, Meta(ge=1, le=100, description="Rows per page.")] = 50
    page_token: Cursor | None = None


class RankQuery(Request):
    """Which board."""

    timeframe: Timeframe = "weekly"


class BoardRow(Reply):
    """A creator's place."""

    rank: Annotated[int, Meta(ge=1)]
    display_name: Annotated[str, Meta(description="The chosen name, else a pseudonym.")]
    referral_count: Count
    earned_micro: Micro
    streak_days: Annotated[int, Meta(ge=0, description="Consecutive UTC days with a referral.")]
    me: Annotated[bool, Meta(description="Whether this is the account that asks.")]


class Board(Reply):
    """A page of a board."""

    timeframe: Timeframe
    rows: list[BoardRow]
    next_page_token: Annotated[str | None, Meta(description="null on the last page.")]
    as_of: Annotated[Instant | None, Meta(description="Everything up to then is in it.")]
    window_start: Instant | None
    window_end: Instant | None


class Rank(Reply):
    """One account's place, with up to three neighbours on each side."""

    timeframe: Timeframe
    row: Annotated[BoardRow | None, Meta(description="null without a referral or earnings in the window.")]
    neighbours: list[BoardRow]
    as_of: Instant | None
