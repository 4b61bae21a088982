"""What differs between deployments of distribution."""

from datetime import timedelta

import environ

from libs.settings import Secret, flag, seconds, whole
from libs.settings import Settings as Base

_KEY_BYTES_MIN = 16


def _key(value: str) -> Secret:
    if len(value.encode()) < _KEY_BYTES_MIN:
        raise ValueError(f"must be at least {_KEY_BYTES_MIN} bytes long")
    return Secret(value)


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """Limits of the ledger's hot path, each with its default."""

    fingerprint_key: Secret = environ.var(
        converter=_key, help="Keys the fingerprints of charges; it never changes, or replays are refused as mismatches."
    )
    billing_enabled: bool = environ.var("1", converter=flag, help="Off: every Finalize is refused.")
    payouts_enabled: bool = environ.var("1", converter=flag, help="Off: no payout is held or burned.")
    attribution_window_months: int = environ.var("12", converter=whole(1, 120))
    binding_retention_months: int = environ.var(
        "24", converter=whole(0, 1200), help="How long after its window a binding is kept; the same as referral's."
    )
    attribution_cache_max: int = environ.var("200000", converter=whole(1, 10_000_000))
    attribution_wait_seconds: float = environ.var("2", converter=seconds(0.05, 30))
    settlement_delay_seconds: int = environ.var("172800", converter=whole(0, 86_400 * 60))
    earnings_hold_seconds: int = environ.var("1209600", converter=whole(0, 86_400 * 366))
    rule_cooling_seconds: int = environ.var(
        "604800", converter=whole(604_800, 86_400 * 365), help="Between a rule's approval and its force, at the least."
    )
    score_pool_funding_bps: int = environ.var(
        "1000", converter=whole(0, 10_000), help="Part of net foundation revenue that funds the score pool."
    )
    answers_kept_days: int = environ.var(
        "90", converter=whole(1, 3660), help="How long answers are kept whose repeats are known by other keys too."
    )
    group_commit_max: int = environ.var("512", converter=whole(1, 512), help="Charges in one transaction.")
    ledger_queue_max: int = environ.var("8192", converter=whole(512, 1_000_000), help="Charges that may wait for it.")
    ledger_patience_seconds: float = environ.var(
        "5", converter=seconds(0.1, 60), help="How long a charge waits for a database that is away."
    )
    stream_in_flight_max: int = environ.var("1024", converter=whole(1, 100_000), help="Unanswered charges of a stream.")

    @property
    def settlement_delay(self) -> timedelta:
        """How long after the money behind it cleared a share settles."""
        return timedelta(seconds=self.settlement_delay_seconds)

    @property
    def answers_kept(self) -> timedelta:
        """How long the same request gets the same answer where money does not hang on it."""
        return timedelta(days=self.answers_kept_days)

    @property
    def earnings_hold(self) -> timedelta:
        """How long after its accrual a share may not be paid out."""
        return timedelta(seconds=self.earnings_hold_seconds)

    @property
    def rule_cooling(self) -> timedelta:
        """How long an approved rule waits at the least."""
        return timedelta(seconds=self.rule_cooling_seconds)
