"""Rules from their drafts on, and who did what to them."""

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime, timedelta

import asyncpg

from libs.money import Rates
from libs.postgres import Connection
from services.distribution.model.campaigns import Order
from services.distribution.model.governance import Act, Former, Proposal, RuleState

_RATES = "referrer_bps, commons_bps, community_bps, foundation_bps"
_RULE = f"""
    rule_version, state, {_RATES}, kill_switch, cooling_seconds, proposed_by, decided_by, reason, proposed_at,
    cools_down_until, active_from, active_to
    """
_ONE_SECOND = timedelta(seconds=1)


async def lock(connection: Connection) -> None:
    """Whoever changes rules or suspensions takes turns here; comes before everything else in the transaction."""
    await connection.execute("SELECT FROM rule_governance FOR UPDATE")


async def hold_charges(connection: Connection) -> None:
    """From here to the end of the transaction no charge is posted: those under way are waited for."""
    await connection.execute("SELECT pg_advisory_xact_lock(1920298085, 1)")


async def next_version(connection: Connection) -> int:
    version: int = await connection.fetchval(
        "SELECT greatest((SELECT max(rule_version) FROM rules), (SELECT max(rule_version) FROM rule_proposals)) + 1"
    )
    return version


async def insert(connection: Connection, rule: Proposal) -> None:
    await connection.execute(
        f"""
        INSERT INTO rule_proposals ({_RULE})
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        """,  # noqa: S608 - constant
        *_values(rule),
    )


async def update(connection: Connection, rule: Proposal) -> None:
    # What a rule applies from is written once: the driver takes the first rule's, the year 1, for minus infinity.
    await connection.execute(
        f"""
        UPDATE rule_proposals SET
            (state, {_RATES}, cooling_seconds, decided_by) = ($2, $3, $4, $5, $6, $7, $8),
            (cools_down_until, active_from, active_to) = ($9, coalesce(active_from, $10), $11)
        WHERE rule_version = $1
        """,  # noqa: S608 - constant
        rule.rule_version,
        rule.state,
        *astuple(rule.rates),
        rule.cooling // _ONE_SECOND,
        rule.decided_by,
        rule.cools_down_until,
        rule.active_from,
        rule.active_to,
    )


def _values(rule: Proposal) -> tuple[object, ...]:
    return (
        rule.rule_version,
        rule.state,
        *astuple(rule.rates),
        rule.kill_switch,
        rule.cooling // _ONE_SECOND,
        rule.proposed_by,
        rule.decided_by,
        rule.reason,
        rule.proposed_at,
        rule.cools_down_until,
        rule.active_from,
        rule.active_to,
    )


async def former(connection: Connection) -> Former:
    """What the next rule follows."""
    (row,) = await connection.fetch("SELECT active_from, margin_floor_bps FROM rules ORDER BY active_from DESC LIMIT 1")
    return Former(*row)


async def put_in_force(connection: Connection, rule: Proposal, margin_floor_bps: int) -> None:
    await connection.execute(
        f"""
        INSERT INTO rules (rule_version, {_RATES}, margin_floor_bps, active_from) VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,  # noqa: S608 - constant
        rule.rule_version,
        *astuple(rule.rates),
        margin_floor_bps,
        rule.active_from,
    )


async def write_act(
    connection: Connection, rule: Proposal, from_state: RuleState | None, order: Order, now: datetime
) -> None:
    await connection.execute(
        f"""
        WITH counted AS (UPDATE rule_governance SET sequence = sequence + 1 RETURNING sequence)
        INSERT INTO rule_audit (sequence, rule_version, from_state, to_state, {_RATES}, operator_id, reason, acted_at)
        SELECT sequence, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM counted
        """,  # noqa: S608 - constant
        rule.rule_version,
        from_state or 0,
        rule.state,
        *astuple(rule.rates),
        order.operator_id,
        order.reason,
        now,
    )


async def find(connection: Connection, rule_version: int) -> Proposal | None:
    return _one(
        await connection.fetchrow(
            f"SELECT {_RULE} FROM rule_proposals WHERE rule_version = $1",  # noqa: S608 - constant
            rule_version,
        )
    )


async def active(connection: Connection) -> Proposal:
    (row,) = await connection.fetch(f"SELECT {_RULE} FROM rule_proposals WHERE state = 4")  # noqa: S608 - constant
    return _rule(row)


async def active_at(connection: Connection, at: datetime) -> Proposal | None:
    return _one(
        await connection.fetchrow(
            f"""
            SELECT {_RULE} FROM rule_proposals WHERE active_from <= greatest($1::timestamptz, '0001-01-01 00:00:00+00')
            ORDER BY active_from DESC LIMIT 1
            """,  # noqa: S608 - constant
            at,
        )
    )


async def next_cooled(connection: Connection, now: datetime) -> Proposal | None:
    """The rule that has cooled down longest and is not in force yet."""
    return _one(
        await connection.fetchrow(
            f"""
            SELECT {_RULE} FROM rule_proposals WHERE state = 3 AND cools_down_until <= $1
            ORDER BY cools_down_until, rule_version LIMIT 1
            """,  # noqa: S608 - constant
            now,
        )
    )


async def cooling_down(connection: Connection) -> list[Proposal]:
    rows = await connection.fetch(
        f"SELECT {_RULE} FROM rule_proposals WHERE state = 3 ORDER BY rule_version",  # noqa: S608 - constant
    )
    return [_rule(row) for row in rows]


async def page(connection: Connection, states: Sequence[RuleState], below: int | None, limit: int) -> list[Proposal]:
    """Rules, newest version first."""
    rows = await connection.fetch(
        f"""
        SELECT {_RULE} FROM rule_proposals
        WHERE (cardinality($1::smallint[]) = 0 OR state = ANY ($1)) AND ($2::bigint IS NULL OR rule_version < $2)
        ORDER BY rule_version DESC LIMIT $3
        """,  # noqa: S608 - constant
        states,
        below,
        limit,
    )
    return [_rule(row) for row in rows]


async def acts(connection: Connection, rule_version: int | None, below: int | None, limit: int) -> list[Act]:
    """Who did what, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT sequence, rule_version, from_state, to_state, {_RATES}, operator_id, reason, acted_at FROM rule_audit
        WHERE ($1::integer IS NULL OR rule_version = $1) AND ($2::bigint IS NULL OR sequence < $2)
        ORDER BY sequence DESC LIMIT $3
        """,  # noqa: S608 - constant
        rule_version,
        below,
        limit,
    )
    return [_act(row) for row in rows]


def _one(row: asyncpg.Record | None) -> Proposal | None:
    return _rule(row) if row else None


def _rule(row: asyncpg.Record) -> Proposal:
    version, state, *rates, kill_switch, cooling_seconds = row[:8]
    return Proposal(version, RuleState(state), Rates(*rates), kill_switch, timedelta(seconds=cooling_seconds), *row[8:])


def _act(row: asyncpg.Record) -> Act:
    sequence, version, from_state, to_state, *rates = row[:8]
    before = RuleState(from_state) if from_state else None
    return Act(sequence, version, before, RuleState(to_state), Rates(*rates), *row[8:])
