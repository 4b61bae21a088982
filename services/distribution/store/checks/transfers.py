"""Transfers, each for itself."""

from typing import Final

from services.distribution.model.audit import Check

TRANSFERS_BALANCED: Final = Check(
    "TRANSFERS_BALANCED",
    "The legs of every transfer sum to zero.",
    """
    SELECT 'transfers', transfer_id::text, '0', coalesce(total(amounts_micro)::text, 'none') FROM transfers
    WHERE total(amounts_micro) IS DISTINCT FROM 0 OR cardinality(account_ids) <> cardinality(amounts_micro)
    ORDER BY recorded_at, transfer_id
    """,
)

TRANSFER_ENTRIES: Final = Check(
    "TRANSFER_ENTRIES",
    "Every transfer's entries are its legs.",
    """
    WITH legs AS (
        SELECT transfer_id, leg.account_id, sum(leg.amount_micro) AS amount_micro, kind, recorded_at
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
        GROUP BY transfer_id, leg.account_id
    )
    SELECT 'transfer_entries', transfer_id || '/' || account_id, coalesce(legs.amount_micro::text, 'none'),
        coalesce(entry.amount_micro::text, 'none')
    FROM legs FULL JOIN transfer_entries AS entry USING (transfer_id, account_id)
    WHERE legs.amount_micro IS DISTINCT FROM entry.amount_micro OR legs.kind IS DISTINCT FROM entry.kind
        OR legs.recorded_at IS DISTINCT FROM entry.recorded_at
    ORDER BY transfer_id, account_id
    """,
)

CHECKS: Final = (TRANSFERS_BALANCED, TRANSFER_ENTRIES)
