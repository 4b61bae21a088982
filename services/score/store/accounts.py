"""What else is done with the own copy of surrogates."""

from uuid import UUID

from libs.postgres import Connection


async def lock(connection: Connection, account_ref: UUID) -> None:
    """What an account does with its wallets waits for one another."""
    await connection.execute("SELECT 1 FROM accounts WHERE account_ref = $1 FOR NO KEY UPDATE", account_ref)


async def erase(connection: Connection, account_ref: UUID) -> int:
    """Forgets everything that leads from the account to its surrogate or wallets, and returns how many rows that was.

    Runs keep surrogates, which then lead to nobody.
    """
    erased: int = await connection.fetchval(
        """
        WITH gone_accounts AS (DELETE FROM accounts WHERE account_ref = $1 RETURNING 1),
            gone_wallets AS (DELETE FROM wallets WHERE account_ref = $1 RETURNING 1),
            gone_challenges AS (DELETE FROM challenges WHERE account_ref = $1 RETURNING 1)
        SELECT (SELECT count(*) FROM gone_accounts) + (SELECT count(*) FROM gone_wallets)
            + (SELECT count(*) FROM gone_challenges)
        """,
        account_ref,
    )
    return erased
