"""Campaigns from draft to completion."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message

from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.commands.budgets import lock_budget
from services.distribution.model.campaigns import Budget, Campaign, CampaignState, CampaignType, Order
from services.distribution.model.ledger import MARKETING, TransferKind
from services.distribution.rules import campaigns as rules
from services.distribution.store import campaigns as store

R = TypeVar("R", bound=Message)
Act = Callable[[Connection, Campaign, datetime], Awaitable[None]]
_Change = pb.FundCampaignRequest | pb.ActivateCampaignRequest | pb.PauseCampaignRequest | pb.CompleteCampaignRequest


@retried
async def create_campaign(
    postgres: Postgres, clock: Clock, request: pb.CreateCampaignRequest, order: Order
) -> pb.CreateCampaignResponse:
    """Make a draft."""
    name, type_ = rules.check_name(request.name), rules.check_type(request.type)
    cap_micro = rules.check_cap(request.account_cap_micro)
    once = Once(request.request_id, request, pb.CreateCampaignResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        now = clock.now()
        campaign = Campaign(str(new_id()), name, type_, CampaignState.DRAFT, cap_micro, 0, now, now)
        await store.insert(connection, campaign)
        await store.note(connection, campaign.campaign_id, "created", 0, order, now)
        answer = pb.CreateCampaignResponse(campaign=await _read(connection, campaign.campaign_id))
        return await once.remember(connection, answer)


@retried
async def fund_campaign(
    postgres: Postgres, clock: Clock, request: pb.FundCampaignRequest, order: Order
) -> pb.FundCampaignResponse:
    """Add budget from marketing's money. Raises CampaignFundedByPool, CampaignMoveRefused."""
    amount_micro = rules.check_amount(request.amount_micro)

    async def fund(connection: Connection, campaign: Campaign, now: datetime) -> None:
        rules.check_fundable(campaign)
        legs = {MARKETING: -amount_micro, campaign.available_account: amount_micro}
        await posting.post(connection, TransferKind.CAMPAIGN_FUNDING, campaign.campaign_id, legs, now=now)
        await store.note(connection, campaign.campaign_id, "funded", amount_micro, order, now)

    return await _change(postgres, clock, request, pb.FundCampaignResponse, fund)


@retried
async def activate_campaign(
    postgres: Postgres, clock: Clock, request: pb.ActivateCampaignRequest, order: Order
) -> pb.ActivateCampaignResponse:
    """Let it reserve and grant. Raises CampaignMoveRefused, OtherCampaignActive."""
    act = _moving(CampaignState.ACTIVE, "activated", order)
    return await _change(postgres, clock, request, pb.ActivateCampaignResponse, act)


@retried
async def pause_campaign(
    postgres: Postgres, clock: Clock, request: pb.PauseCampaignRequest, order: Order
) -> pb.PauseCampaignResponse:
    """Let it neither reserve nor grant. Raises CampaignMoveRefused."""
    act = _moving(CampaignState.PAUSED, "paused", order)
    return await _change(postgres, clock, request, pb.PauseCampaignResponse, act)


@retried
async def complete_campaign(
    postgres: Postgres, clock: Clock, request: pb.CompleteCampaignRequest, order: Order
) -> pb.CompleteCampaignResponse:
    """End it; what is left goes back to marketing. Raises CampaignMoveRefused, CampaignHasReservations."""

    async def complete(connection: Connection, campaign: Campaign, now: datetime) -> None:
        rules.move(campaign, CampaignState.COMPLETED)
        budget = await lock_budget(connection, campaign)
        if budget.reserved_micro:
            raise rules.CampaignHasReservations(reserved_micro=budget.reserved_micro)
        rest_micro = 0 if campaign.type is CampaignType.SCORE_WEIGHTED else budget.available_micro
        if rest_micro:
            legs = {campaign.available_account: -rest_micro, MARKETING: rest_micro}
            await posting.post(connection, TransferKind.CAMPAIGN_FUNDING, campaign.campaign_id, legs, now=now)
        await store.move(connection, campaign.campaign_id, CampaignState.COMPLETED, now)
        await store.note(connection, campaign.campaign_id, "completed", rest_micro, order, now)

    return await _change(postgres, clock, request, pb.CompleteCampaignResponse, complete)


def _moving(to: CampaignState, change: str, order: Order) -> Act:
    async def act(connection: Connection, campaign: Campaign, now: datetime) -> None:
        rules.move(campaign, to)
        await store.move(connection, campaign.campaign_id, to, now)
        await store.note(connection, campaign.campaign_id, change, 0, order, now)

    return act


async def _change(postgres: Postgres, clock: Clock, request: _Change, response_type: type[R], act: Act) -> R:
    """One change of one campaign, under its lock, done once per request id."""
    campaign_id = rules.check_campaign_id(request.campaign_id)
    once = Once(request.request_id, request, response_type)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        campaign = await store.lock(connection, campaign_id)
        if campaign is None:
            raise rules.CampaignUnknown
        await act(connection, campaign, clock.now())
        return await once.remember(connection, response_type(campaign=await _read(connection, campaign_id)))


async def _read(connection: Connection, campaign_id: str) -> pb.Campaign:
    campaign = await store.find(connection, campaign_id)
    if campaign is None:
        raise AssertionError("it was written, or locked, in this transaction")
    return write_campaign(campaign, *await store.budgets(connection, [campaign]))


def write_campaign(campaign: Campaign, budget: Budget) -> pb.Campaign:
    """Pack a campaign with its money."""
    return pb.Campaign(
        campaign_id=campaign.campaign_id,
        name=campaign.name,
        type=pb.CampaignType.ValueType(campaign.type),
        state=pb.CampaignState.ValueType(campaign.state),
        pool=campaign.pool,
        account_cap_micro=campaign.account_cap_micro,
        available_micro=budget.available_micro,
        reserved_micro=budget.reserved_micro,
        granted_micro=campaign.granted_micro,
        created_at=to_timestamp(campaign.created_at),
        changed_at=to_timestamp(campaign.changed_at),
    )


async def measure_campaigns(postgres: Postgres) -> None:
    """Publishes how much of the active campaigns' money is free, set aside and granted."""
    async with postgres.connection() as connection:
        active = await store.money_of_active(connection)
    money: Counter[tuple[str, str]] = Counter()
    for campaign, budget in active:
        money[campaign.pool, "available"] += budget.available_micro
        money[campaign.pool, "reserved"] += budget.reserved_micro
        money[campaign.pool, "granted"] += campaign.granted_micro
    metrics.CAMPAIGNS.clear()
    for labels, amount_micro in money.items():
        metrics.CAMPAIGNS.labels(*labels).set(amount_micro)
