"""How the provider is reached, and as whom; a secret comes from a file where X_FILE says so."""

from collections.abc import Mapping
from typing import Self

import environ

from libs.settings import Deployment, Misconfigured, Secret, flag, one_of, seconds, whole
from services.payout.provider.client import Access


@environ.config(prefix="", frozen=True)
class ProviderSettings(Deployment):
    """The provider's account."""

    payouts_enabled: bool = environ.var("1", converter=flag, help="Off: nothing new is handed to the provider.")
    nowpayments_url: str = environ.var("https://api.nowpayments.io/v1")
    nowpayments_api_key: Secret = environ.var("", converter=Secret)
    nowpayments_email: Secret = environ.var("", converter=Secret)
    nowpayments_password: Secret = environ.var("", converter=Secret)
    nowpayments_totp_secret: Secret = environ.var("", converter=Secret, help="Base32, as the dashboard shows it.")
    nowpayments_ipn_secret: Secret = environ.var("", converter=Secret, help="Without it every callback is refused.")
    nowpayments_ipn_secret_former: Secret = environ.var("", converter=Secret, help="Also accepted while they rotate.")
    nowpayments_callback_url: str = environ.var("", help="Where callbacks about payouts go; the public address.")
    nowpayments_fee_paid_by: str = environ.var("sender", converter=one_of("sender", "receiver"))
    nowpayments_calls_per_second: int = environ.var("3", converter=whole(1, 1000))
    nowpayments_timeout_seconds: float = environ.var("30", converter=seconds(0.1, 120))

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Also raises Misconfigured where secrets would go over the wire in the clear."""
        settings = super().read(environment)
        if not settings.nowpayments_url.startswith("https://") and not settings.test_mode:
            raise Misconfigured("NOWPAYMENTS_URL must begin with https://: only test mode goes without.")
        return settings

    @property
    def access(self) -> Access:
        """How this merchant is known at the provider."""
        return Access(
            url=self.nowpayments_url.rstrip("/"),
            api_key=self.nowpayments_api_key,
            email=self.nowpayments_email,
            password=self.nowpayments_password,
            totp_secret=self.nowpayments_totp_secret,
            callback_url=self.nowpayments_callback_url,
        )

    @property
    def ipn_secrets(self) -> tuple[str, ...]:
        """Secrets of callbacks, the current one first; none accepts nothing."""
        given = (self.nowpayments_ipn_secret, self.nowpayments_ipn_secret_former)
        return tuple(secret for secret in given if secret)
