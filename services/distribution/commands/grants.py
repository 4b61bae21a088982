"""Credits granted in one batch."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.commands.budgets import lock_budget
from services.distribution.model.campaigns import Campaign, Grant
from services.distribution.model.ledger import TransferKind, credits_account
from services.distribution.rules import campaigns as campaign_rules
from services.distribution.rules import grants as rules
from services.distribution.store import campaigns
from services.distribution.store import grants as store


async def batch_grant(
    postgres: Postgres, clock: Clock, request: pb.BatchGrantRequest, grants: Sequence[Grant]
) -> pb.BatchGrantResponse:
    """Grant up to 1000 at once, all or none; each grant id once, for ever. A refusal names the grant."""
    granted_micro, response = await _batch_grant(postgres, clock, request, grants)
    metrics.GRANTED.inc(granted_micro)
    return response


@retried
async def _batch_grant(
    postgres: Postgres, clock: Clock, request: pb.BatchGrantRequest, grants: Sequence[Grant]
) -> tuple[int, pb.BatchGrantResponse]:
    campaign_id = campaign_rules.check_campaign_id(request.campaign_id)
    once = Once(request.request_id, request, pb.BatchGrantResponse)
    async with postgres.transaction() as connection:
        if answered := await once.replay(connection):
            return 0, answered
        await store.look_up_by_key(connection)
        campaign = await campaigns.lock(connection, campaign_id)
        if campaign is None:
            raise campaign_rules.CampaignUnknown
        earlier = await store.find_granted(connection, [grant.grant_id for grant in grants])
        for grant in grants:
            if grant.grant_id in earlier:
                rules.check_same_grant(grant, earlier[grant.grant_id], campaign_id)
        new = [grant for grant in grants if grant.grant_id not in earlier]
        lot_ids = await _grant(connection, campaign, new, clock.now()) if new else {}
        lot_ids |= {grant_id: lot.lot_id for grant_id, lot in earlier.items()}
        granted_micro = sum(grant.amount_micro for grant in new)
        lots = [
            pb.GrantedLot(grant_id=each.grant_id, lot_id=lot_ids[each.grant_id], replayed=each.grant_id in earlier)
            for each in grants
        ]
        response = pb.BatchGrantResponse(lots=lots, granted_micro=granted_micro)
        return granted_micro, await once.remember(connection, response)


async def _grant(connection: Connection, campaign: Campaign, grants: Sequence[Grant], now: datetime) -> dict[str, str]:
    """Grant what is new, and return its lots' ids by grant."""
    campaign_rules.check_active(campaign)
    reserved_ids = [grant.reservation_id for grant in grants if grant.reservation_id]
    reservations = await campaigns.find_reservations(connection, reserved_ids)
    for grant in grants:
        if grant.reservation_id:
            rules.check_reservation(grant, reservations.get(grant.reservation_id), campaign.campaign_id)
    budget = await lock_budget(connection, campaign)
    free_micro = rules.check_free_budget(grants, budget.available_micro)
    if campaign.account_cap_micro:
        taken = await campaigns.taken(connection, campaign.campaign_id, [grant.account_ref for grant in grants])
        await campaigns.take(connection, campaign.campaign_id, rules.take_caps(campaign, grants, taken))
    granted_micro = sum(grant.amount_micro for grant in grants)
    legs = Counter({campaign.available_account: -free_micro, campaign.reserved_account: free_micro - granted_micro})
    for grant in grants:
        legs[credits_account(grant.account_ref, campaign.pool)] += grant.amount_micro
    transfer_id = await posting.post(connection, TransferKind.GRANT, campaign.campaign_id, legs, now=now)
    await campaigns.use_reservations(connection, grants, now)
    lot_ids = [str(new_id()) for _ in grants]
    await store.insert_lots(connection, campaign, grants, lot_ids, str(transfer_id), now)
    await campaigns.add_granted(connection, campaign.campaign_id, granted_micro)
    return {grant.grant_id: lot_id for grant, lot_id in zip(grants, lot_ids, strict=True)}
