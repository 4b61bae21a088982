"""Holds of payouts, and every state that they were in."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from libs import outbox
from libs.postgres import Connection
from services.distribution.model.holds import Hold, HoldState, Move, Withdrawable
from services.distribution.store import transfers

_HOLD = """
    payout_id::text, round, creator_ref::text, amount_micro, state, sent_micro, fee_micro, held_at, changed_at,
    forfeitures
    """
_NOTED = """
    noted AS (
        INSERT INTO payout_hold_states (
            payout_id, round, state, transfer_id, reason, changed_at, forfeit_transfer_id
        ) SELECT payout_id, round, state, $8::uuid, {0}, changed_at, {1} FROM written
    ), told AS ({2})
    """
"""The state that a hold has taken, kept and told in the statement that it took it in; $8 is the transfer."""
_KEPT: Final = "rounds, paused, settled_micro, maturing_micro, (creator).frozen, (creator).forfeitures"
_INSERT: Final = f"""
    WITH still AS MATERIALIZED (
        SELECT {_KEPT} FROM lock_withdrawable($9, $11, $15)
    ), posted AS MATERIALIZED (
        SELECT post_transfers($22, $23, $24, $25, $26, $27, $28, $29, $30, $31) FROM still
        WHERE (rounds, paused, settled_micro, maturing_micro, frozen, forfeitures) = ($16, $17, $18, $19, $20, $21)
    ), written AS (
        INSERT INTO payout_holds (
            payout_id, round, creator_ref, amount_micro, state, held_at, changed_at, forfeitures
        )
        SELECT $9, $10::integer, $11, $12::bigint, $13::smallint, $14::timestamptz, $14, $21 FROM posted RETURNING *
    ), {_NOTED.format("''", "null::uuid", outbox.TELLING_WRITTEN)}
    SELECT EXISTS (SELECT FROM written)
    """  # noqa: S608 - constants


async def lock(connection: Connection, payout_id: str) -> list[Hold]:
    """Every round of a payout, in order; the payout is this transaction's, also where it has no round yet."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('payout ' || $1::text, 0))", payout_id)
    rows = await connection.fetch(
        f"SELECT {_HOLD} FROM payout_holds WHERE payout_id = $1 ORDER BY round FOR UPDATE",  # noqa: S608 - constant
        payout_id,
    )
    return [_hold(row) for row in rows]


async def look(connection: Connection, payout_id: str, creator_ref: str, as_of: datetime) -> Withdrawable:
    """What a hold is decided by, at one moment; also of a creator of whom nothing is kept. Nothing is locked."""
    (row,) = await connection.fetch(
        """
        SELECT (SELECT count(*) FROM payout_holds WHERE payout_id = $1), paused,
            coalesce((SELECT balance_micro FROM accounts WHERE name = 'creator:' || $2::uuid || ':settled'), 0),
            (
                SELECT coalesce(sum(amount_micro), 0)::bigint FROM maturing_earnings
                WHERE maturing_earnings.creator_ref = $2 AND matures_at > $3
            ),
            coalesce(frozen, false), coalesce(forfeitures, 0)
        FROM payouts_switch LEFT JOIN creator_states ON creator_ref = $2
        """,
        payout_id,
        creator_ref,
        as_of,
    )
    return Withdrawable(*row)


async def lock_withdrawable(connection: Connection, payout_id: str, creator_ref: str, as_of: datetime) -> Withdrawable:
    """Locks a payout, as `lock` does, and what a hold is decided by; also of a creator of whom nothing is kept."""
    (row,) = await connection.fetch(f"SELECT {_KEPT} FROM lock_withdrawable($1, $2, $3)", payout_id, creator_ref, as_of)  # noqa: S608
    return Withdrawable(*row)


async def insert(
    connection: Connection,
    hold: Hold,
    seen: Withdrawable,
    as_of: datetime,
    prepared: transfers.Prepared,
    events: Sequence[Message],
) -> bool:
    """Posts and writes a hold that begins, and what is told of it, if all that decides is as it was seen.

    It is locked and read again within the statement, in the order of `lock_withdrawable`: what holds then held when it
    was decided. False where it does not, and nothing is written. Raises InsufficientBalance.
    """
    with transfers.overdrawing():
        written: bool = await connection.fetchval(
            _INSERT,
            *outbox.telling(events, key=hold.creator_ref, occurred_at=hold.held_at),
            prepared.transfer_ids[0],
            hold.payout_id,
            hold.round,
            hold.creator_ref,
            hold.amount_micro,
            hold.state,
            hold.held_at,
            as_of,
            *seen,
            *prepared,
        )
    return written


async def move(
    connection: Connection,
    hold: Hold,
    wanted: Move,
    transfer_id: UUID,
    now: datetime,
    events: Sequence[Message],
    *,
    forfeit_transfer_id: UUID | None = None,
) -> Hold:
    """Moves a hold on from the state that it was read in, and tells of it; it is nobody's to move from another one."""
    row = await connection.fetchrow(
        f"""
        WITH written AS (
            UPDATE payout_holds SET state = $12, sent_micro = $13, fee_micro = $14, changed_at = $15
            WHERE payout_id = $9 AND round = $10 AND state = $11 RETURNING *
        ), {_NOTED.format("$16", "$17::uuid", outbox.TELLING_WRITTEN)}
        SELECT {_HOLD} FROM written
        """,  # noqa: S608 - constants
        *outbox.telling(events, key=hold.creator_ref, occurred_at=now),
        transfer_id,
        hold.payout_id,
        hold.round,
        hold.state,
        wanted.to,
        wanted.sent_micro,
        wanted.fee_micro,
        now,
        wanted.reason,
        forfeit_transfer_id,
    )
    if row is None:
        raise asyncpg.SerializationError("the hold was moved meanwhile")
    return _hold(row)


async def find(connection: Connection, payout_id: str, number: int) -> Hold | None:
    """One round of a payout; the latest for 0."""
    row = await connection.fetchrow(
        f"""
        SELECT {_HOLD} FROM payout_holds WHERE payout_id = $1 AND (round = $2 OR $2 = 0) ORDER BY round DESC LIMIT 1
        """,  # noqa: S608 - constant
        payout_id,
        number,
    )
    return _hold(row) if row else None


async def page(
    connection: Connection,
    states: Sequence[HoldState],
    since: datetime,
    after: tuple[datetime, str, int],
    limit: int,
) -> list[Hold]:
    """Holds that changed at or after an instant, oldest change first, after a place in that order."""
    rows = await connection.fetch(
        f"""
        SELECT {_HOLD} FROM payout_holds
        WHERE changed_at >= $2 AND (changed_at, payout_id, round) > ($3, $4, $5)
            AND (state = ANY ($1::smallint[]) OR cardinality($1::smallint[]) = 0)
        ORDER BY changed_at, payout_id, round LIMIT $6
        """,  # noqa: S608 - constant
        states,
        since,
        *after,
        limit,
    )
    return [_hold(row) for row in rows]


def _hold(row: asyncpg.Record) -> Hold:
    payout_id, number, creator_ref, amount_micro, state, *rest = row
    return Hold(payout_id, number, creator_ref, amount_micro, HoldState(state), *rest)
