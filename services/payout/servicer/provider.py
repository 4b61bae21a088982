"""The RPCs of creator.payout.v1.PayoutAdminService that are about the provider."""

from enum import IntEnum
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Connection, Postgres
from libs.refusals import InvalidArgument, NotFound
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.payout.v1 import admin_pb2 as pb
from protos.payout.v1 import webhooks_pb2
from services.payout.model import Order
from services.payout.model.callbacks import Callback, CallbackKind, CallbackState
from services.payout.model.reconciliations import Difference, Reconciliation
from services.payout.provider.client import Client
from services.payout.provider.trouble import Trouble
from services.payout.rules import requests
from services.payout.store import callbacks, differences, halts, orders, payouts, reconciliations, submissions

M = TypeVar("M", bound=Message)
ChoiceT = TypeVar("ChoiceT", bound=IntEnum)

_PAGE, _PAGE_MAX = 50, 200
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


class ProviderPageInvalid(InvalidArgument):
    """A page has 1 to 200 entries, and a page token comes from the page before."""


class ProviderIdInvalid(InvalidArgument):
    """An id is a UUID."""


class CallbackUnknown(NotFound):
    """No such callback."""


class DifferenceUnknown(NotFound):
    """No such difference, or it is closed."""


class ReconciliationUnknown(NotFound):
    """No such reconciliation."""


