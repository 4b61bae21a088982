"""Prices as the provider told them, and quotes made of them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from libs.postgres import Connection
from services.payout.model.currencies import Price


@dataclass(frozen=True, slots=True)
class Quote:
    """What a payout would bring, for as long as it is offered."""

    quote_id: UUID
    account_ref: UUID
    currency: str
    amount_micro: int
    fee_micro: int
    net_amount: Decimal
    quoted_at: datetime
    expires_at: datetime


async def keep(connection: Connection, price: Price) -> None:
    """Remember what the provider said."""
    await connection.execute(
        """
        INSERT INTO prices (currency, units_per_usd, fee_units, minimum_units, asked_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (currency) DO UPDATE
        SET units_per_usd = excluded.units_per_usd, fee_units = excluded.fee_units,
            minimum_units = excluded.minimum_units, asked_at = excluded.asked_at
        WHERE prices.asked_at <= excluded.asked_at
        """,
        price.currency,
        price.units_per_usd,
        price.fee_units,
        price.minimum_units,
        price.asked_at,
    )


async def find(connection: Connection, currency: str) -> Price | None:
    """What is known of a currency."""
    rows = await connection.fetch("SELECT * FROM prices WHERE currency = $1", currency)
    return Price(**dict(rows[0])) if rows else None


async def every(connection: Connection) -> dict[str, Price]:
    """What is known, by currency."""
    return {row["currency"]: Price(**dict(row)) for row in await connection.fetch("SELECT * FROM prices")}


async def insert_quote(connection: Connection, quote: Quote) -> None:
    """Keep an offer."""
    await connection.execute(
        """
        INSERT INTO quotes (quote_id, account_ref, currency, amount_micro, fee_micro, net_amount, quoted_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        quote.quote_id,
        quote.account_ref,
        quote.currency,
        quote.amount_micro,
        quote.fee_micro,
        quote.net_amount,
        quote.quoted_at,
        quote.expires_at,
    )


async def find_quote(connection: Connection, quote_id: UUID, account_ref: UUID) -> Quote | None:
    """An offer that was made to an account."""
    rows = await connection.fetch(
        "SELECT * FROM quotes WHERE quote_id = $1 AND account_ref = $2", quote_id, account_ref
    )
    return Quote(**dict(rows[0])) if rows else None


async def drop_quotes(connection: Connection, expired_by: datetime, limit: int) -> int:
    """Drop offers that are long over; returns how many."""
    dropped: str = await connection.execute(
        "DELETE FROM quotes WHERE quote_id IN (SELECT quote_id FROM quotes WHERE expires_at < $1 LIMIT $2)",
        expired_by,
        limit,
    )
    return int(dropped.rsplit(maxsplit=1)[-1])
