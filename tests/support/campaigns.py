"""Campaigns, grants and credits through their real door, beside the ledger that they are part of."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from libs import rpc
from libs.rpc import refusal_of
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1 import campaigns_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from services.distribution.attribution import AccountRefs
from services.distribution.commands import posting
from services.distribution.model.ledger import TransferKind
from services.distribution.servicer.campaigns import CALLERS, CampaignsServicer
from tests.support.books import assert_books
from tests.support.distribution import Ledger

FUNDING_BPS = 1000
REFERRAL, SCORE = pb.CAMPAIGN_TYPE_REFERRAL, pb.CAMPAIGN_TYPE_SCORE_WEIGHTED


def ref() -> str:
    return str(uuid.uuid4())


def grant(account_ref: str = "", amount_micro: int = 1, grant_id: str = "", reservation_id: str = "") -> pb.Grant:
    return pb.Grant(
        grant_id=grant_id or f"grant-{uuid.uuid4()}",
        account_ref=account_ref or ref(),
        amount_micro=amount_micro,
        reservation_id=reservation_id,
    )


class Campaigns:
    """What referral, score, billing and operators do with campaigns."""

    def __init__(self, ledger: Ledger, stub: Any) -> None:
        self.ledger = ledger
        self.stub = stub

    async def create(self, type_: int = REFERRAL, *, cap_micro: int = 0, **other: Any) -> str:
        plain = {"request_id": ref(), "name": "spring", "operator_id": "olga", "reason": "growth"}
        kind = pb.CampaignType.ValueType(type_)
        request = pb.CreateCampaignRequest(type=kind, account_cap_micro=cap_micro, **(plain | other))
        return str((await self.stub.CreateCampaign(request)).campaign.campaign_id)

    async def fund(self, campaign_id: str, amount_micro: int) -> pb.Campaign:
        request = pb.FundCampaignRequest(**self.asked(campaign_id), amount_micro=amount_micro)
        found: pb.Campaign = (await self.stub.FundCampaign(request)).campaign
        return found

    async def activate(self, campaign_id: str) -> pb.Campaign:
        found: pb.Campaign = (
            await self.stub.ActivateCampaign(pb.ActivateCampaignRequest(**self.asked(campaign_id)))
        ).campaign
        return found

    async def pause(self, campaign_id: str) -> pb.Campaign:
        found: pb.Campaign = (
            await self.stub.PauseCampaign(pb.PauseCampaignRequest(**self.asked(campaign_id)))
        ).campaign
        return found

    async def complete(self, campaign_id: str) -> pb.Campaign:
        found: pb.Campaign = (
            await self.stub.CompleteCampaign(pb.CompleteCampaignRequest(**self.asked(campaign_id)))
        ).campaign
        return found

    async def active(self, budget_micro: int, type_: int = REFERRAL, *, cap_micro: int = 0) -> str:
        """A campaign that grants, with a budget. A score campaign's is put into the pool without asking where from."""
        campaign_id = await self.create(type_, cap_micro=cap_micro)
        if type_ == SCORE:
            await self.fill_pool(budget_micro)
        elif budget_micro:
            await self.fund(campaign_id, budget_micro)
        await self.activate(campaign_id)
        return campaign_id

    async def fill_pool(self, amount_micro: int) -> None:
        async with self.ledger.postgres.transaction() as connection:
            legs = {"foundation": -amount_micro, "foundation:score_rewards": amount_micro}
            await posting.post(connection, TransferKind.SCORE_FUNDING, "test", legs, now=self.ledger.clock.now())

    async def get(self, campaign_id: str) -> pb.Campaign:
        found: pb.Campaign = (await self.stub.GetCampaign(pb.GetCampaignRequest(campaign_id=campaign_id))).campaign
        return found

    async def reserve(self, reservation_id: str, account_ref: str, amount_micro: int, **other: Any) -> Any:
        request = pb.ReserveBudgetRequest(
            reservation_id=reservation_id, account_ref=account_ref, amount_micro=amount_micro, **other
        )
        return await self.stub.ReserveBudget(request)

    async def release(self, reservation_id: str, reason: str = "DENIED") -> Any:
        return await self.stub.ReleaseBudget(pb.ReleaseBudgetRequest(reservation_id=reservation_id, reason=reason))

    async def grant(self, campaign_id: str, *grants: pb.Grant, request_id: str = "") -> pb.BatchGrantResponse:
        request = pb.BatchGrantRequest(request_id=request_id or ref(), campaign_id=campaign_id, grants=grants)
        response: pb.BatchGrantResponse = await self.stub.BatchGrant(request)
        return response

    async def give(self, campaign_id: str, account_id: str, *amounts_micro: int) -> str:
        """Lots for an account by its outside name, one call each; its surrogate."""
        account_ref = await self.ledger.referral.commands.ref(account_id)
        for amount_micro in amounts_micro:
            await self.grant(campaign_id, grant(account_ref, amount_micro))
        return account_ref

    async def open(self, staged_grant_id: str, wanted_micro: int, *, accept_less: bool = False, **other: Any) -> Any:
        request = pb.OpenGrantRequest(
            staged_grant_id=staged_grant_id, wanted_micro=wanted_micro, accept_less=accept_less, **other
        )
        return await self.stub.OpenGrant(request)

    async def stage(self, staged_grant_id: str, grants: Sequence[pb.Grant]) -> pb.StagedGrant:
        request = pb.StageGrantsRequest(staged_grant_id=staged_grant_id, grants=grants)
        found: pb.StagedGrant = (await self.stub.StageGrants(request)).staged_grant
        return found

    async def commit(self, staged_grant_id: str, count: int, total_micro: int, **call: Any) -> Any:
        request = pb.CommitGrantRequest(staged_grant_id=staged_grant_id, count=count, total_micro=total_micro)
        return await self.stub.CommitGrant(request, **call)

    async def abandon(self, staged_grant_id: str, reason: str = "ABORTED") -> Any:
        return await self.stub.AbandonGrant(pb.AbandonGrantRequest(staged_grant_id=staged_grant_id, reason=reason))

    async def staged(self, staged_grant_id: str) -> pb.StagedGrant:
        found: pb.StagedGrant = (
            await self.stub.GetStagedGrant(pb.GetStagedGrantRequest(staged_grant_id=staged_grant_id))
        ).staged_grant
        return found

    async def spend(self, charge_id: str, account_id: str, up_to_micro: int) -> pb.SpendCreditsResponse:
        request = pb.SpendCreditsRequest(inference_charge_id=charge_id, account_id=account_id, up_to_micro=up_to_micro)
        response: pb.SpendCreditsResponse = await self.stub.SpendCredits(request)
        return response

    async def put_back(self, charge_id: str) -> Any:
        return await self.stub.ReturnCredits(pb.ReturnCreditsRequest(inference_charge_id=charge_id))

    async def credits(self, account_id: str) -> pb.GetCreditsResponse:
        response: pb.GetCreditsResponse = await self.stub.GetCredits(pb.GetCreditsRequest(account_id=account_id))
        return response

    async def lots(self, account_id: str, **other: Any) -> list[pb.CreditLot]:
        response = await self.stub.ListCreditLots(pb.ListCreditLotsRequest(account_id=account_id, **other))
        return list(response.lots)

    async def fund_pool(self, period: str, **other: Any) -> pb.FundScorePoolResponse:
        plain = {"operator_id": "job:score", "reason": "scheduled"}
        response: pb.FundScorePoolResponse = await self.stub.FundScorePool(
            pb.FundScorePoolRequest(period=period, **(plain | other))
        )
        return response

    async def check_books(self) -> None:
        """The ledger's books, and that lots, reservations and staged grants are what the balances say."""
        async with self.ledger.postgres.transaction(readonly=True) as connection:
            await assert_books(connection)
            wrong = await connection.fetch(
                """
                SELECT name FROM (
                    SELECT name, balance_micro FROM accounts WHERE kind IN ('credits', 'campaign_reserved')
                ) AS held
                FULL JOIN (
                    SELECT 'credits:' || account_ref || ':' || pool AS name, sum(remaining_micro) AS micro
                    FROM credit_lots GROUP BY 1
                    UNION ALL
                    SELECT 'campaign:' || campaign_id || ':reserved', sum(micro) FROM (
                        SELECT campaign_id, amount_micro AS micro FROM reservations WHERE state = 1
                        UNION ALL SELECT campaign_id, reserved_micro FROM staged_grants WHERE state = 1
                    ) AS reserved GROUP BY 1
                ) AS known USING (name)
                WHERE coalesce(balance_micro, 0) <> coalesce(micro, 0)
                """
            )
            assert [row["name"] for row in wrong] == []
            spent = await connection.fetchval(
                "SELECT coalesce(sum(balance_micro), 0) FROM accounts WHERE name = 'platform:promotional_spend'"
            )
            assert spent == await connection.fetchval(
                "SELECT coalesce(sum(spent_micro), 0) FROM burns WHERE returned_at IS NULL"
            )
            assert spent == await connection.fetchval(
                "SELECT coalesce(sum(granted_micro - remaining_micro), 0) FROM credit_lots"
            )

    @staticmethod
    def asked(campaign_id: str) -> dict[str, str]:
        return {"request_id": ref(), "campaign_id": campaign_id, "operator_id": "olga", "reason": "growth"}


