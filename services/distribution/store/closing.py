"""Hours that are over: fenced off, then summed up, so that the books by time are read quickly."""

from datetime import datetime
from typing import Final

from libs.postgres import Connection
from services.distribution.rules.statements import HOUR, hour_of

_SUM_SECONDS: Final = 240


async def fenced_until(connection: Connection) -> datetime:
    instant: datetime = await connection.fetchval("SELECT fenced_until FROM closed_hours")
    return instant


async def fence(connection: Connection, until: datetime) -> None:
    """From the commit on nothing is recorded before this instant, but by transactions that are under way."""
    await connection.execute("UPDATE closed_hours SET fenced_until = $1, fenced_at = NULL", until)


async def date_fence(connection: Connection) -> None:
    """Notes which transactions those are; after the commit of the fence."""
    await connection.execute(
        "UPDATE closed_hours SET fenced_at = pg_snapshot_xmax(pg_current_snapshot()) WHERE fenced_at IS NULL"
    )


async def is_summed(connection: Connection) -> bool:
    """Whether everything before the fence is summed up; the row is locked for the next fence."""
    done: bool = await connection.fetchval("SELECT summed_until = fenced_until FROM closed_hours FOR UPDATE")
    return done


async def is_quiet(connection: Connection) -> bool:
    """Whether they are all gone: then what is recorded before the fence changes no more."""
    quiet: bool = await connection.fetchval(
        "SELECT coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= fenced_at, false) FROM closed_hours"
    )
    return quiet


async def next_hour(connection: Connection) -> datetime | None:
    """The first fenced hour that is not summed up and in which anything moved; the row is locked for it."""
    ((summed_until, fenced),) = await connection.fetch("SELECT summed_until, fenced_until FROM closed_hours FOR UPDATE")
    first: datetime | None = await connection.fetchval(
        """
        SELECT least(
            (SELECT min(recorded_at) FROM distributions WHERE recorded_at >= $1 AND recorded_at < $2),
            (SELECT min(recorded_at) FROM transfers WHERE recorded_at >= $1 AND recorded_at < $2)
        )
        """,
        summed_until,
        fenced,
    )
    return hour_of(first) if first else None


async def sum_hour(connection: Connection, hour: datetime) -> None:
    """Adds what moved in one hour to the balance that each account had before it."""
    await connection.execute(f"SET LOCAL statement_timeout = '{_SUM_SECONDS}s'")
    await connection.execute(_SUM_HOUR, hour, hour + HOUR, timeout=_SUM_SECONDS)
    await summed(connection, hour + HOUR)


async def summed(connection: Connection, until: datetime) -> None:
    await connection.execute("UPDATE closed_hours SET summed_until = $1 WHERE summed_until < $1", until)


_SUM_HOUR: Final = """
    WITH by_community AS MATERIALIZED (
        SELECT community_id,
            sum(promotional_micro - revenue_micro) AS receipts,
            count(*) FILTER (WHERE promotional_micro <> revenue_micro) AS receipts_legs,
            sum(commons_micro) AS commons, count(*) FILTER (WHERE commons_micro <> 0) AS commons_legs,
            sum(community_micro) AS community, count(*) FILTER (WHERE community_micro <> 0) AS community_legs,
            sum(foundation_micro) AS foundation, count(*) FILTER (WHERE foundation_micro <> 0) AS foundation_legs,
            sum(referrer_micro) AS referrers, count(*) FILTER (WHERE referrer_micro <> 0) AS referrers_legs
        FROM distributions WHERE recorded_at >= $1 AND recorded_at < $2 GROUP BY community_id
    ), charged (name, amount, legs, charge_ids) AS (
        SELECT 'platform:receipts', sum(receipts), sum(receipts_legs), NULL::text[] FROM by_community
        UNION ALL SELECT 'commons', sum(commons), sum(commons_legs), NULL::text[] FROM by_community
        UNION ALL SELECT 'foundation', sum(foundation), sum(foundation_legs), NULL::text[] FROM by_community
        UNION ALL SELECT 'treasury:operating', -sum(referrers), sum(referrers_legs), NULL FROM by_community
        UNION ALL SELECT 'treasury:payout_reserve', sum(referrers), sum(referrers_legs), NULL FROM by_community
        UNION ALL SELECT 'community:' || community_id, community, community_legs, NULL FROM by_community
        UNION ALL SELECT 'creator:' || referrer_ref || ':pending', sum(referrer_micro), count(*),
            array_agg(inference_charge_id)
        FROM distributions WHERE recorded_at >= $1 AND recorded_at < $2 AND referrer_micro > 0 GROUP BY referrer_ref
    ), moved AS (
        SELECT account_id, sum(amount) AS amount, sum(charged) AS charged, sum(charges) AS charges,
            max(charge_ids) AS charge_ids
        FROM (
            SELECT account_id, amount, amount AS charged, legs AS charges, charge_ids
            FROM charged JOIN accounts USING (name) WHERE legs > 0
            UNION ALL
            SELECT account_id, leg.amount_micro, 0, 0, NULL
            FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
                JOIN accounts USING (account_id)
            WHERE recorded_at >= $1 AND recorded_at < $2
                AND accounts.kind NOT IN ('creator_settled', 'creator_held', 'credits')
        ) AS legs GROUP BY account_id
    )
    INSERT INTO balance_snapshots (account_id, until, balance_micro, charged_micro, charges, charge_ids)
    SELECT moved.account_id, $2, coalesce(last.balance_micro, 0) + moved.amount,
        coalesce(last.charged_micro, 0) + moved.charged, coalesce(last.charges, 0) + moved.charges,
        moved.charge_ids
    FROM moved LEFT JOIN LATERAL (
        SELECT * FROM balance_snapshots WHERE account_id = moved.account_id AND until <= $1 ORDER BY until DESC LIMIT 1
    ) AS last ON true
"""
