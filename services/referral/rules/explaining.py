"""The path of a decision in coded steps, told from what was kept of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, Refusal
from services.referral.model import (
    Attempt,
    Code,
    CodeState,
    EndReason,
    Facts,
    Kind,
    Limits,
    Outcome,
    Registration,
    Standing,
)
from services.referral.model.explanations import Explanation, Step, Verdict
from services.referral.rules.registration import check_registration

CHECKS: Final = (
    ("EXISTING_BINDING", {"ALREADY_BOUND"}),
    ("CODE_EXISTS", {"CODE_UNKNOWN"}),
    ("CODE_NOT_REVOKED", {"CODE_REVOKED"}),
    ("CODE_NOT_EXPIRED", {"CODE_EXPIRED"}),
    ("CODE_USES_LEFT", {"CODE_EXHAUSTED"}),
    ("REFERRER_STANDING", {"REFERRER_SUSPENDED"}),
    ("NOT_SELF", {"SELF_REFERRAL"}),
    ("NOT_SAME_WALLET", {"SAME_WALLET"}),
    ("NOT_ORGANIC", {"LOCKED_ORGANIC"}),
    ("ACCOUNT_AGE", {"ACCOUNT_AGE_UNKNOWN", "ACCOUNT_AGE_INVALID", "ACCOUNT_TOO_OLD"}),
    ("CODE_VELOCITY", {"CODE_VELOCITY_EXCEEDED"}),
)
"""Every check with the reasons it refuses for, in the order in which `check_registration` makes them."""

OF_THE_CODE: Final = frozenset(
    {"CODE_EXISTS", "CODE_NOT_REVOKED", "CODE_NOT_EXPIRED", "CODE_USES_LEFT", "REFERRER_STANDING", "CODE_VELOCITY"}
)
"""Those that depend on nobody's account."""

_ALREADY: Final = "ALREADY_BOUND"


class SubjectMissing(InvalidArgument):
    """An account or a code is to be explained."""


class ExplainTimeInvalid(InvalidArgument):
    """What a code will answer is not known yet."""


def account(attempts: Sequence[Attempt], binding: Registration | None, window_end: datetime | None) -> Explanation:
    """How an account's attribution was decided: every attempt, oldest first, and the first charge if that decided."""
    steps = [step for attempt in attempts for step in _steps_of(attempt)]
    if binding is None:
        return Explanation(steps, Verdict.REFUSED if attempts else Verdict.UNDECIDED)
    if binding.kind is Kind.REFERRED:
        return Explanation(steps, Verdict.BOUND, binding.created_at, window_end)
    first_charge = Step("FIRST_CHARGE", passed=False, reason="LOCKED_ORGANIC", checked_at=binding.created_at)
    steps = sorted([*steps, first_charge], key=lambda step: step.checked_at)
    return Explanation(steps, Verdict.ORGANIC, binding.created_at)


def code(facts: Facts, at: datetime, limits: Limits) -> Explanation:
    """What a code would have answered, at an instant, to a new account that has nothing against it."""
    try:
        check_registration(facts, at, now=at, limits=limits)
    except Refusal as refusal:
        return Explanation(_path(refusal.reason, at, OF_THE_CODE), Verdict.REFUSED)
    return Explanation(_path("", at, OF_THE_CODE), Verdict.BOUND)


def code_at(code: Code | None, at: datetime) -> Code | None:
    """A code as it was at an instant, which may lie before its end or its beginning."""
    if code is None or code.created_at > at:
        return None
    if code.ended_at is not None and code.ended_at > at:
        return replace(code, state=CodeState.ACTIVE, ended_at=None, end_reason=None)
    if code.state is CodeState.ACTIVE and code.expires_at is not None and code.expires_at <= at:
        return replace(code, state=CodeState.EXPIRED, ended_at=code.expires_at, end_reason=EndReason.TIME)
    return code


def no_code() -> Facts:
    """What is known where there was no such code."""
    return Facts(UUID(int=0), None, None, Standing.GOOD, 0)


def check_instant(at: datetime | None, now: datetime) -> datetime:
    """The instant a code is explained for; raises ExplainTimeInvalid for one to come."""
    if at is not None and at > now:
        raise ExplainTimeInvalid(field="at")
    return at or now


def _steps_of(attempt: Attempt) -> list[Step]:
    reason = _ALREADY if attempt.outcome is Outcome.ALREADY_BOUND else attempt.reason or ""
    return _path(reason, attempt.attempted_at, frozenset(check for check, _ in CHECKS))


def _path(reason: str, at: datetime, made: frozenset[str]) -> list[Step]:
    """The checks up to the one that refused; all of them for no reason."""
    steps: list[Step] = []
    for check, reasons in CHECKS:
        if reason in reasons:
            return [*steps, Step(check, passed=False, reason=reason, checked_at=at)]
        if check in made:
            steps.append(Step(check, passed=True, reason="", checked_at=at))
    return [*steps, Step("OTHER", passed=False, reason=reason, checked_at=at)] if reason else steps
