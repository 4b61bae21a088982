"""Cases are decided by operators; time makes them urgent and nothing else."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral import metrics
from services.referral.commands import audit, cases, flags, standings
from services.referral.commands import bonuses as moves
from services.referral.model import Standing
from services.referral.model.bonuses import Bonus
from services.referral.model.review import Case, CaseState, Decision, Note, Subject
from services.referral.model.risk import RiskVerdict
from services.referral.rules import bonuses as bonus_rules
from services.referral.rules import review as rules
from services.referral.store import bonuses, review, risk
from services.referral.store import standings as standing_store

JOB = "job:escalate_reviews"
DENIED = "REVIEW_CONFIRMED"
_ESCALATE_BATCH = 200


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of one case: its state, and why it was not decided where it was not."""

    case_id: UUID
    state: CaseState | None
    refusal: str = ""


@retried
async def decide_case(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.DecideReviewCaseRequest, decision: Decision
) -> Case:
    """Decides one case; its bonus and its referrer's standing follow. Raises CaseUnknown, CaseDecided."""
    case_id = rules.check_case_id(request.case_id)
    once = Once(request.request_id, request, pb.DecideReviewCaseResponse, key)
    async with postgres.transaction() as connection:
        if await once.replay(connection) is None:
            now = clock.now()
            await _record(connection, [await _decide(connection, case_id, decision, now)], decision, now)
            # The case itself says what was decided, for ever: nothing but that it was done needs to be kept.
            await once.remember(connection, pb.DecideReviewCaseResponse())
        case = await review.find(connection, case_id)
    if case is None:
        raise rules.CaseUnknown
    return case


@retried
async def decide_cases(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.DecideReviewCasesRequest, decision: Decision
) -> pb.DecideReviewCasesResponse:
    """Decides many cases alike, each for itself: one that is refused does not hold up the others."""
    case_ids = rules.check_case_ids(request.case_ids)
    once = Once(request.request_id, request, pb.DecideReviewCasesResponse, key)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        now = clock.now()
        done: list[Case] = []
        answers = {
            each: await _try(connection, each, decision, now, done) for each in await _ordered(connection, case_ids)
        }
        await _record(connection, done, decision, now)
        return await once.remember(connection, _answer(case_ids, answers))


@retried
async def add_note(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.AddReviewNoteRequest
) -> pb.AddReviewNoteResponse:
    """Adds a note to a case, decided or not. Raises CaseUnknown."""
    case_id, text = rules.check_case_id(request.case_id), rules.check_note(request.text)
    once = Once(request.request_id, request, pb.AddReviewNoteResponse, key)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        case = await review.find(connection, case_id)
        if case is None:
            raise rules.CaseUnknown
        note = Note(request.operator_id, text, clock.now())
        await review.insert_note(connection, case_id, note)
        await _record(connection, [case], Decision(False, request.operator_id, ""), note.written_at, "CASE_NOTED")
        return await once.remember(connection, pb.AddReviewNoteResponse(note=write_note(note)))


async def escalate_all(postgres: Postgres, now: datetime) -> int:
    """Makes overdue cases urgent; returns how many. None is decided by it."""
    total = 0
    while True:
        escalated = await _escalate(postgres, now)
        total += escalated
        if escalated < _ESCALATE_BATCH:
            return total


async def waiting(postgres: Postgres, now: datetime) -> dict[tuple[Subject, bool], tuple[int, int]]:
    """Open cases, and the overdue ones of them, by subject and urgency."""
    async with postgres.connection() as connection:
        return await review.count_waiting(connection, now)


def write_note(note: Note) -> pb.ReviewNote:
    """Pack a note."""
    return pb.ReviewNote(operator_id=note.operator_id, text=note.text, written_at=to_timestamp(note.written_at))


@retried
async def _escalate(postgres: Postgres, now: datetime) -> int:
    async with postgres.transaction() as connection:
        case_ids = await review.escalate(connection, now, limit=_ESCALATE_BATCH)
        for case_id in case_ids:
            await audit.record(
                connection, act="CASE_ESCALATED", subject=str(case_id), operator_id=JOB, reason="Overdue.", now=now
            )
    metrics.ESCALATIONS.inc(len(case_ids))
    return len(case_ids)


