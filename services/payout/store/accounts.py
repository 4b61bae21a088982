"""What else is asked of the own copy of surrogates, and standings that referral told."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection


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
