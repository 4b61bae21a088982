"""What referral counts."""

from prometheus_client import Counter, Gauge

from libs.refusals import Refusal
from services.referral.model import Outcome, Registered

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
