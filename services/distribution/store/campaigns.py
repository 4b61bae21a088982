"""Campaigns, their reservations, and what accounts have taken of a cap."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from libs.postgres import Connection, violated
from services.distribution.model.campaigns import (
    Budget,
    Campaign,
    CampaignState,
    CampaignType,
    Grant,
    Order,
    Reservation,
    ReservationState,
    Wanted,
)
from services.distribution.rules.campaigns import OtherCampaignActive

_COLUMNS = "campaign_id::text, name, type, state, account_cap_micro, granted_micro, created_at, changed_at"
_RESERVATION = "reservation_id, campaign_id::text, account_ref::text, amount_micro, state"


async def insert(connection: Connection, campaign: Campaign) -> None:
    """Write a draft."""
    await connection.execute(
        """
        INSERT INTO campaigns (campaign_id, name, type, account_cap_micro, created_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $5)
        """,
        campaign.campaign_id,
        campaign.name,
        int(campaign.type),
        campaign.account_cap_micro,
        campaign.created_at,
    )


async def note(
    connection: Connection, campaign_id: str, change: str, amount_micro: int, order: Order, now: datetime
) -> None:
    """Write down who did what, and why."""
    await connection.execute(
        """
        INSERT INTO campaign_changes (campaign_id, change, amount_micro, operator_id, reason, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        campaign_id,
        change,
        amount_micro,
        order.operator_id,
        order.reason,
        now,
    )


async def find(connection: Connection, campaign_id: str) -> Campaign | None:
    """One campaign."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM campaigns WHERE campaign_id = $1",  # noqa: S608 - constant columns
        campaign_id,
    )
    return _campaign(row) if row else None


async def lock(connection: Connection, campaign_id: str) -> Campaign | None:
    """One campaign, locked: what reserves, grants or releases in it goes one after the other."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM campaigns WHERE campaign_id = $1 FOR NO KEY UPDATE",  # noqa: S608
        campaign_id,
    )
    return _campaign(row) if row else None


async def find_wanted(connection: Connection, wanted: Wanted) -> str | None:
    """Id of the campaign that is asked for: the one that is named, else the active one of the type."""
    if wanted.campaign_id or wanted.type is None:
        return wanted.campaign_id
    campaign_id: str | None = await connection.fetchval(
        "SELECT campaign_id::text FROM campaigns WHERE type = $1 AND state = 2", int(wanted.type)
    )
    return campaign_id


async def list_page(
    connection: Connection,
    type_: CampaignType | None,
    state: CampaignState | None,
    before: str | None,
    limit: int,
) -> list[Campaign]:
    """Campaigns, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM campaigns
        WHERE ($1::smallint IS NULL OR type = $1) AND ($2::smallint IS NULL OR state = $2)
            AND ($3::uuid IS NULL OR campaign_id < $3)
        ORDER BY campaigns.campaign_id DESC LIMIT $4
        """,  # noqa: S608
        type_,
        state,
        before,
        limit,
    )
    return [_campaign(row) for row in rows]


async def budgets(connection: Connection, campaigns: Sequence[Campaign]) -> list[Budget]:
    """Money of campaigns that is not granted, in their order."""
    names = [name for campaign in campaigns for name in (campaign.available_account, campaign.reserved_account)]
    rows = await connection.fetch("SELECT name, balance_micro FROM accounts WHERE name = ANY ($1::text[])", names)
    found: dict[str, int] = {row["name"]: row["balance_micro"] for row in rows}
    return [Budget(found.get(each.available_account, 0), found.get(each.reserved_account, 0)) for each in campaigns]


