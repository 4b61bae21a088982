"""Attempts to hand a payout to the provider: written down before, and after, every call."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.postgres import Connection
from services.payout.model.payouts import Payout
from services.payout.model.submissions import Attempt, AttemptState, external_id

_ATTEMPT: Final = """
    payout_id, attempt, round, unique_external_id, state, amount, batch_id, provider_payout_id, provider_state, fee,
    transaction_hash, prepared_at, created_at, verified_at, checked_at, closed_at
    """
_LIVE: Final = "state IN (1, 2, 3)"


async def prepare(connection: Connection, payout: Payout, amount: Decimal, now: datetime) -> Attempt:
    """Write the next attempt of a payout down, due at once."""
    last = await connection.fetchval(
        "SELECT coalesce(max(attempt), 0) FROM payout_submissions WHERE payout_id = $1", payout.payout_id
    )
    (made,) = await connection.fetch(
        f"""
        INSERT INTO payout_submissions (payout_id, attempt, round, unique_external_id, state, amount, prepared_at)
        VALUES ($1, $2, $3, $4, 1, $5, $6) RETURNING {_ATTEMPT}
        """,  # noqa: S608 - constants
        payout.payout_id,
        last + 1,
        payout.round,
        external_id(payout.payout_id, last + 1),
        amount,
        now,
    )
    return _attempt(made)


async def lock(connection: Connection, unique_external_id: str) -> Attempt | None:
    """An attempt that is this transaction's until its end; its payout is locked before it, by whoever needs both."""
    return await _one(connection, "unique_external_id = $1 FOR UPDATE", unique_external_id)


async def find(connection: Connection, unique_external_id: str) -> Attempt | None:
    return await _one(connection, "unique_external_id = $1", unique_external_id)


async def by_provider_id(connection: Connection, provider_id: str) -> Attempt | None:
    """The attempt that the provider knows by this id of a batch or of its row."""
    return await _one(connection, "batch_id = $1 OR provider_payout_id = $1 LIMIT 1", provider_id)


async def live_of(connection: Connection, payout_id: UUID) -> Attempt | None:
    """The one attempt of a payout that is not over."""
    return await _one(connection, f"payout_id = $1 AND {_LIVE}", payout_id)


async def of_payout(connection: Connection, payout_id: UUID) -> list[Attempt]:
    """Every attempt of a payout, oldest first."""
    return await _fetch(connection, "payout_id = $1 ORDER BY attempt", payout_id)


async def due(connection: Connection, now: datetime, limit: int) -> list[Attempt]:
    """Live attempts to be looked at, the longest due first."""
    return await _fetch(
        connection,
        f"{_LIVE} AND (next_check_at IS NULL OR next_check_at <= $1) ORDER BY next_check_at NULLS FIRST, prepared_at "
        "LIMIT $2",
        now,
        limit,
    )


async def since(connection: Connection, instant: datetime) -> list[Attempt]:
    """Attempts that are live, or were made since."""
    return await _fetch(connection, f"{_LIVE} OR prepared_at >= $1 ORDER BY prepared_at", instant)


async def save(connection: Connection, attempt: Attempt) -> None:
    """Write what has changed of a locked attempt."""
    await connection.execute(
        """
        UPDATE payout_submissions SET
            state = $2, batch_id = $3, provider_payout_id = $4, provider_state = $5, fee = $6, transaction_hash = $7,
            created_at = $8, verified_at = $9, checked_at = $10, closed_at = $11,
            heard_at = CASE WHEN provider_state <> $5 THEN $10 ELSE heard_at END
        WHERE unique_external_id = $1
        """,
        attempt.unique_external_id,
        attempt.state,
        attempt.batch_id,
        attempt.provider_payout_id,
        attempt.provider_state,
        attempt.fee,
        attempt.transaction_hash,
        attempt.created_at,
        attempt.verified_at,
        attempt.checked_at,
        attempt.closed_at,
    )


async def plan(connection: Connection, unique_external_id: str, next_check_at: datetime | None) -> None:
    """When an attempt is looked at again; None for at once."""
    await connection.execute(
        "UPDATE payout_submissions SET next_check_at = $2, checks = checks + 1 WHERE unique_external_id = $1",
        unique_external_id,
        next_check_at,
    )


async def hurry(connection: Connection, payout_id: UUID) -> None:
    """Look at a payout's live attempt soon."""
    await connection.execute(
        "UPDATE payout_submissions SET next_check_at = NULL WHERE payout_id = $1 AND state IN (1, 2, 3)", payout_id
    )


async def checks(connection: Connection, unique_external_id: str) -> int:
    """How often an attempt was looked at."""
    found: int = await connection.fetchval(
        "SELECT checks FROM payout_submissions WHERE unique_external_id = $1", unique_external_id
    )
    return found


async def verifying(connection: Connection, unique_external_id: str) -> tuple[int, bool]:
    """How often a batch was tried to be verified, and whether the provider said yes."""
    (row,) = await connection.fetch(
        "SELECT verify_tries, answered FROM payout_submissions WHERE unique_external_id = $1", unique_external_id
    )
    return row["verify_tries"], row["answered"]


async def note_verifying(connection: Connection, unique_external_id: str, *, answered: bool) -> None:
    """Another try at verification begins, or the provider said yes to it."""
    await connection.execute(
        "UPDATE payout_submissions SET verify_tries = verify_tries + $2, answered = $3 WHERE unique_external_id = $1",
        unique_external_id,
        0 if answered else 1,
        answered,
    )


async def take_step(connection: Connection, step: int, unique_external_id: str, now: datetime) -> bool:
    """Take the code of these 30 seconds for one batch; False where another batch has it."""
    taken: str = await connection.execute(
        "INSERT INTO totp_steps (step, unique_external_id, used_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        step,
        unique_external_id,
        now,
    )
    return taken.endswith("1")


async def is_step_free(connection: Connection, step: int) -> bool:
    found: bool = await connection.fetchval("SELECT NOT EXISTS (SELECT FROM totp_steps WHERE step = $1)", step)
    return found


async def silent(connection: Connection, before: datetime, limit: int) -> list[UUID]:
    """Payouts at the provider of which nothing new was heard since `before`."""
    rows = await connection.fetch(
        """
        SELECT payout_id FROM payouts LEFT JOIN payout_submissions AS s USING (payout_id)
        WHERE payouts.stage IN (6, 8) AND NOT payouts.manual AND payouts.changed_at <= $1
          AND (s.state IS NULL OR s.state IN (1, 2, 3)) AND (s.heard_at IS NULL OR s.heard_at <= $1)
        ORDER BY payouts.changed_at LIMIT $2
        """,
        before,
        limit,
    )
    return [row["payout_id"] for row in rows]


async def _one(connection: Connection, where: str, *arguments: Any) -> Attempt | None:
    found = await _fetch(connection, where, *arguments)
    return found[0] if found else None


async def _fetch(connection: Connection, where: str, *arguments: Any) -> list[Attempt]:
    rows: Sequence[asyncpg.Record] = await connection.fetch(
        f"SELECT {_ATTEMPT} FROM payout_submissions WHERE {where}",  # noqa: S608 - constants
        *arguments,
    )
    return [_attempt(row) for row in rows]


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(**dict(row) | {"state": AttemptState(row["state"])})
