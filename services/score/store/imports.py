"""Files of scores while they are read and until they are decided on."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from libs.postgres import Connection
from services.score.model import Order
from services.score.model.imports import BadLine, Header, ImportState, Line, ScoreImport

_FOUND = "SELECT imports.*, snapshot_id FROM imports LEFT JOIN snapshots USING (import_id)"
_STAGED = "import_lines"


async def insert(connection: Connection, import_id: UUID, header: Header, now: datetime) -> None:
    """Opens an import."""
    await connection.execute(
        """
        INSERT INTO imports (import_id, period, source, operator_id, reason, decimals, taken_at, started_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        import_id,
        header.period,
        header.source,
        header.operator_id,
        header.reason,
        header.decimals,
        header.taken_at,
        now,
    )


async def add_lines(connection: Connection, import_id: UUID, lines: Sequence[Line]) -> None:
    """Keeps good lines."""
    await connection.copy_records_to_table(
        _STAGED,
        records=[(import_id, line.number, line.address, line.score) for line in lines],
        columns=("import_id", "line", "address", "score"),
    )


async def add_errors(connection: Connection, import_id: UUID, lines: Sequence[BadLine]) -> None:
    """Keeps bad lines."""
    await connection.copy_records_to_table(
        "import_errors",
        records=[(import_id, line.number, line.reason, line.text) for line in lines],
        columns=("import_id", "line", "reason", "text"),
    )


async def move_on(connection: Connection, import_id: UUID, *, size: int, lines: int, bad_lines: int) -> bool:
    """Tells how far it is read; False when the import was given up meanwhile."""
    done: bool | None = await connection.fetchval(
        """
        UPDATE imports SET bytes = $2, lines = $3, bad_lines = $4, moved_at = now()
        WHERE import_id = $1 AND state = 1 RETURNING true
        """,
        import_id,
        size,
        lines,
        bad_lines,
    )
    return done is not None


async def mark_duplicates(connection: Connection, import_id: UUID) -> int:
    """Names every line but the first that gives an address again, and returns how many there are."""
    rows = await connection.fetch(
        """
        INSERT INTO import_errors (import_id, line, reason, text)
        SELECT import_id, line, 'DUPLICATE_ADDRESS', '0x' || encode(address, 'hex')
        FROM (
            SELECT *, row_number() OVER (PARTITION BY address ORDER BY line) AS nth
            FROM import_lines WHERE import_id = $1
        ) AS lines
        WHERE nth > 1
        RETURNING 1
        """,
        import_id,
    )
    return len(rows)


async def sum_up(connection: Connection, import_id: UUID) -> tuple[int, int]:
    """How many wallets, and the sum of their scores."""
    row = await connection.fetchrow(
        "SELECT count(*) AS wallets, coalesce(sum(score), 0) AS total FROM import_lines WHERE import_id = $1", import_id
    )
    if row is None:
        raise AssertionError
    return row["wallets"], int(row["total"])


async def close(
    connection: Connection,
    import_id: UUID,
    state: ImportState,
    *,
    sha256: bytes | None,
    bad_lines: int,
    counted: tuple[int, int],
    former_total: int | None,
    now: datetime,
) -> None:
    """Ends the reading, in whatever state."""
    await connection.execute(
        """
        UPDATE imports SET state = $2::smallint, sha256 = $3, bad_lines = $4, wallets = $5, total_score = $6,
            former_total_score = $7, ended_at = CASE WHEN $2::smallint = 3 THEN NULL ELSE $8::timestamptz END
        WHERE import_id = $1 AND state = 1
        """,
        import_id,
        state,
        sha256,
        bad_lines,
        *counted,
        former_total,
        now,
    )


async def decide(connection: Connection, import_id: UUID, state: ImportState, order: Order, now: datetime) -> None:
    """Writes what the second operator decided."""
    await connection.execute(
        """
        UPDATE imports SET state = $2, decided_by = $3, decision_reason = $4, ended_at = $5
        WHERE import_id = $1 AND state = 3
        """,
        import_id,
        state,
        order.operator_id,
        order.reason,
        now,
    )


async def drop_lines(connection: Connection, import_id: UUID) -> None:
    """Drops the good lines: they are in a snapshot, or nowhere."""
    await connection.execute("DELETE FROM import_lines WHERE import_id = $1", import_id)


async def lock(connection: Connection, import_id: UUID) -> ScoreImport | None:
    """The import, locked."""
    row = await connection.fetchrow(f"{_FOUND} WHERE import_id = $1 FOR UPDATE OF imports", import_id)
    return _import(row) if row else None


async def find(connection: Connection, import_id: UUID) -> ScoreImport | None:
    """The import, as it is now."""
    row = await connection.fetchrow(f"{_FOUND} WHERE import_id = $1", import_id)
    return _import(row) if row else None


async def list_page(
    connection: Connection, state: ImportState | None, below: UUID | None, limit: int
) -> list[ScoreImport]:
    """Imports, newest first."""
    rows = await connection.fetch(
        f"""
        {_FOUND} WHERE ($1::smallint IS NULL OR state = $1) AND ($2::uuid IS NULL OR imports.import_id < $2)
        ORDER BY imports.import_id DESC LIMIT $3
        """,
        state,
        below,
        limit,
    )
    return [_import(row) for row in rows]


async def list_errors(connection: Connection, import_id: UUID, after: int, limit: int) -> list[BadLine]:
    """Bad lines, in order."""
    rows = await connection.fetch(
        """
        SELECT line, reason, text FROM import_errors WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3
        """,
        import_id,
        after,
        limit,
    )
    return [BadLine(*row) for row in rows]


async def lock_abandoned(connection: Connection, idle: timedelta) -> list[UUID]:
    """Imports whose reader has not moved on for a while, in real time."""
    rows = await connection.fetch(
        """
        SELECT import_id FROM imports WHERE state = 1 AND moved_at < now() - $1::interval
        ORDER BY import_id LIMIT 100 FOR UPDATE SKIP LOCKED
        """,
        idle,
    )
    return [row["import_id"] for row in rows]


def _import(row: Record) -> ScoreImport:
    former = row["former_total_score"]
    return ScoreImport(
        import_id=row["import_id"],
        period=row["period"],
        state=ImportState(row["state"]),
        source=row["source"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        lines=row["lines"],
        bad_lines=row["bad_lines"],
        wallets=row["wallets"],
        total_score=int(row["total_score"]),
        former_total_score=None if former is None else int(former),
        snapshot_id=row["snapshot_id"],
        operator_id=row["operator_id"],
        decided_by=row["decided_by"],
        taken_at=row["taken_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )
