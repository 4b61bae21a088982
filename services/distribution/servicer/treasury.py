"""creator.distribution.v1.TreasuryService: the reserve, the money side of payouts, and what stops them."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2 as pb
from protos.distribution.v1 import treasury_pb2_grpc
from services.distribution.commands import treasury
from services.distribution.rules import treasury as rules
from services.distribution.rules.campaigns import check_order
from services.distribution.servicer.freezes import Freezes
from services.distribution.servicer.holds import Holds
from services.distribution.store import treasury as store

_OPERATORS: Final = frozenset({"gateway"})
_PAYOUT: Final = frozenset({"payout"})

CALLERS: Final = {
    "GetCoverage": _OPERATORS | _PAYOUT,
    "RequestReserveChange": _OPERATORS,
    "ApproveReserveChange": _OPERATORS,
    "RejectReserveChange": _OPERATORS,
    "ListReserveChanges": _OPERATORS,
    "HoldPayout": _PAYOUT,
    "ReturnHold": _PAYOUT,
    "BurnPayout": _PAYOUT,
    "CompletePayout": _PAYOUT,
    "FailPayout": _PAYOUT,
    "GetPayoutHold": _OPERATORS | _PAYOUT,
    "ListPayoutHolds": _OPERATORS | _PAYOUT,
    "PausePayouts": _OPERATORS,
    "ResumePayouts": _OPERATORS,
    "FreezeEarnings": frozenset({"referral"}),
    "UnfreezeEarnings": frozenset({"referral"}),
    "ForfeitEarnings": frozenset({"referral"}),
}
"""Who may call what, by the name in the caller's certificate."""


class TreasuryServicer(Holds, Freezes, treasury_pb2_grpc.TreasuryServiceServicer):
    """creator.distribution.v1.TreasuryService."""

    def __init__(self, postgres: Postgres, clock: Clock, *, payouts_enabled: bool) -> None:
        self._postgres = postgres
        self._clock = clock
        self._payouts_enabled = payouts_enabled

    async def GetCoverage(self, request: pb.GetCoverageRequest, context: Context) -> pb.GetCoverageResponse:
        async with self._postgres.transaction(readonly=True) as connection:
            found, switch = await store.coverage(connection), await store.switch(connection)
        return pb.GetCoverageResponse(
            reserve_micro=found.reserve_micro,
            pending_micro=found.pending_micro,
            settled_micro=found.settled_micro,
            held_micro=found.held_micro,
            in_flight_micro=found.in_flight_micro,
            coverage_bps=rules.coverage_bps(found),
            clawback_loss_micro=-found.clawback_loss_micro,
            payouts=treasury.write_switch(switch),
            as_of=to_timestamp(self._clock.now()),
        )

    async def RequestReserveChange(
        self, request: pb.RequestReserveChangeRequest, context: Context
    ) -> pb.RequestReserveChangeResponse:
        order = check_order(request.operator_id, request.reason)
        return await treasury.request_reserve_change(self._postgres, self._clock, request, order)

    async def ApproveReserveChange(
        self, request: pb.ApproveReserveChangeRequest, context: Context
    ) -> pb.ApproveReserveChangeResponse:
        order = check_order(request.operator_id, request.reason)
        return await treasury.approve_reserve_change(self._postgres, self._clock, request, order)

    async def RejectReserveChange(
        self, request: pb.RejectReserveChangeRequest, context: Context
    ) -> pb.RejectReserveChangeResponse:
        order = check_order(request.operator_id, request.reason)
        return await treasury.reject_reserve_change(self._postgres, self._clock, request, order)

    async def ListReserveChanges(
        self, request: pb.ListReserveChangesRequest, context: Context
    ) -> pb.ListReserveChangesResponse:
        state = rules.check_state(request.state)
        size, after = rules.check_page(request.page_size, request.page_token)
        async with self._postgres.connection() as connection:
            page = await store.list_changes(connection, state, after, size + 1)
        token = page[size - 1].reserve_change_id if len(page) > size else ""
        changes = [treasury.write_change(change) for change in page[:size]]
        return pb.ListReserveChangesResponse(reserve_changes=changes, next_page_token=token)

    async def PausePayouts(self, request: pb.PausePayoutsRequest, context: Context) -> pb.PausePayoutsResponse:
        order = check_order(request.operator_id, request.reason)
        return await treasury.pause_payouts(self._postgres, self._clock, request, order)

    async def ResumePayouts(self, request: pb.ResumePayoutsRequest, context: Context) -> pb.ResumePayoutsResponse:
        order = check_order(request.operator_id, request.reason)
        return await treasury.resume_payouts(self._postgres, self._clock, request, order)
