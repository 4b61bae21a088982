"""SQL of referrals that are taken out of what counts; how they come in is `places`' business."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Rise


async def lock(connection: Connection, rises: Sequence[Rise]) -> None:
    """Whoever changes these places waits, in the order of the key; they are there, since their referrals are known."""
    await connection.execute(
        """
        SELECT FROM places JOIN unnest($1::smallint[], $2::date[], $3::uuid[])
            AS wanted (timeframe, window_start, creator_ref) USING (timeframe, window_start, creator_ref)
        ORDER BY places.timeframe, places.window_start, places.creator_ref FOR UPDATE OF places
        """,
        *_keys(rises),
    )


async def lower(connection: Connection, falls: Sequence[Rise]) -> None:
    """Counts so many referrals less in places that are locked; the newest is the newest of those that still count."""
    await connection.execute(
        """
        WITH fall AS (
            SELECT *, window_start::timestamp AT TIME ZONE 'UTC' AS begins, CASE timeframe
                WHEN 1 THEN (window_start + interval '1 day') AT TIME ZONE 'UTC'
                WHEN 2 THEN (window_start + interval '7 days') AT TIME ZONE 'UTC'
                WHEN 3 THEN (window_start + interval '1 month') AT TIME ZONE 'UTC'
                ELSE 'infinity' END AS ends
            FROM unnest($1::smallint[], $2::date[], $3::uuid[], $4::bigint[])
                AS fall (timeframe, window_start, creator_ref, referrals)
        )
        UPDATE places SET
            referral_count = referral_count - referrals,
            referred_at = CASE WHEN referral_count > referrals THEN coalesce((
                SELECT max(registered_at) FROM referees
                WHERE referrer_ref = fall.creator_ref AND NOT flagged
                    AND registered_at >= begins AND registered_at < ends
            ), referred_at) END,
            changed_by = pg_current_xact_id()
        FROM fall
        WHERE (places.timeframe, places.window_start, places.creator_ref)
            = (fall.timeframe, fall.window_start, fall.creator_ref)
        """,
        *_keys(falls),
        [fall.referral_count for fall in falls],
    )


async def drop_days(connection: Connection, days: Sequence[tuple[UUID, date]]) -> None:
    """Takes days from streaks on which nobody came who counts; the creators' places are locked."""
    await connection.execute(
        """
        WITH empty AS (
            SELECT creator_ref, range_agg(daterange(day, day, '[]')) AS days
            FROM unnest($1::uuid[], $2::date[]) AS taken (creator_ref, day)
            WHERE NOT EXISTS (
                SELECT FROM referees WHERE referrer_ref = creator_ref AND NOT flagged
                    AND registered_at >= day::timestamp AT TIME ZONE 'UTC'
                    AND registered_at < (day + interval '1 day') AT TIME ZONE 'UTC'
            ) GROUP BY creator_ref
        ), gone AS (
            DELETE FROM referral_days USING empty
            WHERE referral_days.creator_ref = empty.creator_ref AND isempty(referral_days.days - empty.days)
        )
        UPDATE referral_days SET days = referral_days.days - empty.days FROM empty
        WHERE referral_days.creator_ref = empty.creator_ref AND NOT isempty(referral_days.days - empty.days)
        """,
        *map(list, zip(*days, strict=True)),
    )


def _keys(rises: Sequence[Rise]) -> tuple[list[int], list[date], list[UUID]]:
    return (
        [rise.timeframe for rise in rises],
        [rise.window_start for rise in rises],
        [rise.creator_ref for rise in rises],
    )
