"""What differs between deployments of referral."""

from datetime import timedelta
from hashlib import blake2b

import environ

from libs.settings import Secret, whole
from libs.settings import Settings as Base
from services.referral.model import Limits
from services.referral.model.bonuses import BonusTerms
from services.referral.model.risk import Key
from services.referral.rules.signals import key_of

_KEY_BYTES_MIN = 16


def _key(value: str) -> Secret:
    if len(value.encode()) < _KEY_BYTES_MIN:
        raise ValueError(f"must be at least {_KEY_BYTES_MIN} bytes long")
    return Secret(value)


def _keys(value: str) -> Secret:
    for each in value.split():
        _key(each)
    return Secret(value)


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """Limits of design and PRD, each with its default."""

    code_bindings_max: int = environ.var("10", converter=whole(1, 1_000_000), help="Bindings per code in the window.")
    code_bindings_window_seconds: int = environ.var("3600", converter=whole(1, 86_400 * 31))
    account_age_max_seconds: int = environ.var("86400", converter=whole(1, 86_400 * 366))
    account_clock_skew_seconds: int = environ.var("300", converter=whole(0, 86_400))
    attribution_window_months: int = environ.var("12", converter=whole(1, 120))
    binding_retention_months: int = environ.var(
        "24", converter=whole(0, 1200), help="How long after its window a binding is kept; the same as distribution's."
    )
    code_expiry_every_seconds: int = environ.var("60", converter=whole(1, 86_400))
    share_base_url: str = environ.var("http://127.0.0.1:8080/join", help="Sign-up page that a share link leads to.")
    bonus_micro: int = environ.var("5000000", converter=whole(1, 10**15), help="Signup bonus, in micro-USD.")
    bonus_mint_minimum_micro: int = environ.var("1000000", converter=whole(1, 10**15))
    bonus_purchase_minimum_micro: int = environ.var("5000000", converter=whole(1, 10**15))
    bonus_hold_seconds: int = environ.var("604800", converter=whole(0, 86_400 * 366))
    bonus_cap: int = environ.var("20", converter=whole(1, 1_000_000), help="Bonuses per referrer in the window.")
    bonus_cap_window_seconds: int = environ.var("2592000", converter=whole(1, 86_400 * 366))
    bonus_every_seconds: int = environ.var("60", converter=whole(1, 86_400), help="How often bonuses are moved on.")
    fingerprint_key: Secret = environ.var(
        converter=_key, help="Keys the fingerprints of operators' requests; it never changes."
    )
    risk_hash_key: Secret = environ.var(converter=_key, help="Keys the hashes of what sign-ups looked like.")
    risk_hash_keys_former: Secret = environ.var(
        "", converter=_keys, help="Keys before it, blank between them, each kept for as long as its hashes are."
    )
    risk_signals_seconds: int = environ.var("7776000", converter=whole(3_600, 86_400 * 366))
    risk_every_seconds: int = environ.var("3600", converter=whole(1, 86_400), help="How often risk is looked at again.")
    review_every_seconds: int = environ.var("60", converter=whole(1, 86_400), help="How often the queue is looked at.")
    enforce_every_seconds: int = environ.var("5", converter=whole(1, 3_600), help="How often standings are told.")
    active_referee_seconds: int = environ.var("2592000", converter=whole(1, 86_400 * 366))

    @property
    def limits(self) -> Limits:
        """What bounds a registration."""
        return Limits(
            account_age=timedelta(seconds=self.account_age_max_seconds),
            clock_skew=timedelta(seconds=self.account_clock_skew_seconds),
            bindings_per_code=self.code_bindings_max,
            velocity_window=timedelta(seconds=self.code_bindings_window_seconds),
        )

    @property
    def bonus_terms(self) -> BonusTerms:
        """What earns how much, and how fast."""
        return BonusTerms(
            amount_micro=self.bonus_micro,
            mint_minimum_micro=self.bonus_mint_minimum_micro,
            purchase_minimum_micro=self.bonus_purchase_minimum_micro,
            hold=timedelta(seconds=self.bonus_hold_seconds),
            cap=self.bonus_cap,
            cap_window=timedelta(seconds=self.bonus_cap_window_seconds),
            clock_skew=timedelta(seconds=self.account_clock_skew_seconds),
        )

    @property
    def active_referee(self) -> timedelta:
        """How long after a paid charge a referee counts as active."""
        return timedelta(seconds=self.active_referee_seconds)

    @property
    def risk_signals(self) -> timedelta:
        """How long hashes of sign-ups are kept."""
        return timedelta(seconds=self.risk_signals_seconds)

    @property
    def risk_keys(self) -> tuple[Key, ...]:
        """Keys of hashes, the current one first."""
        return tuple(dict.fromkeys(key_of(each) for each in (self.risk_hash_key, *self.risk_hash_keys_former.split())))

    @property
    def request_key(self) -> bytes:
        """What keys the fingerprints of requests that name an account."""
        return blake2b(self.fingerprint_key.encode(), digest_size=32, person=b"requests").digest()
