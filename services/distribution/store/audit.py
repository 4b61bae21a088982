"""Audits and what they found; and how the books are read for one."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from libs.postgres import Connection
from services.distribution.model.audit import Audit, AuditState, Check, Result, Violation
from services.distribution.store import checks

VIOLATIONS_MAX: Final = 1000
_AUDIT: Final = "audit_id::text, state, operator_id, reason, started_at, ended_at, rows_read"
# An audit reads all there is; nobody waits for it.
_TIMEOUT_S: Final = 4 * 3600


async def insert(connection: Connection, audit: Audit) -> bool:
    """False where one is running."""
    made = await connection.fetchval(
        """
        INSERT INTO audits (audit_id, operator_id, reason, started_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (state) WHERE state = 1 DO NOTHING RETURNING true
        """,
        audit.audit_id,
        audit.operator_id,
        audit.reason,
        audit.started_at,
    )
    return bool(made)


async def find(connection: Connection, audit_id: str) -> Audit | None:
    return _audit(await connection.fetchrow(f"SELECT {_AUDIT} FROM audits WHERE audit_id = $1", audit_id))  # noqa: S608


async def find_running(connection: Connection) -> Audit | None:
    return _audit(await connection.fetchrow(f"SELECT {_AUDIT} FROM audits WHERE state = 1"))  # noqa: S608


async def find_latest(connection: Connection) -> Audit | None:
    """The latest that ended."""
    return _audit(
        await connection.fetchrow(f"SELECT {_AUDIT} FROM audits WHERE state <> 1 ORDER BY audit_id DESC LIMIT 1")  # noqa: S608
    )


async def page(connection: Connection, before: str | None, limit: int) -> list[Audit]:
    """Audits, newest first."""
    rows = await connection.fetch(
        f"SELECT {_AUDIT} FROM audits WHERE $1::uuid IS NULL OR audit_id < $1 ORDER BY audits.audit_id DESC LIMIT $2",  # noqa: S608
        before,
        limit,
    )
    return [audit for row in rows if (audit := _audit(row))]


def _audit(row: asyncpg.Record | None) -> Audit | None:
    if row is None:
        return None
    audit_id, state, *rest = row
    return Audit(audit_id, AuditState(state), *rest)


async def results(connection: Connection, audit_id: str) -> list[Result]:
    rows = await connection.fetch(
        "SELECT invariant, description, violations FROM audit_results WHERE audit_id = $1 ORDER BY place", audit_id
    )
    return [Result(*row) for row in rows]


async def violations(
    connection: Connection, audit_id: str, invariant: str, after: int, limit: int
) -> list[tuple[int, Violation]]:
    """Violations with their numbers, in order; of one invariant, or of all for an empty one."""
    rows = await connection.fetch(
        """
        SELECT number, invariant, table_name, row_key, expected, found FROM audit_violations
        WHERE audit_id = $1 AND ($2 = '' OR invariant = $2) AND number > $3 ORDER BY number LIMIT $4
        """,
        audit_id,
        invariant,
        after,
        limit,
    )
    return [(row[0], Violation(*row[1:])) for row in rows]


async def end(
    connection: Connection, audit_id: str, state: AuditState, rows: int, found: Sequence[Result], now: datetime
) -> None:
    """Writes what an audit found."""
    await connection.execute(
        "UPDATE audits SET state = $2, rows_read = $3, ended_at = $4 WHERE audit_id = $1 AND state = 1",
        audit_id,
        int(state),
        rows,
        now,
    )
    await connection.executemany(
        "INSERT INTO audit_results (audit_id, place, invariant, violations, description) VALUES ($1, $2, $3, $4, $5)",
        [(audit_id, place, each.invariant, each.violations, each.description) for place, each in enumerate(found, 1)],
    )
    first = [violation for each in found for violation in each.first]
    await connection.executemany(
        """
        INSERT INTO audit_violations (audit_id, number, invariant, table_name, row_key, expected, found)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        [(audit_id, number, *violation) for number, violation in enumerate(first, 1)],
    )


async def prepare(connection: Connection) -> int:
    """Works out, for the transaction under way, what the journal makes of every account; how many rows there are."""
    for statement in checks.PREPARE:
        await connection.execute(statement, timeout=_TIMEOUT_S)
    rows: int = await connection.fetchval(checks.COUNT, timeout=_TIMEOUT_S)
    return rows


async def check(connection: Connection, wanted: Check) -> Result:
    """Looks for what breaks one invariant."""
    found = await connection.fetch(
        f"""
        WITH wrong (table_name, row_key, expected, found) AS ({wanted.query}
        )
        SELECT table_name, row_key, expected, found, count(*) OVER () FROM wrong LIMIT {VIOLATIONS_MAX}
        """,  # noqa: S608 - constants
        timeout=_TIMEOUT_S,
    )
    first = tuple(Violation(wanted.invariant, *(str(text or "") for text in row[:4])) for row in found)
    return Result(wanted.invariant, wanted.description, found[0][4] if found else 0, first, wanted.pauses)


async def count_charges(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM distributions", timeout=_TIMEOUT_S)
    return count


async def told(connection: Connection, topic: str) -> AsyncIterator[bytes]:
    """The events of a topic, published or not."""
    cursor = connection.cursor(
        "SELECT payload FROM events WHERE topic = $1 UNION ALL SELECT payload FROM outbox WHERE topic = $1",
        topic,
        prefetch=200,
        timeout=_TIMEOUT_S,
    )
    async for row in cursor:
        yield row[0]


async def open_told(connection: Connection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE told (inference_charge_id text NOT NULL) ON COMMIT DROP")


async def write_told(connection: Connection, charge_ids: Iterable[str]) -> None:
    await connection.execute("INSERT INTO told SELECT unnest($1::text[])", list(charge_ids))
