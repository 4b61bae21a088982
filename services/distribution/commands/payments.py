"""Purchases are announced and payments reported, in any order, as often as anybody likes."""

from dataclasses import replace

from libs import idempotency, outbox
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, payments_pb2
from services.distribution.model.payments import Payment, Purchase, Report, UnallocatedReason
from services.distribution.rules import payments as rules
from services.distribution.rules.refusals import PaymentAllocated, PaymentUnknown, PurchaseUnknown
from services.distribution.store import payments


@retried
async def record_purchase(
    postgres: Postgres, clock: Clock, order_id: str, account_ref: str, price_micro: int
) -> tuple[Purchase, bool]:
    """Announces a purchase; payments that came before are its own from now on. True where it was known."""
    async with postgres.transaction() as connection:
        now = clock.now()
        purchase = Purchase(order_id, account_ref, price_micro, now)
        if not await payments.insert_purchase(connection, purchase):
            known = await payments.find_purchase(connection, order_id)
            if known is None:
                raise PurchaseUnknown
            rules.check_same_purchase(known, account_ref, price_micro)
            return known, True
        for each in await payments.payments_of(connection, order_id):
            payment = await payments.lock_payment(connection, each.payment_id)
            if payment.unallocated_reason is UnallocatedReason.UNKNOWN_ORDER:
                await _allocate(connection, payment, purchase, clock)
        return purchase, False


@retried
async def record_payment(postgres: Postgres, clock: Clock, report: Report) -> tuple[Payment, bool]:
    """Takes a report; true where it told something new. What it clears is dated; refunds are applied afterwards."""
    async with postgres.transaction() as connection:
        now = clock.now()
        rules.check_report(report, now)
        purchase = await payments.find_purchase(connection, report.order_id, lock=True) if report.order_id else None
        known = await payments.lock_payment(connection, report.payment_id)
        merged = rules.merge(known, report, order_known=purchase is not None, now=now)
        if merged is known:
            return known, False
        await payments.save_payment(connection, merged)
        if rules.is_cleared(merged) and not rules.is_cleared(known):
            await payments.clear_funded(connection, report.payment_id)
        if purchase is not None and merged.unallocated_reason is UnallocatedReason.NONE:
            await _tell(connection, purchase, merged, clock)
        return merged, True


async def _allocate(connection: Connection, payment: Payment, purchase: Purchase, clock: Clock) -> Payment:
    allocated = replace(payment, order_id=purchase.order_id, unallocated_reason=UnallocatedReason.NONE)
    await payments.save_payment(connection, allocated)
    if rules.is_cleared(allocated):
        await payments.clear_funded(connection, payment.payment_id)
    await _tell(connection, purchase, allocated, clock)
    return allocated


@retried
async def allocate_payment(postgres: Postgres, clock: Clock, request: payments_pb2.AllocatePaymentRequest) -> Payment:
    """An operator says whose an unallocated payment is; the same request again changes nothing."""
    async with postgres.transaction() as connection:
        earlier = await _replayed(connection, request)
        purchase = await payments.find_purchase(connection, request.order_id, lock=True)
        payment = await payments.lock_payment(connection, request.payment_id)
        if earlier:
            return payment
        if purchase is None:
            raise PurchaseUnknown(order_id=request.order_id)
        _check_unallocated(payment)
        await _remember(connection, request)
        return await _allocate(connection, payment, purchase, clock)


@retried
async def dismiss_payment(postgres: Postgres, request: payments_pb2.DismissPaymentRequest) -> Payment:
    """An operator takes a payment off the list: it clears and pays nothing here."""
    async with postgres.transaction() as connection:
        earlier = await _replayed(connection, request)
        payment = await payments.lock_payment(connection, request.payment_id)
        if earlier:
            return payment
        _check_unallocated(payment)
        dismissed = replace(payment, unallocated_reason=UnallocatedReason.NONE, dismissed=True)
        await payments.save_payment(connection, dismissed)
        await _remember(connection, request)
        return dismissed


def _check_unallocated(payment: Payment) -> None:
    if payment.reported_at is None:
        raise PaymentUnknown
    if payment.unallocated_reason is UnallocatedReason.NONE:
        raise PaymentAllocated


_Decision = payments_pb2.AllocatePaymentRequest | payments_pb2.DismissPaymentRequest


async def _replayed(connection: Connection, request: _Decision) -> bool:
    earlier = await idempotency.replay(
        connection,
        request_id=request.request_id,
        method=type(request).__name__,
        request=request,
        response_type=payments_pb2.AllocatePaymentResponse,
    )
    return earlier is not None


async def _remember(connection: Connection, request: _Decision) -> None:
    # The answer is how the payment stands when asked again; what is kept is that this was done.
    await idempotency.remember(
        connection,
        request_id=request.request_id,
        method=type(request).__name__,
        request=request,
        response=payments_pb2.AllocatePaymentResponse(),
    )


async def _tell(connection: Connection, purchase: Purchase, payment: Payment, clock: Clock) -> None:
    stands = rules.purchase_state(purchase.price_micro, await payments.payments_of(connection, purchase.order_id))
    now = clock.now()
    event = events_pb2.PaymentChanged(
        order_id=purchase.order_id,
        payment_id=payment.payment_id,
        account_ref=purchase.account_ref,
        state=events_pb2.PaymentState.ValueType(stands.state),
        price_micro=purchase.price_micro,
        net_paid_micro=stands.net_paid_micro,
        changed_at=to_timestamp(now),
    )
    await outbox.append(connection, event, key=purchase.account_ref, occurred_at=now)
