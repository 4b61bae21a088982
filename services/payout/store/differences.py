"""What the provider, the ledger and we disagree about."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from libs.ids import new_id
from libs.postgres import Connection
from services.payout.model.reconciliations import Difference, Found, Kind

_ROW: Final = (
    "difference_id, kind, payout_id, provider_payout_id, theirs, ours, explanation, closed_by, seen_at, closed_at"
)


async def note(connection: Connection, found: Found, now: datetime) -> None:
    """Write a difference down, or what is now said of one that is open."""
    await connection.execute(
        """
        INSERT INTO differences
            (difference_id, kind, payout_id, provider_payout_id, theirs, ours, explanation, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (kind, coalesce(payout_id, '00000000-0000-0000-0000-000000000000'), provider_payout_id)
            WHERE closed_at IS NULL
        DO UPDATE SET theirs = $5, ours = $6, explanation = $7
        """,
        new_id(),
        found.kind,
        found.payout_id,
        found.provider_payout_id,
        found.theirs[:200],
        found.ours[:200],
        found.explanation,
        now,
    )


async def close_others(connection: Connection, seen: Collection[tuple[Kind, UUID | None, str]], now: datetime) -> int:
    """Close what is open and was not seen again; answers how many stay open."""
    rows = await connection.fetch(f"SELECT {_ROW} FROM differences WHERE closed_at IS NULL FOR UPDATE")  # noqa: S608 - constants
    gone = [
        row["difference_id"] for row in rows if (row["kind"], row["payout_id"], row["provider_payout_id"]) not in seen
    ]
    await connection.execute(
        "UPDATE differences SET closed_by = 'job:reconcile', closed_at = $2 WHERE difference_id = ANY ($1::uuid[])",
        gone,
        now,
    )
    return len(rows) - len(gone)


async def close(connection: Connection, difference_id: UUID, operator_id: str, reason: str, now: datetime) -> bool:
    """Close an open one with an operator's explanation."""
    done: str = await connection.execute(
        """
        UPDATE differences SET closed_by = $2, explanation = $3, closed_at = $4
        WHERE difference_id = $1 AND closed_at IS NULL
        """,
        difference_id,
        operator_id,
        reason,
        now,
    )
    return done.endswith("1")


async def find(connection: Connection, difference_id: UUID) -> Difference | None:
    rows = await connection.fetch(f"SELECT {_ROW} FROM differences WHERE difference_id = $1", difference_id)  # noqa: S608
    return _difference(rows[0]) if rows else None


async def page(connection: Connection, after: UUID, limit: int, *, closed: bool) -> list[Difference]:
    """Differences after one, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_ROW} FROM differences WHERE difference_id > $1 AND ($2 OR closed_at IS NULL)
        ORDER BY difference_id LIMIT $3
        """,  # noqa: S608 - constants
        after,
        closed,
        limit,
    )
    return [_difference(row) for row in rows]


async def count_open(connection: Connection) -> int:
    found: int = await connection.fetchval("SELECT count(*) FROM differences WHERE closed_at IS NULL")
    return found


def _difference(row: Any) -> Difference:
    return Difference(**dict(row) | {"kind": Kind(row["kind"])})