async def money_of_active(connection: Connection) -> list[tuple[Campaign, Budget]]:
    """Every active campaign with what it has left; at most one of a type is active."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM campaigns WHERE state = $1 ORDER BY campaign_id",  # noqa: S608
        CampaignState.ACTIVE,
    )
    campaigns = [_campaign(row) for row in rows]
    return list(zip(campaigns, await budgets(connection, campaigns), strict=True))


async def move(connection: Connection, campaign_id: str, state: CampaignState, now: datetime) -> None:
    """Change its state. Raises OtherCampaignActive."""
    try:
        await connection.execute(
            "UPDATE campaigns SET state = $2, changed_at = $3 WHERE campaign_id = $1", campaign_id, int(state), now
        )
    except asyncpg.UniqueViolationError as error:
        if violated(error) == "campaigns_one_active":
            raise OtherCampaignActive from None
        raise


async def add_granted(connection: Connection, campaign_id: str, amount_micro: int) -> None:
    """Count what was granted."""
    await connection.execute(
        "UPDATE campaigns SET granted_micro = granted_micro + $2 WHERE campaign_id = $1", campaign_id, amount_micro
    )


async def find_reservations(connection: Connection, reservation_ids: Sequence[str]) -> dict[str, Reservation]:
    """Those of the reservations that there are; they change under their campaign's lock only."""
    rows = await connection.fetch(
        f"SELECT {_RESERVATION} FROM reservations WHERE reservation_id = ANY ($1::text[])",  # noqa: S608
        reservation_ids,
    )
    return {
        reservation_id: Reservation(reservation_id, campaign_id, account_ref, amount_micro, ReservationState(state))
        for reservation_id, campaign_id, account_ref, amount_micro, state in rows
    }


async def insert_reservation(connection: Connection, reservation: Reservation, now: datetime) -> bool:
    """Write a reservation; False where one of that id came first."""
    inserted = await connection.fetchval(
        """
        INSERT INTO reservations (reservation_id, campaign_id, account_ref, amount_micro, reserved_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (reservation_id) DO NOTHING RETURNING true
        """,
        reservation.reservation_id,
        reservation.campaign_id,
        reservation.account_ref,
        reservation.amount_micro,
        now,
    )
    return inserted is not None


async def release_reservation(connection: Connection, reservation_id: str, reason: str, now: datetime) -> None:
    """Mark a reservation as given back."""
    await connection.execute(
        """
        UPDATE reservations SET state = 3, closed_at = $2, release_reason = $3
        WHERE reservation_id = $1 AND state = 1
        """,
        reservation_id,
        now,
        reason,
    )


async def use_reservations(connection: Connection, grants: Sequence[Grant], now: datetime) -> None:
    """Mark the reservations that grants name as used up by them."""
    reserved = [grant for grant in grants if grant.reservation_id]
    await connection.execute(
        """
        UPDATE reservations SET state = 2, closed_at = $3, grant_id = used.grant_id
        FROM unnest($1::text[], $2::text[]) AS used (reservation_id, grant_id)
        WHERE reservations.reservation_id = used.reservation_id AND state = 1
        """,
        [grant.reservation_id for grant in reserved],
        [grant.grant_id for grant in reserved],
        now,
    )


async def taken(connection: Connection, campaign_id: str, account_refs: Sequence[str]) -> dict[str, int]:
    """What accounts have taken of a campaign's cap."""
    rows = await connection.fetch(
        """
        SELECT account_ref::text, taken_micro FROM campaign_accounts
        WHERE campaign_id = $1 AND account_ref = ANY ($2::uuid[])
        """,
        campaign_id,
        account_refs,
    )
    return {row["account_ref"]: row["taken_micro"] for row in rows}


async def take(connection: Connection, campaign_id: str, takes: Mapping[str, int]) -> None:
    """Add to what accounts have taken."""
    await connection.execute(
        """
        INSERT INTO campaign_accounts AS mine (campaign_id, account_ref, taken_micro)
        SELECT $1, account_ref, taken_micro FROM unnest($2::uuid[], $3::bigint[]) AS takes (account_ref, taken_micro)
        ON CONFLICT (campaign_id, account_ref) DO UPDATE SET taken_micro = mine.taken_micro + excluded.taken_micro
        """,
        campaign_id,
        list(takes),
        list(takes.values()),
    )


async def give_back(connection: Connection, campaign_id: str, account_ref: str, amount_micro: int) -> None:
    """Take off what an account had reserved."""
    await connection.execute(
        "UPDATE campaign_accounts SET taken_micro = taken_micro - $3 WHERE campaign_id = $1 AND account_ref = $2",
        campaign_id,
        account_ref,
        amount_micro,
    )


def _campaign(row: asyncpg.Record) -> Campaign:
    campaign_id, name, type_, state, cap_micro, granted_micro, created_at, changed_at = row
    return Campaign(
        campaign_id,
        name,
        CampaignType(type_),
        CampaignState(state),
        cap_micro,
        granted_micro,
        created_at,
        changed_at,
    )
