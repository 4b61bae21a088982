"""Challenges: issued, tried once, dropped."""

from datetime import datetime
from uuid import UUID

from asyncpg import Record

from libs.ethereum import checksummed
from libs.postgres import Connection
from services.score.model import Challenge


async def insert(connection: Connection, challenge: Challenge) -> None:
    """Keeps a new one."""
    await connection.execute(
        """
        INSERT INTO challenges (nonce, account_ref, address, chain_id, issued_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        challenge.nonce,
        challenge.account_ref,
        bytes.fromhex(challenge.address[2:]),
        challenge.chain_id,
        challenge.issued_at,
        challenge.expires_at,
    )


async def count_since(connection: Connection, account_ref: UUID, since: datetime) -> int:
    """How many an account was issued since then."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM challenges WHERE account_ref = $1 AND issued_at > $2", account_ref, since
    )
    return count


async def find(connection: Connection, nonce: bytes) -> Challenge | None:
    """The challenge, as it is now."""
    return _challenge(await connection.fetchrow("SELECT * FROM challenges WHERE nonce = $1", nonce))


async def lock(connection: Connection, nonce: bytes) -> Challenge | None:
    """The challenge, locked: of several who try it one is first."""
    return _challenge(await connection.fetchrow("SELECT * FROM challenges WHERE nonce = $1 FOR UPDATE", nonce))


async def use(connection: Connection, nonce: bytes, *, accepted: bool, now: datetime) -> None:
    """Uses one up."""
    await connection.execute(
        "UPDATE challenges SET used_at = $2, accepted = $3 WHERE nonce = $1 AND used_at IS NULL", nonce, now, accepted
    )


async def drop_before(connection: Connection, instant: datetime, limit: int) -> int:
    """Drops those that expired before then, and returns how many."""
    rows = await connection.fetch(
        """
        DELETE FROM challenges WHERE nonce IN (
            SELECT nonce FROM challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        RETURNING 1
        """,
        instant,
        limit,
    )
    return len(rows)


def _challenge(row: Record | None) -> Challenge | None:
    if row is None:
        return None
    return Challenge(
        nonce=row["nonce"],
        account_ref=row["account_ref"],
        address=checksummed("0x" + row["address"].hex()),
        chain_id=row["chain_id"],
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
    )
