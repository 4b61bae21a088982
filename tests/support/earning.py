"""Somebody earns on a running stack: people sign up, pay, use it, and the time of refunds passes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import grpc

from libs.periods import week_of
from libs.timestamps import to_timestamp
from protos.distribution.v1 import distribution_pb2, events_pb2, payments_pb2
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from tests.support.callers import Caller, advance, now
from tests.support.operators import Operator
from tests.support.stacks import Stack

SETTLED = timedelta(hours=49)
MATURE = timedelta(days=14)
DOLLAR = 1_000_000


def sign_up(stack: Stack, code: str, names: Sequence[str]) -> None:
    """Each from an address of its own."""
    for number, name in enumerate(names, 1):
        Caller(stack, name, address=f"198.51.{number}.7").do("/referrals/register", code=code, channel="discord")


def spend(stack: Stack, names: Sequence[str], amount_micro: int, model: str) -> int:
    """Each pays so much and uses it up at once; returns what their referrers earned, in micro-USD."""
    at = to_timestamp(now(stack))
    earned_micro = 0
    with grpc.insecure_channel(stack.line["distribution"]) as opened:
        channel: Any = opened
        payments: Any = PaymentsServiceStub(channel)
        distribution: Any = DistributionServiceStub(channel)
        for name in names:
            what = f"{name}: {model}"
            payments.RecordPurchase(
                payments_pb2.RecordPurchaseRequest(order_id=what, account_id=name, price_micro=amount_micro)
            )
            payments.RecordPayment(
                payments_pb2.RecordPaymentRequest(
                    payment_id=what,
                    order_id=what,
                    state=events_pb2.PAYMENT_STATE_CONFIRMED,
                    paid_micro=amount_micro,
                    source=payments_pb2.PAYMENT_SOURCE_BILLING,
                    cleared_at=at,
                )
            )
            charged = distribution.Finalize(
                distribution_pb2.FinalizeRequest(
                    inference_charge_id=what,
                    payer_account_id=name,
                    community_id="here",
                    revenue_micro=amount_micro,
                    provider_cost_micro=amount_micro // 2,
                    model=model,
                    funding=[distribution_pb2.Funding(payment_id=what, amount_micro=amount_micro)],
                    finalized_at=at,
                )
            )
            earned_micro += charged.referrer_micro
    return earned_micro


def pass_refund_time(stack: Stack) -> None:
    """Charges settle, then their hold ends."""
    advance(stack, SETTLED.total_seconds())
    advance(stack, MATURE.total_seconds())


def back(stack: Stack, amount_micro: int) -> None:
    """Two operators put money into the reserve that payouts are backed by."""
    first, second = Operator(stack, "first"), Operator(stack, "second")
    change = first.do("/reserve-changes", direction="top_up", amount_micro=str(amount_micro))
    second.do(f"/reserve-changes/{change['reserve_change_id']}/approve")


def bring_scores(stack: Stack, scores: dict[str, int]) -> None:
    """An operator opens the pool of this week and brings its list of scores."""
    operator = Operator(stack, "first")
    campaign = operator.do("/campaigns", name="score rewards", type="score_weighted")
    operator.do(f"/campaigns/{campaign['campaign_id']}/activate")
    file = "address,score\n" + "".join(f"{address},{score}\n" for address, score in scores.items())
    taken_at = now(stack)
    taken = operator.upload(
        "/score/imports",
        file.encode(),
        period=week_of(taken_at.date()).name,
        format="csv",
        taken_at=taken_at.isoformat(),
        source="a test",
        reason="a test",
    )
    assert taken.json()["score_import"]["state"] == "accepted", taken.text
