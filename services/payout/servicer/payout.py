"""creator.payout.v1.PayoutService."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.idempotency import Once, check_request_id
from libs.postgres import Connection, Postgres
from libs.rpc.door import Context
from libs.telemetry import logger
from protos.payout.v1 import payout_pb2 as pb
from protos.payout.v1 import payout_pb2_grpc
from protos.score.v1 import score_pb2
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.payout.accounts import Accounts
from services.payout.commands import owners, pricing
from services.payout.commands.advancing import Advancing
from services.payout.commands.opening import Wanted
from services.payout.commands.pricing import Pricing
from services.payout.commands.requesting import Requesting, check_held
from services.payout.model import Stage
from services.payout.model.destinations import DestinationState
from services.payout.model.payouts import Payout
from services.payout.rules import addresses, approvals, quotes, requests
from services.payout.servicer import messages
from services.payout.servicer.accounts import Destinations
from services.payout.settings import Settings
from services.payout.store import confirmations, destinations, limits, lists, payouts

log = logger(__name__)

_GATEWAY: Final = frozenset({"gateway"})
_MAX_PAGE: Final = 100
_WALLET_TIMEOUT_S: Final = 0.5

CALLERS: Final = dict.fromkeys(pb.DESCRIPTOR.services_by_name["PayoutService"].methods_by_name, _GATEWAY) | {
    "HasOpenPayouts": frozenset({"referral"})
}
"""Who may call what of PayoutService, by the name in the caller's certificate."""


