"""Codes in all their states."""

import uuid
from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model import Code, CodeState, EndReason


async def insert(connection: Connection, code: Code) -> bool:
    """False when the code is, or once was, somebody's."""
    done: bool | None = await connection.fetchval(
        """
        INSERT INTO codes (code_ref, code, owner_ref, created_at, expires_at, max_uses)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (code) DO NOTHING
        RETURNING true
        """,
        code.code_ref,
        code.code,
        code.owner_ref,
        code.created_at,
        code.expires_at,
        code.max_uses,
    )
    return done is not None


async def lock(connection: Connection, code: str) -> Code | None:
    """A code as it is typed, locked: bindings through it, and its end, wait for one another."""
    row = await connection.fetchrow("SELECT * FROM codes WHERE code = $1 FOR NO KEY UPDATE", code)
    return _code(row) if row else None


async def lock_active(connection: Connection, owner_ref: uuid.UUID) -> Code | None:
    """The active code of an account, locked."""
    row = await connection.fetchrow(
        "SELECT * FROM codes WHERE owner_ref = $1 AND state = 'active' FOR NO KEY UPDATE", owner_ref
    )
    return _code(row) if row else None


async def find_active(connection: Connection, account_id: str) -> Code | None:
    """The code that is marked active; its time may be over."""
    row = await connection.fetchrow(
        """
        SELECT codes.* FROM codes JOIN accounts ON account_ref = owner_ref
        WHERE account_id = $1 AND state = 'active'
        """,
        account_id,
    )
    return _code(row) if row else None


async def list_of(connection: Connection, owner_ref: uuid.UUID, *, limit: int) -> list[Code]:
    """Codes of an account in all states, newest first."""
    rows = await connection.fetch(
        "SELECT * FROM codes WHERE owner_ref = $1 ORDER BY created_at DESC, code_ref DESC LIMIT $2", owner_ref, limit
    )
    return [_code(row) for row in rows]


async def save(connection: Connection, code: Code) -> None:
    """Writes what may change of a code that this transaction holds locked."""
    await connection.execute(
        "UPDATE codes SET uses = $2, state = $3, ended_at = $4, end_reason = $5 WHERE code_ref = $1",
        code.code_ref,
        code.uses,
        code.state,
        code.ended_at,
        code.end_reason,
    )


async def expire(connection: Connection, now: datetime, *, limit: int) -> int:
    """Expires codes whose time is over and returns how many; those that somebody holds are left for the next time."""
    rows = await connection.fetch(
        """
        UPDATE codes SET state = 'expired', ended_at = expires_at, end_reason = 'time'
        WHERE code_ref IN (
            SELECT code_ref FROM codes WHERE state = 'active' AND expires_at <= $1
            ORDER BY expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING 1
        """,
        now,
        limit,
    )
    return len(rows)


def _code(row: Record) -> Code:
    return Code(
        code_ref=row["code_ref"],
        code=row["code"],
        owner_ref=row["owner_ref"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        max_uses=row["max_uses"],
        uses=row["uses"],
        state=CodeState(row["state"]),
        ended_at=row["ended_at"],
        end_reason=EndReason(row["end_reason"]) if row["end_reason"] else None,
    )
