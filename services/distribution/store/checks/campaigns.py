"""Budgets, credits and what was burned of them."""

from typing import Final

from services.distribution.model.audit import Check

BUDGETS: Final = Check(
    "BOUNDED_LIABILITY",
    "No campaign granted more than it was funded with; those by score together no more than the score pool was.",
    """
    WITH funded AS (
        SELECT CASE WHEN name = 'foundation:score_rewards' THEN 'score' ELSE split_part(name, ':', 2) END AS campaign,
            sum(leg.amount_micro) AS budget
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
        JOIN accounts USING (account_id)
        WHERE transfers.kind IN (12, 16) AND (
            name = 'foundation:score_rewards' OR accounts.kind IN ('campaign_available', 'campaign_reserved')
        ) GROUP BY 1
    ), granted AS (
        SELECT CASE WHEN type = 2 THEN 'score' ELSE campaign_id::text END AS campaign,
            sum(credit_lots.granted_micro) AS granted
        FROM credit_lots LEFT JOIN campaigns USING (campaign_id) GROUP BY 1
    )
    SELECT 'campaigns', coalesce(campaign, 'none'), '<= ' || coalesce(budget, 0), granted::text
    FROM granted LEFT JOIN funded USING (campaign) WHERE granted > coalesce(budget, 0) ORDER BY campaign
    """,
)

CAMPAIGN_TOTALS: Final = Check(
    "CAMPAIGN_TOTALS",
    "What is noted as granted by each campaign, and taken by each account of a capped one, is the sum of its lots.",
    """
    SELECT 'campaigns', campaign_id::text, coalesce(granted, 0)::text, coalesce(granted_micro, 0)::text
    FROM campaigns FULL JOIN (
        SELECT campaign_id, sum(granted_micro) AS granted FROM credit_lots GROUP BY campaign_id
    ) AS lots USING (campaign_id)
    WHERE coalesce(granted, 0) <> coalesce(granted_micro, 0)
    UNION ALL
    SELECT 'campaign_accounts', campaign_id || '/' || account_ref, coalesce(granted, 0)::text, taken_micro::text
    FROM campaign_accounts LEFT JOIN (
        SELECT campaign_id, account_ref, sum(micro) AS granted FROM (
            SELECT campaign_id, account_ref, granted_micro AS micro FROM credit_lots
            UNION ALL SELECT campaign_id, account_ref, amount_micro FROM reservations WHERE state = 1
        ) AS taken GROUP BY campaign_id, account_ref
    ) AS lots USING (campaign_id, account_ref)
    WHERE coalesce(granted, 0) <> taken_micro
    ORDER BY 2
    """,
)

RESERVATIONS: Final = Check(
    "RESERVATIONS",
    "What campaigns have reserved is the sum of their open reservations and staged grants.",
    """
    SELECT 'reservations', name, coalesce(moved.micro, 0)::text, coalesce(told.micro, 0)::text
    FROM (SELECT name, micro FROM recomputed WHERE name LIKE 'campaign:%:reserved') AS moved
    FULL JOIN (
        SELECT 'campaign:' || campaign_id || ':reserved' AS name, sum(micro) AS micro FROM (
            SELECT campaign_id, amount_micro AS micro FROM reservations WHERE state = 1
            UNION ALL SELECT campaign_id, reserved_micro FROM staged_grants WHERE state = 1
        ) AS open GROUP BY campaign_id
    ) AS told USING (name)
    WHERE coalesce(moved.micro, 0) <> coalesce(told.micro, 0) ORDER BY name
    """,
)

CREDIT_LOTS: Final = Check(
    "CREDIT_LOTS",
    "What an account may spend from each pool is what is left of its lots.",
    """
    SELECT 'credit_lots', name, coalesce(moved.micro, 0)::text, coalesce(lots.micro, 0)::text
    FROM (SELECT name, micro FROM recomputed WHERE name LIKE 'credits:%') AS moved
    FULL JOIN (
        SELECT 'credits:' || account_ref || ':' || pool AS name, sum(remaining_micro) AS micro
        FROM credit_lots GROUP BY account_ref, pool
    ) AS lots USING (name)
    WHERE coalesce(moved.micro, 0) <> coalesce(lots.micro, 0) ORDER BY name
    """,
)

