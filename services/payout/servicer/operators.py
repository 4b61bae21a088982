"""The RPCs of creator.payout.v1.PayoutAdminService that are about payouts and proposals."""

from datetime import timedelta
from uuid import UUID

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Connection, Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.payout.v1 import admin_pb2 as pb
from services.payout.accounts import Accounts
from services.payout.commands import operators
from services.payout.commands.advancing import Advancing
from services.payout.model import Order
from services.payout.model.payouts import Payout
from services.payout.model.proposals import ProposalKind, ProposalState
from services.payout.rules import requests
from services.payout.servicer import messages
from services.payout.settings import Settings
from services.payout.store import accounts, lists, payouts, submissions
from services.payout.store import operators as store

_MAX_PAGE = 200


class Payouts:
    """Mixed into the admin's servicer: looked at, approved, declined, stopped."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings
    _accounts: Accounts
    _advancing: Advancing

    async def ListPayoutRecords(
        self, request: pb.ListPayoutRecordsRequest, context: Context
    ) -> pb.ListPayoutRecordsResponse:
        stages = requests.check_stages(list(request.stages))
        size = requests.check_size(request.page_size, most=_MAX_PAGE)
        after = requests.read_change_token(request.page_token)
        account_ref = None
        if request.account_id:
            account_ref = await self._accounts.known(requests.check_account_id(request.account_id))
            if account_ref is None:
                return pb.ListPayoutRecordsResponse()
        asked_before = self._clock.now() - self._settings.limits.promise if request.overdue_only else None
        async with self._postgres.transaction(readonly=True) as connection:
            wanted = lists.Filter(stages, account_ref, asked_before)
            found = await lists.by_change(connection, wanted, after, size + 1)
            rows = await self._records(connection, found[:size])
        last = found[size - 1] if len(found) > size else None
        token = requests.token_of_change(last.changed_at, last.payout_id) if last else ""
        return pb.ListPayoutRecordsResponse(payouts=rows, next_page_token=token)

    async def GetPayoutRecord(self, request: pb.GetPayoutRecordRequest, context: Context) -> pb.GetPayoutRecordResponse:
        payout_id = requests.check_id(request.payout_id, "payout_id")
        async with self._postgres.transaction(readonly=True) as connection:
            payout = await payouts.find(connection, payout_id)
            if payout is None:
                raise requests.PayoutUnknown
            return pb.GetPayoutRecordResponse(
                payout=await self._record(connection, payout),
                history=[messages.change(each) for each in await payouts.history(connection, payout_id)],
                submissions=[messages.submission(each) for each in await submissions.of_payout(connection, payout_id)],
                request_id=payout.request_id,
                proposals=[messages.proposal(each) for each in await store.proposals_of(connection, payout_id)],
            )

    async def ApprovePayout(self, request: pb.ApprovePayoutRequest, context: Context) -> pb.ApprovePayoutResponse:
        payout_id, order = _ordered(request)
        once = Once(request.request_id, request, pb.ApprovePayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await operators.locked(connection, payout_id)
            payout = await operators.approve(connection, self._clock, payout, order)
            record = await self._record(connection, payout)
            return await once.remember(connection, pb.ApprovePayoutResponse(payout=record))

    async def DeclinePayout(self, request: pb.DeclinePayoutRequest, context: Context) -> pb.DeclinePayoutResponse:
        payout_id, order = _ordered(request)
        once = Once(request.request_id, request, pb.DeclinePayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await operators.locked(connection, payout_id)
            payout = await operators.decline(connection, self._clock, payout, order)
            record = await self._record(connection, payout)
            response = await once.remember(connection, pb.DeclinePayoutResponse(payout=record))
        await self._advancing.settle_now(payout)
        return response

    async def StopPayout(self, request: pb.StopPayoutRequest, context: Context) -> pb.StopPayoutResponse:
        payout_id, order = _ordered(request)
        once = Once(request.request_id, request, pb.StopPayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await operators.locked(connection, payout_id)
            payout = await operators.stop(connection, self._clock, payout, order)
            record = await self._record(connection, payout)
            response = await once.remember(connection, pb.StopPayoutResponse(payout=record))
        await self._advancing.settle_now(payout)
        return response

    async def AllowEarlyRequest(
        self, request: pb.AllowEarlyRequestRequest, context: Context
    ) -> pb.AllowEarlyRequestResponse:
        account_id = requests.check_account_id(request.account_id)
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, pb.AllowEarlyRequestResponse, self._settings.request_key)
        account_ref = await self._accounts.made(account_id)
        lasts = timedelta(seconds=self._settings.early_request_seconds)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            permission = await operators.allow_early(connection, self._clock, account_ref, order, lasts)
            response = pb.AllowEarlyRequestResponse(expires_at=to_timestamp(permission.expires_at))
            return await once.remember(connection, response)

    async def _record(self, connection: Connection, payout: Payout) -> pb.PayoutRecord:
        (record,) = await self._records(connection, [payout])
        return record

    async def _records(self, connection: Connection, found: list[Payout]) -> list[pb.PayoutRecord]:
        ids = await accounts.ids_of(connection, [each.account_ref for each in found])
        approvals = await store.approvals(connection, [each.payout_id for each in found])
        promise = self._settings.limits.promise
        return [messages.record(each, ids.get(each.account_ref), approvals[each.payout_id], promise) for each in found]


class Proposals(Payouts):
    """Mixed into the admin's servicer: what two operators decide."""

    async def ProposeResolution(
        self, request: pb.ProposeResolutionRequest, context: Context
    ) -> pb.ProposeResolutionResponse:
        payout_id, order = _ordered(request)
        if request.kind not in {pb.PROPOSAL_KIND_RESOLVE_COMPLETED, pb.PROPOSAL_KIND_RESOLVE_FAILED}:
            raise requests.PayoutFilterInvalid("A resolution says completed or failed.", field="kind")
        outcome = operators.Outcome(requests.check_proof(request.proof), request.sent_micro, request.fee_micro)
        once = Once(request.request_id, request, pb.ProposeResolutionResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout, kind = await operators.locked(connection, payout_id), ProposalKind(request.kind)
            made = await operators.propose_resolution(connection, self._clock, payout, kind, outcome, order)
            return await once.remember(connection, pb.ProposeResolutionResponse(proposal=messages.proposal(made)))

    async def ProposeManualPayout(
        self, request: pb.ProposeManualPayoutRequest, context: Context
    ) -> pb.ProposeManualPayoutResponse:
        payout_id, order = _ordered(request)
        once = Once(request.request_id, request, pb.ProposeManualPayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await operators.locked(connection, payout_id)
            made = await operators.propose_manual(connection, self._clock, payout, order)
            return await once.remember(connection, pb.ProposeManualPayoutResponse(proposal=messages.proposal(made)))

    async def RecordManualPayout(
        self, request: pb.RecordManualPayoutRequest, context: Context
    ) -> pb.RecordManualPayoutResponse:
        proposal_id = requests.check_id(request.proposal_id, "proposal_id")
        order = requests.check_order(request.operator_id, request.reason)
        outcome = operators.Outcome(requests.check_proof(request.proof), request.sent_micro, request.fee_micro)
        once = Once(request.request_id, request, pb.RecordManualPayoutResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            payout = await operators.record_manual(connection, self._clock, proposal_id, outcome, order)
            record = await self._record(connection, payout)
            response = await once.remember(connection, pb.RecordManualPayoutResponse(payout=record))
        await self._advancing.settle_now(payout)
        return response

    async def DecideProposal(self, request: pb.DecideProposalRequest, context: Context) -> pb.DecideProposalResponse:
        proposal_id = requests.check_id(request.proposal_id, "proposal_id")
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, pb.DecideProposalResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            decided, payout = await operators.decide(
                connection, self._clock, proposal_id, order, approve=request.approve
            )
            response = pb.DecideProposalResponse(proposal=messages.proposal(decided))
            response = await once.remember(connection, response)
        await self._advancing.settle_now(payout)
        return response

    async def ListProposals(self, request: pb.ListProposalsRequest, context: Context) -> pb.ListProposalsResponse:
        size = requests.check_size(request.page_size, most=_MAX_PAGE)
        before = requests.read_id_token(request.page_token)
        try:
            state = ProposalState(request.state) if request.state else None
        except ValueError:
            raise requests.PayoutFilterInvalid(field="state") from None
        async with self._postgres.connection() as connection:
            found = await store.page(connection, state, before, size + 1)
        token = found[size - 1].proposal_id.hex if len(found) > size else ""
        rows = [messages.proposal(each) for each in found[:size]]
        return pb.ListProposalsResponse(proposals=rows, next_page_token=token)


_About = (
    pb.ApprovePayoutRequest
    | pb.DeclinePayoutRequest
    | pb.StopPayoutRequest
    | pb.ProposeResolutionRequest
    | pb.ProposeManualPayoutRequest
)


def _ordered(request: _About) -> tuple[UUID, Order]:
    """Which payout an order is about, who gives it, and why."""
    return requests.check_id(request.payout_id, "payout_id"), requests.check_order(request.operator_id, request.reason)
