"""Audits: asked for by a job or an operator, done by one replica in the background."""

import asyncio
from datetime import datetime

import asyncpg

from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.leader import lead
from libs.outbox import topic_of
from libs.postgres import Connection, Postgres, is_fault, retried
from libs.telemetry import logger
from libs.timestamps import to_timestamp
from protos.distribution.v1 import audit_pb2 as pb
from protos.distribution.v1 import events_pb2
from services.distribution import metrics
from services.distribution.commands import treasury
from services.distribution.model.audit import Audit, AuditState, Result
from services.distribution.rules import audit as rules
from services.distribution.store import audit as store
from services.distribution.store import checks

log = logger(__name__)

AUDITOR = treasury.AUDITOR
_LOOK_EVERY_S = 0.25


@retried
async def ask(postgres: Postgres, clock: Clock, request: pb.RunAuditRequest) -> pb.RunAuditResponse:
    """Starts an audit, or answers the one that is running."""
    once = Once(request.request_id, request, pb.RunAuditResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        audit = await _start(connection, request.operator_id, request.reason, clock.now())
        return await once.remember(connection, pb.RunAuditResponse(audit=write_audit(audit)))


@retried
async def schedule(postgres: Postgres, now: datetime) -> None:
    """Starts the hourly one, unless another is running."""
    async with postgres.transaction() as connection:
        await _start(connection, AUDITOR, "scheduled", now)


async def _start(connection: Connection, operator_id: str, reason: str, now: datetime) -> Audit:
    audit = Audit(str(new_id()), AuditState.RUNNING, operator_id, reason, now, None, 0)
    if await store.insert(connection, audit):
        return audit
    running = await store.find_running(connection)
    if running is None:
        raise asyncpg.SerializationError("the running audit ended meanwhile")
    return running


class Auditor:
    """Does the audits that are asked for, one at a time over all replicas; one that a crash broke off begins anew."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def run(self) -> None:
        """Never returns."""
        await lead(self._postgres, "auditor", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        # It reads for as long as that takes, on a session of its own.
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        while True:
            running = await store.find_running(connection)
            if running is None:
                await asyncio.sleep(_LOOK_EVERY_S)
            else:
                await self._audit(connection, running)

    async def _audit(self, connection: asyncpg.Connection, audit: Audit) -> None:
        try:
            rows, results = await examine(connection)
        except Exception as error:
            if is_fault(error):
                raise
            log.exception("the audit broke off", audit_id=audit.audit_id)
            await self._end(connection, audit, AuditState.FAILED, 0, [])
            return
        reason = rules.why_pause(results)
        # Payouts stop before anything else: whoever reads the report finds them stopped.
        await treasury.record_reserve_audit(self._postgres, self._clock, wrong=bool(reason), reason=reason)
        await self._end(connection, audit, rules.verdict(results), rows, results)
        for each in results:
            metrics.AUDIT_VIOLATIONS.labels(each.invariant).set(each.violations)
            if each.violations:
                log.error("an invariant is broken", invariant=each.invariant, rows=each.violations, first=each.first[0])

    async def _end(
        self, connection: asyncpg.Connection, audit: Audit, state: AuditState, rows: int, results: list[Result]
    ) -> None:
        async with connection.transaction():
            await store.end(connection, audit.audit_id, state, rows, results, self._clock.now())
        metrics.AUDITS.labels(state.name.lower()).inc()


async def examine(connection: asyncpg.Connection) -> tuple[int, list[Result]]:
    """Looks for everything that breaks an invariant, in one snapshot; how many rows were read, and what was found."""
    # Not read-only: what the journal makes of the accounts is kept in temporary tables until the end.
    async with connection.transaction(isolation="repeatable_read"):
        rows = await store.prepare(connection)
        results = [await store.check(connection, each) for each in checks.ALL]
        results.append(await _check_told(connection))
    return rows, results


async def _check_told(connection: asyncpg.Connection) -> Result:
    """Counts what was told first: which charge it is matters only where the counts differ."""
    topic = topic_of(events_pb2.ChargesFinalized).name
    told = 0
    async for payload in store.told(connection, topic):
        told += len(events_pb2.ChargesFinalized.FromString(payload).charges)
    if told == await store.count_charges(connection):
        return Result(checks.TOLD.invariant, checks.TOLD.description, 0)
    await store.open_told(connection)
    async for payload in store.told(connection, topic):
        charges = events_pb2.ChargesFinalized.FromString(payload).charges
        await store.write_told(connection, [charge.inference_charge_id for charge in charges])
    return await store.check(connection, checks.TOLD)


def write_audit(audit: Audit) -> pb.Audit:
    """Pack an audit."""
    return pb.Audit(
        audit_id=audit.audit_id,
        state=pb.AuditState.ValueType(audit.state),
        operator_id=audit.operator_id,
        reason=audit.reason,
        started_at=to_timestamp(audit.started_at),
        ended_at=to_timestamp(audit.ended_at) if audit.ended_at else None,
        rows=audit.rows,
    )
