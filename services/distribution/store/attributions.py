"""Own copy of what referral decided: the only place where an account's id meets its surrogate."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.postgres import Connection


class Copy(NamedTuple):
    """Referral's answer for one account, as it is kept."""

    account_ref: str
    referrer_ref: str | None
    registered_at: datetime


async def find_many(connection: Connection, account_ids: Sequence[str]) -> dict[str, Copy]:
    """Those of the accounts that are known here."""
    rows = await connection.fetch(
        """
        SELECT account_id, account_ref::text, referrer_ref::text, registered_at
        FROM attributions WHERE account_id = ANY ($1::text[])
        """,
        account_ids,
    )
    return {account_id: Copy(*copy) for account_id, *copy in rows}


async def keep(connection: Connection, copies: Mapping[str, Copy]) -> None:
    """Remember what referral answered; what is there already is the same, and who is erased is left out."""
    ordered = sorted(copies.items())
    await connection.execute(
        """
        INSERT INTO attributions (account_id, account_ref, referrer_ref, registered_at)
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::timestamptz[])
        ON CONFLICT DO NOTHING
        """,
        [account_id for account_id, _ in ordered],
        [copy.account_ref for _, copy in ordered],
        [copy.referrer_ref for _, copy in ordered],
        [copy.registered_at for _, copy in ordered],
    )


async def find_ref(connection: Connection, account_id: str) -> str | None:
    """Surrogate of one account, where it is known here."""
    ref: str | None = await connection.fetchval(
        """
        SELECT account_ref::text FROM attributions WHERE account_id = $1
        UNION ALL SELECT account_ref::text FROM account_refs WHERE account_id = $1 LIMIT 1
        """,
        account_id,
    )
    return ref


async def keep_ref(connection: Connection, account_id: str, account_ref: str) -> None:
    """Remember the surrogate of an account whose attribution nobody asked for yet."""
    await connection.execute(
        "INSERT INTO account_refs (account_id, account_ref) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        account_id,
        account_ref,
    )


async def erase(connection: Connection, account_ref: UUID) -> int:
    """Delete what leads from a surrogate to an account's id; returns how many rows that were."""
    rows = await connection.fetch(
        """
        WITH payer AS (DELETE FROM attributions WHERE account_ref = $1 RETURNING 1),
        other AS (DELETE FROM account_refs WHERE account_ref = $1 RETURNING 1)
        SELECT FROM payer UNION ALL SELECT FROM other
        """,
        account_ref,
    )
    return len(rows)


async def unbind(connection: Connection, now: datetime, *, months: int, limit: int) -> int:
    """Drop the referrer of accounts that were bound so many calendar months ago (UTC); returns how many."""
    rows = await connection.fetch(
        """
        UPDATE attributions SET referrer_ref = NULL
        WHERE account_id IN (
            SELECT account_id FROM attributions
            WHERE referrer_ref IS NOT NULL AND registered_at <= $1
                AND (registered_at AT TIME ZONE 'UTC') + make_interval(months => $2) <= ($1 AT TIME ZONE 'UTC')
            ORDER BY registered_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING 1
        """,
        now,
        months,
        limit,
    )
    return len(rows)
