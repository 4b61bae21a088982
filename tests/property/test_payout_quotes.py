"""Quotes: gross is fee and net, to the micro-dollar, whatever a currency costs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from libs.money import MAX_MICRO
from services.payout.model.currencies import CURRENCIES, Price
from services.payout.rules import quotes
from services.payout.rules.approvals import Limits, needs

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400
PRICES = st.builds(
    Price,
    st.just("btc"),
    st.decimals(Decimal("0.000001"), Decimal(1_000_000), places=12).filter(bool),
    st.decimals(0, Decimal(10), places=8),
    st.decimals(0, Decimal(10), places=8),
    st.just(NOW),
)


@given(st.integers(1, MAX_MICRO), PRICES)
def test_an_offer_is_never_more_than_what_is_taken(amount_micro: int, price: Price) -> None:
    try:
        fee_micro, net_amount = quotes.offer(amount_micro, price, least_micro=10_000_000)
    except quotes.BelowMinimum:
        return
    assert 0 <= fee_micro < amount_micro
    assert amount_micro >= 10_000_000
    assert net_amount * 1_000_000 <= (amount_micro - fee_micro) * price.units_per_usd
    assert -int(net_amount.as_tuple().exponent) <= 6
    assert net_amount > 0


@given(st.integers(1, MAX_MICRO), st.integers(0, MAX_MICRO))
def test_more_never_needs_less(amount_micro: int, before_micro: int) -> None:
    limits = Limits()
    less, more = (needs(amount, amount + before_micro, limits) for amount in (amount_micro, amount_micro + 1))
    assert less.approvals <= more.approvals
    assert less.fresh <= more.fresh


@given(PRICES, st.decimals(Decimal("0.000001"), Decimal(1_000_000), places=12).filter(bool), st.integers(0, 100_000))
def test_no_price_of_a_day_is_believed_that_doubles_what_is_sent(price: Price, units: Decimal, seconds: int) -> None:
    later = replace(price, units_per_usd=units, asked_at=NOW + timedelta(seconds=seconds))
    if quotes.is_plausible(later, price, CURRENCIES["btc"]) and seconds <= DAY:
        assert price.units_per_usd / 2 <= units <= price.units_per_usd * 2
    assert quotes.is_plausible(later, None, CURRENCIES["btc"])


@given(st.decimals(Decimal("0.000001"), Decimal(1_000_000), places=6).filter(bool))
def test_a_dollar_coin_is_a_dollar_or_not_believed(units: Decimal) -> None:
    price = Price("usdcmatic", units, Decimal(0), Decimal(0), NOW)
    assert quotes.is_plausible(price, None, CURRENCIES["usdcmatic"]) == (Decimal("0.9") <= units <= Decimal("1.1"))
