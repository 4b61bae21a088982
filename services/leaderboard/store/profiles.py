"""SQL of accounts and profiles: what is known of a person, and can be erased."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Profile


async def find_ref(connection: Connection, account_id: str) -> UUID | None:
    """The surrogate of an account, if this service was told it before."""
    account_ref: UUID | None = await connection.fetchval(
        "SELECT account_ref FROM accounts WHERE account_id = $1", account_id
    )
    return account_ref


async def keep_ref(connection: Connection, account_id: str, account_ref: UUID) -> None:
    await connection.execute(
        "INSERT INTO accounts (account_ref, account_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", account_ref, account_id
    )


async def find(connection: Connection, account_ref: UUID) -> Profile:
    """The profile of an account; the empty one where it never set any."""
    row = await connection.fetchrow(
        "SELECT account_ref, display_name, revision, updated_at FROM profiles WHERE account_ref = $1", account_ref
    )
    return Profile(*row) if row else Profile(account_ref)


async def lock(connection: Connection, account_ref: UUID) -> Profile:
    """The same, waiting for whoever changes it: also where there is no row yet."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", str(account_ref))
    return await find(connection, account_ref)


async def save(connection: Connection, profile: Profile, now: datetime) -> None:
    await connection.execute(
        """
        INSERT INTO profiles (account_ref, display_name, revision, updated_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_ref) DO UPDATE SET
            display_name = excluded.display_name, revision = excluded.revision, updated_at = excluded.updated_at
        """,
        profile.account_ref,
        profile.display_name,
        profile.revision,
        now,
    )


async def erase(connection: Connection, account_ref: UUID) -> int:
    """Deletes what is known of a person; returns how many rows that were."""
    rows = await connection.fetch(
        """
        WITH account AS (DELETE FROM accounts WHERE account_ref = $1 RETURNING 1),
        profile AS (DELETE FROM profiles WHERE account_ref = $1 RETURNING 1)
        SELECT FROM account UNION ALL SELECT FROM profile
        """,
        account_ref,
    )
    return len(rows)
