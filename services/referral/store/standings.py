"""Standings of referrers, and what distribution is to be told of them."""

import uuid
from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model import Standing, StandingRecord
from services.referral.model.standings import Enforcement, Order


async def find(connection: Connection, account_ref: uuid.UUID) -> StandingRecord:
    """Standing of an account; good when nobody ever changed it."""
    row = await connection.fetchrow("SELECT * FROM standings WHERE account_ref = $1", account_ref)
    return _record(row) if row else StandingRecord()


async def of_account(connection: Connection, account_id: str) -> tuple[uuid.UUID | None, StandingRecord]:
    """Surrogate of an account, where it has one, and its standing."""
    row = await connection.fetchrow(
        """
        SELECT accounts.account_ref AS known_as, standings.* FROM accounts LEFT JOIN standings USING (account_ref)
        WHERE account_id = $1
        """,
        account_id,
    )
    if row is None:
        return None, StandingRecord()
    return row["known_as"], _record(row) if row["standing"] else StandingRecord()


async def lock(connection: Connection, account_ref: uuid.UUID) -> StandingRecord:
    """Standing of an account, nobody else's to change until the transaction ends.

    Its active code is locked first: a registration through it is over, or will see what becomes of the standing.
    """
    await connection.execute(
        "SELECT FROM codes WHERE owner_ref = $1 AND state = 'active' FOR NO KEY UPDATE", account_ref
    )
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"standing {account_ref}")
    return await find(connection, account_ref)


async def save(connection: Connection, account_ref: uuid.UUID, record: StandingRecord) -> None:
    """Writes the next revision of a standing that this transaction holds."""
    await connection.execute(
        """
        INSERT INTO standings
            (account_ref, standing, reason, revision, changed_at, changed_by, by_hand, counted_from)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (account_ref) DO UPDATE SET
            standing = excluded.standing, reason = excluded.reason, revision = excluded.revision,
            changed_at = excluded.changed_at, changed_by = excluded.changed_by, by_hand = excluded.by_hand,
            counted_from = excluded.counted_from
        """,
        account_ref,
        record.standing,
        record.reason,
        record.revision,
        record.changed_at,
        record.changed_by,
        record.by_hand,
        record.counted_from,
    )


async def list_to_look_at(connection: Connection, after: uuid.UUID, *, limit: int) -> list[uuid.UUID]:
    """Accounts with a standing that may have become too harsh, in the order of their surrogates."""
    rows = await connection.fetch(
        """
        SELECT account_ref FROM standings WHERE standing IN ('warned', 'bonuses_on_hold') AND account_ref > $1
        ORDER BY account_ref LIMIT $2
        """,
        after,
        limit,
    )
    return [row["account_ref"] for row in rows]


async def order(connection: Connection, wanted: Order, now: datetime) -> None:
    """What distribution is to be told now, instead of whatever it was not told yet."""
    await connection.execute(
        """
        INSERT INTO standing_enforcements (account_ref, revision, act, reason, operator_id, decided_at, next_try_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        ON CONFLICT (account_ref) DO UPDATE SET
            revision = excluded.revision, act = excluded.act, reason = excluded.reason,
            operator_id = excluded.operator_id, round = 1, tries = 0, decided_at = excluded.decided_at,
            next_try_at = excluded.next_try_at, answered_at = NULL
        """,
        wanted.account_ref,
        wanted.revision,
        wanted.act,
        wanted.reason,
        wanted.operator_id,
        now,
    )


async def list_due_orders(connection: Connection, now: datetime, *, limit: int) -> list[Order]:
    """What is to be told now, the longest waiting first."""
    rows = await connection.fetch(
        """
        SELECT account_ref, revision, act, reason, operator_id, round, tries FROM standing_enforcements
        WHERE next_try_at <= $1 ORDER BY next_try_at, account_ref LIMIT $2
        """,
        now,
        limit,
    )
    return [
        Order(
            row["account_ref"],
            row["revision"],
            Enforcement(row["act"]),
            row["reason"],
            row["operator_id"],
            row["round"],
            row["tries"],
        )
        for row in rows
    ]


async def answered(
    connection: Connection, told: Order, now: datetime, *, forfeited_micro: int, again_at: datetime | None
) -> None:
    """Distribution answered this very order; one that took its place meanwhile is still to be told."""
    await connection.execute(
        """
        UPDATE standing_enforcements SET answered_at = $4, tries = 0, next_try_at = $5,
            forfeited_micro = forfeited_micro + $6, round = round + CASE WHEN $5::timestamptz IS NULL THEN 0 ELSE 1 END
        WHERE account_ref = $1 AND revision = $2 AND round = $3
        """,
        told.account_ref,
        told.revision,
        told.round,
        now,
        again_at,
        forfeited_micro,
    )


async def put_off(connection: Connection, told: Order, until: datetime) -> None:
    """Distribution did not answer this order."""
    await connection.execute(
        """
        UPDATE standing_enforcements SET tries = tries + 1, next_try_at = $4
        WHERE account_ref = $1 AND revision = $2 AND round = $3
        """,
        told.account_ref,
        told.revision,
        told.round,
        until,
    )


async def count_untold(connection: Connection) -> int:
    """Orders that distribution has not answered once."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM standing_enforcements WHERE next_try_at IS NOT NULL AND answered_at IS NULL"
    )
    return count


def _record(row: Record) -> StandingRecord:
    return StandingRecord(
        Standing(row["standing"]),
        row["reason"],
        row["revision"],
        row["changed_at"],
        row["changed_by"],
        row["by_hand"],
        row["counted_from"],
    )
