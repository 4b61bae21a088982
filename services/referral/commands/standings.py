"""Standings change: by the share of flagged referrals, or by an operator's hand."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from libs import outbox
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2
from services.referral import metrics
from services.referral.commands import audit, cases
from services.referral.model import Standing, StandingRecord
from services.referral.model.review import Decision, Finding, Subject
from services.referral.model.standings import Order
from services.referral.rules import review as review_rules
from services.referral.rules import standings as rules
from services.referral.store import exemptions, risk, standings

JOB = "job:sanctions"
_LOOK_BATCH = 200
_LOWEST = UUID(int=0)


async def evaluate(connection: Connection, account_ref: UUID, now: datetime) -> StandingRecord:
    """Lowers or lifts a standing as the share of flagged referrals says."""
    record = await standings.lock(connection, account_ref)
    if record.standing in (Standing.SUSPENDED, Standing.FORFEITED):
        return record
    if await exemptions.any_of(connection, [account_ref], now):
        return record
    tally = await risk.tally(connection, account_ref, record.counted_from)
    standing = rules.automatic(record, tally)
    if standing is record.standing:
        return record
    reason = f"{tally.flagged} of {tally.referrals} referrals flagged."
    changed = replace(record, standing=standing, reason=rules.FLAGGED_SHARE, changed_by=JOB, by_hand=False)
    return await change(connection, account_ref, record, changed, reason, now)


async def change(
    connection: Connection, account_ref: UUID, before: StandingRecord, after: StandingRecord, why: str, now: datetime
) -> StandingRecord:
    """Writes the next revision of a locked standing, and lets everybody know who has to."""
    after = replace(after, revision=before.revision + 1, changed_at=now)
    await standings.save(connection, account_ref, after)
    await outbox.append(connection, _event(account_ref, after, now), key=str(account_ref), occurred_at=now)
    act = rules.enforcement(before.standing, after.standing)
    if act is not None:
        order = Order(account_ref, after.revision, act, after.reason, after.changed_by, 1, 0)
        await standings.order(connection, order, now)
    if rules.is_harsher(after.standing, before.standing) and after.standing is not Standing.FORFEITED:
        await cases.open_case(connection, await _finding(connection, account_ref, after), now)
    await audit.record(
        connection,
        act=f"STANDING_{after.standing.name}",
        subject=str(account_ref),
        operator_id=after.changed_by,
        reason=why,
        account_ref=account_ref,
        now=now,
    )
    metrics.STANDINGS.labels(after.standing, after.reason).inc()
    return after


async def reinstate(
    connection: Connection, account_ref: UUID, record: StandingRecord, decision: Decision, now: datetime
) -> StandingRecord:
    """Back to good; what was flagged up to here was judged and counts no more."""
    rules.check_override(record, Standing.GOOD)
    after = replace(
        record,
        standing=Standing.GOOD,
        reason=rules.REINSTATED,
        changed_by=decision.operator_id,
        by_hand=True,
        counted_from=now,
    )
    return await change(connection, account_ref, record, after, decision.reason, now)


async def look_at_all(postgres: Postgres, clock: Clock) -> None:
    """Lifts standings that the share no longer bears out: unflagged referrals came, or a reviewer cleared some."""
    after = _LOWEST
    while True:
        async with postgres.connection() as connection:
            refs = await standings.list_to_look_at(connection, after, limit=_LOOK_BATCH)
        for account_ref in refs:
            await _look_at(postgres, clock, account_ref)
        if len(refs) < _LOOK_BATCH:
            return
        after = refs[-1]


@retried
async def _look_at(postgres: Postgres, clock: Clock, account_ref: UUID) -> None:
    async with postgres.transaction() as connection:
        await evaluate(connection, account_ref, clock.now())


async def _finding(connection: Connection, account_ref: UUID, after: StandingRecord) -> Finding:
    tally = await risk.tally(connection, account_ref, after.counted_from)
    related = await risk.flagged_refs(connection, account_ref, limit=review_rules.RELATED_MAX)
    return Finding(
        Subject.STANDING,
        account_ref,
        None,
        rules.share_bps(tally),
        urgent=after.standing is Standing.SUSPENDED,
        related_refs=tuple(related),
    )


def _event(account_ref: UUID, record: StandingRecord, now: datetime) -> events_pb2.StandingChanged:
    return events_pb2.StandingChanged(
        account_ref=str(account_ref),
        standing=events_pb2.Standing.Value(f"STANDING_{record.standing.name}"),
        reason=record.reason,
        revision=record.revision,
        changed_at=to_timestamp(now),
    )
