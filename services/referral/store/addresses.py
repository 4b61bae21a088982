"""Wallets and payout destinations of accounts, by surrogate, and who shares one."""

import uuid
from datetime import datetime

from libs.postgres import Connection
from services.referral.model.risk import AccountAddress, AddressKind


async def save(connection: Connection, address: AccountAddress) -> None:
    """What was told of an account's address; events of one account come in their order."""
    await connection.execute(
        """
        INSERT INTO account_addresses (account_ref, kind, address_ref, active, changed_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account_ref, kind, address_ref) DO UPDATE SET
            active = excluded.active, changed_at = excluded.changed_at
        """,
        address.account_ref,
        address.kind,
        address.address_ref,
        address.active,
        address.changed_at,
    )


async def others(connection: Connection, address: AccountAddress, *, limit: int) -> list[uuid.UUID]:
    """Other accounts that have, or had, the same address."""
    rows = await connection.fetch(
        """
        SELECT account_ref FROM account_addresses WHERE address_ref = $1 AND kind = $2 AND account_ref <> $3
        ORDER BY changed_at DESC, account_ref LIMIT $4
        """,
        address.address_ref,
        address.kind,
        address.account_ref,
        limit,
    )
    return [row["account_ref"] for row in rows]


async def take_turn(connection: Connection, address_ref: uuid.UUID) -> None:
    """Two accounts that take up one address at once: the second one sees the first."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"address {address_ref}")


async def insert_pair(
    connection: Connection, one: uuid.UUID, other: uuid.UUID, kind: AddressKind, address_ref: uuid.UUID, now: datetime
) -> bool:
    """False when it was known that these two share it."""
    new: bool | None = await connection.fetchval(
        """
        INSERT INTO shared_addresses (low_ref, high_ref, kind, address_ref, found_at)
        VALUES (least($1::uuid, $2::uuid), greatest($1::uuid, $2::uuid), $3, $4, $5)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        one,
        other,
        kind,
        address_ref,
        now,
    )
    return new is not None
