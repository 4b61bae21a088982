"""What refunds take back of the charges that a payment funded."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.distribution.model.payments import FundedCharge, Reversal


async def behind(connection: Connection, limit: int) -> list[str]:
    """Refunded payments whose charges do not show it yet."""
    rows = await connection.fetch(
        """
        SELECT payment_id FROM payments
        WHERE refunded_micro > 0
            AND reversed_micro < least(spent_micro, greatest(0, spent_micro + refunded_micro - paid_micro))
        ORDER BY payment_id LIMIT $1
        """,
        limit,
    )
    return [row[0] for row in rows]


async def creators_behind(
    connection: Connection, payment_id: str, reversible_micro: int, spent_micro: int, limit: int
) -> list[tuple[str, str | None]]:
    """The next charges of a payment that have to give back more: (distribution, creator)."""
    rows = await connection.fetch(
        """
        SELECT distribution_id::text, creator_ref::text FROM charge_fundings
        WHERE payment_id = $1 AND floor(amount_micro * $2::numeric / $3::numeric) > refunded_micro
        ORDER BY distribution_id LIMIT $4
        """,
        payment_id,
        reversible_micro,
        spent_micro,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def lock_charges(connection: Connection, payment_id: str, distribution_ids: Sequence[str]) -> list[FundedCharge]:
    """Funded charges with what was taken back of each; its pending share is locked, under its creator's lock."""
    rows = await connection.fetch(
        """
        WITH pending AS (
            SELECT distribution_id, amount_micro FROM pending_earnings
            WHERE (creator_ref, distribution_id) IN (
                SELECT creator_ref, distribution_id FROM charge_fundings
                WHERE payment_id = $1 AND distribution_id = ANY ($2::uuid[])
            ) FOR UPDATE
        )
        SELECT own.distribution_id::text, own.inference_charge_id, own.creator_ref::text, charge.community_id,
            charge.finalized_at, own.amount_micro, own.refunded_micro,
            charge.revenue_micro - charge.promotional_micro,
            (SELECT sum(refunded_micro) FROM charge_fundings AS each WHERE each.distribution_id = own.distribution_id),
            charge.referrer_micro, charge.commons_micro, charge.community_micro, charge.foundation_micro,
            coalesce(reversed.referrer, 0), coalesce(reversed.commons, 0), coalesce(reversed.community, 0),
            coalesce(reversed.foundation, 0), coalesce(pending.amount_micro, 0)
        FROM charge_fundings AS own
        JOIN distributions AS charge USING (inference_charge_id)
        LEFT JOIN pending ON pending.distribution_id = own.distribution_id
        LEFT JOIN LATERAL (
            SELECT sum(clawed_back_micro + loss_micro) AS referrer, sum(commons_micro) AS commons,
                sum(community_micro) AS community, sum(foundation_micro) AS foundation
            FROM charge_reversals WHERE charge_reversals.distribution_id = own.distribution_id
        ) AS reversed ON true
        WHERE own.payment_id = $1 AND own.distribution_id = ANY ($2::uuid[])
        ORDER BY own.distribution_id
        """,
        payment_id,
        distribution_ids,
    )
    return [FundedCharge(*row[:8], *(int(value) for value in row[8:])) for row in map(tuple, rows)]


async def write(
    connection: Connection, payment_id: str, reversals: Sequence[tuple[Reversal, UUID]], now: datetime
) -> None:
    """Writes reversals into history and takes clawed-back shares out of what is pending."""
    await connection.executemany(
        """
        INSERT INTO charge_reversals (
            distribution_id, transfer_id, inference_charge_id, payment_id, refunded_micro, clawed_back_micro,
            loss_micro, commons_micro, community_micro, foundation_micro, recorded_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        """,
        [
            (
                each.charge.distribution_id,
                transfer_id,
                each.charge.inference_charge_id,
                payment_id,
                each.refunded_micro,
                each.clawed_back_micro,
                each.loss_micro,
                each.commons_micro,
                each.community_micro,
                each.foundation_micro,
                now,
            )
            for each, transfer_id in reversals
        ],
    )
    await connection.execute(
        """
        UPDATE charge_fundings SET refunded_micro = charge_fundings.refunded_micro + taken.amount_micro
        FROM unnest($2::uuid[], $3::bigint[]) AS taken (distribution_id, amount_micro)
        WHERE payment_id = $1 AND charge_fundings.distribution_id = taken.distribution_id
        """,
        payment_id,
        [each.charge.distribution_id for each, _ in reversals],
        [each.refunded_micro for each, _ in reversals],
    )
    await _claw_back(connection, [pair for pair in reversals if pair[0].clawed_back_micro], now)


async def _claw_back(connection: Connection, reversals: Sequence[tuple[Reversal, UUID]], now: datetime) -> None:
    """Takes from pending shares; one of which nothing is left is no longer open."""
    await connection.execute(
        """
        WITH taken AS (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[])
                AS taken (creator_ref, distribution_id, amount_micro, transfer_id)
        ), history AS (
            INSERT INTO earning_changes (distribution_id, transfer_id, creator_ref, change, amount_micro, changed_at)
            SELECT distribution_id, transfer_id, creator_ref, 2, amount_micro, $5 FROM taken
        ), emptied AS (
            DELETE FROM pending_earnings USING taken
            WHERE pending_earnings.creator_ref = taken.creator_ref
                AND pending_earnings.distribution_id = taken.distribution_id
                AND pending_earnings.amount_micro = taken.amount_micro
        )
        UPDATE pending_earnings SET amount_micro = pending_earnings.amount_micro - taken.amount_micro
        FROM taken
        WHERE pending_earnings.creator_ref = taken.creator_ref
            AND pending_earnings.distribution_id = taken.distribution_id
            AND pending_earnings.amount_micro > taken.amount_micro
        """,
        [each.charge.creator_ref for each, _ in reversals],
        [each.charge.distribution_id for each, _ in reversals],
        [each.clawed_back_micro for each, _ in reversals],
        [transfer_id for _, transfer_id in reversals],
        now,
    )


async def mark_reversed(connection: Connection, payment_id: str, reversed_micro: int) -> None:
    """Notes for how much of what it funded a payment's refunds are applied."""
    await connection.execute(
        "UPDATE payments SET reversed_micro = $2 WHERE payment_id = $1", payment_id, reversed_micro
    )
