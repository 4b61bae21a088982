"""Runs, from frozen to committed or aborted."""

from datetime import datetime
from uuid import UUID

import asyncpg
from asyncpg import Record

from libs.postgres import Connection, violated
from services.score.model import Order
from services.score.model.runs import Inclusion, Participant, Run, RunState, Standing, Terms, Trial, WalletPart
from services.score.rules.runs import RunExists

_PARTS = """
    WITH parts AS (
        SELECT account_ref, wallet_ref, coalesce(scores.score, 0) AS score,
            CASE
                WHEN scores.score IS NULL THEN 4
                WHEN scores.score >= greatest($2::numeric, 1) THEN 1
                ELSE 2
            END AS outcome
        FROM wallets LEFT JOIN snapshot_scores AS scores ON snapshot_id = $1 AND scores.address = wallets.address
        WHERE state = 1
    ), sums AS (
        SELECT account_ref, coalesce(sum(score) FILTER (WHERE outcome = 1), 0) AS score,
            bool_or(outcome = 2) AS has_small
        FROM parts GROUP BY account_ref
    ), standings AS (
        SELECT account_ref, score,
            CASE
                WHEN score > 0 AND score >= $3::numeric THEN 1
                WHEN score > 0 THEN 3
                WHEN has_small THEN 2
                ELSE 4
            END AS outcome
        FROM sums
    )
"""
"""The rules of `rules.rewards`, for all accounts at once; a property test holds the two against each other."""


async def exists(connection: Connection, period: str) -> bool:
    """Whether a period has a run that was not aborted."""
    found: bool = await connection.fetchval("SELECT count(*) > 0 FROM runs WHERE period = $1 AND state <> 5", period)
    return found


async def was_tried(connection: Connection, period: str) -> bool:
    """Whether a period ever had a run."""
    found: bool = await connection.fetchval("SELECT count(*) > 0 FROM runs WHERE period = $1", period)
    return found


async def is_rewarded(connection: Connection, period: str) -> bool:
    """Whether a period's run is committed."""
    found: bool = await connection.fetchval("SELECT count(*) > 0 FROM runs WHERE period = $1 AND state = 4", period)
    return found


async def freeze(
    connection: Connection, run_id: UUID, period: str, terms: Terms, snapshot_id: UUID, order: Order, now: datetime
) -> None:
    """Fixes wallets, scores and who counts, in one statement, so that nobody moves in between. Raises RunExists."""
    try:
        await connection.execute(
            _PARTS  # noqa: S608 - constant
            + """
            , kept_wallets AS (
                INSERT INTO run_wallets (run_id, account_ref, wallet_ref, score, outcome)
                SELECT $4::uuid, account_ref, wallet_ref, score, outcome FROM parts
            ), kept_accounts AS (
                INSERT INTO run_accounts (run_id, account_ref, score, outcome)
                SELECT $4::uuid, account_ref, score, outcome FROM standings
            )
            INSERT INTO runs (run_id, period, configured_micro, wallet_minimum, account_minimum, snapshot_id, accounts,
                total_score, operator_id, frozen_at)
            SELECT $4::uuid, $5, $6, $2, $3, $1, count(*), coalesce(sum(score), 0), $7, $8
            FROM standings WHERE outcome = 1
            """,
            snapshot_id,
            terms.wallet_minimum,
            terms.account_minimum,
            run_id,
            period,
            terms.configured_micro,
            order.operator_id,
            now,
        )
    except asyncpg.UniqueViolationError as error:
        if violated(error) == "runs_one_per_period":
            raise RunExists from None
        raise


async def attempt(connection: Connection, snapshot_id: UUID | None, terms: Terms) -> Trial:
    """What freezing now would give; nothing is written."""
    rows = await connection.fetch(
        _PARTS + "SELECT account_ref, score, outcome FROM standings ORDER BY account_ref",  # noqa: S608 - constant
        snapshot_id,
        terms.wallet_minimum,
        terms.account_minimum,
    )
    participants = [Participant(row["account_ref"], int(row["score"])) for row in rows if row["outcome"] == 1]
    excluded: dict[Inclusion, int] = {}
    for row in rows:
        if row["outcome"] != Inclusion.INCLUDED:
            outcome = Inclusion(row["outcome"])
            excluded[outcome] = excluded.get(outcome, 0) + 1
    return Trial(participants, excluded)


async def note(connection: Connection, run_id: UUID, change: str, order: Order, now: datetime) -> None:
    """Keeps who did what, and why."""
    await connection.execute(
        "INSERT INTO run_changes (run_id, change, operator_id, reason, changed_at) VALUES ($1, $2, $3, $4, $5)",
        run_id,
        change,
        *order,
        now,
    )


