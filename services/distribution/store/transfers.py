"""Transfers, and the balances that they move."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.postgres import Connection, violated
from services.distribution.model import AccountKind
from services.distribution.model.ledger import TransferKind
from services.distribution.rules.refusals import InsufficientBalance

OVERDRAWN = "accounts_not_overdrawn"


class Transfer(NamedTuple):
    """One transfer before it is written; legs are micro-USD by account id and sum to zero."""

    transfer_id: UUID
    kind: TransferKind
    cause_id: str
    legs: Mapping[int, int]


async def account_ids(connection: Connection, kinds: Mapping[str, AccountKind]) -> dict[str, int]:
    """Account ids by name, made where missing."""
    found = await _find(connection, list(kinds))
    missing = sorted(kinds.keys() - found.keys())
    if missing:
        rows = await connection.fetch(
            """
            INSERT INTO accounts (name, kind) SELECT * FROM unnest($1::text[], $2::text[])
            ON CONFLICT (name) DO NOTHING RETURNING name, account_id
            """,
            missing,
            [kinds[name] for name in missing],
        )
        found |= {row["name"]: row["account_id"] for row in rows}
        if overtaken := kinds.keys() - found.keys():
            found |= await _find(connection, sorted(overtaken))
    return found


async def add_owed(connection: Connection, amount_micro: int) -> None:
    """Adds to what creators have settled and held together; the last lock that a transaction takes."""
    await connection.execute("UPDATE owed SET owed_micro = owed_micro + $1", amount_micro)


async def _find(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    rows = await connection.fetch("SELECT name, account_id FROM accounts WHERE name = ANY ($1::text[])", names)
    return {row["name"]: row["account_id"] for row in rows}


async def lock(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Locks accounts in the order of their ids; balances by name. Where one is missing: locks none, returns none."""
    rows = await connection.fetch(
        """
        SELECT name, balance_micro FROM accounts WHERE name = ANY ($1::text[])
            AND (SELECT count(*) FROM accounts WHERE name = ANY ($1::text[])) = cardinality($1::text[])
        ORDER BY account_id FOR NO KEY UPDATE
        """,
        names,
    )
    return {row["name"]: row["balance_micro"] for row in rows}


async def insert(connection: Connection, transfers: Sequence[Transfer], *, recorded_at: datetime) -> None:
    """Writes transfers, and through a trigger their entries."""
    # A two-dimensional array would need legs of one length: rows are sent one by one, in one round trip.
    await connection.executemany(
        """
        INSERT INTO transfers (transfer_id, kind, cause_id, recorded_at, account_ids, amounts_micro)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        [
            (each.transfer_id, int(each.kind), each.cause_id, recorded_at, list(each.legs), list(each.legs.values()))
            for each in transfers
        ],
    )


async def move(connection: Connection, amounts: Mapping[int, int]) -> None:
    """Changes balances, locked in the order of the account ids. Raises InsufficientBalance."""
    # NO KEY: the entries just written hold their accounts' keys, and two transfers would wait for each other's.
    try:
        await connection.execute(
            """
            WITH locked AS (
                SELECT account_id FROM accounts WHERE account_id = ANY ($1::bigint[])
                ORDER BY account_id FOR NO KEY UPDATE
            )
            UPDATE accounts SET balance_micro = balance_micro + moved.amount_micro
            FROM unnest($1::bigint[], $2::bigint[]) AS moved (account_id, amount_micro) JOIN locked USING (account_id)
            WHERE accounts.account_id = moved.account_id
            """,
            list(amounts),
            list(amounts.values()),
        )
    except asyncpg.CheckViolationError as error:
        if violated(error) == OVERDRAWN:
            raise InsufficientBalance from None
        raise
