"""What referral counts."""

from prometheus_client import Counter

from libs.refusals import Refusal
from services.referral.model import Outcome, Registered

_ATTEMPTS = Counter(
    "creator_referral_registration_attempts_total",
    "Attempts to register with a code, by what came of them and the reason of a refusal.",
    ["outcome", "reason"],
)
_ORGANIC = Counter("creator_referral_organic_accounts_total", "Accounts locked organic by their first charge.")
_EXPIRED = Counter("creator_referral_expired_codes_total", "Codes that the expiry job ended.")


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