async def _ordered(connection: Connection, case_ids: list[UUID]) -> list[UUID]:
    """Each case once, in the order of the bonuses and referrers it will lock, the same for everybody."""
    found = [(each, await review.find(connection, each)) for each in dict.fromkeys(case_ids)]
    return [
        case_id
        for case_id, _ in sorted(
            found, key=lambda pair: (str(pair[1].bonus_id), str(pair[1].finding.referrer_ref)) if pair[1] else ("", "")
        )
    ]


async def _try(connection: Connection, case_id: UUID, decision: Decision, now: datetime, done: list[Case]) -> Decided:
    try:
        async with connection.transaction():
            case = await _decide(connection, case_id, decision, now)
    except Refusal as refusal:
        found = await review.find(connection, case_id)
        return Decided(case_id, found.state if found else None, refusal.reason)
    done.append(case)
    return Decided(case_id, CaseState.CLEARED if decision.cleared else CaseState.CONFIRMED)


async def _decide(connection: Connection, case_id: UUID, decision: Decision, now: datetime) -> Case:
    """Locks what a decision may change, in the order of all commands, then decides."""
    case = await review.find(connection, case_id)
    if case is None:
        raise rules.CaseUnknown
    bonus = await bonuses.lock(connection, case.bonus_id) if case.bonus_id else None
    record = await standing_store.lock(connection, case.finding.referrer_ref)
    case = await review.lock(connection, case_id)
    if case is None:
        raise rules.CaseUnknown
    rules.check_open(case)
    await cases.decided(connection, case, decision, now)
    if case.finding.subject is not Subject.STANDING:
        await _apply(connection, case, bonus, decision, now)
    elif decision.cleared and record.standing not in (Standing.GOOD, Standing.FORFEITED):
        await standings.reinstate(connection, case.finding.referrer_ref, record, decision, now)
    return case


async def _apply(connection: Connection, case: Case, bonus: Bonus | None, decision: Decision, now: datetime) -> None:
    """The registration's verdict, its bonus, and what both mean for the referrer."""
    referee_ref = case.finding.referee_ref
    if referee_ref is None:
        return
    if not decision.cleared:
        await risk.set_verdict(connection, referee_ref, RiskVerdict.CONFIRMED)
        if bonus is not None:
            await moves.change(connection, bonus, bonus_rules.denied(bonus, DENIED, now))
    elif case.finding.subject is Subject.REGISTRATION:
        await risk.set_verdict(connection, referee_ref, RiskVerdict.CLEARED)
    await flags.tell(connection, referee_ref, now)
    # Another case of the same referee may be open: the last one cleared lets the bonus go.
    waits = bonus is not None and decision.cleared and rules.waits_for_review(bonus)
    if bonus is not None and waits and not await review.open_subjects(connection, referee_ref):
        await moves.review(connection, bonus.bonus_id, cleared=True, reason="", now=now)
    await standings.evaluate(connection, case.finding.referrer_ref, now)


async def _record(connection: Connection, done: list[Case], decision: Decision, now: datetime, act: str = "") -> None:
    for case in done:
        await audit.record(
            connection,
            act=act or ("CASE_CLEARED" if decision.cleared else "CASE_CONFIRMED"),
            subject=str(case.case_id),
            operator_id=decision.operator_id,
            reason=decision.reason,
            account_ref=case.finding.referee_ref or case.finding.referrer_ref,
            now=now,
        )


def _answer(case_ids: list[UUID], answers: dict[UUID, Decided]) -> pb.DecideReviewCasesResponse:
    """One per case in the order sent; a case that was sent twice was decided the first time."""
    written: list[pb.DecidedCase] = []
    seen: set[UUID] = set()
    for case_id in case_ids:
        answer = answers[case_id]
        refusal = answer.refusal or ("CASE_DECIDED" if case_id in seen else "")
        seen.add(case_id)
        state = f"REVIEW_CASE_STATE_{answer.state.name if answer.state else 'UNSPECIFIED'}"
        written.append(pb.DecidedCase(case_id=str(case_id), state=pb.ReviewCaseState.Value(state), refusal=refusal))
    return pb.DecideReviewCasesResponse(cases=written)
