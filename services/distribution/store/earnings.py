"""Open earnings, what became of the others, and the state of creators."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from libs.postgres import Connection
from services.distribution.model import creator_account
from services.distribution.model.earnings import (
    Bucket,
    CreatorState,
    Earnings,
    EarningsPart,
    Forfeiture,
    LockReason,
    Settled,
)
from services.distribution.rules import earnings as rules
from services.distribution.store import accounts

_STATE = "creator_ref::text, frozen, standing_revision, paid_out_micro, reversed_micro, changed_at, forfeitures"


async def lock_states(connection: Connection, creator_refs: Sequence[str]) -> dict[str, CreatorState]:
    """Locks creators, made where missing, in the order of their surrogates: what comes before any lock on accounts."""
    wanted = sorted(set(creator_refs))
    if not (states := await _lock_all(connection, wanted)):
        await connection.execute(
            "INSERT INTO creator_states (creator_ref) SELECT unnest($1::uuid[]) ON CONFLICT (creator_ref) DO NOTHING",
            wanted,
        )
        states = await _lock_all(connection, wanted)
    return states


async def _lock_all(connection: Connection, creator_refs: Sequence[str]) -> dict[str, CreatorState]:
    """None where one is missing: what is made later would be locked out of order."""
    rows = await connection.fetch(
        f"""
        SELECT {_STATE} FROM creator_states WHERE creator_ref = ANY ($1::uuid[])
            AND (SELECT count(*) FROM creator_states WHERE creator_ref = ANY ($1::uuid[])) = cardinality($1::uuid[])
        ORDER BY creator_ref FOR UPDATE
        """,  # noqa: S608 - constant
        creator_refs,
    )
    return {row["creator_ref"]: CreatorState(*row) for row in rows}


async def find_state(connection: Connection, creator_ref: str) -> CreatorState:
    row = await connection.fetchrow(
        f"SELECT {_STATE} FROM creator_states WHERE creator_ref = $1",  # noqa: S608 - constant
        creator_ref,
    )
    return CreatorState(*row) if row else CreatorState(creator_ref)


async def set_frozen(
    connection: Connection, creator_ref: str, *, frozen: bool, standing_revision: int, now: datetime
) -> None:
    await connection.execute(
        "UPDATE creator_states SET frozen = $2, standing_revision = $3, changed_at = $4 WHERE creator_ref = $1",
        creator_ref,
        frozen,
        standing_revision,
        now,
    )


async def add_totals(
    connection: Connection, creator_ref: str, *, paid_out_micro: int = 0, reversed_micro: int = 0
) -> None:
    """Adds to what was ever paid out to a creator and ever taken back; both may be given back again."""
    await connection.execute(
        """
        UPDATE creator_states
        SET paid_out_micro = paid_out_micro + $2, reversed_micro = reversed_micro + $3 WHERE creator_ref = $1
        """,
        creator_ref,
        paid_out_micro,
        reversed_micro,
    )


async def due_creators(connection: Connection, cleared_by: datetime) -> list[tuple[str, int]]:
    """Creators with due shares and how many, by surrogate."""
    rows = await connection.fetch(
        """
        SELECT creator_ref::text, count(*) FROM pending_earnings WHERE cleared_at <= $1
        GROUP BY creator_ref ORDER BY creator_ref
        """,
        cleared_by,
    )
    return [(creator_ref, shares) for creator_ref, shares in rows]


async def settle_due(
    connection: Connection,
    transfer_ids: Mapping[str, UUID],
    cleared_by: datetime,
    *,
    settled_at: datetime,
    hold: timedelta,
) -> list[Settled]:
    """Turns due shares of locked creators into maturing ones, under the transfer that each creator is to get."""
    rows = await connection.fetch(
        """
        WITH taken AS (
            DELETE FROM pending_earnings WHERE creator_ref = ANY ($1::uuid[]) AND cleared_at <= $3
            RETURNING creator_ref, distribution_id, amount_micro, accrued_at
        ), maturing AS (
            INSERT INTO maturing_earnings (creator_ref, matures_at, distribution_id, amount_micro)
            SELECT creator_ref, accrued_at + $5::interval, distribution_id, amount_micro FROM taken
            WHERE accrued_at + $5::interval > $4
        ), changes AS (
            INSERT INTO earning_changes (distribution_id, transfer_id, creator_ref, change, amount_micro, changed_at)
            SELECT distribution_id, transfer_id, creator_ref, 1, amount_micro, $4
            FROM taken JOIN unnest($1::uuid[], $2::uuid[]) AS locked (creator_ref, transfer_id) USING (creator_ref)
        )
        SELECT creator_ref::text, sum(amount_micro)::bigint, count(*) FROM taken GROUP BY creator_ref ORDER BY 1
        """,
        list(transfer_ids),
        list(transfer_ids.values()),
        cleared_by,
        settled_at,
        hold,
    )
    return [Settled(*row) for row in rows]


async def drop_matured(connection: Connection, now: datetime, limit: int) -> int:
    """Forgets maturing rows whose time has come; returns how many."""
    dropped: str = await connection.execute(
        """
        DELETE FROM maturing_earnings AS gone USING (
            SELECT creator_ref, matures_at, distribution_id FROM maturing_earnings
            WHERE matures_at <= $1 ORDER BY matures_at LIMIT $2
        ) AS matured
        WHERE gone.creator_ref = matured.creator_ref AND gone.matures_at = matured.matures_at
            AND gone.distribution_id = matured.distribution_id
        """,
        now,
        limit,
    )
    return int(dropped.rsplit(maxsplit=1)[-1])


async def forfeit_open(connection: Connection, creator_ref: str, transfer_id: UUID, now: datetime) -> None:
    """Ends all open earnings of a creator, under the transfer that took them."""
    await connection.execute(
        """
        WITH gone AS (
            DELETE FROM pending_earnings WHERE creator_ref = $1 RETURNING distribution_id, amount_micro
        )
        INSERT INTO earning_changes (distribution_id, transfer_id, creator_ref, change, amount_micro, changed_at)
        SELECT distribution_id, $2, $1, 7, amount_micro, $3 FROM gone
        """,
        creator_ref,
        transfer_id,
        now,
    )
    await connection.execute("DELETE FROM maturing_earnings WHERE creator_ref = $1", creator_ref)


async def insert_forfeiture(connection: Connection, forfeiture: Forfeiture, now: datetime) -> None:
    """Writes that a locked creator forfeited, once more."""
    await connection.execute(
        """
        INSERT INTO forfeitures (creator_ref, number, request_id, operator_id, reason, transfer_id, forfeited_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        forfeiture.creator_ref,
        forfeiture.number,
        forfeiture.request_id,
        *forfeiture.order,
        forfeiture.transfer_id or None,
        now,
    )
    await connection.execute(
        "UPDATE creator_states SET forfeitures = $2 WHERE creator_ref = $1", forfeiture.creator_ref, forfeiture.number
    )


