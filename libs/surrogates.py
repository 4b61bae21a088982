"""A service's own copy of which account has which surrogate: its table `accounts`, where both are unique."""

from uuid import UUID

import asyncpg

from libs.postgres import Connection, violated


async def find(connection: Connection, account_id: str) -> UUID | None:
    """Its surrogate, where this service has seen it."""
    found: UUID | None = await connection.fetchval("SELECT account_ref FROM accounts WHERE account_id = $1", account_id)
    return found


async def keep(connection: Connection, account_id: str, account_ref: UUID) -> None:
    """Remembers what referral said. An account that was erased and came again has another surrogate.

    Raises asyncpg.SerializationError where somebody else keeps the same at this moment: ON CONFLICT looks at one index
    only, and whoever keeps an account for the first time can meet another one at its surrogate's. Run again, the
    command finds it kept.
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
        if violated(error) != "accounts_account_ref_key":
            raise
        raise asyncpg.SerializationError("the account was kept meanwhile") from None
