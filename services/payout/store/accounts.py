"""Own copy of which account has which surrogate, and of standings that referral told."""

from datetime import datetime
from uuid import UUID

import asyncpg

from libs.postgres import Connection, violated


async def find(connection: Connection, account_id: str) -> UUID | None:
    """Its surrogate, where this service has seen it."""
    found: UUID | None = await connection.fetchval("SELECT account_ref FROM accounts WHERE account_id = $1", account_id)
    return found


async def find_with_standing(connection: Connection, account_id: str) -> tuple[UUID, int] | None:
    """Its surrogate and the standing that referral told last; 0 where it never told one."""
    rows = await connection.fetch(
        """
        SELECT account_ref, coalesce(standing, 0) FROM accounts LEFT JOIN standings USING (account_ref)
        WHERE account_id = $1
        """,
        account_id,
    )
    return (rows[0][0], rows[0][1]) if rows else None


async def id_of(connection: Connection, account_ref: UUID) -> str | None:
    """The account behind a surrogate; None once it is erased."""
    found: str | None = await connection.fetchval("SELECT account_id FROM accounts WHERE account_ref = $1", account_ref)
    return found


async def ids_of(connection: Connection, account_refs: list[UUID]) -> dict[UUID, str]:
    """The accounts behind surrogates."""
    rows = await connection.fetch(
        "SELECT account_ref, account_id FROM accounts WHERE account_ref = ANY ($1::uuid[])", account_refs
    )
    return {row["account_ref"]: row["account_id"] for row in rows}


async def keep(connection: Connection, account_id: str, account_ref: UUID) -> None:
    """Remembers what referral said. An account that was erased and came again has another surrogate.

    Raises asyncpg.SerializationError where somebody else keeps the same at this moment.
    """
    try:
        await connection.execute(
            """
            INSERT INTO accounts (account_id, account_ref) VALUES ($1, $2)
            ON CONFLICT (account_id) DO UPDATE SET account_ref = excluded.account_ref
            WHERE accounts.account_ref <> excluded.account_ref
            """,
            account_id,
            account_ref,
        )
    except asyncpg.UniqueViolationError as error:
        raise overtaken(error) from None


def overtaken(error: asyncpg.UniqueViolationError) -> asyncpg.PostgresError:
    """What a failed insert is about: an account that two keep for the first time can meet at its surrogate's index.

    ON CONFLICT looks at one index only. Run again, the command finds the account kept.
    """
    if violated(error) == "accounts_account_ref_key":
        return asyncpg.SerializationError("the account was kept meanwhile")
    return error


async def note_standing(
    connection: Connection, account_ref: UUID, standing: int, revision: int, changed_at: datetime
) -> bool:
    """Keep a standing that is newer than what is known; False for an older one."""
    noted: str = await connection.execute(
        """
        INSERT INTO standings (account_ref, standing, revision, changed_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_ref) DO UPDATE
        SET standing = excluded.standing, revision = excluded.revision, changed_at = excluded.changed_at
        WHERE standings.revision < excluded.revision
        """,
        account_ref,
        standing,
        revision,
        changed_at,
    )
    return noted.endswith("1")


async def erase(connection: Connection, account_ref: UUID) -> int:
    """Forgets everything that leads from the account to its surrogate or addresses; returns how many rows that was.

    Payouts and their history keep the surrogate, which then leads to nobody.
    """
    erased: int = await connection.fetchval(
        """
        WITH gone_accounts AS (DELETE FROM accounts WHERE account_ref = $1 RETURNING 1),
            gone_destinations AS (DELETE FROM destinations WHERE account_ref = $1 RETURNING 1),
            gone_confirmations AS (DELETE FROM confirmations WHERE account_ref = $1 RETURNING 1),
            gone_quotes AS (DELETE FROM quotes WHERE account_ref = $1 RETURNING 1)
        SELECT (SELECT count(*) FROM gone_accounts) + (SELECT count(*) FROM gone_destinations)
            + (SELECT count(*) FROM gone_confirmations) + (SELECT count(*) FROM gone_quotes)
        """,
        account_ref,
    )
    return erased
