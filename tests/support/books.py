"""The invariants of the books, looked up in the books themselves."""

from libs.postgres import Connection


async def assert_books(connection: Connection) -> None:
    """Accounts sum to zero and are their entries; open earnings are the pending balances; all of it is backed."""
    assert await connection.fetchval("SELECT coalesce(sum(balance_micro), 0) FROM accounts") == 0
    wrong = await connection.fetch(
        """
        SELECT name, balance_micro, coalesce(entered, 0) AS entered FROM accounts
        FULL JOIN (
            SELECT account AS name, sum(amount_micro) AS entered FROM journal GROUP BY account
        ) AS sums USING (name)
        WHERE coalesce(balance_micro, 0) <> coalesce(entered, 0)
        """
    )
    assert [tuple(row) for row in wrong] == []
    unbalanced = await connection.fetch(
        "SELECT transfer_id FROM journal GROUP BY transfer_id HAVING sum(amount_micro) <> 0"
    )
    assert [tuple(row) for row in unbalanced] == []
    open_wrong = await connection.fetch(
        """
        SELECT name, balance_micro, coalesce(open_micro, 0) FROM (
            SELECT name, balance_micro FROM accounts WHERE kind = 'creator_pending' AND balance_micro <> 0
        ) AS pending
        FULL JOIN (
            SELECT 'creator:' || creator_ref || ':pending' AS name, sum(amount_micro) AS open_micro
            FROM pending_earnings GROUP BY creator_ref
        ) AS opened USING (name)
        WHERE coalesce(balance_micro, 0) <> coalesce(open_micro, 0)
        """
    )
    assert [tuple(row) for row in open_wrong] == []
    backing = await connection.fetchrow(
        """
        SELECT
            coalesce(sum(balance_micro) FILTER (WHERE kind LIKE 'creator%'), 0) AS owed,
            coalesce(sum(balance_micro) FILTER (WHERE kind = 'payout_reserve'), 0) AS reserve
        FROM accounts
        """
    )
    assert backing is not None
    assert backing["owed"] <= backing["reserve"]
