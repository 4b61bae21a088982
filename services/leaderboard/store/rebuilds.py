"""SQL of rebuilds: which is under way, and how those before ended."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection


async def request(connection: Connection, rebuild_id: UUID, operator_id: str, reason: str, now: datetime) -> UUID:
    """Asks for a rebuild; returns the one that is under way where there is one already."""
    asked: UUID = await connection.fetchval(
        """
        INSERT INTO rebuilds (rebuild_id, operator_id, reason, requested_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (state) WHERE state = 'under_way' DO UPDATE SET state = rebuilds.state
        RETURNING rebuild_id
        """,
        rebuild_id,
        operator_id,
        reason,
        now,
    )
    return asked


async def under_way(connection: Connection) -> UUID | None:
    rebuild_id: UUID | None = await connection.fetchval("SELECT rebuild_id FROM rebuilds WHERE state = 'under_way'")
    return rebuild_id


async def is_made(connection: Connection, rebuild_id: UUID) -> bool:
    """Whether the tables beside are there, of this rebuild and of the schema as it is now."""
    made: bool = await connection.fetchval(
        """
        SELECT coalesce(made_by = (SELECT count(*) FROM migrations), false) AND to_regclass('next_inbox') IS NOT NULL
        FROM rebuilds WHERE rebuild_id = $1
        """,
        rebuild_id,
    )
    return made


async def mark_made(connection: Connection, rebuild_id: UUID) -> None:
    await connection.execute(
        "UPDATE rebuilds SET made_by = (SELECT count(*) FROM migrations) WHERE rebuild_id = $1", rebuild_id
    )


async def end(connection: Connection, rebuild_id: UUID, fault: str = "") -> bool:
    """Ends a rebuild, well or with a fault; False where it had ended."""
    ended: UUID | None = await connection.fetchval(
        """
        UPDATE rebuilds SET state = CASE WHEN $2 = '' THEN 'done' ELSE 'failed' END, fault = $2, ended_at = now()
        WHERE rebuild_id = $1 AND state = 'under_way' RETURNING rebuild_id
        """,
        rebuild_id,
        fault,
    )
    return ended is not None
