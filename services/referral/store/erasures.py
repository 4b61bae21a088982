"""Erasures, who has reported, and what of an account referral itself removes."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model.erasures import Erasure, ErasureState, Report

_ERASING = "SET LOCAL referral.erasing = 'on'"
_PERSONAL = (
    "DELETE FROM accounts WHERE account_ref = $1",
    "DELETE FROM referral_registrations WHERE referee_ref = $1",
    "DELETE FROM referral_attribution_log WHERE referee_ref = $1",
    "DELETE FROM referee_activity WHERE referee_ref = $1",
    "DELETE FROM risk_signals WHERE referee_ref = $1",
    "DELETE FROM risk_exemptions WHERE account_ref = $1",
    "DELETE FROM account_addresses WHERE account_ref = $1",
    "DELETE FROM shared_addresses WHERE low_ref = $1 OR high_ref = $1",
    # What reviewers wrote freely may name somebody.
    """
    DELETE FROM review_notes USING review_cases
    WHERE review_notes.case_id = review_cases.case_id AND (referrer_ref = $1 OR referee_ref = $1)
    """,
)


async def lock_of_account(connection: Connection, account_ref: uuid.UUID) -> Erasure | None:
    """The erasure of an account, locked."""
    row = await connection.fetchrow("SELECT * FROM erasures WHERE account_ref = $1 FOR NO KEY UPDATE", account_ref)
    return _erasure(row, []) if row else None


async def lock(connection: Connection, erasure_id: uuid.UUID) -> Erasure | None:
    """An erasure with its reports, locked."""
    row = await connection.fetchrow("SELECT * FROM erasures WHERE erasure_id = $1 FOR NO KEY UPDATE", erasure_id)
    return _erasure(row, await _reports(connection, erasure_id)) if row else None


async def find(connection: Connection, erasure_id: uuid.UUID) -> Erasure | None:
    """An erasure with its reports."""
    row = await connection.fetchrow("SELECT * FROM erasures WHERE erasure_id = $1", erasure_id)
    return _erasure(row, await _reports(connection, erasure_id)) if row else None


async def insert(connection: Connection, erasure: Erasure) -> None:
    """Writes a new erasure."""
    await connection.execute(
        """
        INSERT INTO erasures (erasure_id, account_ref, forfeit_consent, requested_at, next_try_at)
        VALUES ($1, $2, $3, $4, $5)
        """,
        erasure.erasure_id,
        erasure.account_ref,
        erasure.forfeit_consent,
        erasure.requested_at,
        erasure.next_try_at,
    )


async def save(connection: Connection, erasure: Erasure) -> None:
    """Writes what may change of an erasure that this transaction holds locked."""
    await connection.execute(
        """
        UPDATE erasures SET forfeit_consent = $2, next_try_at = $3, state = $4, waits_for = $5, spread_at = $6,
            done_at = $7
        WHERE erasure_id = $1
        """,
        erasure.erasure_id,
        erasure.forfeit_consent,
        erasure.next_try_at,
        erasure.state,
        erasure.waits_for,
        erasure.spread_at,
        erasure.done_at,
    )


async def list_due(connection: Connection, now: datetime, *, limit: int) -> list[Erasure]:
    """Requested ones that are to be taken on, the longest waiting first."""
    rows = await connection.fetch(
        """
        SELECT * FROM erasures WHERE state = 'requested' AND next_try_at <= $1
        ORDER BY next_try_at, erasure_id LIMIT $2
        """,
        now,
        limit,
    )
    return [_erasure(row, []) for row in rows]


async def list_earning(connection: Connection, since: datetime) -> list[Erasure]:
    """Erased accounts that somebody registered with after an instant: shares go on accruing to their surrogates."""
    rows = await connection.fetch(
        """
        SELECT * FROM erasures WHERE state <> 'requested' AND EXISTS (
            SELECT FROM referral_registrations
            WHERE referrer_ref = account_ref AND kind = 'referred' AND created_at > $1
        ) ORDER BY erasure_id
        """,
        since,
    )
    return [_erasure(row, []) for row in rows]


async def count_by_state(connection: Connection) -> dict[str, int]:
    """How many erasures are in which state."""
    rows = await connection.fetch("SELECT state, count(*) AS erasures FROM erasures GROUP BY state")
    return {row["state"]: row["erasures"] for row in rows}


async def report(connection: Connection, erasure_id: uuid.UUID, made: Report) -> None:
    """Keeps a service's report; its first one stands."""
    await connection.execute(
        """
        INSERT INTO erasure_reports (erasure_id, service, rows, erased_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        erasure_id,
        made.service,
        made.rows,
        made.erased_at,
    )


async def lock_account(connection: Connection, account_ref: uuid.UUID) -> str | None:
    """The id of an account, locked as a command of its own locks it, then its codes; None when it is gone."""
    account_id: str | None = await connection.fetchval(
        "SELECT account_id FROM accounts WHERE account_ref = $1 FOR UPDATE", account_ref
    )
    await connection.execute("SELECT FROM codes WHERE owner_ref = $1 ORDER BY code_ref FOR UPDATE", account_ref)
    return account_id


async def find_account_id(connection: Connection, account_ref: uuid.UUID) -> str | None:
    """The id of an account that is not erased."""
    account_id: str | None = await connection.fetchval(
        "SELECT account_id FROM accounts WHERE account_ref = $1", account_ref
    )
    return account_id


async def erase(connection: Connection, account_ref: uuid.UUID, erased_at: datetime) -> int:
    """Removes what leads from a surrogate to a person, and what was bound to it; returns how many rows that were."""
    await connection.execute(_ERASING)
    rows = await _retire_codes(connection, account_ref, erased_at)
    for statement in _PERSONAL:
        tag: str = await connection.execute(statement, account_ref)
        rows += int(tag.rpartition(" ")[2])
    return rows


async def _retire_codes(connection: Connection, account_ref: uuid.UUID, now: datetime) -> int:
    """Ends the account's codes and overwrites them, wherever they are kept; none is ever issued again."""
    await connection.execute(
        """
        UPDATE codes SET state = 'revoked', ended_at = $2, end_reason = 'owner'
        WHERE owner_ref = $1 AND state = 'active'
        """,
        account_ref,
        now,
    )
    codes = [row["code"] for row in await connection.fetch("SELECT code FROM codes WHERE owner_ref = $1", account_ref)]
    await connection.execute(
        """
        INSERT INTO retired_codes SELECT retired_code_hash(code) FROM unnest($1::text[]) AS code
        ON CONFLICT DO NOTHING
        """,
        codes,
    )
    await connection.execute(
        "UPDATE referral_attribution_log SET code_typed = '' WHERE code_typed = ANY ($1::text[])", codes
    )
    await connection.execute(
        "UPDATE codes SET code = left(replace(gen_random_uuid()::text, '-', ''), 12) WHERE owner_ref = $1", account_ref
    )
    return len(codes)


async def _reports(connection: Connection, erasure_id: uuid.UUID) -> list[Report]:
    rows = await connection.fetch(
        "SELECT service, rows, erased_at FROM erasure_reports WHERE erasure_id = $1 ORDER BY service", erasure_id
    )
    return [Report(row["service"], row["rows"], row["erased_at"]) for row in rows]


def _erasure(row: Record, reports: Sequence[Report]) -> Erasure:
    return Erasure(
        erasure_id=row["erasure_id"],
        account_ref=row["account_ref"],
        forfeit_consent=row["forfeit_consent"],
        requested_at=row["requested_at"],
        next_try_at=row["next_try_at"],
        state=ErasureState(row["state"]),
        waits_for=row["waits_for"],
        spread_at=row["spread_at"],
        done_at=row["done_at"],
        reports=reports,
    )
