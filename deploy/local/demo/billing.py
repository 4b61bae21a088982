"""Billing: one `Finalize` by gRPC for every charge, as the internal system would call it."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

import grpc

from deploy.local.demo.economy import Charge, Purchase
from protos.distribution.v1.distribution_pb2 import FinalizeRequest, FinalizeResponse
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub
from protos.distribution.v1.events_pb2 import (
    PAYMENT_STATE_CONFIRMED,
    PAYMENT_STATE_PARTIALLY_REFUNDED,
    PAYMENT_STATE_REFUNDED,
    PaymentState,
)
from protos.distribution.v1.payments_pb2 import (
    PAYMENT_SOURCE_BILLING,
    RecordPaymentRequest,
    RecordPurchaseRequest,
)
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub

CALLERS = 64
ATTEMPTS = 60
TRY_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def request(charge: Charge, first_charge_at: datetime) -> FinalizeRequest:
    """The call for one charge; the same charge and anchor give the same bytes."""
    finalize = FinalizeRequest(
        inference_charge_id=charge.inference_charge_id,
        payer_account_id=charge.payer_account_id,
        community_id=charge.community_id,
        revenue_micro=charge.revenue_micro,
        provider_cost_micro=charge.provider_cost_micro,
        model=charge.model,
        model_tier=charge.model_tier,
    )
    if charge.payment_id:
        finalize.funding.add(payment_id=charge.payment_id, amount_micro=charge.revenue_micro)
    finalize.finalized_at.FromDatetime(first_charge_at + charge.at)
    return finalize


async def finalize_all(
    address: str,
    charges: Iterable[Charge],
    first_charge_at: datetime,
    answered: Callable[[Charge, FinalizeResponse], None],
) -> None:
    """Sends every charge from 64 callers and hands each answer over; an outage is waited out, a refusal is an error."""
    options = [("grpc.service_config", "{}"), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = DistributionServiceStub(channel)
        waiting = iter(charges)

        async def caller() -> None:
            # Callers share one iterator: whoever is free takes the next charge.
            for charge in waiting:
                answered(charge, await _finalize(stub, request(charge, first_charge_at)))

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())


async def report_purchases(address: str, purchases: Iterable[Purchase], paid_at: datetime) -> None:
    """Announces every purchase and reports its payment confirmed; again, it changes nothing."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = PaymentsServiceStub(channel)
        for purchase in purchases:
            await stub.RecordPurchase(
                RecordPurchaseRequest(
                    order_id=purchase.order_id, account_id=purchase.account_id, price_micro=purchase.price_micro
                ),
                timeout=10,
            )
            await stub.RecordPayment(_payment(purchase, paid_at, PAYMENT_STATE_CONFIRMED), timeout=10)


async def report_refunds(address: str, purchases: Iterable[Purchase], paid_at: datetime, *, late: bool) -> None:
    """Reports the refunds of one kind; again, they take nothing more back."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = PaymentsServiceStub(channel)
        for purchase in purchases:
            if purchase.refunded_micro and purchase.refunded_late is late:
                whole = purchase.refunded_micro == purchase.price_micro
                state = PAYMENT_STATE_REFUNDED if whole else PAYMENT_STATE_PARTIALLY_REFUNDED
                refund = _payment(purchase, paid_at, state)
                refund.refunded_micro = purchase.refunded_micro
                await stub.RecordPayment(refund, timeout=30)


def _payment(purchase: Purchase, paid_at: datetime, state: PaymentState.ValueType) -> RecordPaymentRequest:
    payment = RecordPaymentRequest(
        payment_id=purchase.payment_id,
        order_id=purchase.order_id,
        state=state,
        paid_micro=purchase.price_micro,
        source=PAYMENT_SOURCE_BILLING,
    )
    payment.cleared_at.FromDatetime(paid_at)
    return payment


async def _finalize(stub: DistributionServiceStub, finalize: FinalizeRequest) -> FinalizeResponse:
    for _ in range(ATTEMPTS):
        try:
            return await stub.Finalize(finalize, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() not in TRY_AGAIN:
                raise
        # The same id may be sent again at any time: it is paid once.
        await asyncio.sleep(0.5)
    raise TimeoutError(f"distribution did not answer {finalize.inference_charge_id}")
