"""Erasures at referral, with money elsewhere that the test decides about."""

from dataclasses import dataclass, field
from typing import Any

import grpc

from protos.distribution.v1 import ledger_pb2, treasury_pb2
from protos.payout.v1 import payout_pb2
from protos.referral.v1 import admin_pb2
from services.referral.commands.erasure import Erasing
from tests.support.referral import Referral

KEY = b"a key of the tests"


@dataclass
class Elsewhere:
    """What distribution and payout say of everybody."""

    open_payout: bool = False
    unpaid_micro: int = 0
    held_micro: int = 0
    forfeited: list[str] = field(default_factory=list)
    """Request ids."""
    away: grpc.StatusCode | None = None
    payout_away: grpc.StatusCode | None = None

    async def HasOpenPayouts(  # noqa: N802 - the protocol's name
        self, _request: payout_pb2.HasOpenPayoutsRequest, **_options: object
    ) -> payout_pb2.HasOpenPayoutsResponse:
        _answer(self.payout_away)
        return payout_pb2.HasOpenPayoutsResponse(open=self.open_payout)

    async def GetEarnings(  # noqa: N802 - the protocol's name
        self, _request: ledger_pb2.GetEarningsRequest, **_options: object
    ) -> ledger_pb2.GetEarningsResponse:
        _answer(self.away)
        return ledger_pb2.GetEarningsResponse(
            pending_micro=self.unpaid_micro, held_micro=self.held_micro, paid_out_micro=7
        )

    async def ForfeitEarnings(  # noqa: N802 - the protocol's name
        self, request: treasury_pb2.ForfeitEarningsRequest, **_options: object
    ) -> treasury_pb2.ForfeitEarningsResponse:
        _answer(self.away)
        if request.request_id not in self.forfeited:
            self.forfeited.append(request.request_id)
            self.unpaid_micro = 0
        return treasury_pb2.ForfeitEarningsResponse()


def _answer(code: grpc.StatusCode | None) -> None:
    if code is not None:
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


def erasing(referral: Referral, elsewhere: Elsewhere) -> Erasing:
    stub: Any = elsewhere
    return Erasing(referral.postgres, referral.clock, stub, stub, stub, KEY)


def asking(account_id: str, request_id: str = "please", **more: Any) -> admin_pb2.RequestErasureRequest:
    plain: dict[str, Any] = {"operator_id": "operator", "reason": "The owner asked."}
    return admin_pb2.RequestErasureRequest(account_id=account_id, request_id=request_id, **(plain | more))
