"""Versions of the risk weights."""

from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model.risk import Weight, Weights, WeightsState


async def take_turn(connection: Connection) -> None:
    """Whoever changes the versions waits for whoever else does."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('risk weights', 0))")


async def insert(connection: Connection, weights: Weights) -> None:
    """Writes a version."""
    await connection.execute(
        """
        INSERT INTO risk_weights (weights_version, state, caps, divisors, factors_bps, flagged_from, urgent_from,
            proposed_by, reason, proposed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        weights.version,
        weights.state,
        [each.cap for each in weights.weights],
        [each.divisor for each in weights.weights],
        [each.factor_bps for each in weights.weights],
        weights.flagged_from,
        weights.urgent_from,
        weights.proposed_by,
        weights.reason,
        weights.proposed_at,
    )


async def next_version(connection: Connection) -> int:
    """The version that a proposal gets, in its turn."""
    version: int = await connection.fetchval("SELECT coalesce(max(weights_version), 0) + 1 FROM risk_weights")
    return version


async def retire_oldest_shadows(connection: Connection, keep: int) -> list[int]:
    """Ends shadows beyond the newest few, and returns their versions."""
    rows = await connection.fetch(
        """
        UPDATE risk_weights SET state = 'retired' WHERE weights_version IN (
            SELECT weights_version FROM risk_weights WHERE state = 'shadow' ORDER BY weights_version DESC OFFSET $1
        ) RETURNING weights_version
        """,
        keep,
    )
    return sorted(row["weights_version"] for row in rows)


async def activate(connection: Connection, version: int, operator_id: str, now: datetime) -> None:
    """Retires the active version and puts another in its place."""
    await connection.execute("UPDATE risk_weights SET state = 'retired' WHERE state = 'active'")
    await connection.execute(
        """
        UPDATE risk_weights SET state = 'active', activated_by = $2, activated_at = $3 WHERE weights_version = $1
        """,
        version,
        operator_id,
        now,
    )


async def find(connection: Connection, version: int) -> Weights | None:
    """One version."""
    row = await connection.fetchrow("SELECT * FROM risk_weights WHERE weights_version = $1", version)
    return _weights(row) if row else None


async def in_use(connection: Connection) -> list[Weights]:
    """The active version and the shadows, the active one first."""
    rows = await connection.fetch(
        """
        SELECT * FROM risk_weights WHERE state IN ('active', 'shadow')
        ORDER BY state = 'active' DESC, weights_version
        """
    )
    return [_weights(row) for row in rows]


async def page(connection: Connection, below: int | None, *, limit: int) -> list[Weights]:
    """Versions, newest first."""
    rows = await connection.fetch(
        """
        SELECT * FROM risk_weights WHERE $1::integer IS NULL OR weights_version < $1
        ORDER BY weights_version DESC LIMIT $2
        """,
        below,
        limit,
    )
    return [_weights(row) for row in rows]


def _weights(row: Record) -> Weights:
    return Weights(
        version=row["weights_version"],
        state=WeightsState(row["state"]),
        weights=tuple(Weight(*each) for each in zip(row["caps"], row["divisors"], row["factors_bps"], strict=True)),
        flagged_from=row["flagged_from"],
        urgent_from=row["urgent_from"],
        proposed_by=row["proposed_by"],
        reason=row["reason"],
        proposed_at=row["proposed_at"],
        activated_by=row["activated_by"] or "",
        activated_at=row["activated_at"],
    )
