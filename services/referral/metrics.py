"""What referral counts."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge

from libs.refusals import Refusal
from services.referral.model import Outcome, Registered
from services.referral.model.erasures import ErasureState
from services.referral.model.figures import Counted
from services.referral.model.review import Subject
from services.referral.rules import figures as figure_rules

_ATTEMPTS = Counter(
    "creator_referral_registration_attempts_total",
    "Attempts to register with a code, by what came of them and the reason of a refusal.",
    ["outcome", "reason"],
)
_ORGANIC = Counter("creator_referral_organic_accounts_total", "Accounts locked organic by their first charge.")
_EXPIRED = Counter("creator_referral_expired_codes_total", "Codes that the expiry job ended.")

ACTIONS = Counter(
    "creator_referral_qualifying_actions_total",
    "Actions that might earn a bonus, by who told of them and what came of it.",
    ["source", "outcome"],
)
BONUSES = Counter("creator_referral_bonuses_total", "Bonuses that came into a state, and why.", ["state", "reason"])
CHECK_FAILURES = Counter(
    "creator_referral_bonus_check_failures_total", "Checks that could not be made: the bonus stays pending."
)
BUDGET_REFUSALS = Counter(
    "creator_referral_bonus_budget_refusals_total", "Answers about a bonus's budget that leave it waiting.", ["reason"]
)
GRANT_REFUSALS = Counter(
    "creator_referral_bonus_grant_refusals_total", "Grants that distribution refused, to be tried later.", ["reason"]
)
_WAITING = Gauge(
    "creator_referral_bonuses_waiting",
    "Bonuses that wait, at the last look: for budget, checks, review, grant.",
    ["what"],
)


def waiting(counts: dict[str, int]) -> None:
    """Shows how many bonuses wait for what."""
    for what in ("budget", "checks", "review", "grant"):
        _WAITING.labels(what).set(counts.get(what, 0))


def registered(answer: Registered | Refusal) -> None:
    """Counts one attempt that is committed."""
    if isinstance(answer, Refusal):
        _ATTEMPTS.labels(Outcome.REFUSED, answer.reason).inc()
    else:
        _ATTEMPTS.labels(Outcome.ALREADY_BOUND if answer.already_bound else Outcome.BOUND, "").inc()


def locked_organic(count: int) -> None:
    """Counts accounts that were locked organic."""
    _ORGANIC.inc(count)


def expired_codes(count: int) -> None:
    """Counts codes that the job expired."""
    _EXPIRED.inc(count)


SCORES = Counter("creator_referral_risk_scores_total", "Registrations scored, by stage.", ["stage", "flagged"])
CASES = Counter("creator_referral_review_cases_total", "Cases for review, by what became of them.", ["subject", "what"])
ESCALATIONS = Counter("creator_referral_review_escalations_total", "Overdue cases that were made urgent.")
STANDINGS = Counter(
    "creator_referral_standings_total", "Standings that were come into, and why.", ["standing", "reason"]
)
ENFORCEMENT_FAILURES = Counter(
    "creator_referral_enforcement_failures_total",
    "Standings that distribution did not take in; they are told again.",
    ["act", "reason"],
)
UNTOLD = Gauge("creator_referral_enforcements_untold", "Standings that distribution has not taken in yet.")
PURGED = Counter("creator_referral_purged_signals_total", "Hashes of sign-ups that were deleted for their age.")
AUDIT_BROKEN_AT = Gauge(
    "creator_referral_audit_log_broken_at", "First row of the audit log that was changed or is missing; 0 for none."
)
_OPEN_CASES = Gauge("creator_referral_review_open", "Cases that wait for a reviewer.", ["subject", "urgent"])
_OVERDUE_CASES = Gauge("creator_referral_review_overdue", "Cases that wait too long.", ["subject", "urgent"])


def reviews_waiting(counts: Mapping[tuple[Subject, bool], tuple[int, int]]) -> None:
    """Shows how many cases wait, and how many of them too long."""
    for subject in Subject:
        for urgent in (False, True):
            waiting, overdue = counts.get((subject, urgent), (0, 0))
            _OPEN_CASES.labels(subject, str(urgent).lower()).set(waiting)
            _OVERDUE_CASES.labels(subject, str(urgent).lower()).set(overdue)


_ERASURES = Gauge("creator_referral_erasures", "Erasures of accounts, at the last look, by state.", ["state"])
_PURGED = Counter("creator_referral_purged_rows_total", "Rows that were kept long enough, by what they are.", ["what"])


def erasures(counts: dict[str, int]) -> None:
    """Shows how many erasures are in which state."""
    for state in ErasureState:
        _ERASURES.labels(state).set(counts.get(state, 0))


def purged(what: str, rows: int) -> None:
    """Counts what retention removed."""
    _PURGED.labels(what).inc(rows)


_CAC = Gauge("creator_referral_launch_cac_micro_usd", "Bonuses per converted referral of the last 30 days.")
_CONVERSION = Gauge(
    "creator_referral_launch_conversion_bps", "Referrals of the last 30 days that have paid, in 1/10000."
)
_MARGIN = Gauge("creator_referral_launch_net_margin_bps", "Net margin after referrals of the last 30 days, in 1/10000.")


def launch(counted: Counted) -> None:
    """Shows the figures of the launch."""
    _CAC.set(figure_rules.cac_micro(counted))
    _CONVERSION.set(figure_rules.conversion_bps(counted))
    _MARGIN.set(figure_rules.net_margin_bps(counted))
