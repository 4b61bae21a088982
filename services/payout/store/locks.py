"""What waits for one another where there is no row yet to lock."""

from uuid import UUID

from libs.postgres import Connection


async def account(connection: Connection, account_ref: UUID) -> None:
    """Take an account's turn: what else it asks for waits, and what was decided before is decided again."""
    await connection.execute(
        """
        INSERT INTO turns (account_ref, turn) VALUES ($1, 1)
        ON CONFLICT (account_ref) DO UPDATE SET turn = turns.turn + 1
        """,
        account_ref,
    )


async def proof(connection: Connection, text: str) -> None:
    """Whoever brings the same proof waits for one another."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('proof ' || lower($1), 0))", text)
