"""The payout RPCs of creator.distribution.v1.TreasuryService."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.distribution.v1 import treasury_pb2 as pb
from services.distribution.commands import holds
from services.distribution.model.holds import Answered, Hold, HoldState, Move, Wanted
from services.distribution.model.statements import Cursor
from services.distribution.rules import holds as rules
from services.distribution.rules import queries
from services.distribution.rules.statements import BEFORE_ALL, BEGINNING
from services.distribution.store import holds as store

_Named = pb.ReturnHoldRequest | pb.BurnPayoutRequest | pb.CompletePayoutRequest | pb.FailPayoutRequest


class Holds:
    """Mixed into the treasury's servicer."""

    _postgres: Postgres
    _clock: Clock
    _payouts_enabled: bool

    async def HoldPayout(self, request: pb.HoldPayoutRequest, context: Context) -> pb.HoldPayoutResponse:
        wanted = Wanted(
            rules.check_payout_id(request.payout_id),
            rules.check_round(request.round),
            queries.check_ref(request.account_ref, "account_ref"),
            rules.check_amount(request.amount_micro),
        )
        hold, replayed = await holds.hold_payout(self._postgres, self._clock, wanted, enabled=self._payouts_enabled)
        return pb.HoldPayoutResponse(hold=_write(hold), replayed=replayed)

    async def ReturnHold(self, request: pb.ReturnHoldRequest, context: Context) -> pb.ReturnHoldResponse:
        move = Move(HoldState.RETURNED, reason=rules.check_coded_reason(request.reason))
        hold, replayed = await self._move(request, move)
        return pb.ReturnHoldResponse(hold=_write(hold), replayed=replayed)

    async def BurnPayout(self, request: pb.BurnPayoutRequest, context: Context) -> pb.BurnPayoutResponse:
        hold, replayed = await self._move(request, Move(HoldState.BURNED))
        return pb.BurnPayoutResponse(hold=_write(hold), replayed=replayed)

    async def CompletePayout(self, request: pb.CompletePayoutRequest, context: Context) -> pb.CompletePayoutResponse:
        rules.check_sent(request.sent_micro, request.fee_micro)
        hold, replayed = await self._move(
            request, Move(HoldState.COMPLETED, sent_micro=request.sent_micro, fee_micro=request.fee_micro)
        )
        return pb.CompletePayoutResponse(hold=_write(hold), replayed=replayed)

    async def FailPayout(self, request: pb.FailPayoutRequest, context: Context) -> pb.FailPayoutResponse:
        move = Move(HoldState.FAILED, reason=rules.check_coded_reason(request.reason))
        hold, replayed = await self._move(request, move)
        return pb.FailPayoutResponse(hold=_write(hold), replayed=replayed)

    async def GetPayoutHold(self, request: pb.GetPayoutHoldRequest, context: Context) -> pb.GetPayoutHoldResponse:
        payout_id = rules.check_payout_id(request.payout_id)
        number = rules.check_round(request.round) if request.round else 0
        async with self._postgres.connection() as connection:
            hold = await store.find(connection, payout_id, number)
        if hold is None:
            raise rules.HoldUnknown
        return pb.GetPayoutHoldResponse(hold=_write(hold))

    async def ListPayoutHolds(self, request: pb.ListPayoutHoldsRequest, context: Context) -> pb.ListPayoutHoldsResponse:
        size, states = rules.check_page(request.page_size), rules.check_states(request.states)
        since = BEGINNING
        if request.HasField("changed_since"):
            since = to_datetime(request.changed_since, field="changed_since")
        after = rules.read_token(request.page_token) if request.page_token else (Cursor(since, BEFORE_ALL), 0)
        async with self._postgres.connection() as connection:
            page = await store.page(connection, states, since, (*after[0], after[1]), size + 1)
        token = rules.token_of(page[size - 1]) if len(page) > size else ""
        return pb.ListPayoutHoldsResponse(holds=[_write(hold) for hold in page[:size]], next_page_token=token)

    async def _move(self, request: _Named, move: Move) -> Answered:
        return await holds.move_hold(
            self._postgres,
            self._clock,
            rules.check_payout_id(request.payout_id),
            rules.check_round(request.round),
            move,
            enabled=self._payouts_enabled,
        )


def _write(hold: Hold) -> pb.PayoutHold:
    return pb.PayoutHold(
        payout_id=hold.payout_id,
        round=hold.round,
        account_ref=hold.creator_ref,
        amount_micro=hold.amount_micro,
        state=pb.PayoutHoldState.ValueType(hold.state),
        sent_micro=hold.sent_micro,
        fee_micro=hold.fee_micro,
        held_at=to_timestamp(hold.held_at),
        changed_at=to_timestamp(hold.changed_at),
    )