async def lock(connection: Connection, run_id: UUID) -> Run | None:
    """The run, locked."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE run_id = $1 FOR UPDATE", run_id)
    return _run(row) if row else None


async def find(connection: Connection, run_id: UUID) -> Run | None:
    """The run, as it is now."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE run_id = $1", run_id)
    return _run(row) if row else None


async def last_committed(connection: Connection) -> Run | None:
    """The run that was committed last."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE state = 4 ORDER BY ended_at DESC, run_id DESC LIMIT 1")
    return _run(row) if row else None


async def list_under_way(connection: Connection) -> list[Run]:
    """Runs that were let go and are not finished, oldest first."""
    rows = await connection.fetch("SELECT * FROM runs WHERE state IN (1, 2, 3) AND started ORDER BY run_id")
    return [_run(row) for row in rows]


async def list_page(connection: Connection, below: UUID | None, limit: int) -> list[Run]:
    """Runs, newest first."""
    rows = await connection.fetch(
        "SELECT * FROM runs WHERE $1::uuid IS NULL OR run_id < $1 ORDER BY run_id DESC LIMIT $2", below, limit
    )
    return [_run(row) for row in rows]


async def save(connection: Connection, run: Run) -> None:
    """Writes what moves of a run that this transaction holds locked."""
    await connection.execute(
        """
        UPDATE runs SET state = $2, started = $3, opening = $4, pool_micro = $5, staged = $6, root_hash = $7,
            transfer_id = $8, reason = $9, ended_at = $10
        WHERE run_id = $1
        """,
        run.run_id,
        run.state,
        run.started,
        run.opening,
        run.pool_micro,
        run.staged,
        run.root_hash,
        run.transfer_id,
        run.reason,
        run.ended_at,
    )


async def participants(connection: Connection, run_id: UUID) -> list[Participant]:
    """The accounts that count, by surrogate."""
    rows = await connection.fetch(
        "SELECT account_ref, score FROM run_accounts WHERE run_id = $1 AND outcome = 1 ORDER BY account_ref", run_id
    )
    return [Participant(row["account_ref"], int(row["score"])) for row in rows]


async def standing(connection: Connection, run_id: UUID, account_ref: UUID) -> Standing | None:
    """How an account stands in a run; None where it had no wallet then."""
    row = await connection.fetchrow(
        "SELECT score, outcome FROM run_accounts WHERE run_id = $1 AND account_ref = $2", run_id, account_ref
    )
    return Standing(int(row["score"]), Inclusion(row["outcome"])) if row else None


async def wallet_parts(connection: Connection, run_id: UUID, account_ref: UUID) -> list[WalletPart]:
    """An account's wallets in a run, and those that it linked since."""
    rows = await connection.fetch(
        """
        SELECT address, coalesce(wallets.state = 1 AND wallets.account_ref = $2, false) AS linked, score, outcome,
            linked_at, parts.wallet_ref
        FROM run_wallets AS parts LEFT JOIN wallets USING (wallet_ref)
        WHERE run_id = $1 AND parts.account_ref = $2
        UNION ALL
        SELECT address, true, 0, 5, linked_at, wallet_ref FROM wallets
        WHERE account_ref = $2 AND state = 1 AND wallet_ref NOT IN (
            SELECT wallet_ref FROM run_wallets WHERE run_id = $1 AND account_ref = $2
        )
        ORDER BY linked_at, wallet_ref
        """,
        run_id,
        account_ref,
    )
    return [
        WalletPart(
            "0x" + row["address"].hex() if row["address"] else None,
            row["linked"],
            int(row["score"]),
            Inclusion(row["outcome"]),
        )
        for row in rows
    ]


def _run(row: Record) -> Run:
    return Run(
        run_id=row["run_id"],
        period=row["period"],
        state=RunState(row["state"]),
        terms=Terms(row["configured_micro"], int(row["wallet_minimum"]), int(row["account_minimum"])),
        snapshot_id=row["snapshot_id"],
        accounts=row["accounts"],
        total_score=int(row["total_score"]),
        started=row["started"],
        opening=row["opening"],
        pool_micro=row["pool_micro"],
        staged=row["staged"],
        root_hash=row["root_hash"],
        transfer_id=row["transfer_id"],
        reason=row["reason"],
        operator_id=row["operator_id"],
        frozen_at=row["frozen_at"],
        ended_at=row["ended_at"],
    )
