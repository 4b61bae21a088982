"""What documents for partners are made of, looked up by their ids."""

from datetime import datetime
from typing import Final

from libs.money import Rates, Split
from libs.postgres import Connection
from services.distribution.model import ReferrerOutcome
from services.distribution.model.documents import Billed, Credited, Escrowed, Happened, PaidOut

_BILLED: Final = """
    SELECT distribution_id::text, inference_charge_id, referrer_ref::text, community_id, provider_cost_micro, model,
        model_tier, finalized_at, referrer_outcome, referrer_micro, commons_micro, community_micro, foundation_micro,
        referrer_bps, commons_bps, community_bps, foundation_bps
    FROM distributions JOIN rules USING (rule_version)
    """

_CREDITED: Final = """
    SELECT reversed.transfer_id::text, reversed.distribution_id::text, referrer_ref::text, community_id,
        clawed_back_micro, loss_micro, reversed.commons_micro, reversed.community_micro, reversed.foundation_micro,
        reversed.recorded_at
    FROM charge_reversals AS reversed JOIN distributions USING (inference_charge_id)
    """

# The creator's first charge is one that gave a share, by the index that has only those.
_PAID_OUT: Final = """
    SELECT payout_id::text, first.distribution_id::text, creator_ref::text, amount_micro, changed_at
    FROM payout_holds CROSS JOIN LATERAL (
        SELECT distribution_id FROM distributions WHERE referrer_ref = creator_ref AND referrer_micro > 0
        ORDER BY recorded_at, distribution_id LIMIT 1
    ) AS first
    """


async def find_billed(connection: Connection, *, charge_id: str = "", distribution_id: str = "") -> Billed | None:
    """A distribution by its charge's id, or by its own."""
    row = await connection.fetchrow(
        f"{_BILLED} WHERE inference_charge_id = $1" if charge_id else f"{_BILLED} WHERE distribution_id = $1",
        charge_id or distribution_id,
    )
    if row is None:
        return None
    charge_id, own_id, referrer_ref, community_id, cost, model, tier, at, outcome, *numbers = (
        row["inference_charge_id"],
        row["distribution_id"],
        *tuple(row)[2:],
    )
    return Billed(
        own_id,
        charge_id,
        referrer_ref,
        community_id,
        cost,
        model,
        tier,
        at,
        ReferrerOutcome(outcome),
        Split(*numbers[:4]),
        Rates(*numbers[4:]),
    )


async def find_credited(connection: Connection, transfer_id: str) -> Credited | None:
    row = await connection.fetchrow(f"{_CREDITED} WHERE reversed.transfer_id = $1", transfer_id)
    return Credited(*row) if row else None


async def find_paid_out(connection: Connection, payout_id: str) -> PaidOut | None:
    row = await connection.fetchrow(f"{_PAID_OUT} WHERE payout_id = $1 AND state = 4", payout_id)
    return PaidOut(*row) if row else None


async def credited_of(
    connection: Connection, distribution_id: str, after: tuple[datetime, str], limit: int
) -> list[Credited]:
    """What refunds took back of a distribution, oldest first."""
    rows = await connection.fetch(
        f"""
        {_CREDITED} WHERE reversed.distribution_id = $1 AND (reversed.recorded_at, reversed.transfer_id) > ($2, $3)
        ORDER BY reversed.recorded_at, reversed.transfer_id LIMIT $4
        """,
        distribution_id,
        *after,
        limit,
    )
    return [Credited(*row) for row in rows]


async def paid_out_against(
    connection: Connection, billed: Billed, after: tuple[datetime, str], limit: int
) -> list[PaidOut]:
    """Completed payouts of a creator whose first distribution this is, oldest first."""
    rows = await connection.fetch(
        f"""
        {_PAID_OUT} WHERE creator_ref = $1 AND state = 4 AND first.distribution_id = $2
            AND (changed_at, payout_id) > ($3, $4)
        ORDER BY changed_at, payout_holds.payout_id LIMIT $5
        """,
        billed.referrer_ref,
        billed.distribution_id,
        *after,
        limit,
    )
    return [PaidOut(*row) for row in rows]


_ESCROWED: Final = """
    SELECT escrow_id(payout_id, round)::text, creator_ref::text, amount_micro, state, held_at, changed_at
    FROM payout_holds
    """


async def find_escrowed(connection: Connection, *, payout_id: str = "", escrow_id: str = "") -> Escrowed | None:
    """A hold by its document's id, or the latest of a payout."""
    row = await connection.fetchrow(
        f"{_ESCROWED} WHERE payout_id = $1 ORDER BY round DESC LIMIT 1"
        if payout_id
        else f"{_ESCROWED} WHERE escrow_id(payout_id, round) = $1",
        payout_id or escrow_id,
    )
    return Escrowed(*row) if row else None


async def happened(
    connection: Connection, kind: int | None, since: datetime, after: tuple[datetime, str], limit: int
) -> list[Happened]:
    """What happened in the hours that nothing is recorded in any more: so nothing comes between, later."""
    rows = await connection.fetch(
        """
        SELECT event_id::text, kind, cause_id, amount_micro, recorded_at FROM (
            (
                SELECT distribution_id AS event_id, 1 AS kind, inference_charge_id AS cause_id,
                    (revenue_micro - promotional_micro)::numeric AS amount_micro, recorded_at
                FROM distributions
                WHERE ($1::integer IS NULL OR $1 = 1) AND recorded_at >= $2
                    AND (recorded_at, distribution_id) > ($3, $4)
                    AND recorded_at < (SELECT fenced_until FROM closed_hours)
                ORDER BY recorded_at, distribution_id LIMIT $5
            )
            UNION ALL
            (
                SELECT transfer_id, kind, cause_id,
                    (SELECT sum(amount) FROM unnest(amounts_micro) AS amount WHERE amount > 0), recorded_at
                FROM transfers
                WHERE ($1::integer IS NULL OR kind = $1) AND recorded_at >= $2 AND (recorded_at, transfer_id) > ($3, $4)
                    AND recorded_at < (SELECT fenced_until FROM closed_hours)
                ORDER BY recorded_at, transfer_id LIMIT $5
            )
        ) AS everything ORDER BY recorded_at, everything.event_id LIMIT $5
        """,
        kind,
        since,
        *after,
        limit,
    )
    return [Happened(row[0], row[1], row[2], int(row[3]), row[4]) for row in rows]
