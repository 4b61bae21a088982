"""The books by time, which are read instead of the journal."""

from typing import Final

from services.distribution.model.audit import Check

BALANCE_SNAPSHOTS: Final = Check(
    "BALANCE_SNAPSHOTS",
    "Balances at the ends of closed hours, and the charges named with them, are what the journal says.",
    """
    WITH charged AS (
        SELECT hour, grouping(referrer_ref, community_id) AS by,
            referrer_ref, community_id,
            sum(promotional_micro - revenue_micro) AS receipts,
            count(*) FILTER (WHERE promotional_micro <> revenue_micro) AS receipts_legs,
            sum(commons_micro) AS commons, count(*) FILTER (WHERE commons_micro <> 0) AS commons_legs,
            sum(community_micro) AS community, count(*) FILTER (WHERE community_micro <> 0) AS community_legs,
            sum(foundation_micro) AS foundation, count(*) FILTER (WHERE foundation_micro <> 0) AS foundation_legs,
            sum(referrer_micro) AS referrer, count(*) FILTER (WHERE referrer_micro <> 0) AS referrer_legs,
            sum(hashtextextended(inference_charge_id, 0)) FILTER (WHERE referrer_micro <> 0) AS named
        FROM (
            SELECT *, date_trunc('hour', recorded_at, 'UTC') AS hour FROM distributions
            WHERE recorded_at < (SELECT summed_until FROM closed_hours)
        ) AS closed GROUP BY GROUPING SETS ((hour, referrer_ref), (hour, community_id), (hour))
    ), legs AS (
        SELECT name, hour, micro, micro AS charged, charges, named FROM (
            SELECT 'creator:' || referrer_ref || ':pending' AS name, hour, referrer AS micro, referrer_legs AS charges,
                named
            FROM charged WHERE by = 1 AND referrer_ref IS NOT NULL
            UNION ALL
            SELECT 'community:' || community_id, hour, community, community_legs, NULL FROM charged WHERE by = 2
            UNION ALL
            SELECT leg.name, hour, leg.micro, leg.charges, NULL FROM charged CROSS JOIN LATERAL (VALUES
                ('platform:receipts', receipts, receipts_legs), ('commons', commons, commons_legs),
                ('foundation', foundation, foundation_legs), ('treasury:operating', -referrer, referrer_legs),
                ('treasury:payout_reserve', referrer, referrer_legs)
            ) AS leg (name, micro, charges) WHERE by = 3
        ) AS sums WHERE charges > 0
        UNION ALL
        SELECT name, date_trunc('hour', recorded_at, 'UTC'), leg.amount_micro, 0, 0, NULL
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
            JOIN accounts USING (account_id)
        WHERE recorded_at < (SELECT summed_until FROM closed_hours)
            AND accounts.kind NOT IN ('creator_settled', 'creator_held', 'credits')
    ), expected AS (
        SELECT name, hour + interval '1 hour' AS until, sum(sum(micro)) OVER by_time AS micro,
            sum(sum(charged)) OVER by_time AS charged, sum(sum(charges)) OVER by_time AS charges, max(named) AS named
        FROM legs GROUP BY name, hour WINDOW by_time AS (PARTITION BY name ORDER BY hour)
    ), found AS (
        SELECT name, until, snapshot.balance_micro, charged_micro, charges, (
            SELECT sum(hashtextextended(id, 0)) FROM unnest(charge_ids) AS id
        ) AS named
        FROM balance_snapshots AS snapshot JOIN accounts USING (account_id)
    )
    SELECT 'balance_snapshots', name || ' until ' || until,
        coalesce(concat_ws(',', expected.micro, charged, expected.charges), 'none'),
        coalesce(concat_ws(',', found.balance_micro, charged_micro, found.charges), 'none')
            || CASE WHEN expected.named IS DISTINCT FROM found.named THEN ', other charges' ELSE '' END
    FROM expected FULL JOIN found USING (name, until)
    WHERE (expected.micro, charged, expected.charges, expected.named)
        IS DISTINCT FROM (balance_micro, charged_micro, found.charges, found.named)
    ORDER BY until, name
    """,
)

CHECKS: Final = (BALANCE_SNAPSHOTS,)
