"""Grants of more than one batch: opened, filled, and made real in one transaction, or dropped."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from services.distribution import metrics
from services.distribution.commands.budgets import lock_budget, lock_wanted, set_aside
from services.distribution.model import AccountKind
from services.distribution.model.campaigns import (
    Campaign,
    Grant,
    StagedGrant,
    StagedGrantState,
    StagedLot,
    Wanted,
)
from services.distribution.model.ledger import TransferKind, credits_account
from services.distribution.rules import campaigns as campaign_rules
from services.distribution.rules import grants as rules
from services.distribution.store import campaigns, transfers
from services.distribution.store import grants as store


class Staged(NamedTuple):
    """A staged grant as it stands, and whether an earlier call brought it there."""

    staged: StagedGrant
    replayed: bool


@retried
async def open_grant(
    postgres: Postgres, clock: Clock, staged_grant_id: str, wanted: Wanted, wanted_micro: int, *, accept_less: bool
) -> Staged:
    """Open a staged grant and reserve its total. Raises BudgetExhausted, CampaignNotActive, StagedGrantMismatch."""
    async with postgres.transaction() as connection:

        async def earlier() -> Staged | None:
            found = await store.find_staged(connection, staged_grant_id)
            if found is None:
                return None
            campaign = await _campaign(connection, found)
            rules.check_same_opening(found, campaign, wanted, wanted_micro, accept_less=accept_less)
            return Staged(found, replayed=True)

        if found := await earlier():
            return found
        campaign = await lock_wanted(connection, wanted)
        if found := await earlier():  # opened while we waited
            return found
        campaign_rules.check_active(campaign)
        budget = await lock_budget(connection, campaign)
        reserved_micro = rules.reserve_up_to(budget.available_micro, wanted_micro, accept_less=accept_less)
        now = clock.now()
        opened = await store.insert_staged(
            connection,
            staged_grant_id,
            campaign.campaign_id,
            wanted_micro,
            reserved_micro,
            accept_less=accept_less,
            now=now,
        )
        if not opened:
            raise asyncpg.SerializationError("opened in another campaign meanwhile")
        await set_aside(connection, campaign, reserved_micro, now)
        return Staged(await _find(connection, staged_grant_id), replayed=False)


@retried
async def stage_grants(postgres: Postgres, staged_grant_id: str, grants: Sequence[Grant]) -> StagedGrant:
    """Add grants; those that are there are left as they are.

    Raises GrantMismatch, GrantAccountTwice, StagedOverReserved, StagedGrantCommitted, StagedGrantAbandoned.

    Their ledger accounts are opened here, empty, so that the commit has the less to do.
    """
    async with postgres.transaction() as connection:
        await store.look_up_by_key(connection)
        staged = await _find(connection, staged_grant_id, lock=True)
        rules.check_open(staged)
        campaign = await _campaign(connection, staged)
        names = {grant.account_ref: credits_account(grant.account_ref, campaign.pool) for grant in grants}
        ids = await transfers.account_ids(connection, dict.fromkeys(names.values(), AccountKind.CREDITS))
        lots = [
            StagedLot(each.grant_id, each.account_ref, each.amount_micro, str(new_id()), ids[names[each.account_ref]])
            for each in grants
        ]
        added = await store.stage(connection, staged.number, lots)
        there = [lot for lot in lots if lot.grant_id not in added]
        if there:
            rules.check_staged(there, await store.find_staged_lots(connection, staged.number, there))
        added_micro = rules.check_room(staged, [lot for lot in lots if lot.grant_id in added])
        await store.add_staged(connection, staged.number, len(added), added_micro)
        return await _find(connection, staged_grant_id)


async def commit_grant(postgres: Postgres, clock: Clock, staged_grant_id: str, count: int, total_micro: int) -> Staged:
    """Make all of it real in one transaction. Raises StagedIncomplete, CampaignNotActive, AccountCap, GrantMismatch."""
    rules.check_total(count, total_micro)
    committed = await _commit_grant(postgres, clock, staged_grant_id, count, total_micro)
    if not committed.replayed:
        metrics.GRANTED.inc(total_micro)
    return committed


@retried
async def _commit_grant(postgres: Postgres, clock: Clock, staged_grant_id: str, count: int, total_micro: int) -> Staged:
    async with postgres.transaction() as connection:
        await store.look_up_by_key(connection)
        campaign, staged = await _lock(connection, staged_grant_id)
        if staged.state is StagedGrantState.COMMITTED:
            rules.check_same_commit(staged, count, total_micro)
            return Staged(staged, replayed=True)
        rules.check_open(staged)
        campaign_rules.check_active(campaign)
        rules.check_complete(*await store.sum_staged(connection, staged.number), count, total_micro)
        await _check_rows(connection, campaign, staged)
        now = clock.now()
        if staged.reserved_micro > total_micro:
            await set_aside(connection, campaign, total_micro - staged.reserved_micro, now)
        await store.commit_staged(
            connection, staged, campaign, kind=TransferKind.GRANT, transfer_id=str(new_id()), now=now
        )
        await campaigns.add_granted(connection, campaign.campaign_id, total_micro)
        return Staged(await _find(connection, staged_grant_id), replayed=False)


async def _check_rows(connection: Connection, campaign: Campaign, staged: StagedGrant) -> None:
    if grant_id := await store.find_staged_granted(connection, staged.number):
        raise rules.GrantMismatch(grant_id=grant_id)
    if not campaign.account_cap_micro:
        return
    if grant_id := await store.take_staged_caps(connection, staged.number, campaign):
        raise campaign_rules.AccountCap(cap_micro=campaign.account_cap_micro, grant_id=grant_id)


@retried
async def abandon_grant(postgres: Postgres, clock: Clock, staged_grant_id: str, reason: str) -> Staged:
    """Drop a staged grant and release its total. Raises StagedGrantCommitted."""
    async with postgres.transaction() as connection:
        campaign, staged = await _lock(connection, staged_grant_id)
        if staged.state is StagedGrantState.ABANDONED:
            return Staged(staged, replayed=True)
        rules.check_open(staged)
        now = clock.now()
        await set_aside(connection, campaign, -staged.reserved_micro, now)
        await store.abandon_staged(connection, staged.number, reason, now)
        return Staged(await _find(connection, staged_grant_id), replayed=False)


async def _lock(connection: Connection, staged_grant_id: str) -> tuple[Campaign, StagedGrant]:
    """Lock the campaign, then the staged grant, whose campaign never changes."""
    found = await _find(connection, staged_grant_id)
    campaign = await campaigns.lock(connection, found.campaign_id)
    if campaign is None:
        raise AssertionError("a staged grant has a campaign")
    return campaign, await _find(connection, staged_grant_id, lock=True)


async def _find(connection: Connection, staged_grant_id: str, *, lock: bool = False) -> StagedGrant:
    staged = await store.find_staged(connection, staged_grant_id, lock=lock)
    if staged is None:
        raise rules.StagedGrantUnknown
    return staged


async def _campaign(connection: Connection, staged: StagedGrant) -> Campaign:
    campaign = await campaigns.find(connection, staged.campaign_id)
    if campaign is None:
        raise AssertionError("a staged grant has a campaign")
    return campaign
