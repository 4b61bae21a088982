"""Balances of ledger accounts."""

from collections.abc import Mapping, Sequence

from libs.postgres import Connection
from services.distribution.model import AccountKind, Balance, Family


async def open_accounts(connection: Connection, kinds: Mapping[str, AccountKind]) -> dict[str, int]:
    """Account ids by name, made where missing; an empty account moves no money."""
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
        WHERE name > $2 AND starts_with(name, $1) AND kind NOT LIKE 'creator%' AND kind <> 'credits'
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
        SELECT
            CASE kind WHEN 'credits' THEN 'credits:*'
                ELSE regexp_replace(min(name), '^(community|creator|campaign):[^:]*', '\\1:*') END AS family,
            count(*), sum(balance_micro)
        FROM accounts GROUP BY kind ORDER BY 1
        """
    )
    return [Family(family, accounts, int(total)) for family, accounts, total in rows]
