"""Signup bonuses: an operator funds the campaign, billing reports mints, and what must come of both is worked out."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import grpc

from deploy.local.demo.economy import Economy, Mint, Purchase
from deploy.local.demo.front_door import FrontDoor
from deploy.local.demo.patience import patience
from protos.distribution.v1 import campaigns_pb2
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.referral.v1.events_pb2 import QUALIFYING_ACTION_KIND_DNFT_MINT
from protos.referral.v1.referral_pb2 import RecordQualifyingActionRequest
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub

BUDGET_MICRO: Final = 400_000_000
BONUS_MICRO: Final = 5_000_000
MINT_MINIMUM_MICRO: Final = 1_000_000
PURCHASE_MINIMUM_MICRO: Final = 5_000_000
CAP: Final = 20
"""Bonuses of one referrer in 30 days."""

_WAIT_S: Final = 180
Bonuses = dict[str, Counter[str]]
"""How many bonuses are in which state, by creator."""


async def open_campaign(distribution: str) -> None:
    """An operator makes the campaign of signup bonuses, funds and activates it; again, it changes nothing."""
    asked: dict[str, Any] = {"operator_id": "operator-01", "reason": "bonuses of the demo"}
    async with grpc.aio.insecure_channel(distribution) as channel:
        stub = CampaignsServiceStub(channel)
        create = campaigns_pb2.CreateCampaignRequest(
            request_id="demo-create", name="signup bonuses", type=campaigns_pb2.CAMPAIGN_TYPE_REFERRAL, **asked
        )
        campaign_id = (await stub.CreateCampaign(create, timeout=10)).campaign.campaign_id
        fund = campaigns_pb2.FundCampaignRequest(
            request_id="demo-fund", campaign_id=campaign_id, amount_micro=BUDGET_MICRO, **asked
        )
        await stub.FundCampaign(fund, timeout=10)
        activate = campaigns_pb2.ActivateCampaignRequest(request_id="demo-activate", campaign_id=campaign_id, **asked)
        await stub.ActivateCampaign(activate, timeout=10)


async def report_mints(referral: str, mints: Iterable[Mint], minted_at: datetime) -> None:
    """Billing reports every mint, one after the other, so that it is always the same who comes too late for the cap."""
    async with grpc.aio.insecure_channel(referral) as channel:
        stub = ReferralServiceStub(channel)
        for mint in mints:
            request = RecordQualifyingActionRequest(
                account_id=mint.account_id,
                kind=QUALIFYING_ACTION_KIND_DNFT_MINT,
                action_id=mint.action_id,
                paid_micro=mint.paid_micro,
            )
            request.occurred_at.FromDatetime(minted_at)
            await stub.RecordQualifyingAction(request, timeout=10)


def expected(economy: Economy) -> Bonuses:
    """What must come of mints and purchases when the hold is over: a purchase that is paid back earns nothing."""
    creator_of = economy.creator_of()
    found: Bonuses = {creator.account_id: Counter() for creator in economy.creators}
    earned = []
    for purchase in _large(economy):
        kept = purchase.price_micro - purchase.refunded_micro >= PURCHASE_MINIMUM_MICRO
        earned.append((purchase.account_id, "granted" if kept else "denied"))
    earned += [(mint.account_id, "granted") for mint in economy.mints if mint.paid_micro >= MINT_MINIMUM_MICRO]
    made: Counter[str] = Counter()
    for account_id, state in earned:
        if creator := creator_of[account_id]:
            made[creator.account_id] += 1
            found[creator.account_id][state if made[creator.account_id] <= CAP else "denied"] += 1
    return found


def _large(economy: Economy) -> list[Purchase]:
    return [purchase for purchase in economy.purchases if purchase.price_micro >= PURCHASE_MINIMUM_MICRO]


async def purchases_known(front_door: FrontDoor, economy: Economy) -> None:
    """Returns when every purchase that earns a bonus has; raises TimeoutError where that does not come."""
    creator_of = economy.creator_of()
    wanted = sum(creator_of[purchase.account_id] is not None for purchase in _large(economy))
    async with patience(_WAIT_S, "every purchase is known"):
        while sum(counts.total() for counts in (await read(front_door, economy)).values()) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def refunds_known(front_door: FrontDoor, economy: Economy) -> None:
    """Returns when every bonus that is to be denied is; raises TimeoutError where that does not come."""
    denied = {creator: counts["denied"] for creator, counts in expected(economy).items()}
    async with patience(_WAIT_S, "every refund is known"):
        while await _denied(front_door, economy) != denied:  # noqa: ASYNC110 - asks the server
            await asyncio.sleep(1)


async def _denied(front_door: FrontDoor, economy: Economy) -> dict[str, int]:
    return {creator: counts["denied"] for creator, counts in (await read(front_door, economy)).items()}


async def decided(front_door: FrontDoor, economy: Economy) -> Bonuses:
    """The bonuses once none of them waits for anything, or as they are when the wait is over."""
    found = await read(front_door, economy)
    for _ in range(_WAIT_S):
        if not any(counts["pending"] for counts in found.values()):
            break
        await asyncio.sleep(1)
        found = await read(front_door, economy)
    return found


async def read(front_door: FrontDoor, economy: Economy) -> Bonuses:
    """What each creator is told of its bonuses."""
    found: Bonuses = {}
    now = await front_door.now()
    for creator in economy.creators:
        token = await front_door.token(creator.account_id, now)
        stats: dict[str, Any] = await front_door.call("GET", "/api/creator/referrals", token=token)
        found[creator.account_id] = Counter({each["state"]: int(each["count"]) for each in stats["bonuses"]})
    return found
