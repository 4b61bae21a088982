"""Bonuses in all their states."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from asyncpg import Record

from libs.postgres import Connection
from services.referral.model.bonuses import ActionKind, ActionSource, Bonus, BonusState, Budget, ClearedBy

_COLUMNS = tuple(field.name for field in fields(Bonus))
_INSERT = f"""
    INSERT INTO bonuses ({", ".join(_COLUMNS)}) VALUES ({", ".join(f"${n}" for n in range(1, len(_COLUMNS) + 1))})
    ON CONFLICT (referee_ref) DO NOTHING RETURNING true
"""  # noqa: S608 - names of our own columns
_MUTABLE = _COLUMNS[_COLUMNS.index("changed_at") :]
_UPDATE = f"""
    UPDATE bonuses SET {", ".join(f"{name} = ${n}" for n, name in enumerate(_MUTABLE, 2))} WHERE bonus_id = $1
"""  # noqa: S608 - names of our own columns


async def take_turn(connection: Connection, referrer_ref: uuid.UUID) -> None:
    """Waits for whoever makes a bonus for this referrer; until the transaction ends nobody else makes one."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"bonus {referrer_ref}")


async def insert(connection: Connection, bonus: Bonus) -> bool:
    """False when the referee has earned a bonus already."""
    done: bool | None = await connection.fetchval(_INSERT, *(getattr(bonus, name) for name in _COLUMNS))
    return done is not None


async def save(connection: Connection, bonus: Bonus) -> None:
    """Writes what may change of a bonus that this transaction holds locked."""
    await connection.execute(_UPDATE, bonus.bonus_id, *(getattr(bonus, name) for name in _MUTABLE))


async def find_of_referee(connection: Connection, referee_ref: uuid.UUID) -> Bonus | None:
    """The bonus that a referee earned."""
    row = await connection.fetchrow("SELECT * FROM bonuses WHERE referee_ref = $1", referee_ref)
    return _bonus(row) if row else None


async def find(connection: Connection, bonus_id: uuid.UUID) -> Bonus | None:
    """A bonus as it stands."""
    row = await connection.fetchrow("SELECT * FROM bonuses WHERE bonus_id = $1", bonus_id)
    return _bonus(row) if row else None


async def lock(connection: Connection, bonus_id: uuid.UUID) -> Bonus | None:
    """A bonus, locked."""
    row = await connection.fetchrow("SELECT * FROM bonuses WHERE bonus_id = $1 FOR NO KEY UPDATE", bonus_id)
    return _bonus(row) if row else None


async def lock_of_actions(connection: Connection, action_ids: Sequence[str]) -> list[Bonus]:
    """Bonuses that these actions earned, locked in the order of their ids."""
    rows = await connection.fetch(
        "SELECT * FROM bonuses WHERE action_id = ANY ($1::text[]) ORDER BY bonus_id FOR NO KEY UPDATE", action_ids
    )
    return [_bonus(row) for row in rows]


async def lock_open_of_referrer(connection: Connection, referrer_ref: uuid.UUID) -> list[Bonus]:
    """What a referrer has earned that is not decided, locked in the order of the ids."""
    rows = await connection.fetch(
        """
        SELECT * FROM bonuses WHERE referrer_ref = $1 AND state IN ('pending', 'withheld')
        ORDER BY bonus_id FOR NO KEY UPDATE
        """,
        referrer_ref,
    )
    return [_bonus(row) for row in rows]


