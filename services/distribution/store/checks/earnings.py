"""What became of every share, and what refunds took back."""

from typing import Final

from services.distribution.model.audit import Check

PENDING_OPEN: Final = Check(
    "PENDING_OPEN",
    "What a creator has pending is the sum of its open shares.",
    """
    SELECT 'pending_earnings', name, coalesce(micro, 0)::text, coalesce(opened, 0)::text
    FROM (SELECT name, micro FROM recomputed WHERE name LIKE 'creator:%:pending') AS pending
    FULL JOIN (
        SELECT 'creator:' || creator_ref || ':pending' AS name, sum(amount_micro) AS opened
        FROM pending_earnings GROUP BY creator_ref
    ) AS shares USING (name)
    WHERE coalesce(micro, 0) <> coalesce(opened, 0) ORDER BY name
    """,
    pauses=True,
)

EARNING_HISTORY: Final = Check(
    "EARNING_HISTORY",
    "Every share is what is pending of it and what was settled, clawed back and forfeited.",
    """
    SELECT 'distributions', coalesce(inference_charge_id, distribution_id::text), coalesce(share, 0)::text,
        coalesce(told, 0)::text
    FROM (
        SELECT distribution_id, referrer_ref AS creator_ref, inference_charge_id, recorded_at, referrer_micro AS share
        FROM distributions WHERE referrer_micro > 0
    ) AS charge
    FULL JOIN (
        SELECT distribution_id, creator_ref, sum(amount_micro) AS told FROM (
            SELECT distribution_id, creator_ref, amount_micro FROM pending_earnings
            UNION ALL SELECT distribution_id, creator_ref, amount_micro FROM earning_changes
        ) AS parts GROUP BY distribution_id, creator_ref
    ) AS history USING (distribution_id, creator_ref)
    WHERE coalesce(share, 0) <> coalesce(told, 0) ORDER BY recorded_at, distribution_id
    """,
    pauses=True,
)

EARNING_TRANSFERS: Final = Check(
    "EARNING_TRANSFERS",
    "What left a creator's pending by transfer is what the histories of its shares say.",
    """
    SELECT 'transfers', transfer_id::text, coalesce(told, 0)::text, coalesce(moved, 0)::text
    FROM (
        SELECT transfer_id, creator_ref, -sum(amount_micro) AS moved FROM creator_legs
        WHERE part = 'pending' GROUP BY transfer_id, creator_ref
    ) AS legs
    FULL JOIN (
        SELECT transfer_id, creator_ref::text AS creator_ref, sum(amount_micro) AS told FROM earning_changes
        GROUP BY transfer_id, creator_ref
    ) AS changes USING (transfer_id, creator_ref)
    WHERE coalesce(told, 0) <> coalesce(moved, 0) ORDER BY transfer_id
    """,
    pauses=True,
)

MATURING: Final = Check(
    "MATURING",
    "Whatever matures was settled, by that amount, for that creator.",
    """
    SELECT 'maturing_earnings', maturing.distribution_id::text, coalesce(settled, 0)::text,
        maturing.amount_micro::text
    FROM maturing_earnings AS maturing LEFT JOIN (
        SELECT distribution_id, creator_ref, sum(amount_micro) AS settled FROM earning_changes WHERE change = 1
        GROUP BY distribution_id, creator_ref
    ) AS changes USING (distribution_id, creator_ref)
    WHERE maturing.amount_micro IS DISTINCT FROM settled ORDER BY matures_at, distribution_id
    """,
    pauses=True,
)

CREATOR_TOTALS: Final = Check(
    "CREATOR_TOTALS",
    "What is noted as paid out and taken back of each creator is what the transfers say.",
    """
    SELECT 'creator_states', creator_ref, concat_ws(',', coalesce(paid_out, 0), coalesce(reversed, 0)),
        concat_ws(',', coalesce(paid_out_micro, 0), coalesce(reversed_micro, 0))
    FROM (
        SELECT creator_ref,
            coalesce(-sum(amount_micro) FILTER (WHERE kind = 7 AND part = 'held'), 0)
                - coalesce(sum(amount_micro) FILTER (WHERE kind = 9 AND part = 'settled'), 0) AS paid_out,
            coalesce(-sum(amount_micro) FILTER (WHERE kind IN (3, 4)), 0) AS reversed
        FROM creator_legs GROUP BY creator_ref
    ) AS moved
    FULL JOIN (
        SELECT creator_ref::text AS creator_ref, paid_out_micro, reversed_micro FROM creator_states
    ) AS states USING (creator_ref)
    WHERE coalesce(paid_out, 0) <> coalesce(paid_out_micro, 0) OR coalesce(reversed, 0) <> coalesce(reversed_micro, 0)
    ORDER BY creator_ref
    """,
    pauses=True,
)

