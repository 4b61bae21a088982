"""Where accounts are paid."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs import outbox
from libs.postgres import Connection
from libs.timestamps import to_timestamp
from protos.payout.v1 import events_pb2
from services.payout.model import OPEN
from services.payout.model.destinations import Destination, DestinationState

_DESTINATION: Final = """
    destination_id, account_ref, currency, address, memo, address_ref, state, added_at, confirmed_at, usable_from
    """
SHARED_MAX: Final = 10


async def insert(connection: Connection, wanted: Destination) -> bool:
    """Write a destination down, and tell of it and of who else uses it; False where the account was erased."""
    event = event_of(wanted, await sharers(connection, wanted), wanted.added_at)
    inserted: bool = await connection.fetchval(
        f"""
        WITH written AS (
            INSERT INTO destinations (
                destination_id, account_ref, currency, address, memo, address_ref, state, added_at
            ) VALUES ($8, $9, $10, $11, $12, $13, $14, $15) RETURNING 1
        ), told AS ({outbox.TELLING_WRITTEN})
        SELECT EXISTS (SELECT FROM written)
        """,  # noqa: S608 - constants
        *outbox.telling([event], key=event.account_ref, occurred_at=wanted.added_at),
        wanted.destination_id,
        wanted.account_ref,
        wanted.currency,
        wanted.address,
        wanted.memo,
        wanted.address_ref,
        wanted.state,
        wanted.added_at,
    )
    return inserted


async def set_state(
    connection: Connection,
    destination: Destination,
    state: DestinationState,
    *,
    confirmed_at: datetime | None = None,
    usable_from: datetime | None = None,
) -> Destination:
    """Move a destination on; a confirmation that it had is kept unless a new one is given."""
    (row,) = await connection.fetch(
        f"""
        UPDATE destinations SET
            state = $2, confirmed_at = coalesce($3, confirmed_at), usable_from = coalesce($4, usable_from)
        WHERE destination_id = $1 RETURNING {_DESTINATION}
        """,  # noqa: S608 - constant
        destination.destination_id,
        state,
        confirmed_at,
        usable_from,
    )
    return _destination(row)


async def match(
    connection: Connection, account_ref: UUID, currency: str, address: str, memo: str
) -> Destination | None:
    """An account's destination by what it is."""
    return await _one(
        connection,
        "account_ref = $1 AND currency = $2 AND address = $3 AND memo = $4",
        account_ref,
        currency,
        address,
        memo,
    )


async def find(connection: Connection, destination_id: UUID) -> Destination | None:
    """A destination, which is this transaction's until its end."""
    return await _one(connection, "destination_id = $1 FOR UPDATE", destination_id)


async def has_other_confirmed(connection: Connection, account_ref: UUID, destination_id: UUID) -> bool:
    """Whether the account was ever paid, or could be, at another destination."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM destinations WHERE account_ref = $1 AND destination_id <> $2 AND confirmed_at IS NOT NULL
        )
        """,
        account_ref,
        destination_id,
    )
    return found


async def is_used(connection: Connection, destination_id: UUID) -> bool:
    """Whether an open payout goes there."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM payouts WHERE destination_id = $1 AND stage = ANY ($2::smallint[]))",
        destination_id,
        sorted(OPEN),
    )
    return found


async def page(connection: Connection, account_ref: UUID, before: UUID | None, limit: int) -> list[Destination]:
    """An account's destinations without removed ones, newest first."""
    return await _fetch(
        connection,
        """
        account_ref = $1 AND state <> 3 AND ($2::uuid IS NULL OR destination_id < $2)
        ORDER BY destination_id DESC LIMIT $3
        """,
        account_ref,
        before,
        limit,
    )


async def sharers(connection: Connection, destination: Destination) -> list[UUID]:
    """Other accounts that use the address, or did."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT account_ref FROM destinations WHERE address_ref = $1 AND account_ref <> $2
        ORDER BY account_ref LIMIT $3
        """,
        destination.address_ref,
        destination.account_ref,
        SHARED_MAX,
    )
    return [row["account_ref"] for row in rows]


async def tell(
    connection: Connection, destination: Destination, now: datetime, *, wallet_owner: UUID | None = None
) -> None:
    """Tell that an account confirmed an address, ceased to use it or uses it again, and who else uses it."""
    shared: Sequence[UUID] = await sharers(connection, destination)
    if wallet_owner and wallet_owner not in {destination.account_ref, *shared}:
        shared = [wallet_owner, *shared][:SHARED_MAX]
    event = event_of(destination, shared, now)
    await outbox.append(connection, event, key=str(destination.account_ref), occurred_at=now)


def event_of(destination: Destination, shared: Sequence[UUID], now: datetime) -> events_pb2.DestinationChanged:
    """What is told of a destination."""
    return events_pb2.DestinationChanged(
        destination_id=str(destination.destination_id),
        account_ref=str(destination.account_ref),
        address_ref=str(destination.address_ref),
        state=events_pb2.DestinationState.ValueType(destination.state),
        currency=destination.currency,
        shared_with_refs=[str(each) for each in shared],
        changed_at=to_timestamp(now),
    )


async def _one(connection: Connection, where: str, *arguments: Any) -> Destination | None:
    found = await _fetch(connection, where, *arguments)
    return found[0] if found else None


async def _fetch(connection: Connection, where: str, *arguments: Any) -> list[Destination]:
    rows = await connection.fetch(
        f"SELECT {_DESTINATION} FROM destinations WHERE {where}",  # noqa: S608 - constants
        *arguments,
    )
    return [_destination(row) for row in rows]


def _destination(row: asyncpg.Record) -> Destination:
    return Destination(**dict(row) | {"state": DestinationState(row["state"])})
