"""Distribution as a real process, killed amid payouts, refunds and charges: every sum is exact afterwards."""

import asyncio
import contextlib
import functools
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from libs.clock import MovableClock, SystemClock
from libs.postgres import Postgres
from protos.distribution.v1 import events_pb2, payments_pb2, payments_pb2_grpc, treasury_pb2, treasury_pb2_grpc
from services.distribution.commands import audit
from services.distribution.model import Part
from tests.conftest import Database
from tests.integration.test_distribution_process import Service, serving
from tests.support.books import assert_books
from tests.support.distribution import NOW, charge, referral_running
from tests.support.eventually import eventually

CREATORS, PAYOUTS, FUNDED = 4, 64, 40
SHARE, PAID = 10_000, 100_000


async def again(act: Callable[[], Awaitable[Any]]) -> Any:
    """As payout and billing do: again until there is an answer."""
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.CancelledError, AssertionError):
            return await act()
        await asyncio.sleep(0.05)


async def pay_out(service: Service, creator_ref: str, number: int) -> None:
    """One way of four: completed, failed, returned, still held."""
    payout: dict[str, Any] = {"payout_id": str(uuid.uuid4()), "round": 1}

    async def say(method: str, **more: Any) -> None:
        request = getattr(treasury_pb2, f"{method}Request")(**payout, **more)
        await again(lambda: getattr(treasury_pb2_grpc.TreasuryServiceStub(service.channel), method)(request))

    await say("HoldPayout", account_ref=creator_ref, amount_micro=100)
    way = number % 4
    if way in {0, 1}:
        await say("BurnPayout")
    if way == 0:
        await say("CompletePayout", sent_micro=97, fee_micro=3)
    elif way == 1:
        await say("FailPayout", reason="PROVIDER_FAILED")
    elif way == 2:
        await say("ReturnHold", reason="CANCELLED")


async def report(service: Service, number: int, refunded_micro: int) -> None:
    state = events_pb2.PAYMENT_STATE_PARTIALLY_REFUNDED if refunded_micro else events_pb2.PAYMENT_STATE_CONFIRMED
    request = payments_pb2.RecordPaymentRequest(
        payment_id=f"p{number}",
        order_id=f"o{number}",
        state=state,
        paid_micro=PAID,
        refunded_micro=refunded_micro,
        source=payments_pb2.PAYMENT_SOURCE_PROVIDER,
    )
    request.cleared_at.FromDatetime(SystemClock().now())
    await again(lambda: payments_pb2_grpc.PaymentsServiceStub(service.channel).RecordPayment(request))


async def buy(service: Service, number: int) -> None:
    """A payment, the charge that it pays and a refund of a third of it, in whatever order they come through."""
    funding = (Part(f"p{number}", PAID),)
    async with asyncio.TaskGroup() as group:
        group.create_task(report(service, number, 0))
        group.create_task(
            service.finalize_somehow(charge(f"funded-{number}", f"payer-{number % CREATORS}", funding=funding))
        )
        group.create_task(report(service, number, PAID // 3))


async def is_so(straight: Postgres, query: str, least: int) -> bool:
    async with straight.connection() as connection:
        return int(await connection.fetchval(query) or 0) >= least


_SETTLED = "SELECT sum(balance_micro) FROM accounts WHERE kind = 'creator_settled'"


async def check_sums(straight: Postgres) -> None:
    taken = FUNDED * (SHARE * (PAID // 3) // PAID)
    await eventually(lambda: is_so(straight, "SELECT sum(clawed_back_micro) FROM charge_reversals", taken), within=60)
    async with straight.connection() as connection:
        rows = await connection.fetch("SELECT kind, sum(balance_micro)::bigint AS micro FROM accounts GROUP BY kind")
        await assert_books(connection)
    each_way = PAYOUTS // 4
    expected = {
        "creator_pending": FUNDED * SHARE - taken,
        "creator_settled": 2 * CREATORS * SHARE - 2 * each_way * 100,
        "creator_held": each_way * 100,
        "paid_out": each_way * 100,
        "sent": each_way * 97,
        "provider_fees": each_way * 3,
        "in_flight": 0,
        "receipts": FUNDED * (PAID // 3) - (2 * CREATORS + FUNDED) * PAID,
    }
    found = {row["kind"]: row["micro"] for row in rows}
    assert {kind: found.get(kind, 0) for kind in expected} == expected
    own = await straight.dedicated()
    try:
        _, results = await audit.examine(own)
        assert [each.first[0] for each in results if each.violations] == []
    finally:
        await own.close()


async def test_killed_in_the_middle_of_payouts_and_refunds_every_sum_is_exact(
    database: Database, kafka_bootstrap: str, tmp_path: Path
) -> None:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        serving(dsn, referral, kafka_bootstrap, tmp_path) as service,
        await Postgres.open(dsn, schema="distribution") as straight,
    ):
        refs = [
            await referral.refer(f"payer-{number}", NOW - timedelta(days=3), f"creator-{number}")
            for number in range(CREATORS)
        ]
        purchases = payments_pb2_grpc.PaymentsServiceStub(service.channel)
        for number in range(FUNDED):
            await purchases.RecordPurchase(
                payments_pb2.RecordPurchaseRequest(order_id=f"o{number}", account_id="buyer", price_micro=PAID)
            )
        for number in range(2 * CREATORS):
            await service.finalize_somehow(charge(f"plain-{number}", f"payer-{number % CREATORS}"))
        MovableClock(tmp_path / "clock").advance(timedelta(minutes=2))
        await eventually(lambda: is_so(straight, _SETTLED, 2 * CREATORS * SHARE), within=90)

        async def kill() -> None:
            for transfers in (40, 90, 150):
                await eventually(
                    functools.partial(is_so, straight, "SELECT count(*) FROM transfers", transfers), within=60
                )
                await service.kill()
                await service.start()

        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for number in range(PAYOUTS):
                group.create_task(pay_out(service, refs[number % CREATORS], number // CREATORS))
            for number in range(FUNDED):
                group.create_task(buy(service, number))
        await check_sums(straight)
