"""creator.payout.v1.PayoutAdminService."""

from typing import Final

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Postgres
from libs.rpc.door import Context
from protos.payout.v1 import admin_pb2, admin_pb2_grpc
from services.payout.accounts import Accounts
from services.payout.commands.advancing import Advancing
from services.payout.provider.client import Client
from services.payout.rules import requests
from services.payout.servicer.operators import Proposals
from services.payout.servicer.provider import ProviderDesk
from services.payout.settings import Settings
from services.payout.store import payouts

CALLERS: Final = frozenset({"gateway"})
"""Who may call it, by the name in the caller's certificate."""


class PayoutAdminServicer(Proposals, ProviderDesk, admin_pb2_grpc.PayoutAdminServiceServicer):
    """For operators."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        settings: Settings,
        accounts: Accounts,
        advancing: Advancing,
        client: Client,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._accounts = accounts
        self._advancing = advancing
        self._client = client
        self._payouts_enabled = settings.payouts_enabled

    async def RecheckPayout(
        self, request: admin_pb2.RecheckPayoutRequest, context: Context
    ) -> admin_pb2.RecheckPayoutResponse:
        payout_id = requests.check_id(request.payout_id, "payout_id")
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, admin_pb2.RecheckPayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            if not await self._hurried(connection, payout_id, *order):
                raise requests.PayoutUnknown
            record = await self._record(connection, await payouts.get(connection, payout_id))
            return await once.remember(connection, admin_pb2.RecheckPayoutResponse(payout=record))
