"""Accounts that pass the risk checks for a time."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from libs.postgres import Connection


async def until(connection: Connection, account_ref: uuid.UUID, now: datetime) -> datetime | None:
    """Until when an account is exempt, if it is."""
    end: datetime | None = await connection.fetchval(
        "SELECT until FROM risk_exemptions WHERE account_ref = $1 AND until > $2", account_ref, now
    )
    return end


async def any_of(connection: Connection, account_refs: Sequence[uuid.UUID], now: datetime) -> bool:
    """Whether one of them is exempt."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM risk_exemptions WHERE account_ref = ANY ($1::uuid[]) AND until > $2)",
        account_refs,
        now,
    )
    return found


async def save(connection: Connection, account_ref: uuid.UUID, end: datetime, operator_id: str, now: datetime) -> None:
    """Exempts an account until then, whatever was said before."""
    await connection.execute(
        """
        INSERT INTO risk_exemptions (account_ref, until, granted_by, granted_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_ref) DO UPDATE SET
            until = excluded.until, granted_by = excluded.granted_by, granted_at = excluded.granted_at
        """,
        account_ref,
        end,
        operator_id,
        now,
    )


async def end(connection: Connection, account_ref: uuid.UUID, now: datetime) -> bool:
    """False when there was none, or it was over."""
    ended: datetime | None = await connection.fetchval(
        "DELETE FROM risk_exemptions WHERE account_ref = $1 RETURNING until", account_ref
    )
    return ended is not None and ended > now
