"""Accounts, and their entries in the order of recording."""

from datetime import datetime
from typing import Final

import asyncpg

from libs.postgres import Connection
from services.distribution.model import AccountKind
from services.distribution.model.ledger import TransferKind
from services.distribution.model.statements import Account, Cursor, Entry
from services.distribution.rules.statements import BEFORE_ALL, HOUR

LEGS: Final = {
    AccountKind.RECEIPTS: "promotional_micro - revenue_micro",
    AccountKind.COMMONS: "commons_micro",
    AccountKind.FOUNDATION: "foundation_micro",
    AccountKind.OPERATING: "-referrer_micro",
    AccountKind.PAYOUT_RESERVE: "referrer_micro",
    AccountKind.COMMUNITY: "community_micro",
    AccountKind.CREATOR_PENDING: "referrer_micro",
}
"""What a charge moves, by kind of account: the same as in the view `entries`."""

OWNERS: Final = {
    AccountKind.COMMUNITY: "community_id = $1::text",
    AccountKind.CREATOR_PENDING: "referrer_ref = $1::text::uuid AND referrer_micro > 0",
}
ANYBODY: Final = "$1::text IS NOT NULL"

_HOURS: Final = 24


async def find_account(connection: Connection, name: str) -> Account | None:
    row = await connection.fetchrow("SELECT account_id, name, kind, balance_micro FROM accounts WHERE name = $1", name)
    return Account(row[0], row[1], AccountKind(row[2]), row[3]) if row else None


async def page(connection: Connection, account: Account, after: Cursor, until: datetime, limit: int) -> list[Entry]:
    """Entries of one account after a place in the order of recording, and before an instant; within one snapshot."""
    found = await _transfer_entries(connection, account, after, until, limit)
    if account.kind is AccountKind.CREATOR_PENDING:
        found += await _creator_entries(connection, account, after, until, limit)
    elif account.kind in LEGS:
        # Hours in which it did not move are not looked through.
        moved = await _next_moved(connection, account, after.recorded_at)
        found += await _charge_entries(connection, account, max(after, Cursor(moved, BEFORE_ALL)), until, limit)
    return sorted(found, key=lambda entry: (entry.recorded_at, entry.transfer_id))[:limit]


async def _transfer_entries(
    connection: Connection, account: Account, after: Cursor, until: datetime, limit: int
) -> list[Entry]:
    rows = await connection.fetch(
        """
        SELECT transfer_id::text, entry.kind, amount_micro, cause_id, entry.recorded_at
        FROM transfer_entries AS entry JOIN transfers USING (transfer_id)
        WHERE account_id = $1 AND (entry.recorded_at, transfer_id) > ($2::timestamptz, $3::uuid)
            AND entry.recorded_at < $4
        ORDER BY entry.recorded_at, transfer_id LIMIT $5
        """,
        account.account_id,
        *after,
        until,
        limit,
    )
    return [_entry(account, row) for row in rows]


async def _charge_entries(
    connection: Connection, account: Account, after: Cursor, until: datetime, limit: int
) -> list[Entry]:
    rows = await connection.fetch(charge_entries_query(account.kind), account.owner, *after, until, limit)
    return [_entry(account, row) for row in rows]


def charge_entries_query(kind: AccountKind) -> str:
    """Owner, place, end and limit; it goes by the index on the time of recording and stops by itself."""
    return f"""
        SELECT distribution_id::text, 1, {LEGS[kind]}, inference_charge_id, recorded_at FROM distributions
        WHERE {OWNERS.get(kind, ANYBODY)} AND {LEGS[kind]} <> 0
            AND (recorded_at, distribution_id) > ($2::timestamptz, $3::uuid) AND recorded_at < $4::timestamptz
        ORDER BY recorded_at, distribution_id LIMIT $5
        """  # noqa: S608 - constants


async def _creator_entries(
    connection: Connection, account: Account, after: Cursor, until: datetime, limit: int
) -> list[Entry]:
    """A creator's shares: those of closed hours by the ids kept with its balance, the others by time."""
    found: list[Entry] = []
    place = after.recorded_at
    while len(found) < limit and place < until:
        hours = await connection.fetch(
            """
            SELECT until, charge_ids FROM balance_snapshots
            WHERE account_id = $1 AND until > $2 AND charge_ids IS NOT NULL ORDER BY until LIMIT $3
            """,
            account.account_id,
            place,
            _HOURS,
        )
        if not hours:
            summed_until: datetime = await connection.fetchval("SELECT summed_until FROM closed_hours")
            rest = max(after, Cursor(summed_until, BEFORE_ALL))
            return found + await _charge_entries(connection, account, rest, until, limit - len(found))
        place = hours[-1]["until"]
        rows = await connection.fetch(
            """
            SELECT distribution_id::text, 1, referrer_micro, inference_charge_id, recorded_at
            FROM unnest($1::text[]) AS wanted (id) JOIN distributions ON inference_charge_id = wanted.id
            WHERE (recorded_at, distribution_id) > ($2::timestamptz, $3::uuid) AND recorded_at < $4
            ORDER BY recorded_at, distribution_id LIMIT $5
            """,
            [charge_id for hour in hours for charge_id in hour["charge_ids"]],
            *after,
            until,
            limit - len(found),
        )
        found += [_entry(account, row) for row in rows]
    return found


async def _next_moved(connection: Connection, account: Account, place: datetime) -> datetime:
    """The beginning of the first hour, from that of a place on, in which an account moved or may have."""
    until: datetime = await connection.fetchval(
        """
        SELECT coalesce(
            (SELECT until FROM balance_snapshots WHERE account_id = $1 AND until > $2 ORDER BY until LIMIT 1),
            (SELECT summed_until + $3 FROM closed_hours)
        )
        """,
        account.account_id,
        place,
        HOUR,
    )
    return until - HOUR


def _entry(account: Account, row: asyncpg.Record) -> Entry:
    transfer_id, kind, amount_micro, cause_id, recorded_at = row
    return Entry(transfer_id, TransferKind(kind), account.name, amount_micro, cause_id, recorded_at)


async def transfer(connection: Connection, transfer_id: str, after: int, limit: int) -> list[Entry]:
    """Legs of one transfer, also of a charge, after so many of them; none where there is no such transfer."""
    rows = await connection.fetch(
        """
        SELECT transfers.kind, name, leg.amount_micro, cause_id, recorded_at
        FROM transfers CROSS JOIN LATERAL unnest(account_ids[$2 + 1:$2 + $3], amounts_micro[$2 + 1:$2 + $3])
            WITH ORDINALITY AS leg (account_id, amount_micro, place) JOIN accounts USING (account_id)
        WHERE transfer_id = $1 ORDER BY place
        """,
        transfer_id,
        after,
        limit,
    ) or await connection.fetch(
        """
        SELECT 1, account, amount_micro, inference_charge_id, recorded_at FROM entries WHERE transfer_id = $1
        OFFSET $2 LIMIT $3
        """,
        transfer_id,
        after,
        limit,
    )
    return [Entry(transfer_id, TransferKind(row[0]), *row[1:]) for row in rows]
