"""What operators ordered about the provider, and why: for ever."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.payout.model import Order


async def note(connection: Connection, payout_id: UUID | None, what: str, order: Order, now: datetime) -> None:
    """Keep an order beside its effect."""
    await connection.execute(
        "INSERT INTO orders (payout_id, what, operator_id, reason, ordered_at) VALUES ($1, $2, $3, $4, $5)",
        payout_id,
        what,
        *order,
        now,
    )
