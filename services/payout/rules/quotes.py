"""What would arrive of a payout."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from typing import Final, NamedTuple

from libs.money import MAX_MICRO
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.payout.model import MICRO
from services.payout.model.currencies import Currency, Price

_UNIT: Final = Decimal(10) ** -6
"""The provider takes amounts of at most six decimals."""
_PEG_BPS: Final = 1_000
"""How far a dollar coin may be from a dollar."""
_JUMP_MAX: Final = 2
"""The factor that a price may move by within `_COMPARED_FOR`."""
_COMPARED_FOR: Final = timedelta(days=1)


class CurrencyUnknown(InvalidArgument):
    """No payouts are made in this currency."""


class PriceUnknown(Unavailable):
    """The provider has not told the fee of this currency lately; try again later."""


class BelowMinimum(FailedPrecondition):
    """The amount is below what is paid out at least."""


class QuoteUnknown(NotFound):
    """No such quote."""


class QuoteExpired(FailedPrecondition):
    """The quote has expired; take a fresh one."""


class QuoteMismatch(InvalidArgument):
    """The quote is for another amount or currency."""


class Offer(NamedTuple):
    """Fee of a gross amount, and about what arrives in units of the currency."""

    fee_micro: int
    net_amount: Decimal


def find(currencies: Mapping[str, Currency], ticker: str) -> Currency:
    """Return an open currency; raises CurrencyUnknown."""
    currency = currencies.get(ticker)
    if currency is None:
        raise CurrencyUnknown(field="currency")
    return currency


def is_fresh(price: Price | None, now: datetime, max_age: timedelta) -> bool:
    """Whether a price is known well enough to offer anything by it."""
    return price is not None and now - price.asked_at <= max_age


def is_plausible(price: Price, former: Price | None, currency: Currency) -> bool:
    """Whether a price may be believed: a wrong one would send many times what was burned."""
    units = price.units_per_usd
    if currency.is_dollar and abs(units - 1) * 10_000 > _PEG_BPS:
        return False
    if former is None or price.asked_at - former.asked_at > _COMPARED_FOR:
        return units > 0
    return former.units_per_usd <= units * _JUMP_MAX and units <= former.units_per_usd * _JUMP_MAX


def offer(amount_micro: int, price: Price, *, least_micro: int) -> Offer:
    """Return what a gross amount comes to by a price; the fee is rounded up, what arrives down. Raises BelowMinimum."""
    minimum_micro = smallest_micro(price, least_micro=least_micro)
    if amount_micro < minimum_micro:
        raise BelowMinimum(field="amount_micro", minimum_micro=minimum_micro)
    fee_micro = _micro(price.fee_units, price)
    net_amount = ((amount_micro - fee_micro) * price.units_per_usd).scaleb(-6).quantize(_UNIT, ROUND_DOWN)
    if net_amount <= 0:
        raise BelowMinimum(field="amount_micro", minimum_micro=minimum_micro)
    return Offer(fee_micro, net_amount)


def smallest_micro(price: Price, *, least_micro: int) -> int:
    """Return the least gross amount whose net the provider would send."""
    net_micro = max(_micro(price.minimum_units, price), 1)
    return min(max(least_micro, net_micro + _micro(price.fee_units, price)), MAX_MICRO)


def _micro(units: Decimal, price: Price) -> int:
    """Return what units of a currency are in micro-USD, rounded up."""
    return int((units * MICRO / price.units_per_usd).to_integral_value(ROUND_CEILING))
