"""Grants: real ones as lots, staged ones until they are real."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import asyncpg

from libs.postgres import Connection, violated
from services.distribution.model.campaigns import (
    Campaign,
    Grant,
    GrantedLot,
    StagedGrant,
    StagedGrantState,
    StagedLot,
)

_STAGED = """
    staged_grant_id, number, campaign_id::text, state, wanted_micro, accept_less, reserved_micro, staged_count,
    staged_micro, transfer_id::text, opened_at, closed_at
    """


async def look_up_by_key(connection: Connection) -> None:
    """Find rows by their keys in this transaction, a thousand at a time, whatever statistics say of the tables.

    A plan kept from when a table was small reads it whole for every one of a hundred batches.
    """
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off")


async def find_granted(connection: Connection, grant_ids: Sequence[str]) -> dict[str, GrantedLot]:
    """Those of the grants that were made before."""
    rows = await connection.fetch(
        """
        SELECT grant_id, lot_id::text, account_ref::text, campaign_id::text, granted_micro
        FROM credit_lots WHERE grant_id = ANY ($1::text[])
        """,
        grant_ids,
    )
    return {row["grant_id"]: GrantedLot(*row) for row in rows}


async def insert_lots(
    connection: Connection,
    campaign: Campaign,
    grants: Sequence[Grant],
    lot_ids: Sequence[str],
    transfer_id: str,
    now: datetime,
) -> None:
    """Write the lots of new grants. Where another campaign made one of them meanwhile, the command is to run again."""
    with _made_meanwhile():
        await connection.execute(
            """
            INSERT INTO credit_lots (
                lot_id, account_ref, pool, campaign_id, transfer_id, grant_id, granted_micro, remaining_micro,
                granted_at
            )
            SELECT lot_id, account_ref, $5, $6, $7, grant_id, amount_micro, amount_micro, $8
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[])
                AS lots (lot_id, account_ref, grant_id, amount_micro)
            """,
            lot_ids,
            [grant.account_ref for grant in grants],
            [grant.grant_id for grant in grants],
            [grant.amount_micro for grant in grants],
            campaign.pool,
            campaign.campaign_id,
            transfer_id,
            now,
        )


async def find_staged(connection: Connection, staged_grant_id: str, *, lock: bool = False) -> StagedGrant | None:
    """A staged grant; locked, nobody adds to it or ends it meanwhile."""
    row = await connection.fetchrow(
        f"SELECT {_STAGED} FROM staged_grants WHERE staged_grant_id = $1"  # noqa: S608 - constant columns
        + (" FOR NO KEY UPDATE" if lock else ""),
        staged_grant_id,
    )
    if row is None:
        return None
    found_id, number, campaign_id, state, *rest = row
    return StagedGrant(found_id, number, campaign_id, StagedGrantState(state), *rest)


async def insert_staged(
    connection: Connection,
    staged_grant_id: str,
    campaign_id: str,
    wanted_micro: int,
    reserved_micro: int,
    *,
    accept_less: bool,
    now: datetime,
) -> bool:
    """Open a staged grant; False where one of that id came first."""
    inserted = await connection.fetchval(
        """
        INSERT INTO staged_grants (
            staged_grant_id, campaign_id, wanted_micro, reserved_micro, accept_less, opened_at
        )
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (staged_grant_id) DO NOTHING RETURNING true
        """,
        staged_grant_id,
        campaign_id,
        wanted_micro,
        reserved_micro,
        accept_less,
        now,
    )
    return inserted is not None


async def find_staged_lots(connection: Connection, number: int, lots: Sequence[StagedLot]) -> list[StagedLot]:
    """What is staged already of the same grants, or for the same accounts."""
    rows = await connection.fetch(
        """
        SELECT grant_id, account_ref::text, amount_micro, lot_id::text, account_id
        FROM staged_lots WHERE number = $1 AND grant_id = ANY ($2::text[])
        UNION
        SELECT grant_id, account_ref::text, amount_micro, lot_id::text, account_id
        FROM staged_lots WHERE number = $1 AND account_id = ANY ($3::bigint[])
        """,
        number,
        [lot.grant_id for lot in lots],
        [lot.account_id for lot in lots],
    )
    return [StagedLot(*row) for row in rows]


async def stage(connection: Connection, number: int, lots: Sequence[StagedLot]) -> set[str]:
    """Write grants that are not there and whose accounts have none; their ids. The staged grant is held locked."""
    rows = await connection.fetch(
        """
        INSERT INTO staged_lots (number, grant_id, account_ref, amount_micro, lot_id, account_id)
        SELECT $1, lots.* FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::uuid[], $6::bigint[]) AS lots
        ON CONFLICT DO NOTHING RETURNING grant_id
        """,
        number,
        *(list(column) for column in zip(*lots, strict=True)),
    )
    return {row["grant_id"] for row in rows}


async def add_staged(connection: Connection, number: int, count: int, amount_micro: int) -> None:
    """Count what was added."""
    await connection.execute(
        """
        UPDATE staged_grants SET staged_count = staged_count + $2, staged_micro = staged_micro + $3
        WHERE number = $1
        """,
        number,
        count,
        amount_micro,
    )


async def sum_staged(connection: Connection, number: int) -> tuple[int, int]:
    """How many grants there are, and their sum."""
    row = await connection.fetchrow(
        "SELECT count(*), coalesce(sum(amount_micro), 0)::bigint FROM staged_lots WHERE number = $1", number
    )
    if row is None:
        raise AssertionError("an aggregate is one row")
    return row[0], row[1]


async def find_staged_granted(connection: Connection, number: int) -> str | None:
    """One of the staged grants that was made another way meanwhile, if any."""
    grant_id: str | None = await connection.fetchval(
        "SELECT grant_id FROM staged_lots JOIN credit_lots USING (grant_id) WHERE number = $1 LIMIT 1", number
    )
    return grant_id


async def take_staged_caps(connection: Connection, number: int, campaign: Campaign) -> str | None:
    """Count the staged grants towards their accounts' cap; a grant that passes it is returned, and all is void."""
    grant_id: str | None = await connection.fetchval(
        """
        WITH taken AS (
            INSERT INTO campaign_accounts AS mine (campaign_id, account_ref, taken_micro)
            SELECT $2, account_ref, amount_micro FROM staged_lots WHERE number = $1 ORDER BY account_ref
            ON CONFLICT (campaign_id, account_ref) DO UPDATE SET taken_micro = mine.taken_micro + excluded.taken_micro
            RETURNING account_ref, taken_micro
        )
        SELECT grant_id FROM taken JOIN staged_lots USING (account_ref)
        WHERE number = $1 AND taken_micro > $3 LIMIT 1
        """,
        number,
        campaign.campaign_id,
        campaign.account_cap_micro,
    )
    return grant_id


