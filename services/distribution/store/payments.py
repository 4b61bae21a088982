"""Purchases and payments."""

from datetime import datetime
from typing import Any

from libs.postgres import Connection
from services.distribution.model.payments import Payment, PaymentState, Purchase, UnallocatedReason

_PURCHASE = "order_id, account_ref::text, price_micro, recorded_at"
_PAYMENT = """
    payment_id, order_id, state, paid_micro, refunded_micro, cleared_at, source, unallocated_reason, dismissed,
    reported_at, spent_micro, reversed_micro
    """


async def insert_purchase(connection: Connection, purchase: Purchase) -> bool:
    """False where the order was announced before."""
    made = await connection.fetchval(
        """
        INSERT INTO purchases (order_id, account_ref, price_micro, recorded_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (order_id) DO NOTHING RETURNING true
        """,
        purchase.order_id,
        purchase.account_ref,
        purchase.price_micro,
        purchase.recorded_at,
    )
    return bool(made)


async def find_purchase(connection: Connection, order_id: str, *, lock: bool = False) -> Purchase | None:
    """A purchase; locked against reports about its other payments where asked."""
    row = await connection.fetchrow(
        f"SELECT {_PURCHASE} FROM purchases WHERE order_id = $1 {'FOR UPDATE' if lock else ''}",  # noqa: S608 - constants
        order_id,
    )
    return Purchase(*row) if row else None


async def list_purchases(
    connection: Connection, account_ref: str, after: tuple[datetime, str] | None, limit: int
) -> list[Purchase]:
    """Purchases of an account, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_PURCHASE} FROM purchases
        WHERE account_ref = $1 AND ($2::timestamptz IS NULL OR (recorded_at, order_id) < ($2, $3))
        ORDER BY recorded_at DESC, order_id DESC LIMIT $4
        """,  # noqa: S608 - constants
        account_ref,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [Purchase(*row) for row in rows]


async def lock_payment(connection: Connection, payment_id: str) -> Payment:
    """A payment, made where it was never spoken of; reports and charges about it wait."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO payments (payment_id) VALUES ($1)
        ON CONFLICT (payment_id) DO UPDATE SET payment_id = excluded.payment_id RETURNING {_PAYMENT}
        """,  # noqa: S608 - constants
        payment_id,
    )
    return _payment(row)


async def find_payment(connection: Connection, payment_id: str) -> Payment | None:
    row = await connection.fetchrow(
        f"SELECT {_PAYMENT} FROM payments WHERE payment_id = $1",  # noqa: S608 - constants
        payment_id,
    )
    return _payment(row) if row else None


async def payments_of(connection: Connection, order_id: str) -> list[Payment]:
    """All payments that name an order, by id."""
    rows = await connection.fetch(
        f"SELECT {_PAYMENT} FROM payments WHERE order_id = $1 ORDER BY payment_id",  # noqa: S608 - constants
        order_id,
    )
    return [_payment(row) for row in rows]


async def list_unallocated(connection: Connection, reason: int, after: str, limit: int) -> list[Payment]:
    """Payments that wait for an operator; any reason for 0."""
    rows = await connection.fetch(
        f"""
        SELECT {_PAYMENT} FROM payments
        WHERE unallocated_reason <> 0 AND ($1 = 0 OR unallocated_reason = $1) AND payment_id > $2
        ORDER BY payment_id LIMIT $3
        """,  # noqa: S608 - constants
        reason,
        after,
        limit,
    )
    return [_payment(row) for row in rows]


async def save_payment(connection: Connection, payment: Payment) -> None:
    """Writes what a report or an operator changed."""
    await connection.execute(
        """
        UPDATE payments SET order_id = $2, state = $3, paid_micro = $4, refunded_micro = $5, cleared_at = $6,
            source = $7, unallocated_reason = $8, dismissed = $9, reported_at = $10
        WHERE payment_id = $1
        """,
        payment.payment_id,
        payment.order_id,
        int(payment.state),
        payment.paid_micro,
        payment.refunded_micro,
        payment.cleared_at,
        payment.source,
        int(payment.unallocated_reason),
        payment.dismissed,
        payment.reported_at,
    )


async def clear_funded(connection: Connection, payment_id: str) -> None:
    """Dates the pending shares that waited for this payment alone.

    Payments that fund the same charges are locked too: where two clear at the same time, the later one sees the other.
    """
    await connection.execute(
        """
        SELECT payment_id FROM payments WHERE payment_id IN (
            SELECT other.payment_id FROM charge_fundings AS own JOIN charge_fundings AS other USING (distribution_id)
            WHERE own.payment_id = $1
        ) ORDER BY payment_id FOR UPDATE
        """,
        payment_id,
    )
    await connection.execute(
        """
        SELECT clear_earnings(array_agg(distribution_id)) FROM charge_fundings
        WHERE payment_id = $1 AND creator_ref IS NOT NULL
        """,
        payment_id,
    )


async def totals(connection: Connection, payment_id: str) -> tuple[int, int, int]:
    """How many charges a payment funded, what refunds of it took back, and what of that the platform bore."""
    row: Any = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM charge_fundings WHERE payment_id = $1),
            (SELECT coalesce(sum(refunded_micro), 0) FROM charge_reversals WHERE payment_id = $1),
            (SELECT coalesce(sum(loss_micro), 0) FROM charge_reversals WHERE payment_id = $1)
        """,
        payment_id,
    )
    return int(row[0]), int(row[1]), int(row[2])


def _payment(row: Any) -> Payment:
    (
        payment_id,
        order_id,
        state,
        paid,
        refunded,
        cleared_at,
        source,
        reason,
        dismissed,
        reported_at,
        spent,
        reversed_,
    ) = row
    return Payment(
        payment_id,
        order_id,
        PaymentState(state),
        paid,
        refunded,
        cleared_at,
        source,
        UnallocatedReason(reason),
        dismissed,
        reported_at,
        int(spent),
        int(reversed_),
    )
