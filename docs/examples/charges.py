# ruff: noqa: INP001, T201 - a program to read and to run, not a module
"""Charges, from a purchase to its refund: `python charges.py DISTRIBUTION REFERRAL`, each as host:port.

In production add `certificates=Certificates(Path("tls.crt"), Path("tls.key"), Path("ca.crt"))` to `Platform(…)`.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator

from creator_economy import Code, Platform, Refused, response_of
from creator_economy.protos.distribution.v1.distribution_pb2 import FinalizeRequest
from creator_economy.protos.distribution.v1.events_pb2 import PAYMENT_STATE_CONFIRMED, PAYMENT_STATE_REFUNDED
from creator_economy.protos.distribution.v1.payments_pb2 import (
    PAYMENT_SOURCE_BILLING,
    RecordPaymentRequest,
    RecordPurchaseRequest,
)

RUN = uuid.uuid4().hex[:12]  # your own ids come from your own tables, so that a repeat has the same one


def charge(number: int, payment_id: str = "") -> FinalizeRequest:
    """Ten cents of inference that cost us five."""
    request = FinalizeRequest(
        inference_charge_id=f"{RUN}-{number}",
        payer_account_id="example-payer",
        community_id="example-community",
        revenue_micro=100_000,
        provider_cost_micro=50_000,
        model="example-model",
        model_tier="standard",
    )
    request.finalized_at.GetCurrentTime()
    if payment_id:
        request.funding.add(payment_id=payment_id, amount_micro=100_000)
    return request


async def buy(platform: Platform, payment_id: str) -> RecordPaymentRequest:
    """Announce a purchase and report that its payment has cleared."""
    order_id = f"order-{RUN}"
    purchase = RecordPurchaseRequest(order_id=order_id, account_id="example-payer", price_micro=5_000_000)
    await platform.record_purchase(purchase)
    payment = RecordPaymentRequest(
        payment_id=payment_id,
        order_id=order_id,
        state=PAYMENT_STATE_CONFIRMED,
        paid_micro=5_000_000,
        source=PAYMENT_SOURCE_BILLING,
    )
    payment.cleared_at.GetCurrentTime()
    await platform.record_payment(payment)
    return payment


async def several(first: int, count: int) -> AsyncIterator[FinalizeRequest]:
    """Charges as they come."""
    for number in range(first, first + count):
        yield charge(number)


async def main(distribution: str, referral: str) -> None:
    """Buy, spend one by one, in a batch and as a stream, and refund."""
    async with Platform(distribution=distribution, referral=referral) as platform:
        payment = await buy(platform, f"payment-{RUN}")

        first = charge(0, payment.payment_id)
        answer = await platform.finalize(first)
        print("community", answer.community_micro, "foundation", answer.foundation_micro)
        again = await platform.finalize(first)
        print("replayed", again.replayed, "same", again.distribution_id == answer.distribution_id)

        wrong = charge(2)
        wrong.revenue_micro = 0
        for result in await platform.finalize_batch([charge(1), wrong]):
            try:
                print("batch", response_of(result).commons_micro)
            except Refused as refused:
                print("batch", refused.code.name, refused.reason, refused.data["field"])

        answered = [result async for result in platform.finalize_stream(several(3, 20))]
        print("stream", sum(response_of(result).community_micro for result in answered))

        payment.state = PAYMENT_STATE_REFUNDED
        payment.refunded_micro = payment.paid_micro
        print("refunded", (await platform.record_payment(payment)).payment.refunded_micro)

        first.revenue_micro += 1
        first.ClearField("funding")
        try:
            await platform.finalize(first)
        except Refused as refused:
            if refused.code is not Code.ALREADY_EXISTS:
                raise
            print("mismatch", refused.reason)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
