"""Transfers, and the balances that they move."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """One transfer before it is written; legs are micro-USD by account name and sum to zero."""

    transfer_id: UUID
    kind: TransferKind
    cause_id: str
    legs: Mapping[str, int]


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


class Prepared(NamedTuple):
    """The parameters of post_transfers(), after those of whatever statement it is part of."""

    account_names: list[str]
    account_kinds: list[AccountKind]
    transfer_ids: list[UUID]
    transfer_kinds: list[TransferKind]
    cause_ids: list[str]
    leg_transfers: list[int]
    leg_accounts: list[int]
    leg_amounts_micro: list[int]
    more_owed_micro: int
    posted_at: datetime


def prepare(
    kinds: Mapping[str, AccountKind], transfers: Sequence[Transfer], *, more_owed_micro: int, recorded_at: datetime
) -> Prepared:
    """Transfers, their entries, the balances that they move, and what creators are owed the more.

    `kinds` are those of all accounts moved; missing ones are made.
    """
    places = {name: place for place, name in enumerate(kinds, 1)}
    legs = [(number, each.legs) for number, each in enumerate(transfers, 1)]
    return Prepared(
        list(kinds),
        list(kinds.values()),
        [each.transfer_id for each in transfers],
        [each.kind for each in transfers],
        [each.cause_id for each in transfers],
        [number for number, moved in legs for _ in moved],
        [places[name] for _, moved in legs for name in moved],
        [amount_micro for _, moved in legs for amount_micro in moved.values()],
        more_owed_micro,
        recorded_at,
    )


async def post(connection: Connection, prepared: Prepared) -> None:
    """Writes it all at once. Raises InsufficientBalance."""
    with overdrawing():
        await connection.execute("SELECT post_transfers($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", *prepared)


@contextmanager
def overdrawing() -> Iterator[None]:
    """Raises InsufficientBalance where a statement with post_transfers() would take more than there is."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        if violated(error) == OVERDRAWN:
            raise InsufficientBalance from None
        raise
