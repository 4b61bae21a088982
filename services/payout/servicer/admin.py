"""creator.payout.v1.PayoutAdminService."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from protos.payout.v1 import admin_pb2_grpc
from services.payout.provider.client import Client
from services.payout.servicer.provider import ProviderDesk

CALLERS: Final = frozenset({"gateway"})
"""Who may call it, by the name in the caller's certificate."""


class PayoutAdminServicer(ProviderDesk, admin_pb2_grpc.PayoutAdminServiceServicer):
    """For operators."""

    def __init__(self, postgres: Postgres, clock: Clock, client: Client, *, payouts_enabled: bool) -> None:
        self._postgres = postgres
        self._clock = clock
        self._client = client
        self._payouts_enabled = payouts_enabled