async def maturing_micro(connection: Connection, creator_ref: str, now: datetime) -> int:
    """What of a creator's settled money may not be paid out yet."""
    amount: int = await connection.fetchval(
        """
        SELECT coalesce(sum(amount_micro), 0)::bigint FROM maturing_earnings
        WHERE creator_ref = $1 AND matures_at > $2
        """,
        creator_ref,
        now,
    )
    return amount


async def parts(
    connection: Connection, creator_ref: str, now: datetime, *, settlement_delay: timedelta, hold: timedelta
) -> list[EarningsPart]:
    """Pending and maturing by the UTC day on which they unlock; undated where a payment is waited for."""
    rows = await connection.fetch(
        """
        SELECT 1 AS bucket, sum(amount_micro)::bigint AS amount_micro, max(unlocks_at) AS unlocks_at
        FROM (
            -- No date while a payment has not cleared; greatest() alone would pass over the null.
            SELECT amount_micro,
                CASE WHEN cleared_at IS NOT NULL THEN greatest(cleared_at + $3::interval, accrued_at + $4::interval) END
                AS unlocks_at
            FROM pending_earnings WHERE creator_ref = $1
        ) AS pending
        GROUP BY date_trunc('day', unlocks_at, 'UTC')
        UNION ALL
        SELECT 2, sum(amount_micro)::bigint, max(matures_at)
        FROM maturing_earnings WHERE creator_ref = $1 AND matures_at > $2 GROUP BY date_trunc('day', matures_at, 'UTC')
        """,
        creator_ref,
        now,
        settlement_delay,
        hold,
    )
    return [
        EarningsPart(
            Bucket(row["bucket"]),
            row["amount_micro"],
            row["unlocks_at"],
            LockReason.NONE if row["unlocks_at"] else LockReason.PAYMENT_NOT_CLEARED,
        )
        for row in rows
    ]


async def read(
    connection: Connection, creator_ref: str, now: datetime, *, settlement_delay: timedelta, hold: timedelta
) -> Earnings:
    """The seven buckets of one creator; within one snapshot."""
    names = [creator_account(creator_ref, part) for part in ("pending", "settled", "held")]
    pending, settled, held = await accounts.balances(connection, names)
    return rules.buckets(
        await find_state(connection, creator_ref),
        pending_micro=pending.balance_micro,
        settled_micro=settled.balance_micro,
        held_micro=held.balance_micro,
        maturing_micro=await maturing_micro(connection, creator_ref, now),
        parts=await parts(connection, creator_ref, now, settlement_delay=settlement_delay, hold=hold),
        as_of=now,
    )
