"""What waits for one another where there is no row to lock."""

from uuid import UUID

from libs.postgres import Connection


async def request(connection: Connection, request_id: str) -> None:
    """The same request again waits for the first."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('RequestPayout ' || $1, 0))", request_id)


async def account(connection: Connection, account_ref: UUID) -> None:
    """What an account asks for waits for one another."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('account ' || $1, 0))", str(account_ref))


async def proof(connection: Connection, text: str) -> None:
    """Whoever brings the same proof waits for one another."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('proof ' || lower($1), 0))", text)
