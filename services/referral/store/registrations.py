"""Registrations, which decide attribution, and the log of attempts."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from libs.ids import new_id
from libs.postgres import Connection
from services.referral.model import Attempt, Attribution, Funnel, Kind, Registration, Standing


class Circumstances(NamedTuple):
    """The referrer's standing, how many the code bound lately, and whether both have, or had, an address in common."""

    standing: Standing
    recent: int
    shared: bool


async def find(connection: Connection, referee_ref: uuid.UUID) -> Registration | None:
    """The row that decided who brought an account."""
    row = await connection.fetchrow(
        """
        SELECT referee_ref, kind, created_at, referrer_ref, code_ref, channel
        FROM referral_registrations WHERE referee_ref = $1
        """,
        referee_ref,
    )
    if row is None:
        return None
    return Registration(
        row["referee_ref"], Kind(row["kind"]), row["created_at"], row["referrer_ref"], row["code_ref"], row["channel"]
    )


async def insert(connection: Connection, registration: Registration) -> bool:
    """False when the account was decided meanwhile; waits for whoever is deciding it."""
    done: bool | None = await connection.fetchval(
        """
        INSERT INTO referral_registrations (referee_ref, kind, created_at, referrer_ref, code_ref, channel)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (referee_ref) DO NOTHING
        RETURNING true
        """,
        registration.referee_ref,
        registration.kind,
        registration.created_at,
        registration.referrer_ref,
        registration.code_ref,
        registration.channel,
    )
    return done is not None


async def find_attributions(connection: Connection, account_ids: Sequence[str]) -> list[Attribution]:
    """What is decided, in no particular order; undecided accounts are left out."""
    rows = await connection.fetch(
        """
        SELECT account_id, account_ref, referrer_ref, created_at
        FROM accounts JOIN referral_registrations ON referee_ref = account_ref
        WHERE account_id = ANY ($1::text[])
        """,
        account_ids,
    )
    return [Attribution(row["account_id"], row["account_ref"], row["referrer_ref"], row["created_at"]) for row in rows]


async def lock_organic(connection: Connection, account_ids: Iterable[str], now: datetime) -> list[Attribution]:
    """Locks those accounts organic that are undecided, in the order of the ids, and returns them."""
    rows = await connection.fetch(
        """
        WITH known AS (SELECT account_id, account_ref FROM accounts WHERE account_id = ANY ($1::text[])),
        locked AS (
            INSERT INTO referral_registrations (referee_ref, kind, created_at)
            SELECT account_ref, 'organic', $2 FROM known ORDER BY account_id
            ON CONFLICT (referee_ref) DO NOTHING
            RETURNING referee_ref
        )
        SELECT account_id, account_ref FROM known JOIN locked ON referee_ref = account_ref ORDER BY account_id
        """,
        list(account_ids),
        now,
    )
    return [Attribution(row["account_id"], row["account_ref"], None, now) for row in rows]


async def circumstances(
    connection: Connection, referee_ref: uuid.UUID, code_ref: uuid.UUID, referrer_ref: uuid.UUID, since: datetime
) -> Circumstances:
    """Of a registration by a code that is locked: all that the decision rests on beside it, in one round trip."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT standing FROM standings WHERE account_ref = $3) AS standing,
            (
                SELECT count(*) FROM referral_registrations
                WHERE kind = 'referred' AND code_ref = $2 AND created_at > $4
            ) AS recent,
            EXISTS (
                SELECT FROM shared_addresses
                WHERE low_ref = least($1::uuid, $3::uuid) AND high_ref = greatest($1::uuid, $3::uuid)
            ) OR EXISTS (
                SELECT FROM account_addresses a JOIN account_addresses b USING (kind, address_ref)
                WHERE a.account_ref = $1 AND b.account_ref = $3
            ) AS shared
        """,
        referee_ref,
        code_ref,
        referrer_ref,
        since,
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    standing = Standing(row["standing"]) if row["standing"] else Standing.GOOD
    return Circumstances(standing, row["recent"], row["shared"])


async def count_referees(connection: Connection, referrer_ref: uuid.UUID, now: datetime, *, months: int) -> Funnel:
    """Referees of a referrer, and those whose window of so many calendar months (UTC) is over."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS registered,
            count(*) FILTER (
                WHERE (created_at AT TIME ZONE 'UTC') + make_interval(months => $3) <= ($2 AT TIME ZONE 'UTC')
            ) AS window_ended
        FROM referral_registrations WHERE kind = 'referred' AND referrer_ref = $1
        """,
        referrer_ref,
        now,
        months,
    )
    return Funnel(registered=row["registered"], window_ended=row["window_ended"]) if row else Funnel(0, 0)


async def insert_attempt(connection: Connection, attempt: Attempt) -> None:
    """One line of the attribution log."""
    await connection.execute(
        """
        INSERT INTO referral_attribution_log
            (attempt_id, referee_ref, code_typed, code_ref, channel, outcome, reason, attempted_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        new_id(),
        attempt.referee_ref,
        attempt.code_typed,
        attempt.code_ref,
        attempt.channel,
        attempt.outcome,
        attempt.reason,
        attempt.attempted_at,
    )
