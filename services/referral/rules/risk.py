"""How a registration is scored, and who may change how."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from libs.four_eyes import is_same_person
from libs.money import BPS
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from services.referral.model import Registration, Standing
from services.referral.model.review import Finding, Subject
from services.referral.model.risk import Assessment, RiskVerdict, Score, Signal, Weight, Weights, WeightsState

SCORE_MAX: Final = 10_000
VELOCITY_WINDOW: Final = timedelta(hours=1)
ACTIVITY_WINDOW: Final = timedelta(days=7)
RESCORE_AFTER: Final = ACTIVITY_WINDOW + timedelta(hours=1)
"""A little later than the week: the last charge of it may still be on its way."""
SHADOWS_MAX: Final = 5
PAGE: Final = 50
MAX_PAGE: Final = 100
MAX_DIVISOR: Final = 1_000_000

SIGNALS: Final = tuple(Signal)


class RiskWeightsInvalid(InvalidArgument):
    """Weights name each signal once: a cap and a part of 0 to 10000, a divisor from 1."""


class RiskThresholdInvalid(InvalidArgument):
    """A score is flagged from 1 to 10000, and urgent from there to 10000."""


class RiskWeightsUnknown(NotFound):
    """No such version of the risk weights."""


class RiskWeightsNotShadow(FailedPrecondition):
    """Only a version in shadow can be made the active one."""


class RiskWeightsNeedSecond(PermissionDenied):
    """Weights are activated by another operator than their proposer."""


class RiskWeightsPageInvalid(InvalidArgument):
    """A page of weights has 1 to 100 versions and goes on where a former one ended."""


class ShadowPeriodInvalid(InvalidArgument):
    """The period of a report ends after it began."""


def check_weights(weights: Iterable[tuple[str, Weight]]) -> tuple[Weight, ...]:
    """Weights in the order of the signals, each named once."""
    given: dict[str, Weight] = {}
    for name, weight in weights:
        usable = 0 <= weight.cap <= SCORE_MAX and 0 <= weight.factor_bps <= BPS and 1 <= weight.divisor <= MAX_DIVISOR
        if name in given or not usable:
            raise RiskWeightsInvalid(field="weights", signal=name[:40])
        given[name] = weight
    if set(given) != set(SIGNALS):
        raise RiskWeightsInvalid(field="weights")
    return tuple(given[signal] for signal in SIGNALS)


def check_thresholds(flagged_from: int, urgent_from: int) -> None:
    """Refuses thresholds out of order."""
    if not 1 <= flagged_from <= SCORE_MAX:
        raise RiskThresholdInvalid(field="flagged_from")
    if not flagged_from <= urgent_from <= SCORE_MAX:
        raise RiskThresholdInvalid(field="urgent_from")


def check_activation(weights: Weights, operator_id: str) -> None:
    """Four eyes, and only out of the shadow."""
    if weights.state is not WeightsState.SHADOW:
        raise RiskWeightsNotShadow(state=weights.state)
    if is_same_person(weights.proposed_by, operator_id):
        raise RiskWeightsNeedSecond


def check_page(size: int, token: str) -> tuple[int, int | None]:
    """The size of a page, and the version it stays below."""
    if not 0 <= size <= MAX_PAGE:
        raise RiskWeightsPageInvalid(field="page_size")
    if token and not (token.isascii() and token.isdecimal() and len(token) <= 9):  # noqa: PLR2004 - fits an integer
        raise RiskWeightsPageInvalid(field="page_token")
    return size or PAGE, int(token) if token else None


def check_period(from_time: datetime | None, to_time: datetime | None) -> None:
    """Refuses a period that ends before it begins."""
    if from_time is not None and to_time is not None and to_time <= from_time:
        raise ShadowPeriodInvalid(field="to_time")


def points(weight: Weight, observed: int) -> int:
    """min(cap, cap * observed / divisor), of which the factor is used; rounded down."""
    return min(weight.cap * weight.divisor, weight.cap * observed) * weight.factor_bps // (weight.divisor * BPS)


def score(weights: Weights, observed: Mapping[Signal, int]) -> Score:
    """The score of what was observed, its parts kept."""
    seen = tuple(max(0, observed.get(signal, 0)) for signal in SIGNALS)
    parts = tuple(points(weight, count) for weight, count in zip(weights.weights, seen, strict=True))
    total = min(SCORE_MAX, sum(parts))
    return Score(
        weights.version,
        total,
        seen,
        parts,
        flagged=total >= weights.flagged_from,
        urgent=total >= weights.urgent_from,
    )


def had_no_paid_activity(registered_at: datetime, first_paid_at: datetime | None, now: datetime) -> bool:
    """Whether its first week is over and nothing was paid in it."""
    if now < registered_at + ACTIVITY_WINDOW:
        return False
    return first_paid_at is None or first_paid_at > registered_at + ACTIVITY_WINDOW


def finding(assessment: Assessment, related_refs: Sequence[uuid.UUID]) -> Finding:
    """What a reviewer is shown of a flagged registration."""
    found = assessment.score
    return Finding(
        Subject.REGISTRATION,
        assessment.referrer_ref,
        assessment.referee_ref,
        found.score,
        found.urgent,
        found.version,
        found.observed,
        found.points,
        tuple(related_refs),
    )


def objection(assessment: Assessment, standing: Standing, open_subjects: Iterable[Subject]) -> str | None:
    """Why a bonus is not cleared by the checks, as an UPPER_SNAKE reason; None when nothing is held against it."""
    subjects = set(open_subjects)
    if Subject.SHARED_ADDRESS in subjects:
        return "SHARED_ADDRESS"
    if assessment.verdict is RiskVerdict.CONFIRMED:
        return "CONFIRMED"
    if assessment.flagged or Subject.REGISTRATION in subjects:
        return "FLAGGED"
    if standing is Standing.BONUSES_ON_HOLD and not assessment.exempt:
        return "REFERRER_ON_HOLD"
    if standing in (Standing.SUSPENDED, Standing.FORFEITED):
        return "REFERRER_SUSPENDED"
    return None


def questioned(
    one: uuid.UUID, mine: Registration | None, other: uuid.UUID, theirs: Registration | None
) -> Registration | None:
    """The referral that a shared address puts in question: between the two, or the later one of the same referrer."""
    if mine is not None and mine.referrer_ref == other:
        return mine
    if theirs is not None and theirs.referrer_ref == one:
        return theirs
    if mine is None or theirs is None or mine.referrer_ref is None or mine.referrer_ref != theirs.referrer_ref:
        return None
    return max(mine, theirs, key=lambda each: (each.created_at, each.referee_ref))
