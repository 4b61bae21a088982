"""The money side of payouts, as distribution keeps it: what is asked twice for a payout's round is done once."""

from typing import Final

import grpc

from libs.refusals import FailedPrecondition
from libs.rpc import Refused, refusal_of
from protos.distribution.v1 import treasury_pb2 as pb
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from services.payout.model.payouts import Payout

_TIMEOUT_S: Final = 3.0
_SAID_NO: Final = frozenset(
    {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS}
)


class LedgerRefused(FailedPrecondition):
    """The ledger does not set this money aside."""

    @classmethod
    def because(cls, reason: str, message: str | None = None, data: dict[str, str] | None = None) -> "LedgerRefused":
        """Tell the ledger's own reason on."""
        refusal = cls(message, **(data or {}))
        # To whoever asked it is the ledger's refusal, not another one about it.
        refusal.__dict__["reason"] = reason
        return refusal


class Ledger:
    """Raises LedgerRefused with the ledger's reason; anything else that goes wrong says nothing and passes through."""

    def __init__(self, treasury: TreasuryServiceStub) -> None:
        self._treasury = treasury

    async def hold(self, payout: Payout) -> None:
        """Settled → held."""
        request = pb.HoldPayoutRequest(
            payout_id=str(payout.payout_id),
            round=payout.round,
            account_ref=str(payout.account_ref),
            amount_micro=payout.amount_micro,
        )
        try:
            await self._treasury.HoldPayout(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from None

    async def burn(self, payout: Payout) -> None:
        """Held → paid out, in flight."""
        request = pb.BurnPayoutRequest(payout_id=str(payout.payout_id), round=payout.round)
        try:
            await self._treasury.BurnPayout(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from None

    async def give_back_held(self, payout: Payout, reason: str) -> None:
        """Held → settled."""
        request = pb.ReturnHoldRequest(payout_id=str(payout.payout_id), round=payout.round, reason=reason)
        await self._treasury.ReturnHold(request, timeout=_TIMEOUT_S)

    async def give_back_burned(self, payout: Payout, reason: str) -> None:
        """In flight → settled: it was not sent and never will be."""
        request = pb.FailPayoutRequest(payout_id=str(payout.payout_id), round=payout.round, reason=reason)
        await self._treasury.FailPayout(request, timeout=_TIMEOUT_S)

    async def complete(self, payout: Payout) -> None:
        """In flight → sent and fees."""
        request = pb.CompletePayoutRequest(
            payout_id=str(payout.payout_id),
            round=payout.round,
            sent_micro=payout.net_micro,
            fee_micro=payout.fee_micro,
        )
        await self._treasury.CompletePayout(request, timeout=_TIMEOUT_S)


def _refusal(error: grpc.aio.AioRpcError) -> Exception:
    if error.code() not in _SAID_NO:
        return error
    refused: Refused = refusal_of(error)
    return LedgerRefused.because(refused.reason, refused.message, refused.data)
