"""Budget set aside for later grants, and given back."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from services.distribution.commands import posting
from services.distribution.model.campaigns import Budget, Campaign, CampaignState, Reservation, ReservationState, Wanted
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import campaigns as rules
from services.distribution.store import campaigns as store

_TRIES_MAX = 3


class Reserved(NamedTuple):
    """A reservation as it stands, and whether an earlier call brought it there."""

    reservation: Reservation
    replayed: bool


@retried
async def reserve(
    postgres: Postgres, clock: Clock, wanted: Wanted, reservation_id: str, account_ref: str, amount_micro: int
) -> Reserved:
    """Set budget aside. Raises BudgetExhausted, AccountCap, CampaignNotActive, NoActiveCampaign, ReservationMismatch.

    The same again gets the reservation as it stands by now.
    """
    async with postgres.transaction() as connection:

        async def earlier() -> Reserved | None:
            found = (await store.find_reservations(connection, [reservation_id])).get(reservation_id)
            if found is None:
                return None
            campaign = await store.find(connection, found.campaign_id)
            if campaign is None:
                raise AssertionError("a reservation has a campaign")
            rules.check_same_reservation(found, campaign, wanted, account_ref, amount_micro)
            return Reserved(found, replayed=True)

        if found := await earlier():
            return found
        campaign = await lock_wanted(connection, wanted)
        if found := await earlier():  # made while we waited
            return found
        rules.check_active(campaign)
        reservation = Reservation(
            reservation_id, campaign.campaign_id, account_ref, amount_micro, ReservationState.RESERVED
        )
        await _reserve(connection, campaign, reservation, clock)
        return Reserved(reservation, replayed=False)


async def _reserve(connection: Connection, campaign: Campaign, reservation: Reservation, clock: Clock) -> None:
    account_ref, amount_micro = reservation.account_ref, reservation.amount_micro
    if campaign.account_cap_micro:
        taken = await store.taken(connection, campaign.campaign_id, [account_ref])
        rules.check_account_cap(campaign, taken.get(account_ref, 0), amount_micro)
        await store.take(connection, campaign.campaign_id, {account_ref: amount_micro})
    rules.check_budget(await lock_budget(connection, campaign), amount_micro)
    now = clock.now()
    if not await store.insert_reservation(connection, reservation, now):
        raise asyncpg.SerializationError("reserved in another campaign meanwhile")
    await set_aside(connection, campaign, amount_micro, now)


@retried
async def release(postgres: Postgres, clock: Clock, reservation_id: str, reason: str) -> Reserved:
    """Give a reservation back. Raises ReservationUnknown, ReservationGranted."""
    async with postgres.transaction() as connection:
        found = await _find(connection, reservation_id)
        campaign = await store.lock(connection, found.campaign_id)
        if campaign is None:
            raise AssertionError("a reservation has a campaign")
        reservation = await _find(connection, reservation_id)  # as it is under the lock
        rules.check_releasable(reservation)
        if reservation.state is ReservationState.RELEASED:
            return Reserved(reservation, replayed=True)
        now = clock.now()
        await store.release_reservation(connection, reservation_id, reason, now)
        await set_aside(connection, campaign, -reservation.amount_micro, now)
        if campaign.account_cap_micro:
            await store.give_back(connection, campaign.campaign_id, reservation.account_ref, reservation.amount_micro)
        return Reserved(reservation._replace(state=ReservationState.RELEASED), replayed=False)


async def _find(connection: Connection, reservation_id: str) -> Reservation:
    found = (await store.find_reservations(connection, [reservation_id])).get(reservation_id)
    if found is None:
        raise rules.ReservationUnknown
    return found


async def lock_wanted(connection: Connection, wanted: Wanted) -> Campaign:
    """Lock the campaign that is asked for. Raises CampaignUnknown, NoActiveCampaign."""
    for _ in range(_TRIES_MAX):
        campaign_id = await store.find_wanted(connection, wanted)
        if campaign_id is None:
            raise rules.NoActiveCampaign
        campaign = await store.lock(connection, campaign_id)
        if campaign is None:
            raise rules.CampaignUnknown
        # The active one of a type may have ended while we waited for it, and another one begun.
        if wanted.campaign_id or campaign.state is CampaignState.ACTIVE:
            return campaign
    raise rules.NoActiveCampaign


async def lock_budget(connection: Connection, campaign: Campaign) -> Budget:
    """Lock a campaign's money and read it."""
    available, reserved = campaign.available_account, campaign.reserved_account
    balances = await posting.lock(connection, [available, reserved])
    return Budget(balances[available], balances[reserved])


async def set_aside(connection: Connection, campaign: Campaign, amount_micro: int, now: datetime) -> None:
    """Move free budget into reserved budget; an amount below zero moves it back."""
    legs = {campaign.available_account: -amount_micro, campaign.reserved_account: amount_micro}
    await posting.post(connection, TransferKind.BUDGET, campaign.campaign_id, legs, now=now)
