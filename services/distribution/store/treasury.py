"""The reserve, requests to change it, and the payouts switch."""

from datetime import datetime
from uuid import UUID

import asyncpg

from libs.postgres import Connection
from services.distribution.model import PAYOUT_RESERVE
from services.distribution.model.treasury import (
    Coverage,
    PayoutsSwitch,
    ReserveChange,
    ReserveChangeState,
    ReserveDirection,
)

_CHANGE = """
    reserve_change_id::text, direction, amount_micro, state, requested_by, decided_by, reason, decision_reason,
    transfer_id::text, requested_at, decided_at
    """
_SWITCH = "paused, operator_id, reason, changed_at, reserve_wrong"


async def coverage(connection: Connection) -> Coverage:
    """What there is and what is owed, in one snapshot. It reads every creator's balance: not for the hot path."""
    (row,) = await connection.fetch(
        """
        WITH sums AS (
            SELECT kind, sum(balance_micro) AS micro FROM accounts
            WHERE kind IN (
                'payout_reserve', 'creator_pending', 'creator_settled', 'creator_held', 'in_flight', 'clawback_loss'
            )
            GROUP BY kind
        )
        SELECT
            coalesce(sum(micro) FILTER (WHERE kind = 'payout_reserve'), 0),
            coalesce(sum(micro) FILTER (WHERE kind = 'creator_pending'), 0),
            coalesce(sum(micro) FILTER (WHERE kind = 'creator_settled'), 0),
            coalesce(sum(micro) FILTER (WHERE kind = 'creator_held'), 0),
            coalesce(sum(micro) FILTER (WHERE kind = 'in_flight'), 0),
            coalesce(sum(micro) FILTER (WHERE kind = 'clawback_loss'), 0)
        FROM sums
        """
    )
    return Coverage(*map(int, row))


async def reserve_and_owed(connection: Connection) -> tuple[int, int]:
    """The reserve, and all that creators have settled and held, at one instant; without reading their balances."""
    ((reserve_micro, owed_micro),) = await connection.fetch(
        "SELECT balance_micro, owed_micro FROM accounts, owed WHERE name = $1", PAYOUT_RESERVE
    )
    return reserve_micro, owed_micro


async def insert_change(connection: Connection, change: ReserveChange) -> None:
    await connection.execute(
        """
        INSERT INTO reserve_changes (reserve_change_id, direction, amount_micro, requested_by, reason, requested_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        change.reserve_change_id,
        change.direction,
        change.amount_micro,
        change.requested_by,
        change.reason,
        change.requested_at,
    )


async def lock_change(connection: Connection, reserve_change_id: str) -> ReserveChange | None:
    row = await connection.fetchrow(
        f"SELECT {_CHANGE} FROM reserve_changes WHERE reserve_change_id = $1 FOR UPDATE",  # noqa: S608 - constant
        reserve_change_id,
    )
    return _change(row) if row else None


async def decide_change(
    connection: Connection,
    reserve_change_id: str,
    state: ReserveChangeState,
    *,
    decided_by: str,
    reason: str,
    transfer_id: UUID | None,
    now: datetime,
) -> ReserveChange:
    (row,) = await connection.fetch(
        f"""
        UPDATE reserve_changes
        SET state = $2, decided_by = $3, decision_reason = $4, transfer_id = $5, decided_at = $6
        WHERE reserve_change_id = $1 AND state = 1 RETURNING {_CHANGE}
        """,  # noqa: S608 - constant
        reserve_change_id,
        state,
        decided_by,
        reason,
        transfer_id,
        now,
    )
    return _change(row)


async def list_changes(
    connection: Connection, state: ReserveChangeState | None, after: str | None, limit: int
) -> list[ReserveChange]:
    """Requests, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_CHANGE} FROM reserve_changes
        WHERE ($1::smallint IS NULL OR state = $1) AND ($2::uuid IS NULL OR reserve_change_id < $2)
        ORDER BY reserve_change_id DESC LIMIT $3
        """,  # noqa: S608 - constant
        state,
        after,
        limit,
    )
    return [_change(row) for row in rows]


def _change(row: asyncpg.Record) -> ReserveChange:
    values = dict(row)
    values["direction"] = ReserveDirection(values["direction"])
    values["state"] = ReserveChangeState(values["state"])
    return ReserveChange(**values)


async def switch(connection: Connection) -> PayoutsSwitch:
    (row,) = await connection.fetch(f"SELECT {_SWITCH} FROM payouts_switch")  # noqa: S608 - constant
    return PayoutsSwitch(*row)


async def keep_switch(connection: Connection) -> PayoutsSwitch:
    """Reads the switch and keeps it as it is until the end of the transaction; many may at once."""
    (row,) = await connection.fetch(f"SELECT {_SWITCH} FROM payouts_switch FOR SHARE")  # noqa: S608 - constant
    return PayoutsSwitch(*row)


async def lock_switch(connection: Connection) -> PayoutsSwitch:
    """Reads the switch to change it: waits for the payouts that found it as it is."""
    (row,) = await connection.fetch(f"SELECT {_SWITCH} FROM payouts_switch FOR UPDATE")  # noqa: S608 - constant
    return PayoutsSwitch(*row)


async def set_switch(connection: Connection, wanted: PayoutsSwitch) -> None:
    await connection.execute(
        "UPDATE payouts_switch SET paused = $1, operator_id = $2, reason = $3, changed_at = $4, reserve_wrong = $5",
        wanted.paused,
        wanted.operator_id,
        wanted.reason,
        wanted.changed_at,
        wanted.reserve_wrong,
    )
