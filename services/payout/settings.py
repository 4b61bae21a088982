"""What differs between deployments of payout."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import blake2b

import environ

from libs.settings import Secret, flag, whole
from libs.settings import Settings as Base
from services.payout.model.currencies import CURRENCIES, Currency
from services.payout.rules.approvals import Limits, Terms

_MAX_MICRO = 10**15
_DAY = 86_400


def _tickers(value: str) -> tuple[str, ...]:
    tickers = tuple(sorted(filter(None, value.replace(" ", "").split(","))))
    if not tickers or not all(ticker in CURRENCIES for ticker in tickers):
        raise ValueError(f"must be of {', '.join(CURRENCIES)}, separated by commas")
    return tickers


def _key(value: str) -> Secret:
    if len(value) < 16:  # noqa: PLR2004 - a guess takes longer than anything lasts
        raise ValueError("must have at least 16 characters")
    return Secret(value)


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """Limits of the design, each with its default."""

    payouts_enabled: bool = environ.var("1", converter=flag, help="Off: nothing is asked for, burned or handed over.")
    payouts_approve_all: bool = environ.var("0", converter=flag, help="On: every payout waits for an operator.")
    payout_currencies: tuple[str, ...] = environ.var(",".join(CURRENCIES), converter=_tickers)
    payout_minimum_micro: int = environ.var("10000000", converter=whole(1, _MAX_MICRO))
    payout_window_seconds: int = environ.var(str(_DAY), converter=whole(0, 366 * _DAY), help="One payout per so long.")
    payout_single_micro: int = environ.var("50000000", converter=whole(0, _MAX_MICRO), help="More waits.")
    payout_cumulative_micro: int = environ.var("100000000", converter=whole(0, _MAX_MICRO), help="More waits.")
    payout_two_approvers_micro: int = environ.var("1000000000", converter=whole(1, _MAX_MICRO))
    payout_promise_seconds: int = environ.var(str(3 * _DAY), converter=whole(60, 366 * _DAY))
    destination_cooldown_seconds: int = environ.var(str(_DAY), converter=whole(0, 366 * _DAY))
    confirmation_seconds: int = environ.var("900", converter=whole(10, 7 * _DAY))
    early_request_seconds: int = environ.var(str(7 * _DAY), converter=whole(60, 366 * _DAY))
    quote_seconds: int = environ.var("900", converter=whole(10, _DAY))
    price_every_seconds: int = environ.var("300", converter=whole(10, _DAY))
    price_max_age_seconds: int = environ.var("3600", converter=whole(10, 7 * _DAY))
    screening_file: str = environ.var("", help="Addresses that nothing is sent to, one a line.")
    address_key: Secret = environ.var(converter=_key, help="Keys surrogates of addresses and fingerprints.")

    @property
    def currencies(self) -> Mapping[str, Currency]:
        """What payouts are open in."""
        return {ticker: CURRENCIES[ticker] for ticker in self.payout_currencies}

    @property
    def limits(self) -> Limits:
        """What waits for operators, and how often one may ask."""
        return Limits(
            single_micro=self.payout_single_micro,
            cumulative_micro=self.payout_cumulative_micro,
            two_approvers_micro=self.payout_two_approvers_micro,
            approve_all=self.payouts_approve_all,
            window=timedelta(seconds=self.payout_window_seconds),
            promise=timedelta(seconds=self.payout_promise_seconds),
        )

    @property
    def price_max_age(self) -> timedelta:
        """How long a price offers anything."""
        return timedelta(seconds=self.price_max_age_seconds)

    @property
    def terms(self) -> Terms:
        """How payouts are taken on."""
        return Terms(self.payouts_enabled, self.price_max_age, timedelta(seconds=self.quote_seconds))

    @property
    def request_key(self) -> bytes:
        """What keys the fingerprints of requests."""
        return blake2b(self.address_key.encode(), digest_size=32, person=b"requests").digest()

    @property
    def ref_key(self) -> bytes:
        """What keys the surrogates of addresses."""
        return blake2b(self.address_key.encode(), digest_size=32, person=b"addresses").digest()
