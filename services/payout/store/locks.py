"""What waits for one another where there is no row to lock."""

from uuid import UUID

from libs.postgres import Connection


async def request(connection: Connection, request_id: str, account_ref: UUID) -> None:
    """The same request again waits for the first, and what else the account asks for waits for both."""
    await connection.execute(
        """
        SELECT pg_advisory_xact_lock(hashtextextended('RequestPayout ' || $1, 0)),
            pg_advisory_xact_lock(hashtextextended('account ' || $2, 0))
        """,
        request_id,
        str(account_ref),
    )


async def account(connection: Connection, account_ref: UUID) -> None:
    """What an account asks for waits for one another."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('account ' || $1, 0))", str(account_ref))


async def proof(connection: Connection, text: str) -> None:
    """Whoever brings the same proof waits for one another."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('proof ' || lower($1), 0))", text)
