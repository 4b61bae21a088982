"""Charges, each for itself and by what they have in common."""

from typing import Final

from services.distribution.model.audit import Check

CONSERVATION: Final = Check(
    "CONSERVATION",
    "The four shares of every charge sum to what was paid for it with real money.",
    """
    SELECT 'distributions', inference_charge_id, (revenue_micro - promotional_micro)::text,
        (referrer_micro + commons_micro + community_micro + foundation_micro)::text
    FROM distributions
    WHERE referrer_micro + commons_micro + community_micro + foundation_micro <> revenue_micro - promotional_micro
    ORDER BY recorded_at, distribution_id
    """,
)

SPLIT: Final = Check(
    "SPLIT",
    "Every conserved charge is split as its rule says, to the micro.",
    """
    WITH paid AS (
        SELECT charge.*, rule.commons_bps, rule.community_bps, (revenue_micro - promotional_micro)::numeric AS paid,
            CASE WHEN referrer_outcome = 1
                THEN div((revenue_micro - promotional_micro)::numeric * rule.referrer_bps, 10000) ELSE 0 END AS referrer
        FROM distributions AS charge JOIN rules AS rule USING (rule_version)
    ), split AS (
        SELECT *, div((paid - referrer) * commons_bps, 10000) AS commons,
            div((paid - referrer) * community_bps, 10000) AS community
        FROM paid
    )
    SELECT 'distributions', inference_charge_id,
        concat_ws(',', referrer, commons, community, paid - referrer - commons - community),
        concat_ws(',', referrer_micro, commons_micro, community_micro, foundation_micro)
    FROM split
    WHERE (referrer_micro <> referrer OR commons_micro <> commons OR community_micro <> community)
        AND referrer_micro + commons_micro + community_micro + foundation_micro = paid
    ORDER BY recorded_at, distribution_id
    """,
)

RULE_IN_FORCE: Final = Check(
    "RULE_IN_FORCE",
    "Every charge was split by the rule in force when it was finalized.",
    """
    WITH periods AS (
        SELECT rule_version, active_from, lead(active_from) OVER (ORDER BY active_from) AS until FROM rules
        WHERE active_from IS NOT NULL
    )
    SELECT 'distributions', inference_charge_id, (
            SELECT right_one.rule_version::text FROM periods AS right_one WHERE right_one.active_from <= finalized_at
            ORDER BY right_one.active_from DESC LIMIT 1
        ), charge.rule_version::text
    FROM distributions AS charge LEFT JOIN periods USING (rule_version)
    WHERE active_from IS NULL OR finalized_at < active_from
        -- A rule begins after every charge that was recorded before it, also one from the near future.
        OR finalized_at >= until
    ORDER BY recorded_at, distribution_id
    """,
)

OUTCOME: Final = Check(
    "OUTCOME",
    "Why each referrer got its share or not is what the charge and its rule say.",
    """
    WITH told AS (
        SELECT charge.*, CASE
                WHEN promotional_micro = revenue_micro THEN 7
                WHEN referrer_ref IS NULL THEN 2
                -- What lies outside of the window is by the day of registration, which erasure takes away.
                WHEN referrer_outcome IN (3, 4) THEN referrer_outcome
                WHEN rule.referrer_bps = 0 THEN 8
                WHEN EXISTS (
                    SELECT FROM tier_suspensions AS suspension
                    WHERE suspension.model_tier = charge.model_tier AND from_time <= finalized_at
                        AND (to_time IS NULL OR finalized_at < to_time)
                ) THEN 6
                WHEN (revenue_micro - provider_cost_micro)::numeric * 10000 < margin_floor_bps * revenue_micro THEN 5
                ELSE 1
            END AS expected
        FROM distributions AS charge JOIN rules AS rule USING (rule_version)
    )
    SELECT 'distributions', inference_charge_id, expected::text, referrer_outcome::text FROM told
    WHERE expected <> referrer_outcome ORDER BY recorded_at, distribution_id
    """,
)

REVENUE_SHARE_CAP: Final = Check(
    "REVENUE_SHARE_CAP",
    "Under no rule did referrers get more than its share of the revenue that they brought.",
    """
    SELECT 'rules', rule_version::text, '<= ' || div(paid * referrer_bps, 10000), shares::text
    FROM (
        SELECT rule_version, sum(referrer_micro) AS shares,
            coalesce(sum(revenue_micro - promotional_micro) FILTER (WHERE referrer_outcome = 1), 0) AS paid
        FROM distributions GROUP BY rule_version
    ) AS charged JOIN rules USING (rule_version)
    WHERE shares * 10000 > paid * referrer_bps ORDER BY rule_version
    """,
)

IDEMPOTENT_DISTRIBUTION: Final = Check(
    "IDEMPOTENT_DISTRIBUTION",
    "No charge was distributed twice, and no two distributions have one id.",
    """
    SELECT 'distributions', inference_charge_id, '1', count(*)::text FROM distributions
    GROUP BY inference_charge_id HAVING count(*) > 1
    UNION ALL
    SELECT 'distributions', distribution_id::text, '1', count(*)::text FROM distributions
    GROUP BY distribution_id HAVING count(*) > 1
    """,
)

ATTRIBUTION: Final = Check(
    "ATTRIBUTION",
    "All charges of one payer have the same referrer, or none.",
    """
    SELECT 'distributions', min(inference_charge_id), coalesce(min(referrer_ref::text), 'none'),
        CASE WHEN count(referrer_ref) < count(*) THEN 'none' ELSE max(referrer_ref::text) END
    FROM distributions GROUP BY payer_ref
    HAVING count(referrer_ref) NOT IN (0, count(*)) OR min(referrer_ref::text) <> max(referrer_ref::text)
    ORDER BY min(distribution_id::text)
    """,
)

FOUNDATION_DAYS: Final = Check(
    "FOUNDATION_DAYS",
    "The foundation's shares by day, which fund the score pool, are those of the charges.",
    """
    SELECT 'foundation_days', day::text, coalesce(shares, 0)::text, coalesce(foundation_micro, 0)::text
    FROM foundation_days FULL JOIN (
        SELECT (finalized_at AT TIME ZONE 'UTC')::date AS day, sum(foundation_micro) AS shares
        FROM distributions GROUP BY 1
    ) AS charged USING (day)
    WHERE coalesce(shares, 0) <> coalesce(foundation_micro, 0) ORDER BY day
    """,
)

CHECKS: Final = (
    CONSERVATION,
    SPLIT,
    RULE_IN_FORCE,
    OUTCOME,
    REVENUE_SHARE_CAP,
    IDEMPOTENT_DISTRIBUTION,
    ATTRIBUTION,
    FOUNDATION_DAYS,
)
