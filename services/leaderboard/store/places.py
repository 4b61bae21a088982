"""SQL of places: what counts on boards."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from uuid import UUID

from asyncpg import Record

from libs.postgres import Connection
from services.leaderboard.model import Face, Place, Ranked, Rise, Run, Window

# Without a referral, who earned its newest share first stands higher.
_PLACE = "creator_ref, referral_count, earned_micro, coalesce(referred_at, earned_at) AS reached_at"
_ORDER = "referral_count DESC, earned_micro DESC, coalesce(referred_at, earned_at), creator_ref"
_NET = "greatest(earned_micro - reversed_micro, 0) AS earned_micro"
_WINDOW = "timeframe = $1 AND window_start = $2"
_COUNTING = f"""(
    SELECT creator_ref, referral_count, {_NET}, referred_at, earned_at FROM places
    WHERE {_WINDOW} AND (referral_count > 0 OR earned_micro > reversed_micro)
) AS counting"""  # noqa: S608 - constants


async def raise_places(connection: Connection, rises: Sequence[Rise]) -> None:
    """Adds what a batch brought, in the order of the key: two batches never wait for each other crosswise."""
    await connection.execute(
        """
        INSERT INTO places (timeframe, window_start, creator_ref, referral_count, earned_micro, referred_at, earned_at,
            reversed_micro)
        SELECT timeframe, window_start, creator_ref, referral_count, 0, referred_at, NULL, reversed_micro
        FROM unnest($1::smallint[], $2::date[], $3::uuid[], $4::bigint[], $5::timestamptz[], $6::bigint[])
            AS rise (timeframe, window_start, creator_ref, referral_count, referred_at, reversed_micro)
        ON CONFLICT (timeframe, window_start, creator_ref) DO UPDATE SET
            referral_count = places.referral_count + excluded.referral_count,
            referred_at = greatest(places.referred_at, excluded.referred_at),
            reversed_micro = places.reversed_micro + excluded.reversed_micro,
            changed_by = pg_current_xact_id()
        """,
        *map(list, zip(*rises, strict=True)),
    )


async def oldest_running(connection: Connection) -> int:
    """The oldest transaction whose effect a snapshot taken now may miss."""
    oldest: str = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
    return int(oldest)


async def changed_since(connection: Connection, window: Window, oldest: int, limit: int) -> list[Place]:
    """Places changed by a transaction at or after `oldest`. Some may come again, none is missed. Reads the window.

    Also those that count no more.
    """
    rows = await connection.fetch(
        f"""
        SELECT creator_ref, referral_count, {_NET}, coalesce(referred_at, earned_at, 'epoch') AS reached_at FROM places
        WHERE {_WINDOW} AND changed_by >= $3::text::xid8 LIMIT $4
        """,  # noqa: S608 - constants
        int(window.timeframe),
        window.start,
        str(oldest),
        limit,
    )
    return [_place(row) for row in rows]


async def every(connection: Connection, window: Window, chunk: int) -> AsyncIterator[list[Place]]:
    """All places of a window in no order, a chunk at a time; within a transaction."""
    query = f"SELECT {_PLACE} FROM {_COUNTING}"  # noqa: S608 - constants
    cursor = await connection.cursor(query, int(window.timeframe), window.start)
    while rows := await cursor.fetch(chunk):
        yield [_place(row) for row in rows]


async def page(connection: Connection, window: Window, after: Place | None, size: int) -> list[Ranked]:
    """Places from the top, or after one, with their ranks; reads the whole window."""
    rows = await connection.fetch(
        f"""
        SELECT * FROM (
            SELECT {_PLACE}, row_number() OVER (ORDER BY {_ORDER}) AS rank FROM {_COUNTING}
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
            SELECT {_PLACE}, row_number() OVER (ORDER BY {_ORDER}) AS rank FROM {_COUNTING}
        ), own AS (SELECT rank FROM board WHERE creator_ref = $3)
        SELECT board.* FROM board, own WHERE board.rank BETWEEN own.rank - $4 AND own.rank + $4 ORDER BY board.rank
        """,  # noqa: S608 - constants
        int(window.timeframe),
        window.start,
        creator_ref,
        neighbours,
    )
    return [Ranked(row["rank"], _place(row)) for row in rows]


async def add_referral_days(connection: Connection, days: Mapping[UUID, set[date]]) -> None:
    """Marks days on which creators brought somebody, in the order of the surrogate; marking again changes nothing."""
    rows = days.items()
    await connection.execute(
        """
        INSERT INTO referral_days (creator_ref, days)
        SELECT * FROM unnest($1::uuid[], $2::text[]::datemultirange[])
        ON CONFLICT (creator_ref) DO UPDATE SET days = referral_days.days + excluded.days
        WHERE NOT referral_days.days @> excluded.days
        """,
        [creator_ref for creator_ref, _ in rows],
        ["{" + ",".join(f"[{day},{day}]" for day in sorted(marked)) + "}" for _, marked in rows],
    )


async def faces(connection: Connection, creator_refs: Sequence[UUID], today: date) -> dict[UUID, Face]:
    """Names of those who show one, and the newest run of days with a referral of each that has begun."""
    rows = await connection.fetch(
        """
        SELECT creator_ref, coalesce(display_name, '') AS display_name, first_day, last_day
        FROM unnest($1::uuid[]) AS wanted (creator_ref)
        LEFT JOIN profiles ON account_ref = creator_ref
        LEFT JOIN LATERAL (
            SELECT lower(run) AS first_day, upper(run) - 1 AS last_day
            FROM referral_days, unnest(days) AS run
            WHERE referral_days.creator_ref = wanted.creator_ref AND lower(run) <= $2 ORDER BY run DESC LIMIT 1
        ) AS newest ON true
        """,
        creator_refs,
        today,
    )
    return {row["creator_ref"]: Face(row["display_name"], _run(row)) for row in rows}


def _run(row: Record) -> Run | None:
    return Run(row["first_day"], row["last_day"]) if row["last_day"] else None


def _place(row: Record) -> Place:
    return Place(row["creator_ref"], row["referral_count"], row["earned_micro"], row["reached_at"])
