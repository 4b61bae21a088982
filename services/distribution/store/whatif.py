"""A period's charges split anew, in the database and in whole numbers only."""

from typing import Final

import asyncpg

from libs.postgres import Connection
from services.distribution.model.whatif import Question, Replayed, Shares

_SECONDS: Final = 25

SPLIT: Final = """
    LATERAL (SELECT CASE WHEN referred THEN share_of(paid_micro, $1) ELSE 0 END AS referrer) AS first,
    LATERAL (
        SELECT share_of(paid_micro - referrer, $2) AS commons, share_of(paid_micro - referrer, $3) AS community
    ) AS rest
    """
"""libs.money.split over rows of (paid_micro, referred), by referrer, commons and community rate."""

# What only the rates decided is decided anew: a rate of zero. Everything else that left a referrer without its share
# (the time, the margin, a suspension) does so under any rates. A charge is recorded minutes before it is finalized, not
# more.
_REPLAY: Final = f"""
    WITH replayed AS (
        SELECT charge.*, revenue_micro - promotional_micro AS paid_micro,
            referrer_outcome = 1 OR (
                referrer_outcome = 8
                AND (revenue_micro - provider_cost_micro)::numeric * 10000 >= margin_floor_bps::numeric * revenue_micro
                AND NOT EXISTS (
                    SELECT FROM tier_suspensions AS suspension
                    WHERE suspension.model_tier = charge.model_tier AND from_time <= finalized_at
                        AND (to_time IS NULL OR to_time > finalized_at)
                )
            ) AS referred
        FROM distributions AS charge JOIN rules USING (rule_version)
        WHERE recorded_at >= $4::timestamptz - interval '1 hour' AND finalized_at >= $4 AND finalized_at < $5
    ), by_creator AS MATERIALIZED (
        SELECT referrer_ref, count(*) AS charges, sum(revenue_micro) AS revenue,
            sum(referrer_micro) AS referrers_were, sum(referrer) AS referrers,
            sum(commons_micro) AS commons_were, sum(commons) AS commons,
            sum(community_micro) AS communities_were, sum(community) AS communities,
            sum(foundation_micro) AS foundation_was,
            sum(paid_micro - referrer - commons - community) AS foundation
        FROM replayed, {SPLIT} GROUP BY referrer_ref
    )
    SELECT NULL::text AS creator_ref, sum(charges) AS charges, sum(revenue) AS revenue,
        sum(referrers_were), sum(referrers), sum(commons_were), sum(commons),
        sum(communities_were), sum(communities), sum(foundation_was), sum(foundation)
    FROM by_creator
    UNION ALL (
        SELECT referrer_ref::text, 0, 0, referrers_were, referrers, 0, 0, 0, 0, 0, 0
        FROM by_creator WHERE referrer_ref IS NOT NULL AND referrers < referrers_were
        ORDER BY referrers - referrers_were, referrer_ref LIMIT $6
    )
    """  # noqa: S608 - constant


async def replay(connection: Connection, question: Question) -> Replayed | None:
    """Split the charges of a period by other rates; None where that takes too long. In a read-only transaction."""
    await connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
    rates = question.rates
    try:
        rows = await connection.fetch(
            _REPLAY,
            rates.referrer_bps,
            rates.commons_bps,
            rates.community_bps,
            question.from_time,
            question.to_time,
            question.losers,
        )
    except asyncpg.QueryCanceledError:
        return None
    whole = [int(value or 0) for row in rows if row[0] is None for value in row[1:]]
    losers = [(row[0], Shares(int(row[3]), int(row[4]))) for row in rows if row[0] is not None]
    losers.sort(key=lambda each: (each[1].simulated_micro - each[1].actual_micro, each[0]))
    charges, revenue_micro, *parties = whole
    referrers, commons, communities, foundation = map(Shares, parties[::2], parties[1::2])
    return Replayed(charges, revenue_micro, referrers, commons, communities, foundation, losers)
