"""The review queue's part of creator.referral.v1.ReferralAdminService."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import review
from services.referral.model.review import Case, CaseFilter, CaseState, Decision, Subject
from services.referral.model.risk import Signal, Weights
from services.referral.rules import operators
from services.referral.rules import review as rules
from services.referral.rules.accounts import check_account_ref
from services.referral.settings import Settings
from services.referral.store import review as store
from services.referral.store import weights

_NOTES_MAX: Final = 1000
_STATES: Final = {
    pb.REVIEW_CASE_STATE_UNSPECIFIED: CaseState.OPEN,
    pb.REVIEW_CASE_STATE_OPEN: CaseState.OPEN,
    pb.REVIEW_CASE_STATE_CLEARED: CaseState.CLEARED,
    pb.REVIEW_CASE_STATE_CONFIRMED: CaseState.CONFIRMED,
}
_SUBJECTS: Final = {
    pb.REVIEW_SUBJECT_UNSPECIFIED: None,
    pb.REVIEW_SUBJECT_REGISTRATION: Subject.REGISTRATION,
    pb.REVIEW_SUBJECT_STANDING: Subject.STANDING,
    pb.REVIEW_SUBJECT_SHARED_ADDRESS: Subject.SHARED_ADDRESS,
}
_URGENCIES: Final = {
    pb.REVIEW_URGENCY_UNSPECIFIED: None,
    pb.REVIEW_URGENCY_NORMAL: False,
    pb.REVIEW_URGENCY_URGENT: True,
}
_DECISIONS: Final = {pb.REVIEW_DECISION_CLEAR: True, pb.REVIEW_DECISION_CONFIRM: False}


class Reviews:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings

    async def ListReviewCases(self, request: pb.ListReviewCasesRequest, context: Context) -> pb.ListReviewCasesResponse:
        wanted, (size, after) = _filter(request), rules.check_page(request.page_size, request.page_token)
        async with self._postgres.connection() as connection:
            page = await store.page(connection, wanted, after, self._clock.now(), limit=size + 1)
            total = await store.count_open(connection)
        return pb.ListReviewCasesResponse(
            cases=[_write(case) for case in page[:size]],
            next_page_token=rules.token_of(page[size - 1]) if len(page) > size else "",
            open_total=total,
        )

    async def GetReviewCase(self, request: pb.GetReviewCaseRequest, context: Context) -> pb.GetReviewCaseResponse:
        case_id = rules.check_case_id(request.case_id)
        async with self._postgres.transaction(readonly=True) as connection:
            case = await store.find(connection, case_id)
            if case is None:
                raise rules.CaseUnknown
            version = await weights.find(connection, case.finding.weights_version)
            notes = await store.notes(connection, case_id, limit=_NOTES_MAX)
        return pb.GetReviewCaseResponse(
            case=_write(case),
            parts=_parts(case, version),
            weights_version=case.finding.weights_version,
            related_refs=[str(each) for each in case.finding.related_refs],
            notes=[review.write_note(note) for note in notes],
        )

    async def DecideReviewCase(
        self, request: pb.DecideReviewCaseRequest, context: Context
    ) -> pb.DecideReviewCaseResponse:
        case = await review.decide_case(
            self._postgres, self._clock, self._settings.request_key, request, _decision(request)
        )
        return pb.DecideReviewCaseResponse(case=_write(case))

    async def DecideReviewCases(
        self, request: pb.DecideReviewCasesRequest, context: Context
    ) -> pb.DecideReviewCasesResponse:
        return await review.decide_cases(
            self._postgres, self._clock, self._settings.request_key, request, _decision(request)
        )

    async def AddReviewNote(self, request: pb.AddReviewNoteRequest, context: Context) -> pb.AddReviewNoteResponse:
        operators.check_operator(request.operator_id)
        return await review.add_note(self._postgres, self._clock, self._settings.request_key, request)


def _filter(request: pb.ListReviewCasesRequest) -> CaseFilter:
    for field, known in (("state", _STATES), ("subject", _SUBJECTS), ("urgency", _URGENCIES)):
        if getattr(request, field) not in known:
            raise rules.CaseFilterInvalid(field=field)
    return CaseFilter(
        state=_STATES[request.state],
        subject=_SUBJECTS[request.subject],
        urgent=_URGENCIES[request.urgency],
        referrer_ref=check_account_ref(request.referrer_ref, "referrer_ref") if request.referrer_ref else None,
        overdue_only=request.overdue_only,
    )


def _decision(request: pb.DecideReviewCaseRequest | pb.DecideReviewCasesRequest) -> Decision:
    if request.decision not in _DECISIONS:
        raise rules.DecisionInvalid(field="decision")
    operator_id = operators.check_operator(request.operator_id)
    return Decision(_DECISIONS[request.decision], operator_id, operators.check_reason(request.reason))


def _write(case: Case) -> pb.ReviewCase:
    found = case.finding
    return pb.ReviewCase(
        case_id=str(case.case_id),
        subject=pb.ReviewSubject.Value(f"REVIEW_SUBJECT_{found.subject.name}"),
        state=pb.ReviewCaseState.Value(f"REVIEW_CASE_STATE_{case.state.name}"),
        urgency=pb.REVIEW_URGENCY_URGENT if found.urgent else pb.REVIEW_URGENCY_NORMAL,
        risk_score=found.risk_score,
        referrer_ref=str(found.referrer_ref),
        referee_ref=str(found.referee_ref or ""),
        bonus_id=str(case.bonus_id or ""),
        amount_micro=case.amount_micro,
        opened_at=to_timestamp(case.opened_at),
        due_at=to_timestamp(case.due_at),
        decided_by=case.decided_by,
        decided_at=to_timestamp(case.decided_at) if case.decided_at else None,
    )


def _parts(case: Case, version: Weights | None) -> list[pb.RiskPart]:
    observed, points = case.finding.observed, case.finding.points
    if version is None or observed is None or points is None:
        return []
    return [
        pb.RiskPart(signal=signal, points=part, cap=weight.cap, observed=count)
        for signal, part, weight, count in zip(Signal, points, version.weights, observed, strict=True)
    ]
