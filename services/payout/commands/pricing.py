"""Fees and prices of currencies, asked of the provider ahead of time: a request for a payout asks nobody."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres
from libs.telemetry import logger
from services.payout.model.currencies import Currency, Price
from services.payout.provider.trouble import Trouble
from services.payout.rules import quotes as rules
from services.payout.store import prices
from services.payout.store.prices import Quote

log = logger(__name__)

_ASKED_USD: Final = Decimal(1000)
"""Enough that a price has digits, also of a currency that is dear."""
_FEE_USD: Final = 100
_FRESH: Final = timedelta(minutes=1)
_PATIENCE_S: Final = 2.0
_DROPPED_MAX: Final = 5000


class Provider(Protocol):
    """What is asked of the provider."""

    async def fee(self, currency: str, asked: Decimal) -> Decimal:
        """The network's fee, in units."""

    async def minimum(self, currency: str) -> Decimal:
        """The least that is sent, in units."""

    async def estimate(self, usd: Decimal, currency: str) -> Decimal:
        """What dollars are, in units."""


class Pricing:
    """Prices as they were told last."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        provider: Provider,
        currencies: Mapping[str, Currency],
        *,
        max_age: timedelta,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._provider = provider
        self._currencies = currencies
        self._max_age = max_age

    async def refresh(self, now: datetime) -> None:
        """Ask for every open currency; one that gets no answer keeps what is known, until that is too old."""
        for ticker in self._currencies:
            try:
                await self._ask(ticker)
            except Trouble as trouble:
                log.warning("no price", currency=ticker, code=trouble.code)
        async with self._postgres.transaction() as connection:
            await prices.drop_quotes(connection, now - timedelta(days=1), _DROPPED_MAX)

    async def fresh(self, ticker: str) -> Price:
        """Return a price as of now where the provider answers soon, else the one known. Raises PriceUnknown."""
        async with self._postgres.connection() as connection:
            known = await prices.find(connection, ticker)
        if known is None or not rules.is_fresh(known, self._clock.now(), _FRESH):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await self._ask(ticker)
            except (Trouble, TimeoutError):
                log.warning("no fresh price", currency=ticker)
        return self.usable(known, ticker)

    def is_usable(self, price: Price) -> bool:
        """Whether a price is not too old to offer anything by it."""
        return rules.is_fresh(price, self._clock.now(), self._max_age)

    def usable(self, price: Price | None, ticker: str) -> Price:
        """Return a price that is not too old. Raises PriceUnknown."""
        if price is None or not self.is_usable(price):
            raise rules.PriceUnknown(currency=ticker)
        return price

    async def _ask(self, ticker: str) -> Price:
        units_per_usd = await self._provider.estimate(_ASKED_USD, ticker) / _ASKED_USD
        fee = await self._provider.fee(ticker, (units_per_usd * _FEE_USD).quantize(Decimal(10) ** -6))
        minimum = await self._provider.minimum(ticker)
        price = Price(ticker, units_per_usd, fee, minimum, self._clock.now())
        async with self._postgres.transaction() as connection:
            former = await prices.find(connection, ticker)
            if not rules.is_plausible(price, former, self._currencies[ticker]):
                log.error("a price that is not believed", currency=ticker, units_per_usd=str(units_per_usd))
                raise Trouble("PRICE_IMPLAUSIBLE")
            await prices.keep(connection, price)
        return price


async def quote(
    connection: Connection,
    account_ref: UUID,
    amount_micro: int,
    price: Price,
    now: datetime,
    terms: tuple[int, timedelta],
) -> Quote:
    """Offer what an amount comes to. `terms`: the least amount, and how long it stands. Raises BelowMinimum."""
    least_micro, lasts = terms
    offer = rules.offer(amount_micro, price, least_micro=least_micro)
    made = Quote(new_id(), account_ref, price.currency, amount_micro, *offer, now, now + lasts)
    await prices.insert_quote(connection, made)
    return made
