"""Comparisons with the provider and the ledger."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from libs.ids import new_id
from libs.postgres import Connection
from services.payout.model.reconciliations import OurPayout, Reconciliation, ReconciliationState

_ROW: Final = (
    "reconciliation_id, state, payouts, provider_sent_micro, ledger_sent_micro, differences, started_at, ended_at"
)


async def open_one(connection: Connection, now: datetime) -> Reconciliation:
    """The one that runs; it is begun where none does."""
    running = await _fetch(connection, "state = 1 ORDER BY reconciliation_id LIMIT 1")
    if running:
        return running[0]
    row = await connection.fetchrow(
        f"INSERT INTO reconciliations (reconciliation_id, state, started_at) VALUES ($1, 1, $2) RETURNING {_ROW}",  # noqa: S608
        new_id(),
        now,
    )
    return _reconciliation(row)


async def running(connection: Connection) -> Reconciliation | None:
    """The oldest that has not ended."""
    found = await _fetch(connection, "state = 1 ORDER BY reconciliation_id LIMIT 1")
    return found[0] if found else None


async def end(
    connection: Connection,
    reconciliation_id: UUID,
    state: ReconciliationState,
    now: datetime,
    *,
    payouts: int = 0,
    provider_sent_micro: int = 0,
    ledger_sent_micro: int = 0,
    differences: int = 0,
) -> None:
    await connection.execute(
        """
        UPDATE reconciliations SET state = $2, payouts = $3, provider_sent_micro = $4, ledger_sent_micro = $5,
            differences = $6, ended_at = $7
        WHERE reconciliation_id = $1 AND state = 1
        """,
        reconciliation_id,
        state,
        payouts,
        provider_sent_micro,
        ledger_sent_micro,
        differences,
        now,
    )


async def find(connection: Connection, reconciliation_id: UUID | None) -> Reconciliation | None:
    """One by its id, or the latest that ended."""
    if reconciliation_id is None:
        found = await _fetch(connection, "state <> 1 ORDER BY reconciliation_id DESC LIMIT 1")
    else:
        found = await _fetch(connection, "reconciliation_id = $1", reconciliation_id)
    return found[0] if found else None


async def page(connection: Connection, before: UUID, limit: int) -> list[Reconciliation]:
    """Those before one, newest first."""
    where = "reconciliation_id < $1 ORDER BY reconciliation_id DESC LIMIT $2"
    return await _fetch(connection, where, before, limit)


async def payouts_by_id(connection: Connection, payout_ids: list[UUID]) -> Mapping[UUID, OurPayout]:
    """Payouts as they are compared."""
    rows = await connection.fetch(
        """
        SELECT payout_id, stage, money, round, amount_micro, fee_micro, changed_at FROM payouts
        WHERE payout_id = ANY ($1::uuid[])
        """,
        payout_ids,
    )
    return {row["payout_id"]: OurPayout(*row) for row in rows}


async def changed_since(connection: Connection, instant: datetime) -> list[UUID]:
    """Payouts that changed since."""
    rows = await connection.fetch("SELECT payout_id FROM payouts WHERE changed_at >= $1", instant)
    return [row["payout_id"] for row in rows]


async def waiting(connection: Connection) -> int:
    """Payouts that wait to be handed over."""
    found: int = await connection.fetchval("SELECT count(*) FROM payouts WHERE stage IN (4, 5)")
    return found


async def oldest_open(connection: Connection, before: datetime) -> tuple[datetime | None, int]:
    """When the oldest payout that is not final and waits for nobody was asked for; how many were before `before`."""
    row = await connection.fetchrow(
        """
        SELECT min(requested_at) AS oldest, count(*) FILTER (WHERE requested_at < $1) AS overdue FROM payouts
        WHERE stage < 10
        """,
        before,
    )
    return (row["oldest"], row["overdue"]) if row else (None, 0)


async def _fetch(connection: Connection, where: str, *arguments: Any) -> list[Reconciliation]:
    rows = await connection.fetch(f"SELECT {_ROW} FROM reconciliations WHERE {where}", *arguments)  # noqa: S608
    return [_reconciliation(row) for row in rows]


def _reconciliation(row: Any) -> Reconciliation:
    return Reconciliation(**dict(row) | {"state": ReconciliationState(row["state"])})
