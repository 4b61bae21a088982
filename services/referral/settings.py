"""What differs between deployments of referral."""

from datetime import timedelta

import environ

from libs.settings import Settings as Base
from libs.settings import whole
from services.referral.model import Limits


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """Limits of design and PRD, each with its default."""

    code_bindings_max: int = environ.var("10", converter=whole(1, 1_000_000), help="Bindings per code in the window.")
    code_bindings_window_seconds: int = environ.var("3600", converter=whole(1, 86_400 * 31))
    account_age_max_seconds: int = environ.var("86400", converter=whole(1, 86_400 * 366))
    account_clock_skew_seconds: int = environ.var("300", converter=whole(0, 86_400))
    attribution_window_months: int = environ.var("12", converter=whole(1, 120))
    code_expiry_every_seconds: int = environ.var("60", converter=whole(1, 86_400))

    @property
    def limits(self) -> Limits:
        """What bounds a registration."""
        return Limits(
            account_age=timedelta(seconds=self.account_age_max_seconds),
            clock_skew=timedelta(seconds=self.account_clock_skew_seconds),
            bindings_per_code=self.code_bindings_max,
            velocity_window=timedelta(seconds=self.code_bindings_window_seconds),
        )