async def refusal(call: Awaitable[Any]) -> str:
    """The reason of the refusal that a call ends with; "" where it went well."""
    return (await refused(call))[0]


async def refused(call: Awaitable[Any]) -> tuple[str, dict[str, str]]:
    """Reason and data of the refusal that a call ends with; empty where it went well."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        found = refusal_of(error)
        return found.reason, found.data
    return "", {}


@asynccontextmanager
async def campaigns_running(ledger: Ledger) -> AsyncIterator[Campaigns]:
    """The door on a ledger's database."""
    server = rpc.Server("distribution", test_mode=True, drain_wait_seconds=0)
    async with rpc.channel(f"127.0.0.1:{ledger.referral.server.port}", caller="distribution") as to_referral:
        refs = AccountRefs(ledger.postgres, referral_pb2_grpc.ReferralServiceStub(to_referral))
        server.add(
            campaigns_pb2_grpc.add_CampaignsServiceServicer_to_server,
            CampaignsServicer(ledger.postgres, ledger.clock, refs, funding_bps=FUNDING_BPS),
            "creator.distribution.v1.CampaignsService",
            CALLERS,
        )
        await server.start()
        await server.ready()
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous", wait_seconds=30) as channel:
                yield Campaigns(ledger, campaigns_pb2_grpc.CampaignsServiceStub(channel))
        finally:
            await server.drain(hasty=True)
