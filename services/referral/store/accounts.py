"""Outside ids and their surrogates."""

import uuid
from collections.abc import Iterable, Sequence

from libs.ids import new_id
from libs.postgres import Connection


async def lock(connection: Connection, account_id: str) -> uuid.UUID:
    """The surrogate of an account, made on first sight; its row stays locked until the transaction ends.

    The lock is what makes the commands of one account wait for one another. Written as an update of nothing because
    DO NOTHING would neither lock nor return a row that is there already.
    """
    account_ref: uuid.UUID = await connection.fetchval(
        """
        INSERT INTO accounts (account_ref, account_id) VALUES ($1, $2)
        ON CONFLICT (account_id) DO UPDATE SET account_id = excluded.account_id
        RETURNING account_ref
        """,
        new_id(),
        account_id,
    )
    return account_ref


async def find(connection: Connection, account_id: str) -> uuid.UUID | None:
    """The surrogate of an account, if it has one."""
    account_ref: uuid.UUID | None = await connection.fetchval(
        "SELECT account_ref FROM accounts WHERE account_id = $1", account_id
    )
    return account_ref


async def find_many(connection: Connection, account_ids: Sequence[str]) -> dict[str, uuid.UUID]:
    """Surrogates by id, of those accounts that have one."""
    rows = await connection.fetch(
        "SELECT account_id, account_ref FROM accounts WHERE account_id = ANY ($1::text[])", account_ids
    )
    return {row["account_id"]: row["account_ref"] for row in rows}


async def make_missing(connection: Connection, account_ids: Iterable[str]) -> None:
    """Makes surrogates where there are none, in the order of the ids: two calls never wait for each other crosswise."""
    wanted = sorted(account_ids)
    await connection.execute(
        """
        INSERT INTO accounts (account_ref, account_id)
        SELECT account_ref, account_id FROM unnest($1::uuid[], $2::text[]) AS wanted (account_ref, account_id)
        ON CONFLICT (account_id) DO NOTHING
        """,
        [new_id() for _ in wanted],
        wanted,
    )
