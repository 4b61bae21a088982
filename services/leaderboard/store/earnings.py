"""SQL of what creators accrued, by day and model."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Point
from services.leaderboard.rules.shares import Shares

# Sums of sums of the same rows: a charge is read once, and what it adds to four windows is added up by day before.
_ADD = """
    WITH shares AS MATERIALIZED (
        SELECT creator_ref, referee_ref, model, charges, micro, at_us,
            '1970-01-01'::date + (at_us / 86400000000)::int AS day
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
            AS share (creator_ref, referee_ref, model, charges, micro, at_us)
    ), open AS (
        INSERT INTO open_parts AS known (day, creator_ref, referee_ref, model, charges, accrued_micro)
        SELECT day, creator_ref, referee_ref, model, sum(charges)::bigint, sum(micro)::bigint FROM shares, progress
        WHERE published_through IS NULL OR day > published_through
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (day, creator_ref, referee_ref, model) DO UPDATE SET
            charges = known.charges + excluded.charges, accrued_micro = known.accrued_micro + excluded.accrued_micro
    ), days AS (
        INSERT INTO earning_days AS known (creator_ref, day, model, charges, accrued_micro)
        SELECT creator_ref, day, model, sum(charges)::bigint, sum(micro)::bigint FROM shares
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (creator_ref, day, model) DO UPDATE SET
            charges = known.charges + excluded.charges, accrued_micro = known.accrued_micro + excluded.accrued_micro
    )
    INSERT INTO places (timeframe, window_start, creator_ref, referral_count, earned_micro, referred_at, earned_at)
    SELECT timeframe, window_start, creator_ref, 0, sum(micro)::bigint, NULL, 'epoch'::timestamptz
        + max(newest_us) / 1000000 * interval '1 second' + max(newest_us) % 1000000 * interval '1 microsecond'
    FROM (
        SELECT creator_ref, day, sum(micro)::bigint AS micro, max(at_us) AS newest_us FROM shares GROUP BY 1, 2
    ) AS daily, LATERAL (VALUES
        (1, day), (2, date_trunc('week', day::timestamp)::date), (3, date_trunc('month', day::timestamp)::date),
        (4, '-infinity')
    ) AS windows (timeframe, window_start)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (timeframe, window_start, creator_ref) DO UPDATE SET
        earned_micro = places.earned_micro + excluded.earned_micro,
        earned_at = greatest(places.earned_at, excluded.earned_at),
        changed_by = pg_current_xact_id()
    """


async def add(connection: Connection, shares: Shares) -> None:
    """Adds what charges brought to places, to days and models, and to days that are not published: in one statement.

    Rows of each table in the order of its key: two batches never wait for each other crosswise.
    """
    await connection.execute(_ADD, *shares.columns)


async def add_reversals(connection: Connection, reversals: Sequence[tuple[UUID, date, int]]) -> None:
    """Adds what was taken back per creator and UTC day, in the order of the key."""
    await connection.execute(
        """
        INSERT INTO reversal_days AS known (creator_ref, day, reversed_micro)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::bigint[])
        ON CONFLICT (creator_ref, day) DO UPDATE SET reversed_micro = known.reversed_micro + excluded.reversed_micro
        """,
        *map(list, zip(*reversals, strict=True)),
    )


async def by_day(connection: Connection, creator_ref: UUID, first: date, after: date) -> list[Point]:
    """Every day of a period on which something accrued, or had accrued that was taken back, oldest first."""
    rows = await connection.fetch(
        """
        SELECT day, sum(accrued_micro)::bigint, sum(charges)::bigint, sum(reversed_micro)::bigint FROM (
            SELECT day, accrued_micro, charges, 0 AS reversed_micro FROM earning_days
            WHERE creator_ref = $1 AND day >= $2 AND day < $3
            UNION ALL
            SELECT day, 0, 0, reversed_micro FROM reversal_days WHERE creator_ref = $1 AND day >= $2 AND day < $3
        ) AS days GROUP BY day ORDER BY day
        """,
        creator_ref,
        first,
        after,
    )
    return [Point(*row) for row in rows]