async def commit_staged(
    connection: Connection, staged: StagedGrant, campaign: Campaign, *, kind: int, transfer_id: str, now: datetime
) -> None:
    """Make all of it real: one transfer, its balances and lots, set by set; its rows are done with."""
    await _post_staged(connection, staged.number, campaign, kind, transfer_id, now)
    with _made_meanwhile():
        await connection.execute(
            """
            INSERT INTO credit_lots (
                lot_id, account_ref, pool, campaign_id, transfer_id, grant_id, granted_micro, remaining_micro,
                granted_at
            )
            SELECT lot_id, account_ref, $2, $3, $4, grant_id, amount_micro, amount_micro, $5
            FROM staged_lots WHERE number = $1 ORDER BY lot_id
            """,
            staged.number,
            campaign.pool,
            campaign.campaign_id,
            transfer_id,
            now,
        )
    await _close(connection, staged.number, StagedGrantState.COMMITTED, now, transfer_id=transfer_id)


async def _post_staged(
    connection: Connection, number: int, campaign: Campaign, kind: int, transfer_id: str, now: datetime
) -> None:
    await connection.execute(
        """
        INSERT INTO transfers (transfer_id, kind, cause_id, recorded_at, account_ids, amounts_micro)
        SELECT $2, $3, $4, $5,
            (SELECT account_id FROM accounts WHERE name = $6) || array_agg(account_id ORDER BY account_id),
            -sum(amount_micro)::bigint || array_agg(amount_micro ORDER BY account_id)
        FROM staged_lots WHERE number = $1
        """,
        number,
        transfer_id,
        kind,
        campaign.campaign_id,
        now,
        campaign.reserved_account,
    )
    await connection.execute(
        """
        WITH locked AS MATERIALIZED (
            SELECT account_id, leg.amount_micro
            FROM transfers CROSS JOIN unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
            JOIN accounts USING (account_id)
            WHERE transfer_id = $1 ORDER BY account_id FOR NO KEY UPDATE OF accounts
        )
        UPDATE accounts SET balance_micro = balance_micro + locked.amount_micro
        FROM locked WHERE accounts.account_id = locked.account_id
        """,
        transfer_id,
    )


async def abandon_staged(connection: Connection, number: int, reason: str, now: datetime) -> None:
    """Drop a staged grant and its rows."""
    await _close(connection, number, StagedGrantState.ABANDONED, now, reason=reason)


async def _close(
    connection: Connection,
    number: int,
    state: StagedGrantState,
    now: datetime,
    *,
    transfer_id: str | None = None,
    reason: str | None = None,
) -> None:
    await connection.execute(
        """
        UPDATE staged_grants SET state = $2, closed_at = $3, transfer_id = $4, abandon_reason = $5
        WHERE number = $1 AND state = 1
        """,
        number,
        int(state),
        now,
        transfer_id,
        reason,
    )
    await connection.execute("DELETE FROM staged_lots WHERE number = $1", number)


@contextmanager
def _made_meanwhile() -> Iterator[None]:
    """Turns "granted by another campaign at the same time" into a conflict, which runs the command again."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if violated(error) == "credit_lots_granted_once":
            raise asyncpg.SerializationError("a grant was made meanwhile") from error
        raise
