"""The money of payouts, and changes of the reserve."""

from typing import Final

from services.distribution.model.audit import Check

PAYOUT_HOLDS: Final = Check(
    "PAYOUT_HOLDS",
    "What is held, in flight, sent, paid in fees and paid out is what the holds of payouts say.",
    """
    WITH told AS (
        SELECT 'creator:' || creator_ref || ':held' AS name, sum(amount_micro) AS micro FROM payout_holds
        WHERE state = 1 GROUP BY creator_ref
        UNION ALL
        SELECT leg.* FROM (
            SELECT coalesce(sum(amount_micro) FILTER (WHERE state = 3), 0) AS flying,
                coalesce(sum(amount_micro) FILTER (WHERE state IN (3, 4)), 0) AS paid_out,
                coalesce(sum(sent_micro), 0) AS sent, coalesce(sum(fee_micro), 0) AS fees
            FROM payout_holds
        ) AS sums CROSS JOIN LATERAL (VALUES
            ('provider:in_flight', flying), ('provider:sent', sent), ('provider:fees', fees),
            ('platform:paid_out', paid_out)
        ) AS leg
    ), moved AS (
        SELECT name, micro FROM recomputed
        WHERE name LIKE 'creator:%:held'
            OR name IN ('provider:in_flight', 'provider:sent', 'provider:fees', 'platform:paid_out')
    )
    SELECT 'payout_holds', name, coalesce(moved.micro, 0)::text, coalesce(told.micro, 0)::text
    FROM moved FULL JOIN told USING (name)
    WHERE coalesce(moved.micro, 0) <> coalesce(told.micro, 0) ORDER BY name
    """,
    pauses=True,
)

HOLD_TRANSFERS: Final = Check(
    "HOLD_TRANSFERS",
    "Every state of a hold was entered by one transfer of its kind and amount, and the last one is where it stands.",
    """
    WITH moved AS (
        SELECT transfer_id, kind::integer, cause_id,
            (SELECT sum(amount) FROM unnest(amounts_micro) AS amount WHERE amount > 0) AS gained
        FROM transfers WHERE kind BETWEEN 5 AND 9
    ), entered AS (
        SELECT transfer_id, concat_ws('/', payout_id, round, states.state) AS row_key, payout_id::text AS payout_id,
            states.state + 4 AS kind,
            -- Burned and failed, money moves twice: the creator's and the reserve's.
            CASE WHEN states.state IN (3, 5) THEN 2 ELSE 1 END * amount_micro::numeric AS gained
        FROM payout_hold_states AS states JOIN payout_holds USING (payout_id, round)
    )
    SELECT 'payout_hold_states', coalesce(row_key, 'transfer ' || transfer_id),
        concat_ws(',', entered.kind, entered.payout_id, entered.gained),
        concat_ws(',', moved.kind, cause_id, moved.gained)
    FROM entered FULL JOIN moved USING (transfer_id)
    WHERE (entered.kind, entered.payout_id, entered.gained) IS DISTINCT FROM (moved.kind, cause_id, moved.gained)
    UNION ALL
    SELECT 'payout_holds', payout_id || '/' || round, coalesce(last.state::text, 'none'), hold.state::text
    FROM payout_holds AS hold LEFT JOIN (
        SELECT payout_id, round, max(state) AS state FROM payout_hold_states GROUP BY payout_id, round
    ) AS last USING (payout_id, round)
    WHERE hold.state IS DISTINCT FROM last.state
    ORDER BY 2
    """,
    pauses=True,
)

RESERVE_CHANGES: Final = Check(
    "RESERVE_CHANGES",
    "The reserve was topped up and withdrawn from only by what two operators agreed on.",
    """
    WITH moved AS (
        SELECT transfer_id, kind, (SELECT sum(amount) FROM unnest(amounts_micro) AS amount WHERE amount > 0) AS gained
        FROM transfers WHERE kind IN (10, 11)
    ), approved AS (
        SELECT transfer_id, 9 + direction AS kind, amount_micro FROM reserve_changes
        WHERE state = 2 AND decided_by <> requested_by
    )
    SELECT 'reserve_changes', transfer_id::text, coalesce(amount_micro::text, 'none'), coalesce(gained::text, 'none')
    FROM moved FULL JOIN approved USING (transfer_id)
    WHERE moved.kind::integer IS DISTINCT FROM approved.kind OR gained IS DISTINCT FROM amount_micro
    ORDER BY transfer_id
    """,
    pauses=True,
)

FORFEITURES: Final = Check(
    "FORFEITURES",
    "Money was forfeited by decisions and by what came back after one, and nothing that came back then stayed.",
    """
    WITH taken AS (
        SELECT transfer_id, creator_ref, -sum(amount_micro) AS micro FROM creator_legs WHERE kind = 4
        GROUP BY transfer_id, creator_ref
    ), returned AS (
        SELECT concat_ws('/', payout_id, round, states.state) AS row_key, forfeit_transfer_id AS transfer_id,
            creator_ref, amount_micro, states.changed_at, holds.forfeitures
        FROM payout_hold_states AS states JOIN payout_holds AS holds USING (payout_id, round)
        WHERE states.state IN (2, 5)
    ), known AS (
        SELECT transfer_id, creator_ref::text AS creator_ref, NULL::bigint AS amount_micro FROM forfeitures
        WHERE transfer_id IS NOT NULL
        UNION ALL
        SELECT transfer_id, creator_ref::text, amount_micro FROM returned WHERE transfer_id IS NOT NULL
    )
    SELECT 'forfeitures', transfer_id::text,
        CASE WHEN known.transfer_id IS NULL THEN 'none' ELSE coalesce(amount_micro::text, 'some') END,
        coalesce(micro::text, 'none')
    FROM taken FULL JOIN known USING (transfer_id, creator_ref)
    WHERE known.transfer_id IS NULL OR taken.transfer_id IS NULL OR amount_micro <> micro
    UNION ALL
    -- The count decides; clocks of replicas differ by less than this.
    SELECT 'payout_hold_states', row_key, CASE WHEN transfer_id IS NULL THEN 'forfeited' ELSE 'kept' END,
        CASE WHEN transfer_id IS NULL THEN 'kept' ELSE 'forfeited' END
    FROM returned WHERE (transfer_id IS NULL) = EXISTS (
        SELECT FROM forfeitures AS decided WHERE decided.creator_ref = returned.creator_ref
            AND number > returned.forfeitures AND (
                returned.transfer_id IS NOT NULL OR forfeited_at < returned.changed_at - interval '10 minutes'
            )
    )
    UNION ALL
    SELECT 'creator_states', creator_ref::text, coalesce(decided, 0)::text, coalesce(state.forfeitures, 0)::text
    FROM creator_states AS state FULL JOIN (
        SELECT creator_ref, count(*) AS decided FROM forfeitures GROUP BY creator_ref
    ) AS decisions USING (creator_ref)
    WHERE coalesce(decided, 0) <> coalesce(state.forfeitures, 0)
    ORDER BY 2
    """,
    pauses=True,
)

CHECKS: Final = (PAYOUT_HOLDS, HOLD_TRANSFERS, RESERVE_CHANGES, FORFEITURES)