REVERSALS_BOUNDED: Final = Check(
    "REVERSALS_BOUNDED",
    "No refund took back more of a charge than was paid for it, nor more of a share than there was.",
    """
    SELECT 'charge_reversals', inference_charge_id,
        concat_ws(',', '<= ' || (revenue_micro - promotional_micro), referrer_micro, commons_micro, community_micro),
        concat_ws(',', taken, referrer, commons, community)
    FROM (
        SELECT inference_charge_id, sum(refunded_micro) AS taken, sum(clawed_back_micro + loss_micro) AS referrer,
            sum(reversed.commons_micro) AS commons, sum(reversed.community_micro) AS community
        FROM charge_reversals AS reversed GROUP BY inference_charge_id
    ) AS reversals LEFT JOIN distributions USING (inference_charge_id)
    WHERE distribution_id IS NULL OR taken > revenue_micro - promotional_micro OR referrer > referrer_micro
        OR commons > commons_micro OR community > community_micro
    ORDER BY recorded_at, distribution_id
    """,
)

REVERSAL_TRANSFERS: Final = Check(
    "REVERSAL_TRANSFERS",
    "Every clawback moved what the reversals under it say, and took from pending what the history says.",
    """
    WITH moved AS (
        SELECT transfer_id, recorded_at,
            coalesce(sum(leg.amount_micro) FILTER (WHERE name = 'platform:receipts'), 0) AS refunded,
            coalesce(-sum(leg.amount_micro) FILTER (WHERE name = 'platform:clawback_loss'), 0) AS loss,
            coalesce(-sum(leg.amount_micro) FILTER (WHERE name = 'treasury:payout_reserve'), 0) AS clawed_back
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
        JOIN accounts USING (account_id) WHERE transfers.kind = 3 GROUP BY transfer_id
    ), told AS (
        SELECT transfer_id, sum(refunded_micro) AS refunded, sum(loss_micro) AS loss,
            sum(clawed_back_micro) AS clawed_back
        FROM charge_reversals GROUP BY transfer_id
    ), histories AS (
        SELECT transfer_id, sum(amount_micro) AS taken FROM earning_changes WHERE change = 2 GROUP BY transfer_id
    )
    SELECT 'charge_reversals', transfer_id::text,
        concat_ws(',', moved.refunded, moved.loss, moved.clawed_back, coalesce(taken, 0)),
        concat_ws(',', told.refunded, told.loss, told.clawed_back, told.clawed_back)
    FROM moved FULL JOIN told USING (transfer_id) LEFT JOIN histories USING (transfer_id)
    WHERE (moved.refunded, moved.loss, moved.clawed_back, coalesce(taken, 0))
        IS DISTINCT FROM (told.refunded, told.loss, told.clawed_back, told.clawed_back)
    ORDER BY transfer_id
    """,
)

FUNDINGS: Final = Check(
    "FUNDINGS",
    "What a payment funded is what its charges say, and what was reversed of it is what its refunds took back.",
    """
    WITH named AS (
        SELECT part ->> 'payment_id' AS payment_id, distribution_id, sum((part ->> 'amount_micro')::bigint) AS funded
        FROM distributions CROSS JOIN LATERAL jsonb_array_elements(funding) AS part
        WHERE funding IS NOT NULL GROUP BY 1, 2
    ), taken AS (
        SELECT payment_id, distribution_id, sum(refunded_micro) AS refunded FROM charge_reversals GROUP BY 1, 2
    )
    SELECT 'charge_fundings', payment_id || '/' || distribution_id,
        concat_ws(',', coalesce(funded, 0), coalesce(refunded, 0)),
        concat_ws(',', coalesce(own.amount_micro, 0), coalesce(own.refunded_micro, 0))
    FROM named FULL JOIN charge_fundings AS own USING (payment_id, distribution_id)
    FULL JOIN taken USING (payment_id, distribution_id)
    WHERE coalesce(funded, 0) <> coalesce(own.amount_micro, 0)
        OR coalesce(refunded, 0) <> coalesce(own.refunded_micro, 0)
    ORDER BY payment_id, distribution_id
    """,
)

PAYMENTS_SPENT: Final = Check(
    "PAYMENTS_SPENT",
    "What is noted as spent of each payment is the sum of what it funded.",
    """
    SELECT 'payments', payment_id, coalesce(funded, 0)::text, coalesce(spent_micro, 0)::text
    FROM payments FULL JOIN (
        SELECT payment_id, sum(amount_micro) AS funded FROM charge_fundings GROUP BY payment_id
    ) AS fundings USING (payment_id)
    WHERE coalesce(funded, 0) <> coalesce(spent_micro, 0) ORDER BY payment_id
    """,
)

CHECKS: Final = (
    PENDING_OPEN,
    EARNING_HISTORY,
    EARNING_TRANSFERS,
    MATURING,
    CREATOR_TOTALS,
    REVERSALS_BOUNDED,
    REVERSAL_TRANSFERS,
    FUNDINGS,
    PAYMENTS_SPENT,
)
