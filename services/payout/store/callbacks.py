"""Verified callbacks, each once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from libs.ids import new_id
from libs.postgres import Connection
from services.payout.model.callbacks import Callback, CallbackKind, CallbackState

_ROW: Final = "callback_id, kind, state, provider_id, provider_state, payout_id, tries, received_at, applied_at"


async def keep(
    connection: Connection,
    kind: CallbackKind,
    raw_body: bytes,
    body_hash: bytes,
    provider_id: str,
    provider_state: str,
    now: datetime,
) -> tuple[UUID, bool]:
    """Keep a callback; its id, and whether it is new."""
    callback_id = await connection.fetchval(
        """
        INSERT INTO callbacks
            (callback_id, kind, state, body_hash, raw_body, provider_id, provider_state, due_at, received_at)
        VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $7) ON CONFLICT (kind, body_hash) DO NOTHING RETURNING callback_id
        """,
        new_id(),
        kind,
        body_hash,
        raw_body,
        provider_id,
        provider_state,
        now,
    )
    if callback_id is not None:
        return callback_id, True
    known: UUID = await connection.fetchval(
        "SELECT callback_id FROM callbacks WHERE kind = $1 AND body_hash = $2", kind, body_hash
    )
    return known, False


async def due(connection: Connection, now: datetime, limit: int) -> list[Callback]:
    """Callbacks to be applied, the longest due first."""
    return await _fetch(connection, "state < 3 AND due_at <= $1 ORDER BY due_at, callback_id LIMIT $2", now, limit)


async def end(
    connection: Connection, callback_id: UUID, state: CallbackState, payout_id: UUID | None, now: datetime
) -> None:
    """It is dealt with."""
    await connection.execute(
        """
        UPDATE callbacks SET state = $2, payout_id = coalesce($3, payout_id), applied_at = $4, tries = tries + 1
        WHERE callback_id = $1 AND state < 3
        """,
        callback_id,
        state,
        payout_id,
        now,
    )


async def wait(connection: Connection, callback_id: UUID, due_at: datetime) -> None:
    """It could not be dealt with; another time."""
    await connection.execute(
        "UPDATE callbacks SET state = 2, tries = tries + 1, due_at = $2 WHERE callback_id = $1 AND state < 3",
        callback_id,
        due_at,
    )


async def again(connection: Connection, callback_id: UUID, now: datetime) -> Callback | None:
    """Stored, as if it had just come; None where there is no such callback."""
    await connection.execute(
        "UPDATE callbacks SET state = 1, applied_at = NULL, due_at = $2, tries = 0 WHERE callback_id = $1",
        callback_id,
        now,
    )
    found = await _fetch(connection, "callback_id = $1", callback_id)
    return found[0] if found else None


async def page(
    connection: Connection, before: UUID, limit: int, kinds: Sequence[int], states: Sequence[int]
) -> list[Callback]:
    """Callbacks before one, newest first."""
    return await _fetch(
        connection,
        "callback_id < $1 AND kind = ANY ($3::smallint[]) AND state = ANY ($4::smallint[]) "
        "ORDER BY callback_id DESC LIMIT $2",
        before,
        limit,
        list(kinds),
        list(states),
    )


async def purge(connection: Connection, before: datetime, limit: int) -> int:
    """Drop what was dealt with long ago; answers how many."""
    dropped: str = await connection.execute(
        """
        DELETE FROM callbacks WHERE callback_id IN (
            SELECT callback_id FROM callbacks WHERE applied_at < $1 ORDER BY applied_at LIMIT $2
        )
        """,
        before,
        limit,
    )
    return int(dropped.rsplit(maxsplit=1)[-1])


KEPT: Final = timedelta(days=90)


async def _fetch(connection: Connection, where: str, *arguments: Any) -> list[Callback]:
    rows = await connection.fetch(f"SELECT {_ROW} FROM callbacks WHERE {where}", *arguments)  # noqa: S608 - constants
    return [
        Callback(**dict(row) | {"kind": CallbackKind(row["kind"]), "state": CallbackState(row["state"])})
        for row in rows
    ]
