"""Registrations are scored: as they are made, a week later, and when a bonus's hold is over."""

from collections.abc import Sequence
from datetime import datetime

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Unavailable
from services.referral import metrics
from services.referral.commands import cases, flags, standings
from services.referral.model import Kind, Registration
from services.referral.model.risk import Assessment, Client, Key, Score, Signal, Stage, WeightsState
from services.referral.rules import review as review_rules
from services.referral.rules import risk as rules
from services.referral.rules import signals
from services.referral.store import exemptions, registrations, risk, weights

_RESCORE_BATCH = 200
_PURGE_BATCH = 5_000


class RiskWeightsMissing(Unavailable):
    """No version of the risk weights is active."""


async def look_at_new(
    connection: Connection, registration: Registration, client: Client, keys: Sequence[Key], now: datetime
) -> None:
    """Keeps what a sign-up looked like, and scores it. Whatever the score, the registration stands."""
    hashes = signals.hashes(client, keys)
    if hashes:
        await risk.keep_signals(connection, registration.referee_ref, hashes, keys[0].key_id, now)
    assessment = await assess(connection, registration, Stage.REGISTRATION, now)
    await hold_against(connection, assessment, now)


async def assess(connection: Connection, registration: Registration, stage: Stage, now: datetime) -> Assessment:
    """Scores a registration with the active weights, and silently with those in shadow. Raises RiskWeightsMissing."""
    if registration.referrer_ref is None:
        raise AssertionError("an organic account is not scored")
    observed = await _observe(connection, registration, stage, now)
    decided: Score | None = None
    for version in await weights.in_use(connection):
        score = rules.score(version, observed)
        decides = version.state is WeightsState.ACTIVE
        decided = score if decides else decided
        await risk.save_score(connection, registration.referee_ref, stage, score, now, decides=decides)
    if decided is None:
        raise RiskWeightsMissing
    exempt = await exemptions.any_of(connection, [registration.referee_ref, registration.referrer_ref], now)
    verdict = await risk.save_assessment(connection, registration, stage, decided, now, exempt=exempt)
    await flags.tell(connection, registration.referee_ref, now, locked=True)
    metrics.SCORES.labels(stage, str(decided.flagged).lower()).inc()
    return Assessment(registration.referee_ref, registration.referrer_ref, decided, verdict, exempt)


async def hold_against(connection: Connection, assessment: Assessment, now: datetime) -> None:
    """Opens the case of a flagged registration, and looks at its referrer's standing."""
    if not assessment.flagged:
        return
    await standings.evaluate(connection, assessment.referrer_ref, now)
    await open_case(connection, assessment, now)


async def open_case(connection: Connection, assessment: Assessment, now: datetime) -> None:
    """The case of a registration, with the parts of its score and the accounts it has them in common with."""
    related = await risk.related(connection, assessment.referee_ref, limit=review_rules.RELATED_MAX)
    await cases.open_case(connection, rules.finding(assessment, related), now)


async def rescore_all(postgres: Postgres, clock: Clock, due: datetime) -> None:
    """Scores registrations whose first week is over."""
    while True:
        async with postgres.connection() as connection:
            batch = await risk.list_to_rescore(connection, due, limit=_RESCORE_BATCH)
        for each in batch:
            await _rescore(postgres, clock, each)
        if len(batch) < _RESCORE_BATCH:
            return


async def purge_signals(postgres: Postgres, before: datetime) -> int:
    """Deletes hashes that are older, a batch at a time; returns how many."""
    total = 0
    while True:
        purged = await _purge(postgres, before)
        total += purged
        if purged < _PURGE_BATCH:
            return total


@retried
async def _rescore(postgres: Postgres, clock: Clock, due: risk.Scored) -> None:
    async with postgres.transaction() as connection:
        registration = await registrations.find(connection, due.referee_ref)
        if registration is None or registration.kind is not Kind.REFERRED:
            await risk.forget_rescore(connection, due.referee_ref)
            return
        now = clock.now()
        await hold_against(connection, await assess(connection, registration, Stage.WEEK, now), now)


@retried
async def _purge(postgres: Postgres, before: datetime) -> int:
    async with postgres.transaction() as connection:
        return await risk.purge_signals(connection, before, limit=_PURGE_BATCH)


async def _observe(
    connection: Connection, registration: Registration, stage: Stage, now: datetime
) -> dict[Signal, int]:
    observed = await risk.observe(connection, registration, stage)
    unpaid = rules.had_no_paid_activity(registration.created_at, observed.first_paid_at, now)
    return observed.alike | {Signal.NO_PAID_ACTIVITY: int(unpaid)}
