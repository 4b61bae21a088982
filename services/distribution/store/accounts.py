"""Balances of ledger accounts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from libs import outbox
from libs.postgres import Connection
from libs.telemetry import current_traceparent
from services.distribution.model import AccountKind, Balance, Family

_ADD_AND_TELL = f"""
    WITH locked AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE account_id = ANY ($8::bigint[])
        ORDER BY account_id FOR NO KEY UPDATE
    ),
    updated AS (
        UPDATE accounts SET balance_micro = balance_micro + amount_micro
        FROM unnest($8::bigint[], $9::bigint[]) AS posted (account_id, amount_micro), locked
        WHERE accounts.account_id = locked.account_id AND posted.account_id = locked.account_id
        RETURNING 1
    ),
    told AS (
        INSERT INTO outbox (event_id, topic, partition, key, payload, occurred_at, traceparent) {outbox.OUTBOX_ROWS}
    )
    SELECT count(*) FROM updated
    """  # noqa: S608 - constants


class AccountMissing(Exception):
    """An amount was posted to an account that is not there: a bug, and the transaction must not commit."""


async def open_accounts(connection: Connection, kinds: Mapping[str, AccountKind]) -> dict[str, int]:
    """Account ids by name, made where missing. Run outside of a transaction: an empty account moves no money."""
    names = sorted(kinds)
    await connection.execute(
        """
        INSERT INTO accounts (name, kind) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT (name) DO NOTHING
        """,
        names,
        [kinds[name] for name in names],
    )
    rows = await connection.fetch("SELECT name, account_id FROM accounts WHERE name = ANY ($1::text[])", names)
    return {row["name"]: row["account_id"] for row in rows}


async def add_and_tell(
    connection: Connection, amounts_micro: Mapping[int, int], told: Iterable[outbox.Entry], *, occurred_at: datetime
) -> None:
    """Add to each account, by account id, and append events, with one statement.

    Accounts are locked in order of id first, so that two commands never wait crosswise. Raises AccountMissing; an
    account that would go below zero, where it may not, is a CheckViolationError.
    """
    account_ids = sorted(amounts_micro)
    updated = await connection.fetchval(
        _ADD_AND_TELL,
        *outbox.outbox_columns(told),
        occurred_at,
        current_traceparent(),
        account_ids,
        [amounts_micro[account_id] for account_id in account_ids],
    )
    if updated != len(account_ids):
        raise AccountMissing


async def balances(connection: Connection, names: Sequence[str]) -> list[Balance]:
    """Balances in the order asked; 0 for an account that nothing ever moved."""
    rows = await connection.fetch("SELECT name, balance_micro FROM accounts WHERE name = ANY ($1::text[])", names)
    found: dict[str, int] = {row["name"]: row["balance_micro"] for row in rows}
    return [Balance(name, found.get(name, 0)) for name in names]


async def list_platform(connection: Connection, prefix: str, after: str, limit: int) -> list[Balance]:
    """Accounts that are nobody's own, by name."""
    rows = await connection.fetch(
        """
        SELECT name, balance_micro FROM accounts
        WHERE name > $2 AND starts_with(name, $1) AND NOT starts_with(name, 'creator:')
        ORDER BY name LIMIT $3
        """,
        prefix,
        after,
        limit,
    )
    return [Balance(*row) for row in rows]


async def families(connection: Connection) -> list[Family]:
    """Every kind of account summed; sums are NUMERIC, so they cannot overflow on the way."""
    rows = await connection.fetch(
        """
        SELECT regexp_replace(min(name), '^(community|creator):[^:]*', '\\1:*') AS family, count(*), sum(balance_micro)
        FROM accounts GROUP BY kind ORDER BY 1
        """
    )
    return [Family(family, accounts, int(total)) for family, accounts, total in rows]
