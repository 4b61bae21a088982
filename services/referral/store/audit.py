"""The audit log and its head."""

import uuid

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model.audit import Act, AuditHead, AuditRow


async def lock_head(connection: Connection) -> AuditHead:
    """The newest place, locked until the transaction ends: who comes next waits, so no sequence is lost."""
    return _head(await connection.fetch("SELECT sequence, hash FROM audit_head FOR NO KEY UPDATE"))


async def head(connection: Connection) -> AuditHead:
    """The newest place."""
    return _head(await connection.fetch("SELECT sequence, hash FROM audit_head"))


async def append(connection: Connection, row: AuditRow) -> None:
    """Writes a row and moves the head, which this transaction holds locked."""
    await connection.execute(
        """
        INSERT INTO audit_log (sequence, act, subject, account_ref, operator_id, reason, acted_at, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        row.sequence,
        row.act.act,
        row.act.subject,
        row.act.account_ref,
        row.act.operator_id,
        row.act.reason,
        row.act.acted_at,
        row.hash,
    )
    await connection.execute("UPDATE audit_head SET sequence = $1, hash = $2", row.sequence, row.hash)


async def after(connection: Connection, sequence: int, *, limit: int) -> list[AuditRow]:
    """What follows on a place, oldest first."""
    rows = await connection.fetch(
        "SELECT * FROM audit_log WHERE sequence > $1 ORDER BY sequence LIMIT $2", sequence, limit
    )
    return [_row(row) for row in rows]


async def page(
    connection: Connection, *, account_ref: uuid.UUID | None, operator_id: str | None, below: int | None, limit: int
) -> list[AuditRow]:
    """Rows, newest first, of an account or an operator where one is given."""
    rows = await connection.fetch(
        """
        SELECT * FROM audit_log
        WHERE ($1::uuid IS NULL OR account_ref = $1) AND ($2::text IS NULL OR operator_id = $2)
            AND ($3::bigint IS NULL OR sequence < $3)
        ORDER BY sequence DESC LIMIT $4
        """,
        account_ref,
        operator_id,
        below,
        limit,
    )
    return [_row(row) for row in rows]


def _head(rows: list[Record]) -> AuditHead:
    (row,) = rows
    return AuditHead(row["sequence"], row["hash"])


def _row(row: Record) -> AuditRow:
    act = Act(row["act"], row["subject"], row["account_ref"], row["operator_id"], row["reason"], row["acted_at"])
    return AuditRow(row["sequence"], act, row["hash"])