async def count_earned(connection: Connection, referrer_ref: uuid.UUID, since: datetime) -> int:
    """Bonuses of a referrer made after an instant, denied ones left out; exact in this referrer's turn."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM bonuses WHERE referrer_ref = $1 AND created_at > $2 AND state <> 'denied'",
        referrer_ref,
        since,
    )
    return count


async def list_moving(connection: Connection, budget: Budget, now: datetime, *, limit: int) -> list[Bonus]:
    """Bonuses whose budget is asked for, or on its way back, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT * FROM bonuses WHERE budget = $1 AND (next_try_at IS NULL OR next_try_at <= $2)
        ORDER BY bonus_id LIMIT $3
        """,
        budget,
        now,
        limit,
    )
    return [_bonus(row) for row in rows]


async def list_due(connection: Connection, now: datetime, *, limit: int) -> list[uuid.UUID]:
    """Bonuses whose hold period is over and that were not checked, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT bonus_id FROM bonuses
        WHERE state = 'pending' AND hold_until <= $1 AND budget = 'reserved' AND checked_at IS NULL
            AND (next_try_at IS NULL OR next_try_at <= $1)
        ORDER BY hold_until, bonus_id LIMIT $2
        """,
        now,
        limit,
    )
    return [row["bonus_id"] for row in rows]


async def lock_to_grant(connection: Connection, now: datetime, *, limit: int) -> list[Bonus]:
    """Bonuses of one campaign to be granted, the oldest first, locked; those that somebody holds are left out.

    What was sent and not answered is sent again, whatever has happened since. Beside that: what is cleared, was not
    paid back, and belongs to a referrer who may be granted something.
    """
    rows = await connection.fetch(
        """
        WITH ready AS (
            SELECT bonus_id, campaign_id, cleared_at FROM bonuses
            LEFT JOIN standings ON account_ref = referrer_ref
            WHERE state IN ('pending', 'withheld') AND budget = 'reserved' AND cleared_at IS NOT NULL
                AND (next_try_at IS NULL OR next_try_at <= $1)
                AND (sent_at IS NOT NULL
                    OR (refunded_at IS NULL AND coalesce(standing, 'good') IN ('good', 'warned')))
        )
        SELECT bonuses.* FROM bonuses JOIN ready USING (bonus_id)
        WHERE bonuses.campaign_id = (SELECT campaign_id FROM ready ORDER BY cleared_at, bonus_id LIMIT 1)
        ORDER BY bonuses.cleared_at, bonuses.bonus_id LIMIT $2
        FOR NO KEY UPDATE OF bonuses SKIP LOCKED
        """,
        now,
        limit,
    )
    return [_bonus(row) for row in rows]


async def lock_many(connection: Connection, bonus_ids: Sequence[uuid.UUID]) -> list[Bonus]:
    """Bonuses, locked in the order of their ids."""
    rows = await connection.fetch(
        "SELECT * FROM bonuses WHERE bonus_id = ANY ($1::uuid[]) ORDER BY bonus_id FOR NO KEY UPDATE", bonus_ids
    )
    return [_bonus(row) for row in rows]


async def sums(connection: Connection, referrer_ref: uuid.UUID) -> list[tuple[BonusState, int, int]]:
    """State, number and sum of a referrer's bonuses."""
    rows = await connection.fetch(
        """
        SELECT state, count(*) AS bonuses, sum(amount_micro)::bigint AS amount_micro FROM bonuses
        WHERE referrer_ref = $1 GROUP BY state ORDER BY state
        """,
        referrer_ref,
    )
    return [(BonusState(row["state"]), row["bonuses"], row["amount_micro"]) for row in rows]


async def count_waiting(connection: Connection, now: datetime) -> dict[str, int]:
    """How many bonuses wait for what; what waits for its hold period to end waits for nothing."""
    rows = await connection.fetch(
        """
        SELECT CASE
            WHEN budget = 'asked' THEN 'budget'
            WHEN cleared_at IS NOT NULL THEN 'grant'
            WHEN state = 'withheld' THEN 'review'
            ELSE 'checks' END AS what, count(*) AS bonuses
        FROM bonuses
        WHERE state IN ('pending', 'withheld') AND (hold_until <= $1 OR budget = 'asked') GROUP BY what
        """,
        now,
    )
    return {row["what"]: row["bonuses"] for row in rows}


def _bonus(row: Record) -> Bonus:
    values = {name: row[name] for name in _COLUMNS}
    return Bonus(
        **values
        | {
            "source": ActionSource(row["source"]),
            "kind": ActionKind(row["kind"]),
            "state": BonusState(row["state"]),
            "budget": Budget(row["budget"]),
            "cleared_by": ClearedBy(row["cleared_by"]) if row["cleared_by"] else None,
        }
    )
