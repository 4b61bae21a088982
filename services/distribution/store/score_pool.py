"""What the score pool was funded with, and what it is reckoned from."""

from datetime import datetime

import asyncpg

from libs.periods import Period
from libs.postgres import Connection, violated
from services.distribution.model import FOUNDATION
from services.distribution.model.campaigns import Order, ScorePoolFunding
from services.distribution.model.ledger import TransferKind
from services.distribution.rules.score_pool import PeriodOverlaps

_COLUMNS = "number, period, net_foundation_micro, funding_bps, funded_micro, funded_at"


async def lock_fundings(connection: Connection) -> None:
    """One funding at a time; reading goes on."""
    await connection.execute("LOCK TABLE score_pool_fundings IN SHARE ROW EXCLUSIVE MODE")


async def find(connection: Connection, period: Period) -> ScorePoolFunding | None:
    """A period's funding."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM score_pool_fundings WHERE period = $1",  # noqa: S608 - constant columns
        period.name,
    )
    return ScorePoolFunding(*row) if row else None


async def shares_micro(connection: Connection, period: Period) -> int:
    """The foundation's shares of the charges that were finalized in a period."""
    total = await connection.fetchval(
        "SELECT coalesce(sum(foundation_micro), 0) FROM foundation_days WHERE day >= $1 AND day < $2",
        period.first,
        period.after,
    )
    return int(total)


async def reversals_micro(connection: Connection, period: Period) -> int:
    """What refunds took back from the foundation in a period: by when they were recorded."""
    total = await connection.fetchval(
        """
        SELECT coalesce(-sum(amount_micro), 0) FROM transfer_entries
        WHERE account_id = (SELECT account_id FROM accounts WHERE name = $1)
            AND kind = $2 AND recorded_at >= $3 AND recorded_at < $4
        """,
        FOUNDATION,
        int(TransferKind.CLAWBACK),
        period.starts_at,
        period.over_at,
    )
    return int(total)


async def insert(
    connection: Connection,
    period: Period,
    *,
    net_foundation_micro: int,
    funding_bps: int,
    funded_micro: int,
    transfer_id: str | None,
    order: Order,
    now: datetime,
) -> ScorePoolFunding:
    """Write down what a period was funded with. Raises PeriodOverlaps where days of it were counted before."""
    try:
        row = await connection.fetchrow(
            f"""
            INSERT INTO score_pool_fundings (
                period, span, net_foundation_micro, funding_bps, funded_micro, transfer_id, operator_id, reason,
                funded_at
            )
            VALUES ($1, daterange($2, $3), $4, $5, $6, $7, $8, $9, $10)
            RETURNING {_COLUMNS}
            """,  # noqa: S608 - constant columns
            period.name,
            period.first,
            period.after,
            net_foundation_micro,
            funding_bps,
            funded_micro,
            transfer_id,
            order.operator_id,
            order.reason,
            now,
        )
    except asyncpg.ExclusionViolationError as error:
        if violated(error) == "score_pool_fundings_apart":
            raise PeriodOverlaps from None
        raise
    if row is None:
        raise AssertionError("RETURNING answers the row")
    return ScorePoolFunding(*row)


async def list_page(connection: Connection, below: int | None, limit: int) -> list[ScorePoolFunding]:
    """Fundings, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM score_pool_fundings WHERE $1::bigint IS NULL OR number < $1
        ORDER BY number DESC LIMIT $2
        """,  # noqa: S608 - constant columns
        below,
        limit,
    )
    return [ScorePoolFunding(*row) for row in rows]
