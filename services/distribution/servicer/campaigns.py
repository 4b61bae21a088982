"""creator.distribution.v1.CampaignsService: campaigns, grants, credits, and the score pool."""

from collections.abc import Iterable
from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.attribution import AccountRefs
from services.distribution.commands import budgets, burning, campaigns, grants, staged
from services.distribution.commands.campaigns import write_campaign
from services.distribution.model.campaigns import POOLS, Grant, Lot, StagedGrant
from services.distribution.model.ledger import credits_account
from services.distribution.rules import campaigns as rules
from services.distribution.rules import credits as credit_rules
from services.distribution.rules import grants as grant_rules
from services.distribution.rules import queries
from services.distribution.servicer.score_pool import ScorePool
from services.distribution.store import accounts
from services.distribution.store import campaigns as campaign_store
from services.distribution.store import credits as credit_store
from services.distribution.store import grants as grant_store

_OPERATORS: Final = frozenset({"gateway"})
_BILLING: Final = frozenset({"billing"})
_GRANTERS: Final = frozenset({"referral", "score"})

CALLERS: Final = {
    "CreateCampaign": _OPERATORS,
    "FundCampaign": _OPERATORS,
    "ActivateCampaign": _OPERATORS,
    "PauseCampaign": _OPERATORS,
    "CompleteCampaign": _OPERATORS,
    "GetCampaign": _OPERATORS | _GRANTERS,
    "ListCampaigns": _OPERATORS | _GRANTERS,
    "ReserveBudget": _GRANTERS,
    "ReleaseBudget": _GRANTERS,
    "BatchGrant": _GRANTERS | _OPERATORS,
    "OpenGrant": _GRANTERS,
    "StageGrants": _GRANTERS,
    "CommitGrant": _GRANTERS,
    "AbandonGrant": _GRANTERS,
    "GetStagedGrant": _GRANTERS | _OPERATORS,
    "SpendCredits": _BILLING,
    "ReturnCredits": _BILLING,
    "GetCredits": frozenset({"billing", "gateway", "leaderboard", "score"}),
    "ListCreditLots": frozenset({"billing", "gateway"}),
    "FundScorePool": frozenset({"score", "gateway"}),
    "ListScorePoolFundings": frozenset({"score", "gateway"}),
}
"""Who may call what, by the name in the caller's certificate."""

QUIET: Final = frozenset({"SpendCredits", "StageGrants"})
"""No log line and no span per call."""