class PayoutServicer(Destinations, payout_pb2_grpc.PayoutServiceServicer):
    """For creators; a payout that is not the asking account's is not found."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        settings: Settings,
        accounts: Accounts,
        pricing: Pricing,
        requesting: Requesting,
        advancing: Advancing,
        score: ScoreServiceStub | None = None,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._limits = settings.limits
        self._currencies = settings.currencies
        self._accounts = accounts
        self._pricing = pricing
        self._requesting = requesting
        self._advancing = advancing
        self._score = score
        self._to_confirm = timedelta(seconds=settings.confirmation_seconds)
        self._cooldown = timedelta(seconds=settings.destination_cooldown_seconds)

    async def QuotePayout(self, request: pb.QuotePayoutRequest, context: Context) -> pb.QuotePayoutResponse:
        account_id = requests.check_account_id(request.account_id)
        amount_micro = requests.check_amount(request.amount_micro)
        currency = quotes.find(self._currencies, request.currency)
        text = request.destination_address
        address = addresses.check_address(text, currency) if text else None
        account_ref = await self._accounts.made(account_id)
        price = await self._pricing.fresh(currency.ticker)
        terms = self._settings.payout_minimum_micro, timedelta(seconds=self._settings.quote_seconds)
        async with self._postgres.transaction() as connection:
            made = await pricing.quote(connection, account_ref, amount_micro, price, self._clock.now(), terms)
            before_micro = (await limits.so_far(connection, account_ref)).cumulative_micro
            needs = approvals.needs(amount_micro, before_micro + amount_micro, self._limits)
            known = await destinations.match(connection, account_ref, currency.ticker, address or "", "")
        confirmed = known is not None and known.state is DestinationState.CONFIRMED
        return pb.QuotePayoutResponse(
            quote=messages.quote(made),
            needs_approval=bool(needs.approvals),
            needs_confirmation=needs.fresh or (address is not None and not confirmed),
        )

    async def RequestPayout(self, request: pb.RequestPayoutRequest, context: Context) -> pb.RequestPayoutResponse:
        account_id = requests.check_account_id(request.account_id)
        currency = quotes.find(self._currencies, request.currency)
        amount_micro = requests.check_amount(request.amount_micro)
        address = addresses.check_address(request.destination_address, currency)
        memo = addresses.check_memo(request.memo, currency)
        quote_id = requests.check_id(request.quote_id, "quote_id") if request.quote_id else None
        check_request_id(request.request_id)
        once = Once(request.request_id, request, pb.RequestPayoutResponse, self._settings.request_key)
        wanted = Wanted(
            request.request_id, once.fingerprint, account_id, amount_micro, currency, address, memo, quote_id
        )
        return await self._requesting.request(
            wanted, once, lambda *opened: pb.RequestPayoutResponse(payout=messages.payout(*opened))
        )

    async def ChallengePayout(self, request: pb.ChallengePayoutRequest, context: Context) -> pb.ChallengePayoutResponse:
        account_ref, payout_id = await self._asked(request.account_id, request.payout_id)
        async with self._postgres.transaction() as connection:
            payout = await owners.own(connection, account_ref, payout_id)
            challenge = await owners.challenge(connection, self._clock, payout, self._to_confirm)
        return pb.ChallengePayoutResponse(confirmation=messages.confirmation(challenge))

    async def ConfirmPayout(self, request: pb.ConfirmPayoutRequest, context: Context) -> pb.ConfirmPayoutResponse:
        account_ref, payout_id = await self._asked(request.account_id, request.payout_id)
        proof = owners.Proof(
            request.signature if request.HasField("signature") else None,
            request.typed_address if request.HasField("typed_address") else None,
            await self._wallet_owner(payout_id),
        )
        once = Once(request.request_id, request, pb.ConfirmPayoutResponse, self._settings.request_key)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await owners.own(connection, account_ref, payout_id)
            confirmed = await owners.confirm(connection, self._clock, payout, proof, self._cooldown)
            return await once.remember(connection, pb.ConfirmPayoutResponse(payout=messages.payout(confirmed)))

    async def CancelPayout(self, request: pb.CancelPayoutRequest, context: Context) -> pb.CancelPayoutResponse:
        account_ref, payout_id = await self._asked(request.account_id, request.payout_id)
        once = Once(request.request_id, request, pb.CancelPayoutResponse, self._settings.request_key)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await owners.own(connection, account_ref, payout_id)
            payout = await owners.cancel(connection, self._clock, payout, actor=owners.OWNER, reason="CANCELLED")
            response = await once.remember(connection, pb.CancelPayoutResponse(payout=messages.payout(payout)))
        await self._advancing.settle_now(payout)
        return response

    async def RetryPayout(self, request: pb.RetryPayoutRequest, context: Context) -> pb.RetryPayoutResponse:
        account_ref, payout_id = await self._asked(request.account_id, request.payout_id)
        suspended = await self._accounts.is_suspended(request.account_id)
        once = Once(request.request_id, request, pb.RetryPayoutResponse, self._settings.request_key)
        async with self._postgres.transaction() as connection:
            earlier = await once.replay(connection)
            payout = await owners.own(connection, account_ref, payout_id, alone=True)
            if earlier is None:
                payout = await owners.retry(connection, self._clock, payout, self._limits, suspended=suspended)
                earlier = await once.remember(connection, pb.RetryPayoutResponse(payout=messages.payout(payout)))
        if payout.round == earlier.payout.round:
            check_held(payout)
        if payout.stage is Stage.REQUESTED:
            await self._advancing.hold_soon(payout)
        return earlier

    async def GetPayout(self, request: pb.GetPayoutRequest, context: Context) -> pb.GetPayoutResponse:
        account_ref, payout_id = await self._asked(request.account_id, request.payout_id)
        async with self._postgres.transaction(readonly=True) as connection:
            payout = await payouts.find(connection, payout_id)
            if payout is None or payout.account_ref != account_ref:
                raise requests.PayoutUnknown
            history = await payouts.history(connection, payout_id)
            message = await self._with_confirmation(connection, payout)
        return pb.GetPayoutResponse(payout=message, history=[messages.change(each) for each in history])

    async def ListPayouts(self, request: pb.ListPayoutsRequest, context: Context) -> pb.ListPayoutsResponse:
        account_id = requests.check_account_id(request.account_id)
        state = requests.check_state(request.state)
        size = requests.check_size(request.page_size, most=_MAX_PAGE)
        before = requests.read_id_token(request.page_token)
        account_ref = await self._accounts.known(account_id)
        if account_ref is None:
            return pb.ListPayoutsResponse()
        async with self._postgres.transaction(readonly=True) as connection:
            found = await lists.of_account(connection, account_ref, state, before, size + 1)
            asked = await confirmations.of_payouts(connection, [each.payout_id for each in found])
        token = found[size - 1].payout_id.hex if len(found) > size else ""
        rows = [messages.payout(each, asked.get(each.payout_id), listed=True) for each in found[:size]]
        return pb.ListPayoutsResponse(payouts=rows, next_page_token=token)

    async def HasOpenPayouts(self, request: pb.HasOpenPayoutsRequest, context: Context) -> pb.HasOpenPayoutsResponse:
        account_ref = requests.check_account_ref(request.account_ref)
        async with self._postgres.connection() as connection:
            return pb.HasOpenPayoutsResponse(open=await lists.has_open(connection, account_ref))

    async def _asked(self, account_id: str, payout_id: str) -> tuple[UUID | None, UUID]:
        """Surrogate of the asking account, which may be nobody here, and the payout."""
        checked = requests.check_account_id(account_id)
        return await self._accounts.known(checked), requests.check_id(payout_id, "payout_id")

    async def _with_confirmation(self, connection: Connection, payout: Payout) -> pb.Payout:
        return messages.payout(payout, await confirmations.find(connection, payout.payout_id))

    async def _wallet_owner(self, payout_id: UUID) -> UUID | None:
        """Who has linked a payout's address as a wallet, where score knows and says so soon."""
        async with self._postgres.connection() as connection:
            payout = await payouts.find(connection, payout_id)
        if self._score is None or payout is None or not (payout.address or "").startswith("0x"):
            return None
        try:
            answer = await self._score.GetWalletOwner(
                score_pb2.GetWalletOwnerRequest(wallet_address=payout.address or ""), timeout=_WALLET_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            log.warning("nobody says whose wallet it is", code=error.code().name)
            return None
        return UUID(answer.account_ref) if answer.account_ref else None
