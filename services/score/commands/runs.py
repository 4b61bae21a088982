"""Runs: tried, frozen, let go, aborted. What follows is `commands.advancing`."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.clock import Clock
from libs.ids import new_id
from libs.outbox import append
from libs.periods import Period
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.score.v1 import events_pb2
from services.score import metrics
from services.score.model import Order
from services.score.model.runs import Run, RunState, Terms, Trial
from services.score.rules import requests
from services.score.rules import runs as rules
from services.score.store import runs, snapshots


class Preview(NamedTuple):
    """What a run would be now, and why it could not start, as reasons."""

    trial: Trial
    obstacles: list[str]


async def preview(postgres: Postgres, clock: Clock, period: Period, terms: Terms, *, max_age_days: int) -> Preview:
    """Try a run with the wallets and scores of now; nothing is written."""
    obstacles: list[str] = []
    async with postgres.transaction(readonly=True) as connection:
        now = clock.now()
        found = await snapshots.for_period(connection, period.name, period.over_at)
        try:
            rules.check_freezing(period, now, exists=await runs.exists(connection, period.name))
        except Refusal as refusal:
            obstacles.append(refusal.reason)
        try:
            rules.check_snapshot(found, now, max_age_days)
        except Refusal as refusal:
            obstacles.append(refusal.reason)
        trial = await runs.attempt(connection, found.snapshot_id if found else None, terms)
    if not trial.participants:
        obstacles.append(rules.NoParticipants.reason)
    return Preview(trial, obstacles)


async def freeze(
    connection: Connection, clock: Clock, period: Period, terms: Terms, order: Order, *, max_age_days: int
) -> Run:
    """Fix scores, wallets and minimums of a period; in the caller's transaction.

    Raises PeriodNotOver, RunExists, RunWithoutScores, ScoresStale.
    """
    now = clock.now()
    rules.check_freezing(period, now, exists=await runs.exists(connection, period.name))
    found = await snapshots.for_period(connection, period.name, period.over_at)
    snapshot = rules.check_snapshot(found, now, max_age_days)
    run_id = new_id()
    await connection.execute("SET LOCAL statement_timeout = '5min'")
    await runs.freeze(connection, run_id, period.name, terms, snapshot.snapshot_id, order, now)
    await runs.note(connection, run_id, "frozen", order, now)
    run = await locked(connection, run_id)
    await announce(connection, run, now)
    return run


async def start(connection: Connection, clock: Clock, run_id: UUID, order: Order) -> Run:
    """Let a frozen run go; in the caller's transaction. One that was let go before stays so. Raises RunUnknown."""
    run = await locked(connection, run_id)
    if run.state is RunState.ABORTED:
        raise rules.RunFinished
    if run.started:
        return run
    run = run._replace(started=True)
    await runs.save(connection, run)
    await runs.note(connection, run_id, "started", order, clock.now())
    return run


@retried
async def mark_aborting(postgres: Postgres, clock: Clock, run_id: UUID, order: Order) -> Run:
    """Abort a run that distribution knows nothing of; leave any other as it is, for distribution to decide."""
    async with postgres.transaction() as connection:
        run = await locked(connection, run_id)
        rules.check_abortable(run)
        if run.state is RunState.ABORTED or run.opening:
            return run
        now = clock.now()
        await runs.note(connection, run_id, "aborted", order, now)
        return await finish(connection, run, RunState.ABORTED, "ABORTED_BY_OPERATOR", now)


async def finish(
    connection: Connection, run: Run, state: RunState, reason: str, now: datetime, transfer_id: str | None = None
) -> Run:
    """End a run that this transaction holds locked, and tell everybody."""
    run = run._replace(state=state, reason=reason, transfer_id=transfer_id, ended_at=now)
    await runs.save(connection, run)
    await announce(connection, run, now)
    metrics.RUNS.labels(state.name.lower(), reason).inc()
    return run


async def locked(connection: Connection, run_id: UUID) -> Run:
    """The run, locked. Raises RunUnknown."""
    run = await runs.lock(connection, run_id)
    if run is None:
        raise requests.RunUnknown
    return run


async def announce(connection: Connection, run: Run, now: datetime) -> None:
    """Tell in which state a run is."""
    committed = run.state is RunState.COMMITTED
    event = events_pb2.RunChanged(
        run_id=str(run.run_id),
        period=run.period,
        state=events_pb2.RunState.ValueType(run.state),
        snapshot_id=str(run.snapshot_id),
        accounts=run.accounts,
        pool_micro=run.pool_micro,
        root_hash=run.root_hash or b"" if committed else b"",
        root_micro=run.pool_micro if committed else 0,
        reason=run.reason,
        changed_at=to_timestamp(now),
    )
    await append(connection, event, key=str(run.run_id), occurred_at=now)