class _Campaigns(ScorePool):
    """From draft to completion."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        account_refs: AccountRefs,
        *,
        funding_bps: int,
    ) -> None:
        super().__init__(postgres, clock, funding_bps=funding_bps)
        self._account_refs = account_refs

    async def CreateCampaign(self, request: pb.CreateCampaignRequest, context: Context) -> pb.CreateCampaignResponse:
        order = rules.check_order(request.operator_id, request.reason)
        return await campaigns.create_campaign(self._postgres, self._clock, request, order)

    async def FundCampaign(self, request: pb.FundCampaignRequest, context: Context) -> pb.FundCampaignResponse:
        order = rules.check_order(request.operator_id, request.reason)
        return await campaigns.fund_campaign(self._postgres, self._clock, request, order)

    async def ActivateCampaign(
        self, request: pb.ActivateCampaignRequest, context: Context
    ) -> pb.ActivateCampaignResponse:
        order = rules.check_order(request.operator_id, request.reason)
        return await campaigns.activate_campaign(self._postgres, self._clock, request, order)

    async def PauseCampaign(self, request: pb.PauseCampaignRequest, context: Context) -> pb.PauseCampaignResponse:
        order = rules.check_order(request.operator_id, request.reason)
        return await campaigns.pause_campaign(self._postgres, self._clock, request, order)

    async def CompleteCampaign(
        self, request: pb.CompleteCampaignRequest, context: Context
    ) -> pb.CompleteCampaignResponse:
        order = rules.check_order(request.operator_id, request.reason)
        return await campaigns.complete_campaign(self._postgres, self._clock, request, order)

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: Context) -> pb.GetCampaignResponse:
        campaign_id = rules.check_campaign_id(request.campaign_id)
        async with self._postgres.transaction(readonly=True) as connection:
            found = await campaign_store.find(connection, campaign_id)
            if found is None:
                raise rules.CampaignUnknown
            [budget] = await campaign_store.budgets(connection, [found])
        return pb.GetCampaignResponse(campaign=write_campaign(found, budget))

    async def ListCampaigns(self, request: pb.ListCampaignsRequest, context: Context) -> pb.ListCampaignsResponse:
        type_, state = rules.check_filter(request.type, request.state)
        size, before = rules.check_page(request.page_size, request.page_token)
        async with self._postgres.transaction(readonly=True) as connection:
            found = await campaign_store.list_page(connection, type_, state, before, size + 1)
            page = found[:size]
            money = await campaign_store.budgets(connection, page)
        return pb.ListCampaignsResponse(
            campaigns=[write_campaign(*each) for each in zip(page, money, strict=True)],
            next_page_token=page[-1].campaign_id if len(found) > size else "",
        )


class _Grants(_Campaigns):
    """Budget reserved, and credits granted."""

    async def ReserveBudget(self, request: pb.ReserveBudgetRequest, context: Context) -> pb.ReserveBudgetResponse:
        reserved = await budgets.reserve(
            self._postgres,
            self._clock,
            rules.check_wanted(request.campaign_id, request.type),
            rules.check_reservation_id(request.reservation_id),
            queries.check_ref(request.account_ref, "account_ref"),
            rules.check_amount(request.amount_micro),
        )
        return pb.ReserveBudgetResponse(
            campaign_id=reserved.reservation.campaign_id,
            state=pb.ReservationState.ValueType(reserved.reservation.state),
            replayed=reserved.replayed,
        )

    async def ReleaseBudget(self, request: pb.ReleaseBudgetRequest, context: Context) -> pb.ReleaseBudgetResponse:
        reservation_id = rules.check_reservation_id(request.reservation_id)
        released = await budgets.release(
            self._postgres, self._clock, reservation_id, rules.check_reason(request.reason)
        )
        return pb.ReleaseBudgetResponse(
            state=pb.ReservationState.ValueType(released.reservation.state), replayed=released.replayed
        )

    async def BatchGrant(self, request: pb.BatchGrantRequest, context: Context) -> pb.BatchGrantResponse:
        wanted = grant_rules.check_grants(_read_grants(request.grants))
        return await grants.batch_grant(self._postgres, self._clock, request, wanted)

    async def OpenGrant(self, request: pb.OpenGrantRequest, context: Context) -> pb.OpenGrantResponse:
        opened = await staged.open_grant(
            self._postgres,
            self._clock,
            grant_rules.check_staged_grant_id(request.staged_grant_id),
            rules.check_wanted(request.campaign_id, request.type),
            rules.check_amount(request.wanted_micro, "wanted_micro"),
            accept_less=request.accept_less,
        )
        return pb.OpenGrantResponse(staged_grant=_write_staged(opened.staged), replayed=opened.replayed)

    async def StageGrants(self, request: pb.StageGrantsRequest, context: Context) -> pb.StageGrantsResponse:
        staged_grant_id = grant_rules.check_staged_grant_id(request.staged_grant_id)
        wanted = grant_rules.check_grants(_read_grants(request.grants), staged=True)
        return pb.StageGrantsResponse(
            staged_grant=_write_staged(await staged.stage_grants(self._postgres, staged_grant_id, wanted))
        )

    async def CommitGrant(self, request: pb.CommitGrantRequest, context: Context) -> pb.CommitGrantResponse:
        staged_grant_id = grant_rules.check_staged_grant_id(request.staged_grant_id)
        committed = await staged.commit_grant(
            self._postgres, self._clock, staged_grant_id, request.count, request.total_micro
        )
        return pb.CommitGrantResponse(staged_grant=_write_staged(committed.staged), replayed=committed.replayed)

    async def AbandonGrant(self, request: pb.AbandonGrantRequest, context: Context) -> pb.AbandonGrantResponse:
        staged_grant_id = grant_rules.check_staged_grant_id(request.staged_grant_id)
        abandoned = await staged.abandon_grant(
            self._postgres, self._clock, staged_grant_id, rules.check_reason(request.reason)
        )
        return pb.AbandonGrantResponse(staged_grant=_write_staged(abandoned.staged), replayed=abandoned.replayed)

    async def GetStagedGrant(self, request: pb.GetStagedGrantRequest, context: Context) -> pb.GetStagedGrantResponse:
        staged_grant_id = grant_rules.check_staged_grant_id(request.staged_grant_id)
        async with self._postgres.connection() as connection:
            found = await grant_store.find_staged(connection, staged_grant_id)
        if found is None:
            raise grant_rules.StagedGrantUnknown
        return pb.GetStagedGrantResponse(staged_grant=_write_staged(found))


class CampaignsServicer(_Grants):
    """creator.distribution.v1.CampaignsService: the above, and credits and the score pool."""

    async def SpendCredits(self, request: pb.SpendCreditsRequest, context: Context) -> pb.SpendCreditsResponse:
        charge_id = queries.check_charge_id(request.inference_charge_id)
        account_id = queries.check_account_id(request.account_id)
        up_to_micro = rules.check_amount(request.up_to_micro, "up_to_micro")
        account_ref = await self._account_refs.made(account_id)
        burned = await burning.spend(self._postgres, self._clock, charge_id, account_ref, up_to_micro)
        return pb.SpendCreditsResponse(
            spent_micro=burned.burn.spent_micro,
            pools=_write_pools(credit_rules.by_pool(burned.burn.slices)),
            replayed=burned.replayed,
        )

    async def ReturnCredits(self, request: pb.ReturnCreditsRequest, context: Context) -> pb.ReturnCreditsResponse:
        charge_id = queries.check_charge_id(request.inference_charge_id)
        returned = await burning.put_back(self._postgres, self._clock, charge_id)
        return pb.ReturnCreditsResponse(returned_micro=returned.burn.spent_micro, replayed=returned.replayed)

    async def GetCredits(self, request: pb.GetCreditsRequest, context: Context) -> pb.GetCreditsResponse:
        account_id = queries.check_account_id(request.account_id)
        account_ref = await self._account_refs.known(account_id)
        if account_ref is None:
            return pb.GetCreditsResponse()
        names = {credits_account(account_ref, pool): pool for pool in POOLS}
        async with self._postgres.connection() as connection:
            balances = await accounts.balances(connection, list(names))
        pools = {names[each.account_name]: each.balance_micro for each in balances if each.balance_micro}
        return pb.GetCreditsResponse(available_micro=sum(pools.values()), pools=_write_pools(pools))

    async def ListCreditLots(self, request: pb.ListCreditLotsRequest, context: Context) -> pb.ListCreditLotsResponse:
        account_id = queries.check_account_id(request.account_id)
        pool = credit_rules.check_pool(request.pool)
        size, after = credit_rules.check_page(request.page_size, request.page_token)
        account_ref = await self._account_refs.known(account_id)
        if account_ref is None:
            return pb.ListCreditLotsResponse()
        async with self._postgres.connection() as connection:
            found = await credit_store.list_lots(connection, account_ref, pool, after, size + 1)
        return pb.ListCreditLotsResponse(
            lots=[_write_lot(lot) for lot in found[:size]],
            next_page_token=found[size - 1].lot_id if len(found) > size else "",
        )


def _read_grants(asked: Iterable[pb.Grant]) -> list[Grant]:
    return [Grant(each.grant_id, each.account_ref, each.amount_micro, each.reservation_id) for each in asked]


def _write_staged(found: StagedGrant) -> pb.StagedGrant:
    return pb.StagedGrant(
        staged_grant_id=found.staged_grant_id,
        campaign_id=found.campaign_id,
        state=pb.StagedGrantState.ValueType(found.state),
        reserved_micro=found.reserved_micro,
        staged_count=found.staged_count,
        staged_micro=found.staged_micro,
        transfer_id=found.transfer_id or "",
        opened_at=to_timestamp(found.opened_at),
        closed_at=to_timestamp(found.closed_at) if found.closed_at else None,
    )


def _write_pools(pools: dict[str, int]) -> list[pb.PoolAmount]:
    return [pb.PoolAmount(pool=pool, amount_micro=amount_micro) for pool, amount_micro in pools.items()]


def _write_lot(lot: Lot) -> pb.CreditLot:
    return pb.CreditLot(
        lot_id=lot.lot_id,
        pool=lot.pool,
        grant_id=lot.grant_id,
        granted_micro=lot.granted_micro,
        remaining_micro=lot.remaining_micro,
        granted_at=to_timestamp(lot.granted_at),
    )
