"""What was told to the others."""

from typing import Final

from services.distribution.model.audit import Check

EVENT_POSITIONS: Final = Check(
    "EVENT_POSITIONS",
    "The positions of every partition go from 1 to its head without a gap.",
    """
    SELECT 'events', concat_ws('/', topic, partition, (
            SELECT min(place) FROM (
                SELECT position, row_number() OVER (ORDER BY position) AS place FROM events AS each
                WHERE each.topic = heads.topic AND each.partition = heads.partition
            ) AS places WHERE position <> place
        )), coalesce(heads.position, 0)::text, coalesce(there, 0)::text
    FROM (
        SELECT topic, partition, count(*) AS there, min(position) AS first, max(position) AS last
        FROM events GROUP BY topic, partition
    ) AS kept FULL JOIN event_heads AS heads USING (topic, partition)
    WHERE coalesce(there, 0) <> coalesce(heads.position, 0) OR first <> 1 OR last <> heads.position
    ORDER BY topic, partition
    """,
)

TOLD: Final = Check(
    "CHARGES_TOLD",
    "Every charge was told to the others exactly once.",
    """
    SELECT 'distributions', coalesce(charge.inference_charge_id, told.inference_charge_id),
        CASE WHEN charge.inference_charge_id IS NULL THEN '0' ELSE '1' END, coalesce(times, 0)::text
    FROM distributions AS charge
    FULL JOIN (
        SELECT inference_charge_id, count(*) AS times FROM told GROUP BY inference_charge_id
    ) AS told USING (inference_charge_id)
    WHERE times IS DISTINCT FROM 1 OR charge.inference_charge_id IS NULL
    ORDER BY recorded_at, distribution_id
    """,
)
"""Asked only where the counts differ: `told` has what the events say."""

CHECKS: Final = (EVENT_POSITIONS,)
