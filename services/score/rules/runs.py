"""When a period is rewarded, and how a run moves."""

from datetime import datetime, timedelta
from typing import Final

from libs.periods import Period, check_over, month_of, read_period, week_of
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument
from services.score.model.imports import MAX_SCORE, Snapshot
from services.score.model.runs import Run, RunState, Terms
from services.score.rules.imports import is_stale

MONTH: Final = "month"
WEEK: Final = "week"
PERIODS_BACK: Final = 6
"""How many periods the schedule makes up for after it stood still."""
_MAX_MICRO: Final = 10**15


class RunTermsInvalid(InvalidArgument):
    """A run divides 1 to 10^15 micro-USD, and its minimums are whole numbers up to 10^30."""


class RunCadenceMismatch(FailedPrecondition):
    """Runs are made for periods of another length."""


class RunExists(AlreadyExists):
    """The period has a run."""


class RunWithoutScores(FailedPrecondition):
    """No scores were ever imported for this period or one before it."""


class ScoresStale(FailedPrecondition):
    """The scores are too old to reward anybody by."""


class RunFinished(FailedPrecondition):
    """The run is committed or aborted already."""


class NoParticipants(FailedPrecondition):
    """No account counts."""


def check_terms(configured_micro: int, wallet_minimum: str, account_minimum: str) -> Terms:
    """Return terms to try; raises RunTermsInvalid."""
    if not 1 <= configured_micro <= _MAX_MICRO:
        raise RunTermsInvalid(field="configured_micro")
    return Terms(
        configured_micro, _minimum(wallet_minimum, "wallet_minimum"), _minimum(account_minimum, "account_minimum")
    )


def _minimum(text: str, field: str) -> int:
    most = len(str(MAX_SCORE))
    if not (text.isascii() and text.isdecimal() and len(text) <= most and int(text) <= MAX_SCORE):
        raise RunTermsInvalid(field=field)
    return int(text)


def check_period(name: str, cadence: str) -> Period:
    """Return the period of a run; raises PeriodInvalid, RunCadenceMismatch."""
    period = read_period(name)
    if ("W" in name) != (cadence == WEEK):
        raise RunCadenceMismatch(field="period", cadence=cadence)
    return period


def last_period(now: datetime, cadence: str) -> Period:
    """The newest period that is over."""
    around = week_of if cadence == WEEK else month_of
    return around(around(now.date()).first - timedelta(days=1))


def periods_due(first_scores: datetime | None, now: datetime, cadence: str) -> list[Period]:
    """The periods that are over and can be rewarded, oldest first: since there are scores, and of late."""
    if first_scores is None:
        return []
    around = week_of if cadence == WEEK else month_of
    due: list[Period] = []
    period = last_period(now, cadence)
    while len(due) < PERIODS_BACK and period.over_at > first_scores:
        due.append(period)
        period = around(period.first - timedelta(days=1))
    return due[::-1]


def check_freezing(period: Period, now: datetime, *, exists: bool) -> None:
    """Raise PeriodNotOver, RunExists."""
    check_over(period, now)
    if exists:
        raise RunExists


def check_snapshot(found: Snapshot | None, now: datetime, max_age_days: int) -> Snapshot:
    """Return the scores to reward by; raises RunWithoutScores, ScoresStale."""
    if found is None:
        raise RunWithoutScores
    if is_stale(found, now, max_age_days):
        raise ScoresStale(taken_at=found.taken_at.isoformat())
    return found


def check_abortable(run: Run) -> None:
    """Raise RunFinished for a run that is committed; an aborted one may be aborted again."""
    if run.state is RunState.COMMITTED:
        raise RunFinished
