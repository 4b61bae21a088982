"""SQL of places: what counts on boards."""

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from asyncpg import Record

from libs.postgres import Connection
from services.leaderboard.model import Place, Ranked, Rise, Window

# Without a referral, who earned its newest share first stands higher.
_PLACE = "creator_ref, referral_count, earned_micro, coalesce(referred_at, earned_at) AS reached_at"
_ORDER = "referral_count DESC, earned_micro DESC, coalesce(referred_at, earned_at), creator_ref"
_WINDOW = "timeframe = $1 AND window_start = $2"


async def raise_places(connection: Connection, rises: Mapping[tuple[Window, UUID], Rise]) -> None:
    """Adds what a batch brought, in the order of the key: two batches never wait for each other crosswise."""
    rows = sorted(rises.items(), key=lambda item: item[0])
    columns = zip(
        *(
            (
                int(window.timeframe),
                window.start,
                creator_ref,
                rise.referral_count,
                rise.earned_micro,
                rise.referred_at,
                rise.earned_at,
            )
            for (window, creator_ref), rise in rows
        ),
        strict=True,
    )
    await connection.execute(
        """
        INSERT INTO places (timeframe, window_start, creator_ref, referral_count, earned_micro, referred_at, earned_at)
        SELECT * FROM unnest($1::smallint[], $2::date[], $3::uuid[], $4::bigint[], $5::bigint[], $6::timestamptz[],
            $7::timestamptz[])
        ON CONFLICT (timeframe, window_start, creator_ref) DO UPDATE SET
            referral_count = places.referral_count + excluded.referral_count,
            earned_micro = places.earned_micro + excluded.earned_micro,
            referred_at = greatest(places.referred_at, excluded.referred_at),
            earned_at = greatest(places.earned_at, excluded.earned_at),
            changed_by = pg_current_xact_id()
        """,
        *map(list, columns),
    )


async def oldest_running(connection: Connection) -> int:
    """The oldest transaction whose effect a snapshot taken now may miss."""
    oldest: str = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
    return int(oldest)


async def changed_since(connection: Connection, window: Window, oldest: int) -> list[Place]:
    """Places changed by a transaction at or after `oldest`; all of them for 0. Some may come again, none is missed."""
    rows = await connection.fetch(
        f"SELECT {_PLACE} FROM places WHERE {_WINDOW} AND changed_by >= $3::text::xid8",  # noqa: S608 - constants
        int(window.timeframe),
        window.start,
        str(oldest),
    )
    return [_place(row) for row in rows]


async def page(connection: Connection, window: Window, after: Place | None, size: int) -> list[Ranked]:
    """Places from the top, or after one, with their ranks; reads the whole window."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM (
            SELECT {_PLACE}, row_number() OVER (ORDER BY {_ORDER}) AS rank FROM places WHERE {_WINDOW}
        ) AS board
        WHERE $3::uuid IS NULL
            OR (-referral_count, -earned_micro, reached_at, creator_ref) > (-$4::bigint, -$5::bigint, $6, $3)
        ORDER BY rank LIMIT $7
        """,  # noqa: S608 - constants
        int(window.timeframe),
        window.start,
        after.creator_ref if after else None,
        after.referral_count if after else 0,
        after.earned_micro if after else 0,
        after.reached_at if after else None,
        size,
    )
    return [Ranked(row["rank"], _place(row)) for row in rows]


async def around(connection: Connection, window: Window, creator_ref: UUID, neighbours: int) -> list[Ranked]:
    """One creator's place and its neighbours; empty where it has none. Reads the whole window."""
    rows = await connection.fetch(
        f"""
        WITH board AS MATERIALIZED (
            SELECT {_PLACE}, row_number() OVER (ORDER BY {_ORDER}) AS rank FROM places WHERE {_WINDOW}
        ), own AS (SELECT rank FROM board WHERE creator_ref = $3)
        SELECT board.* FROM board, own WHERE board.rank BETWEEN own.rank - $4 AND own.rank + $4 ORDER BY board.rank
        """,  # noqa: S608 - constants
        int(window.timeframe),
        window.start,
        creator_ref,
        neighbours,
    )
    return [Ranked(row["rank"], _place(row)) for row in rows]


async def add_referral_days(connection: Connection, days: Sequence[tuple[UUID, date]]) -> None:
    wanted = sorted(set(days))
    await connection.execute(
        """
        INSERT INTO referral_days (creator_ref, day) SELECT * FROM unnest($1::uuid[], $2::date[])
        ON CONFLICT (creator_ref, day) DO NOTHING
        """,
        [creator_ref for creator_ref, _ in wanted],
        [day for _, day in wanted],
    )


async def last_runs(connection: Connection, creator_refs: Sequence[UUID]) -> dict[UUID, tuple[date, int]]:
    """The newest day with a referral of each creator, and how many days follow on each other up to it."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (creator_ref) creator_ref, max(day) AS last_day, count(*) AS length
        FROM (
            SELECT creator_ref, day, day - (row_number() OVER (PARTITION BY creator_ref ORDER BY day))::int AS run
            FROM referral_days WHERE creator_ref = ANY ($1::uuid[])
        ) AS days
        GROUP BY creator_ref, run ORDER BY creator_ref, max(day) DESC
        """,
        creator_refs,
    )
    return {row["creator_ref"]: (row["last_day"], row["length"]) for row in rows}


def _place(row: Record) -> Place:
    return Place(row["creator_ref"], row["referral_count"], row["earned_micro"], row["reached_at"])
