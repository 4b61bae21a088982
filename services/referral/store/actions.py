"""Qualifying actions, and the purchases that some of them are."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model.bonuses import Action, ActionKind, ActionOutcome, ActionSource, Purchase


async def find(connection: Connection, action: Action) -> tuple[Action, ActionOutcome] | None:
    """What was recorded under this action's id, and what came of it."""
    row = await connection.fetchrow(
        """
        SELECT source, kind, action_id, account_ref, paid_micro, occurred_at, outcome
        FROM qualifying_actions WHERE action_id = $1 AND kind = $2 AND source = $3
        """,
        action.action_id,
        action.kind,
        action.source,
    )
    if row is None:
        return None
    found = Action(
        ActionSource(row["source"]),
        ActionKind(row["kind"]),
        row["action_id"],
        row["account_ref"],
        row["paid_micro"],
        row["occurred_at"],
    )
    return found, ActionOutcome(row["outcome"])


async def insert(connection: Connection, action: Action, outcome: ActionOutcome, now: datetime) -> bool:
    """False when an action of that id is recorded; waits for whoever is recording it."""
    done: bool | None = await connection.fetchval(
        """
        INSERT INTO qualifying_actions
            (source, kind, action_id, account_ref, paid_micro, occurred_at, outcome, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (action_id, kind, source) DO NOTHING
        RETURNING true
        """,
        action.source,
        action.kind,
        action.action_id,
        action.account_ref,
        action.paid_micro,
        action.occurred_at,
        outcome,
        now,
    )
    return done is not None


async def find_purchases(connection: Connection, order_ids: Sequence[str]) -> dict[str, Purchase]:
    """Purchases by order, of those that are known."""
    rows = await connection.fetch("SELECT * FROM purchases WHERE order_id = ANY ($1::text[])", order_ids)
    return {row["order_id"]: _purchase(row) for row in rows}


async def save_purchases(connection: Connection, purchases: Sequence[Purchase]) -> None:
    """How purchases stand now, in the order of their ids: two batches never wait for each other crosswise."""
    rows = sorted(purchases, key=lambda purchase: purchase.order_id)
    await connection.execute(
        """
        INSERT INTO purchases (order_id, account_ref, confirmed, net_paid_micro, refunded, changed_at)
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::boolean[], $4::bigint[], $5::boolean[], $6::timestamptz[])
        ON CONFLICT (order_id) DO UPDATE SET confirmed = excluded.confirmed,
            net_paid_micro = excluded.net_paid_micro, refunded = excluded.refunded, changed_at = excluded.changed_at
        """,
        [row.order_id for row in rows],
        [row.account_ref for row in rows],
        [row.confirmed for row in rows],
        [row.net_paid_micro for row in rows],
        [row.refunded for row in rows],
        [row.changed_at for row in rows],
    )


async def find_referrers(connection: Connection, referee_refs: Sequence[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Who referred which account; organic and undecided ones are left out."""
    rows = await connection.fetch(
        """
        SELECT referee_ref, referrer_ref FROM referral_registrations
        WHERE referee_ref = ANY ($1::uuid[]) AND kind = 'referred'
        """,
        referee_refs,
    )
    return {row["referee_ref"]: row["referrer_ref"] for row in rows}


def _purchase(row: Record) -> Purchase:
    return Purchase(
        row["order_id"],
        row["account_ref"],
        row["confirmed"],
        row["net_paid_micro"],
        row["refunded"],
        row["changed_at"],
    )
