"""The RPCs of creator.payout.v1.PayoutService that are about destinations and currencies."""

from collections.abc import Mapping

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Postgres
from libs.rpc.door import Context
from protos.payout.v1 import payout_pb2 as pb
from services.payout.accounts import Accounts
from services.payout.commands import owners
from services.payout.commands.pricing import Pricing
from services.payout.model.currencies import Currency, Price
from services.payout.rules import quotes, requests
from services.payout.servicer import messages
from services.payout.settings import Settings
from services.payout.store import destinations, prices

_MAX_PAGE = 100


class Destinations:
    """Mixed into the servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings
    _accounts: Accounts
    _pricing: Pricing
    _currencies: Mapping[str, Currency]

    async def ListCurrencies(self, request: pb.ListCurrenciesRequest, context: Context) -> pb.ListCurrenciesResponse:
        async with self._postgres.connection() as connection:
            known = await prices.every(connection)
        return pb.ListCurrenciesResponse(
            currencies=[self._currency(each, known.get(each.ticker)) for each in self._currencies.values()]
        )

    async def ListDestinations(
        self, request: pb.ListDestinationsRequest, context: Context
    ) -> pb.ListDestinationsResponse:
        account_id = requests.check_account_id(request.account_id)
        size = requests.check_size(request.page_size, most=_MAX_PAGE)
        before = requests.read_id_token(request.page_token)
        account_ref = await self._accounts.known(account_id)
        if account_ref is None:
            return pb.ListDestinationsResponse()
        async with self._postgres.connection() as connection:
            found = await destinations.page(connection, account_ref, before, size + 1)
        token = found[size - 1].destination_id.hex if len(found) > size else ""
        rows = [messages.destination(each) for each in found[:size]]
        return pb.ListDestinationsResponse(destinations=rows, next_page_token=token)

    async def RemoveDestination(
        self, request: pb.RemoveDestinationRequest, context: Context
    ) -> pb.RemoveDestinationResponse:
        account_id = requests.check_account_id(request.account_id)
        destination_id = requests.check_id(request.destination_id, "destination_id")
        account_ref = await self._accounts.known(account_id)
        once = Once(request.request_id, request, pb.RemoveDestinationResponse, self._settings.request_key)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            removed = await owners.remove(connection, self._clock, account_ref, destination_id)
            response = pb.RemoveDestinationResponse(destination=messages.destination(removed))
            return await once.remember(connection, response)

    def _currency(self, currency: Currency, price: Price | None) -> pb.Currency:
        least_micro = self._settings.payout_minimum_micro
        usable = price is not None and self._pricing.is_usable(price)
        return pb.Currency(
            currency=currency.ticker,
            name=currency.name,
            network=currency.network.value,
            minimum_micro=quotes.smallest_micro(price, least_micro=least_micro) if price else least_micro,
            evm=currency.is_evm,
            has_memo=currency.has_memo,
            available=usable and self._settings.payouts_enabled,
        )
