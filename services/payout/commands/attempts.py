"""What is known of an attempt changes, and its payout with it: each in one transaction, the payout locked first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.telemetry import logger
from services.payout import metrics
from services.payout.model import Event, Money, Stage
from services.payout.model.payouts import Payout
from services.payout.model.reconciliations import Found, Kind
from services.payout.model.submissions import LIVE, Attempt, AttemptState
from services.payout.provider.rows import Row, Standing
from services.payout.provider.totp import step_of
from services.payout.rules import submissions as rules
from services.payout.store import differences, payouts, submissions
from services.payout.store.payouts import With

log = logger(__name__)

ACTOR = "job:provider"


@retried
async def prepare(postgres: Postgres, clock: Clock, payout_id: UUID, fee_paid_by: str) -> Attempt | None:
    """Writes the next attempt of a burned payout down; None where one is live, or it is not to be handed over now."""
    async with postgres.transaction() as connection:
        payout = await payouts.lock(connection, payout_id)
        if payout is None or payout.stage is not Stage.SUBMITTING or payout.money is not Money.BURNED or payout.manual:
            return None
        if payout.address is None or await submissions.live_of(connection, payout_id):
            return None
        return await submissions.prepare(connection, payout, rules.asked_amount(payout, fee_paid_by), clock.now())


@retried
async def begin(postgres: Postgres, clock: Clock, attempt: Attempt) -> Attempt | None:
    """Notes that a call is about to create it; None where somebody else did so meanwhile.

    From here on until an answer the provider may have it.
    """
    async with postgres.transaction() as connection:
        _, known = await _lock(connection, attempt)
        if known != attempt or known.state is not AttemptState.PREPARED:
            return None
        begun = replace(known, checked_at=clock.now())
        await submissions.save(connection, begun)
        return begun


@retried
async def not_done(postgres: Postgres, clock: Clock, attempt: Attempt, wait_seconds: float) -> None:
    """The provider surely did nothing at the first call: as if it had not been made."""
    async with postgres.transaction() as connection:
        _, known = await _lock(connection, attempt)
        if known.state is AttemptState.PREPARED:
            await submissions.save(connection, replace(known, checked_at=None))
        pause = rules.next_check(await submissions.checks(connection, known.unique_external_id))
        later = clock.now() + max(pause / 2, timedelta(seconds=wait_seconds))
        await submissions.plan(connection, known.unique_external_id, later)


@retried
async def refused(postgres: Postgres, clock: Clock, attempt: Attempt, code: str, *, may_pass: bool) -> None:
    """The provider refused to make it and never had it: another attempt later, or the end."""
    async with postgres.transaction() as connection:
        payout, known = await _lock(connection, attempt)
        if known.state is not AttemptState.PREPARED:
            return
        now = clock.now()
        closed = replace(known, state=AttemptState.REFUSED, checked_at=now, closed_at=now, provider_state=code[:40])
        await submissions.save(connection, closed)
        await _rejected(connection, payout, code, now, may_pass=may_pass)


@retried
async def lost(postgres: Postgres, clock: Clock, attempt: Attempt) -> None:
    """Nobody knows whether it was made."""
    async with postgres.transaction() as connection:
        payout, known = await _lock(connection, attempt)
        if known.state is not AttemptState.PREPARED:
            return
        now = clock.now()
        if payout.stage is Stage.SUBMITTING:
            await payouts.move(connection, payout, Event.LOSE, now, actor=ACTOR, also=With("PROVIDER_UNKNOWN"))
            metrics.UNKNOWN.inc()
        checks = await submissions.checks(connection, known.unique_external_id)
        await submissions.plan(connection, known.unique_external_id, now + rules.next_check(checks))


@retried
async def begin_verifying(postgres: Postgres, clock: Clock, attempt: Attempt) -> datetime | None:
    """Takes the code of this half minute for a batch, and notes that its money may move from here on.

    None where the code is used, or the batch is not one to verify any more. What it returns is the instant of the code.
    """
    async with postgres.transaction() as connection:
        payout, known = await _lock(connection, attempt)
        now = clock.now()
        known_batch = known.state in {AttemptState.CREATED, AttemptState.VERIFIED}
        if not known_batch or rules.is_late(known.created_at, now):
            return None
        tries, answered = await submissions.verifying(connection, known.unique_external_id)
        if answered or tries >= rules.VERIFY_TRIES_MAX:
            return None
        if not await submissions.take_step(connection, step_of(now), known.unique_external_id, now):
            return None
        await submissions.note_verifying(connection, known.unique_external_id, answered=False)
        if known.state is AttemptState.CREATED:
            await submissions.save(connection, replace(known, state=AttemptState.VERIFIED, verified_at=now))
        if payout.stage in {Stage.SUBMITTING, Stage.UNKNOWN}:
            await payouts.move(connection, payout, Event.ACCEPT, now, actor=ACTOR)
        return now


@retried
async def verified(postgres: Postgres, clock: Clock, attempt: Attempt) -> None:
    """The provider said yes: it is only looked at from now on."""
    async with postgres.transaction() as connection:
        await submissions.note_verifying(connection, attempt.unique_external_id, answered=True)
        await submissions.plan(connection, attempt.unique_external_id, clock.now() + rules.next_check(0))


@retried
async def apply(
    postgres: Postgres, clock: Clock, unique_external_id: str, row: Row, fee_paid_by: str
) -> Attempt | None:
    """Applies what a look-up found, once, in any order; None where there is no such attempt.

    What tells less than is known changes nothing, and so does the same again.
    """
    async with postgres.transaction() as connection:
        known = await submissions.find(connection, unique_external_id)
        if known is None:
            return None
        payout, known = await _lock(connection, known)
        now = clock.now()
        if known.state not in LIVE:
            await _contradicted(connection, known, row, now)
            return known
        sound = await _compared(connection, payout, known, row, now)
        if rules.is_older(known, row):
            return known
        known = await _noted(connection, known, row, now, sound=sound)
        await _course(connection, payout, known, row, now, fee_paid_by=fee_paid_by, sound=sound)
        return known


@retried
async def postpone(postgres: Postgres, clock: Clock, unique_external_id: str) -> None:
    """Looked at: the next time is a while away."""
    async with postgres.transaction() as connection:
        checks = await submissions.checks(connection, unique_external_id)
        await submissions.plan(connection, unique_external_id, clock.now() + rules.next_check(checks))


@retried
async def try_again(postgres: Postgres, clock: Clock, payout_id: UUID) -> None:
    """Takes up what was refused for a reason that may pass."""
    async with postgres.transaction() as connection:
        payout = await payouts.lock(connection, payout_id)
        if payout is None or payout.stage is not Stage.REJECTED or payout.manual or payout.due_at > clock.now():
            return
        await payouts.move(connection, payout, Event.SUBMIT_AGAIN, clock.now(), actor=ACTOR)


@retried
async def stall(postgres: Postgres, clock: Clock, payout_id: UUID, reason: str) -> None:
    """Nothing was heard for too long: operators look."""
    async with postgres.transaction() as connection:
        payout = await payouts.lock(connection, payout_id)
        if payout is None or payout.stage not in {Stage.PROCESSING, Stage.UNKNOWN}:
            return
        await payouts.move(connection, payout, Event.STALL, clock.now(), actor=ACTOR, also=With(reason))
        metrics.STALLED.labels(reason).inc()


async def _lock(connection: Connection, attempt: Attempt) -> tuple[Payout, Attempt]:
    payout = await payouts.lock(connection, attempt.payout_id)
    known = await submissions.lock(connection, attempt.unique_external_id)
    assert payout is not None  # noqa: S101 - neither is ever deleted
    assert known is not None  # noqa: S101
    return payout, known


async def _compared(connection: Connection, payout: Payout, attempt: Attempt, row: Row, now: datetime) -> bool:
    """Whether the row is what was asked for; where not, that is written down."""
    wrong = rules.mismatches(payout, attempt, row)
    if wrong:
        explanation = f"The provider's row differs in {', '.join(wrong)}; nothing is concluded from it."
        theirs, ours = f"{row.amount} {row.currency}", f"{attempt.amount} {payout.currency}"
        found = Found(Kind.CONTENT, payout.payout_id, row.provider_id, theirs, ours, explanation)
        await differences.note(connection, found, now)
    return not wrong


async def _contradicted(connection: Connection, attempt: Attempt, row: Row, now: datetime) -> None:
    """An attempt that is over stays what it is; a provider that says otherwise is a case for people."""
    was_sent = attempt.state is AttemptState.FINISHED
    if not row.standing.is_final or was_sent is (row.standing is Standing.FINISHED):
        return
    log.error("the provider contradicts itself", payout_id=str(attempt.payout_id), ours=attempt.state.name)
    explanation = "The attempt was over with another outcome, which was confirmed at the time. Ask the provider."
    ours = attempt.state.name
    found = Found(Kind.STATE, attempt.payout_id, row.provider_id, row.word, ours, explanation)
    await differences.note(connection, found, now)


async def _noted(connection: Connection, attempt: Attempt, row: Row, now: datetime, *, sound: bool) -> Attempt:
    """The attempt with what the row says, through every state on the way."""
    known = replace(
        attempt,
        batch_id=attempt.batch_id or row.batch_id,
        provider_payout_id=attempt.provider_payout_id or row.provider_id,
        provider_state=row.word,
        fee=attempt.fee if row.fee is None else row.fee,
        transaction_hash=row.transaction_hash[:500] or attempt.transaction_hash,
        created_at=attempt.created_at or row.created_at or now,
        checked_at=now,
    )
    for state in _way(known, row, sound=sound):
        closed_at = now if state not in LIVE else None
        verified_at = known.verified_at or (now if state in {AttemptState.VERIFIED, AttemptState.FINISHED} else None)
        known = replace(known, state=state, closed_at=closed_at, verified_at=verified_at)
        await submissions.save(connection, known)
    await submissions.save(connection, known)
    return known


def _way(attempt: Attempt, row: Row, *, sound: bool) -> Sequence[AttemptState]:
    """States that the attempt goes through to where the row is."""
    way = [AttemptState.CREATED] if attempt.state is AttemptState.PREPARED else []
    if row.standing is Standing.REJECTED:
        return [*way, AttemptState.REJECTED]
    if row.standing is Standing.CANCELLED:
        return [*way, AttemptState.CANCELLED]
    if row.was_verified and attempt.state is not AttemptState.VERIFIED:
        way.append(AttemptState.VERIFIED)
    if row.standing is Standing.FINISHED and sound:
        way.append(AttemptState.FINISHED)
    return way


async def _course(
    connection: Connection, payout: Payout, attempt: Attempt, row: Row, now: datetime, *, fee_paid_by: str, sound: bool
) -> None:
    """What the row means for the payout."""
    if attempt.state is AttemptState.CREATED:
        return
    for event, reason in rules.course(payout.stage, row.standing, sound=sound):
        if event is Event.REJECT:
            await _rejected(connection, payout, reason, now, may_pass=True)
            return
        also = With(reason)
        if event is Event.COMPLETE:
            arrived = rules.sent(payout, row, fee_paid_by)
            also = With(
                reason,
                fee_micro=arrived.fee_micro,
                fee_final=True,
                sent_amount=arrived.amount,
                transaction_hash=attempt.transaction_hash,
            )
        if event is Event.STALL:
            metrics.STALLED.labels(reason).inc()
        payout = await payouts.move(connection, payout, event, now, actor=ACTOR, also=also)


async def _rejected(connection: Connection, payout: Payout, code: str, now: datetime, *, may_pass: bool) -> None:
    """The provider will not send it: another attempt later, while there are some left; else its money goes back."""
    again = may_pass and payout.tries < rules.RETRIES_MAX
    due_at = now + rules.next_retry(payout.tries) if again else now
    also = With(code[:64], due_at=due_at, tries=payout.tries + 1)
    payout = await payouts.move(connection, payout, Event.REJECT, now, actor=ACTOR, also=also)
    metrics.REJECTED.labels(code[:64]).inc()
    if not again:
        await payouts.move(connection, payout, Event.FAIL, now, actor=ACTOR, also=With("PROVIDER_REJECTED"))