GRANT_TRANSFERS: Final = Check(
    "GRANT_TRANSFERS",
    "Every transfer of a grant gave what its lots say.",
    """
    SELECT 'credit_lots', transfer_id::text, coalesce(moved.micro, 0)::text, coalesce(lots.micro, 0)::text
    FROM (
        SELECT transfer_id, sum(leg.amount_micro) AS micro
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
        JOIN accounts USING (account_id) WHERE transfers.kind = 14 AND accounts.kind = 'credits' GROUP BY transfer_id
    ) AS moved
    FULL JOIN (
        SELECT transfer_id, sum(granted_micro) AS micro FROM credit_lots GROUP BY transfer_id
    ) AS lots USING (transfer_id)
    WHERE coalesce(moved.micro, 0) <> coalesce(lots.micro, 0) ORDER BY transfer_id
    """,
)

BURNS: Final = Check(
    "BURNS",
    "What is gone of each lot was burned for charges, and all of that is in platform:promotional_spend.",
    """
    SELECT 'credit_lots', lot_id::text, coalesce(burned, 0)::text, coalesce(granted_micro - remaining_micro, 0)::text
    FROM credit_lots FULL JOIN (
        SELECT part.lot_id, sum(part.amount_micro) AS burned
        FROM burns CROSS JOIN LATERAL unnest(lot_ids, amounts_micro) AS part (lot_id, amount_micro)
        WHERE returned_at IS NULL GROUP BY part.lot_id
    ) AS parts USING (lot_id)
    WHERE coalesce(burned, 0) <> coalesce(granted_micro - remaining_micro, 0)
    UNION ALL
    SELECT 'accounts', 'platform:promotional_spend', spent::text, moved::text
    FROM (SELECT coalesce(sum(spent_micro), 0) AS spent FROM burns WHERE returned_at IS NULL) AS told,
        (SELECT coalesce(sum(micro), 0) AS moved FROM recomputed WHERE name = 'platform:promotional_spend') AS account
    WHERE spent <> moved
    ORDER BY 1 DESC, 2
    """,
)

REAL_MONEY: Final = Check(
    "REAL_MONEY",
    "No charge says that less of it was promotional than was burned for it.",
    """
    SELECT 'distributions', inference_charge_id, '>= ' || spent_micro, promotional_micro::text
    FROM burns JOIN distributions USING (inference_charge_id)
    WHERE returned_at IS NULL AND promotional_micro < spent_micro ORDER BY recorded_at, distribution_id
    """,
)

SCORE_FUNDINGS: Final = Check(
    "SCORE_FUNDINGS",
    "Every period's funding of the score pool moved what it says, and no more than its rate allows.",
    """
    SELECT 'score_pool_fundings', period,
        concat_ws(',', div(greatest(net_foundation_micro, 0)::numeric * funding_bps, 10000), coalesce(moved, 0)),
        concat_ws(',', funded_micro, funded_micro)
    FROM score_pool_fundings LEFT JOIN (
        SELECT transfer_id, (SELECT sum(amount) FROM unnest(amounts_micro) AS amount WHERE amount > 0) AS moved
        FROM transfers WHERE kind = 16
    ) AS transfer USING (transfer_id)
    WHERE coalesce(moved, 0) <> funded_micro
        OR funded_micro > div(greatest(net_foundation_micro, 0)::numeric * funding_bps, 10000)
    ORDER BY number
    """,
)

CHECKS: Final = (
    BUDGETS,
    CAMPAIGN_TOTALS,
    RESERVATIONS,
    CREDIT_LOTS,
    GRANT_TRANSFERS,
    BURNS,
    REAL_MONEY,
    SCORE_FUNDINGS,
)