class ProviderDesk:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _client: Client
    _payouts_enabled: bool

    async def RunReconciliation(
        self, request: pb.RunReconciliationRequest, context: Context
    ) -> pb.RunReconciliationResponse:
        requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, pb.RunReconciliationResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            running = await reconciliations.open_one(connection, self._clock.now())
            await self._ordered(connection, None, "RUN_RECONCILIATION", request.operator_id, request.reason)
            return await once.remember(
                connection, pb.RunReconciliationResponse(reconciliation=_reconciliation(running))
            )

    async def GetReconciliation(
        self, request: pb.GetReconciliationRequest, context: Context
    ) -> pb.GetReconciliationResponse:
        wanted = _id(request.reconciliation_id, "reconciliation_id") if request.reconciliation_id else None
        async with self._postgres.connection() as connection:
            found = await reconciliations.find(connection, wanted)
        if found is None:
            raise ReconciliationUnknown
        return pb.GetReconciliationResponse(reconciliation=_reconciliation(found))

    async def ListReconciliations(
        self, request: pb.ListReconciliationsRequest, context: Context
    ) -> pb.ListReconciliationsResponse:
        size, before = _size(request.page_size), _token(request.page_token, _LAST)
        async with self._postgres.connection() as connection:
            found = await reconciliations.page(connection, before, size + 1)
        token = found[size - 1].reconciliation_id.hex if len(found) > size else ""
        rows = [_reconciliation(each) for each in found[:size]]
        return pb.ListReconciliationsResponse(reconciliations=rows, next_page_token=token)

    async def ListDifferences(self, request: pb.ListDifferencesRequest, context: Context) -> pb.ListDifferencesResponse:
        size, after = _size(request.page_size), _token(request.page_token, _FIRST)
        async with self._postgres.connection() as connection:
            found = await differences.page(connection, after, size + 1, closed=request.include_closed)
        token = found[size - 1].difference_id.hex if len(found) > size else ""
        rows = [_difference(each) for each in found[:size]]
        return pb.ListDifferencesResponse(differences=rows, next_page_token=token)

    async def CloseDifference(self, request: pb.CloseDifferenceRequest, context: Context) -> pb.CloseDifferenceResponse:
        requests.check_order(request.operator_id, request.reason)
        difference_id = _id(request.difference_id, "difference_id")
        once = Once(request.request_id, request, pb.CloseDifferenceResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            now = self._clock.now()
            closed = await differences.close(connection, difference_id, request.operator_id, request.reason, now)
            found = await differences.find(connection, difference_id) if closed else None
            if found is None:
                raise DifferenceUnknown
            return await once.remember(connection, pb.CloseDifferenceResponse(difference=_difference(found)))

    async def ListCallbacks(self, request: pb.ListCallbacksRequest, context: Context) -> pb.ListCallbacksResponse:
        size, before = _size(request.page_size), _token(request.page_token, _LAST)
        kinds = _chosen(request.kind, CallbackKind, "kind")
        states = _chosen(request.state, CallbackState, "state")
        async with self._postgres.connection() as connection:
            found = await callbacks.page(connection, before, size + 1, kinds, states)
        token = found[size - 1].callback_id.hex if len(found) > size else ""
        return pb.ListCallbacksResponse(callbacks=[_callback(each) for each in found[:size]], next_page_token=token)

    async def ReapplyCallback(self, request: pb.ReapplyCallbackRequest, context: Context) -> pb.ReapplyCallbackResponse:
        requests.check_order(request.operator_id, request.reason)
        callback_id = _id(request.callback_id, "callback_id")
        once = Once(request.request_id, request, pb.ReapplyCallbackResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            found = await callbacks.again(connection, callback_id, self._clock.now())
            if found is None:
                raise CallbackUnknown
            await self._ordered(connection, found.payout_id, "REAPPLY_CALLBACK", request.operator_id, request.reason)
            return await once.remember(connection, pb.ReapplyCallbackResponse(callback=_callback(found)))

    async def GetProviderState(
        self, request: pb.GetProviderStateRequest, context: Context
    ) -> pb.GetProviderStateResponse:
        async with self._postgres.connection() as connection:
            halted, queued = await halts.read(connection), await reconciliations.waiting(connection)
        reason = halted or ("" if self._payouts_enabled else "PAYOUTS_DISABLED")
        answer = pb.GetProviderStateResponse(queued=queued, checked_at=to_timestamp(self._clock.now()))
        try:
            held = await self._client.balances()
        except Trouble as trouble:
            reason = reason or trouble.code
            held = {}
        answer.open, answer.reason = not reason, reason
        answer.balances.extend(
            pb.CustodyBalance(currency=coin, amount=f"{each.amount:f}", pending_amount=f"{each.pending:f}")
            for coin, each in sorted(held.items())
        )
        return answer

    async def _hurried(self, connection: Connection, payout_id: UUID, operator_id: str, reason: str) -> bool:
        """Has a payout looked up soon; False where there is no such payout."""
        if await payouts.find(connection, payout_id) is None:
            return False
        await submissions.hurry(connection, payout_id)
        await self._ordered(connection, payout_id, "RECHECK", operator_id, reason)
        return True

    async def _ordered(
        self, connection: Connection, payout_id: UUID | None, what: str, operator_id: str, reason: str
    ) -> None:
        await orders.note(connection, payout_id, what, Order(operator_id, reason), self._clock.now())


def _size(asked: int) -> int:
    if not 0 <= asked <= _PAGE_MAX:
        raise ProviderPageInvalid(field="page_size")
    return asked or _PAGE


def _token(text: str, default: UUID) -> UUID:
    try:
        return UUID(hex=text) if text else default
    except ValueError:
        raise ProviderPageInvalid(field="page_token") from None


def _chosen(number: int, all_of: type[ChoiceT], field: str) -> list[ChoiceT]:
    """The one that is asked for, or all of them where none is."""
    if number and number not in set(map(int, all_of)):
        raise requests.PayoutFilterInvalid(field=field)
    return [all_of(number)] if number else list(all_of)


def _id(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ProviderIdInvalid(field=field) from None


def _reconciliation(found: Reconciliation) -> pb.Reconciliation:
    return pb.Reconciliation(
        reconciliation_id=str(found.reconciliation_id),
        state=pb.ReconciliationState.ValueType(found.state),
        payouts=found.payouts,
        provider_sent_micro=found.provider_sent_micro,
        ledger_sent_micro=found.ledger_sent_micro,
        differences=found.differences,
        started_at=to_timestamp(found.started_at),
        ended_at=to_timestamp(found.ended_at) if found.ended_at else None,
    )


def _difference(found: Difference) -> pb.Difference:
    return pb.Difference(
        difference_id=str(found.difference_id),
        kind=pb.DifferenceKind.ValueType(found.kind),
        payout_id=str(found.payout_id) if found.payout_id else "",
        provider_payout_id=found.provider_payout_id,
        theirs=found.theirs,
        ours=found.ours,
        explanation=found.explanation,
        closed_by=found.closed_by,
        seen_at=to_timestamp(found.seen_at),
        closed_at=to_timestamp(found.closed_at) if found.closed_at else None,
    )


def _callback(found: Callback) -> pb.Callback:
    return pb.Callback(
        callback_id=str(found.callback_id),
        kind=webhooks_pb2.CallbackKind.ValueType(found.kind),
        state=pb.CallbackState.ValueType(found.state),
        provider_id=found.provider_id,
        provider_state=found.provider_state,
        payout_id=str(found.payout_id) if found.payout_id else "",
        tries=found.tries,
        received_at=to_timestamp(found.received_at),
        applied_at=to_timestamp(found.applied_at) if found.applied_at else None,
    )
