"""Snapshots: what an import became. Immutable."""

from datetime import datetime
from uuid import UUID

from asyncpg import Record

from libs.ethereum import checksummed
from libs.postgres import Connection
from services.score.model.imports import Snapshot


async def make(connection: Connection, snapshot_id: UUID, import_id: UUID, now: datetime) -> None:
    """Turns the good lines of an import into a snapshot. In the order of the index, so that it grows at its end."""
    await connection.execute(
        """
        INSERT INTO snapshots (snapshot_id, import_id, period, wallets, total_score, taken_at, accepted_at)
        SELECT $1, import_id, period, wallets, total_score, taken_at, $3 FROM imports WHERE import_id = $2
        """,
        snapshot_id,
        import_id,
        now,
    )
    await connection.execute(
        """
        INSERT INTO snapshot_scores (snapshot_id, address, score)
        SELECT $1, address, score FROM import_lines WHERE import_id = $2 ORDER BY address
        """,
        snapshot_id,
        import_id,
    )


async def newest(connection: Connection) -> Snapshot | None:
    """The one that was accepted last."""
    row = await connection.fetchrow("SELECT * FROM snapshots ORDER BY snapshot_id DESC LIMIT 1")
    return _snapshot(row) if row else None


async def first_taken_at(connection: Connection) -> datetime | None:
    """When the first scores were taken that are in."""
    found: datetime | None = await connection.fetchval("SELECT min(taken_at) FROM snapshots")
    return found


async def for_period(connection: Connection, period: str, before: datetime) -> Snapshot | None:
    """The newest one of a period; where it has none, the newest whose scores were taken before the period's end."""
    row = await connection.fetchrow(
        """
        SELECT * FROM snapshots WHERE period = $1 OR taken_at < $2
        ORDER BY period = $1 DESC, taken_at DESC, snapshot_id DESC LIMIT 1
        """,
        period,
        before,
    )
    return _snapshot(row) if row else None


async def find(connection: Connection, snapshot_id: UUID) -> Snapshot | None:
    """One snapshot."""
    row = await connection.fetchrow("SELECT * FROM snapshots WHERE snapshot_id = $1", snapshot_id)
    return _snapshot(row) if row else None


async def list_page(connection: Connection, below: UUID | None, limit: int) -> list[Snapshot]:
    """Snapshots, newest first."""
    rows = await connection.fetch(
        "SELECT * FROM snapshots WHERE $1::uuid IS NULL OR snapshot_id < $1 ORDER BY snapshot_id DESC LIMIT $2",
        below,
        limit,
    )
    return [_snapshot(row) for row in rows]


async def list_scores(
    connection: Connection, snapshot_id: UUID, after: bytes, limit: int, address: str | None = None
) -> list[tuple[str, int]]:
    """Addresses and scores, by address; those after one, or one alone."""
    rows = await connection.fetch(
        """
        SELECT address, score FROM snapshot_scores
        WHERE snapshot_id = $1 AND address > $2 AND ($4::bytea IS NULL OR address = $4) ORDER BY address LIMIT $3
        """,
        snapshot_id,
        after,
        limit,
        bytes.fromhex(address[2:]) if address else None,
    )
    return [(checksummed("0x" + row["address"].hex()), int(row["score"])) for row in rows]


def _snapshot(row: Record) -> Snapshot:
    return Snapshot(
        snapshot_id=row["snapshot_id"],
        period=row["period"],
        import_id=row["import_id"],
        wallets=row["wallets"],
        total_score=int(row["total_score"]),
        taken_at=row["taken_at"],
        accepted_at=row["accepted_at"],
    )
