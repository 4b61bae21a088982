"""Balances: what the journal makes of every account, beside what the account says."""

from typing import Final

from services.distribution.model.audit import Check

PREPARE: Final = (
    # What the journal alone makes of every account: each charge is read once.
    """
    CREATE TEMPORARY TABLE recomputed ON COMMIT DROP AS
    WITH charged AS (
        SELECT grouping(referrer_ref, community_id) AS by, referrer_ref, community_id,
            coalesce(sum(referrer_micro), 0) AS referrer, coalesce(sum(commons_micro), 0) AS commons,
            coalesce(sum(community_micro), 0) AS community, coalesce(sum(foundation_micro), 0) AS foundation,
            coalesce(sum(revenue_micro - promotional_micro), 0) AS paid
        FROM distributions GROUP BY GROUPING SETS ((referrer_ref), (community_id), ())
    ), entered AS (
        SELECT 'creator:' || referrer_ref || ':pending' AS name, referrer AS micro FROM charged
        WHERE by = 1 AND referrer_ref IS NOT NULL AND referrer <> 0
        UNION ALL
        SELECT 'community:' || community_id, community FROM charged WHERE by = 2
        UNION ALL
        SELECT leg.* FROM charged CROSS JOIN LATERAL (VALUES
            ('platform:receipts', -paid), ('commons', commons), ('foundation', foundation),
            ('treasury:operating', -referrer), ('treasury:payout_reserve', referrer)
        ) AS leg WHERE by = 3
        UNION ALL
        SELECT coalesce(accounts.name, 'account ' || moved.account_id), moved.micro FROM (
            SELECT leg.account_id, sum(leg.amount_micro) AS micro
            FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
            GROUP BY leg.account_id
        ) AS moved LEFT JOIN accounts USING (account_id)
    )
    SELECT name, sum(micro) AS micro FROM entered GROUP BY name
    """,
    "ANALYZE recomputed",
    # Transfers that moved a creator's money: by creator and part.
    """
    CREATE TEMPORARY TABLE creator_legs ON COMMIT DROP AS
    SELECT transfer_id, transfers.kind, split_part(name, ':', 2) AS creator_ref, split_part(name, ':', 3) AS part,
        leg.amount_micro
    FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
    JOIN accounts USING (account_id)
    WHERE accounts.kind IN ('creator_pending', 'creator_settled', 'creator_held')
    """,
    "ANALYZE creator_legs",
)

COUNT: Final = """
    SELECT (SELECT count(*) FROM distributions) + (SELECT count(*) FROM transfers)
        + (SELECT count(*) FROM earning_changes) + (SELECT count(*) FROM charge_reversals)
    """

_OURS: Final = "(name = 'treasury:payout_reserve' OR name LIKE 'creator:%')"

_BALANCES: Final = """
    SELECT 'accounts', name, coalesce(micro, 0)::text, coalesce(balance_micro::text, 'no account')
    FROM accounts FULL JOIN recomputed USING (name)
    WHERE coalesce(balance_micro, 0) <> coalesce(micro, 0) AND {which} ORDER BY account_id, name
    """

RESERVE_BALANCES: Final = Check(
    "RESERVE_BALANCES",
    "The payout reserve and every creator have what their entries sum to.",
    _BALANCES.format(which=_OURS),
    pauses=True,
)

ACCOUNT_BALANCES: Final = Check(
    "ACCOUNT_BALANCES",
    "Every other account has what its entries sum to.",
    _BALANCES.format(which=f"NOT {_OURS}"),
)

NOT_OVERDRAWN: Final = Check(
    "NOT_OVERDRAWN",
    "By its entries no account is below zero that may not be.",
    """
    SELECT 'accounts', name, '>= 0', micro::text FROM recomputed LEFT JOIN accounts USING (name)
    WHERE micro < 0 AND coalesce(
        kind NOT IN ('receipts', 'commons', 'community', 'foundation', 'operating', 'clawback_loss', 'marketing'), true
    ) ORDER BY account_id, name
    """,
    pauses=True,
)

_RESERVE: Final = "(SELECT coalesce(sum(micro), 0) FROM recomputed WHERE name = 'treasury:payout_reserve')"

TREASURY_SOLVENCY: Final = Check(
    "TREASURY_SOLVENCY",
    "What creators have settled and held is at most the payout reserve.",
    f"""
    SELECT 'accounts', 'treasury:payout_reserve', '>= ' || owed, {_RESERVE}::text
    FROM (
        SELECT coalesce(sum(micro), 0) AS owed FROM recomputed
        WHERE name LIKE 'creator:%:settled' OR name LIKE 'creator:%:held'
    ) AS creators WHERE owed > {_RESERVE}
    """,  # noqa: S608 - constants
    pauses=True,
)

RESERVE_BACKING: Final = Check(
    "RESERVE_BACKING",
    "The payout reserve is what creators have, pending too, and what two operators added or took.",
    f"""
    SELECT 'accounts', 'treasury:payout_reserve', backing::text, {_RESERVE}::text
    FROM (
        SELECT (SELECT coalesce(sum(micro), 0) FROM recomputed WHERE name LIKE 'creator:%') + (
            SELECT coalesce(sum(CASE direction WHEN 1 THEN amount_micro ELSE -amount_micro END), 0)
            FROM reserve_changes WHERE state = 2
        ) AS backing
    ) AS expected WHERE backing <> {_RESERVE}
    """,  # noqa: S608 - constants
    pauses=True,
)

OWED: Final = Check(
    "OWED",
    "What burns are checked against is what creators have settled and held.",
    """
    SELECT 'owed', 'owed_micro', coalesce(micro, 0)::text, coalesce(owed_micro::text, 'no row')
    FROM (
        SELECT sum(micro) AS micro FROM recomputed WHERE name LIKE 'creator:%:settled' OR name LIKE 'creator:%:held'
    ) AS creators LEFT JOIN owed ON true
    WHERE coalesce(micro, 0) IS DISTINCT FROM owed_micro
    """,
    pauses=True,
)

CHECKS: Final = (RESERVE_BALANCES, ACCOUNT_BALANCES, NOT_OVERDRAWN, TREASURY_SOLVENCY, RESERVE_BACKING, OWED)
