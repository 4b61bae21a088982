"""Callbacks of the provider: stored once, applied once, in any order; the truth is what a look-up says."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest

from libs import rpc
from protos.distribution.v1 import payments_pb2_grpc
from protos.payout.v1 import webhooks_pb2, webhooks_pb2_grpc
from services.distribution.servicer import payments as payments_door
from services.payout.commands.callbacks import Applying
from services.payout.model import Stage
from services.payout.provider.signatures import sign
from services.payout.servicer import webhooks
from tests.conftest import Database
from tests.support.handover import MINUTE, Road, road
from tests.support.provider import IPN_SECRET

PAYOUT, PAYMENT = webhooks_pb2.CALLBACK_KIND_PAYOUT, webhooks_pb2.CALLBACK_KIND_PAYMENT


@dataclass
class Desk:
    """The webhook door, and the job behind it."""

    way: Road
    door: webhooks_pb2_grpc.WebhookServiceStub
    applying: Applying

    async def receive(self, body: bytes, signature: str, kind: Any = PAYOUT) -> webhooks_pb2.ReceiveCallbackResponse:
        request = webhooks_pb2.ReceiveCallbackRequest(kind=kind, raw_body=body, signature=signature)
        return await self.door.ReceiveCallback(request)

    async def receive_all(self, kind: Any = PAYOUT, seed: int | None = None, times: int = 1) -> None:
        """Everything that the provider ever signed, so many times, in order or shuffled."""
        made = list(self.way.running.provider.callbacks.made) * times
        if seed is not None:
            random.Random(seed).shuffle(made)
        for each in made:
            await self.receive(each.body, each.signature, kind)

    async def states(self) -> dict[int, int]:
        async with self.way.postgres.connection() as connection:
            rows = await connection.fetch("SELECT state, count(*) AS many FROM callbacks GROUP BY state")
        return {row["state"]: row["many"] for row in rows}


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(road(await database("payout"), await database("distribution")))
        server = rpc.Server("payout", test_mode=True, drain_wait_seconds=0)
        webhook = webhooks.WebhookServicer(way.postgres, way.clock, (IPN_SECRET,))
        server.add(
            webhooks_pb2_grpc.add_WebhookServiceServicer_to_server,
            webhook,
            "creator.payout.v1.WebhookService",
            webhooks.CALLERS,
        )
        nowhere = await stack.enter_async_context(rpc.channel("127.0.0.1:1", caller="distribution"))
        server.add(
            payments_pb2_grpc.add_PaymentsServiceServicer_to_server,
            payments_door.PaymentsServicer(way.books.postgres, way.clock, nowhere),  # type: ignore[arg-type]
            "creator.distribution.v1.PaymentsService",
            payments_door.CALLERS,
        )
        await server.start()
        await server.ready()
        stack.push_async_callback(server.drain, hasty=True)
        channel = await stack.enter_async_context(rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous"))
        ledger = payments_pb2_grpc.PaymentsServiceStub(channel)
        applying = Applying(way.postgres, way.clock, way.client, ledger, fee_paid_by="sender")
        yield Desk(way, webhooks_pb2_grpc.WebhookServiceStub(channel), applying)


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return str(error.value.code().name)


async def test_what_is_not_signed_is_refused_and_leaves_nothing(desk: Desk) -> None:
    body = b'{"id":"1","status":"FINISHED"}'
    for signature in ("", "0" * 128, sign(body, "guess"), sign(b"{}", IPN_SECRET)):
        assert await refused(desk.receive(body, signature)) == "UNAUTHENTICATED"
    assert await desk.states() == {}


async def test_without_a_secret_everything_is_refused(desk: Desk) -> None:
    door = webhooks.WebhookServicer(desk.way.postgres, desk.way.clock, ())
    body = b'{"id":"1","status":"FINISHED"}'
    request = webhooks_pb2.ReceiveCallbackRequest(kind=PAYOUT, raw_body=body, signature=sign(body, ""))
    with pytest.raises(Exception, match="not signed"):
        await door.ReceiveCallback(request, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"id":null,"status":"X"}', b'{"id":true,"status":"X"}', b'{"id":"../x","status":"X"}',
             b'{"id":"1","status":7}', b'{"id":"' + b"1" * 65 + b'","status":"X"}', b'{"a":"' + b"x" * 65_536 + b'"}'],
)  # fmt: skip
async def test_a_signed_body_that_names_nothing_is_refused(desk: Desk, body: bytes) -> None:
    assert await refused(desk.receive(body, sign(body, IPN_SECRET))) == "INVALID_ARGUMENT"


async def test_the_same_body_is_one_callback_however_often_and_at_once(desk: Desk) -> None:
    body = b'{"id":"1","status":"FINISHED"}'
    other_order = b'{ "status":"FINISHED", "id":"1" }'
    answers = await asyncio.gather(*(desk.receive(body, sign(body, IPN_SECRET)) for _ in range(16)))
    again = await desk.receive(other_order, sign(body, IPN_SECRET))
    assert len({each.callback_id for each in answers} | {again.callback_id}) == 1
    assert sum(not each.replayed for each in answers) == 1
    assert again.replayed


async def test_a_callback_brings_what_polling_would_bring_later(desk: Desk) -> None:
    way = desk.way
    payout = await way.burned(await way.creator())
    await way.engine.run()
    way.clock.advance(MINUTE * 10)
    way.running.provider.pass_time()
    await desk.receive_all()
    await desk.applying.run()
    assert (await way.payout(payout)).stage is Stage.COMPLETED
    await way.settle()
    await way.check_settled()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_any_order_and_any_number_of_times_is_once(desk: Desk, seed: int) -> None:
    way = desk.way
    made = [await way.burned(each) for each in await way.creators(3, 100_000_000)]
    chosen = random.Random(seed)
    for _ in range(12):
        if chosen.random() < 0.6:
            await way.run(1)
        way.clock.advance(timedelta(seconds=chosen.randrange(90)))
        way.running.provider.pass_time()
        if chosen.random() < 0.5:
            await desk.receive_all(seed=chosen.randrange(1000), times=2)
        await asyncio.gather(desk.applying.run(), desk.applying.run())
    for payout in made:
        await way.end(payout)
    await desk.receive_all(seed=seed, times=3)
    way.clock.advance(timedelta(hours=2))
    await desk.applying.run()
    for payout in made:
        assert (await way.stages(payout)).count("COMPLETED") == 1
    await way.check_settled()


async def test_a_callback_may_be_faster_than_our_own_note(desk: Desk) -> None:
    way = desk.way
    way.running.fault("create", "drop_after")
    payout = await way.burned(await way.creator())
    await way.engine.run()
    assert (await way.attempts(payout))[0].batch_id == ""
    way.running.provider.pass_time()
    await desk.receive_all()
    await desk.applying.run()
    assert (await way.attempts(payout))[0].batch_id, "found by the id that only the look-up tells"
    assert (await way.end(payout)).stage is Stage.COMPLETED
    await way.check_settled()


async def test_what_cannot_be_looked_up_now_is_not_lost(desk: Desk) -> None:
    way = desk.way
    payout = await way.burned(await way.creator())
    await way.engine.run()
    way.clock.advance(MINUTE * 10)
    way.running.provider.pass_time()
    await desk.receive_all()
    way.running.fault("look_up", "error_before", times=50)
    await desk.applying.run()
    assert set(await desk.states()) == {2}
    way.running.provider.faults.waiting.clear()
    way.clock.advance(MINUTE)
    await desk.applying.run()
    assert set(await desk.states()) == {3}
    assert (await way.payout(payout)).stage is Stage.COMPLETED


async def test_a_true_signature_over_a_lie_changes_nothing(desk: Desk) -> None:
    way = desk.way
    way.running.fault("create", "freeze")
    payout = await way.burned(await way.creator())
    await way.engine.run()
    (row,) = way.running.rows
    lie = json.dumps({**row.callback(), "status": "FINISHED"}).encode()
    await desk.receive(lie, sign(lie, IPN_SECRET))
    for _ in range(14):
        await desk.applying.run()
        way.clock.advance(timedelta(hours=1))
    assert (await way.payout(payout)).stage is Stage.PROCESSING
    assert set(await desk.states()) == {4}


async def test_what_is_not_ours_is_ignored(desk: Desk) -> None:
    other = desk.way.running.provider.book.create(
        {"withdrawals": [{"address": "TEmGwPeRTPiLFLVfBxXkSP91yc5GMNQhfS", "currency": "usdttrc20", "amount": 20}]}
    )
    desk.way.running.provider.pass_time()
    assert other.rows
    await desk.receive_all()
    await desk.applying.run()
    assert await desk.states() == {4: 1}


async def pay(desk: Desk, order_id: str = "order-1") -> Any:
    payments = desk.way.running.provider.payments
    return payments.create(
        {"price_amount": "12.5", "price_currency": "usd", "pay_currency": "usdttrc20", "order_id": order_id}
    )


async def booked(desk: Desk, payment_id: int) -> Any:
    async with desk.way.books.postgres.connection() as connection:
        return await connection.fetchrow("SELECT * FROM payments WHERE payment_id = $1", str(payment_id))


async def test_a_payment_is_told_to_the_ledger_as_it_is_looked_up(desk: Desk) -> None:
    payment = await pay(desk)
    payments = desk.way.running.provider.payments
    for state in ("confirming", "finished", "refunded"):
        payments.move(payment.payment_id, {"status": state})
    await desk.receive_all(PAYMENT, seed=1, times=2)
    await desk.applying.run()
    row = await booked(desk, payment.payment_id)
    assert (row["paid_micro"], row["refunded_micro"]) == (12_500_000, 12_500_000)
    assert row["unallocated_reason"] == 1  # an order that was never announced


async def test_a_payment_that_came_short_is_worth_what_came(desk: Desk) -> None:
    payment = await pay(desk)
    desk.way.running.provider.payments.move(payment.payment_id, {"status": "finished", "actually_paid": "12"})
    await desk.receive_all(PAYMENT)
    await desk.applying.run()
    assert (await booked(desk, payment.payment_id))["paid_micro"] == 12_000_000


async def test_a_repeated_deposit_waits_for_an_operator(desk: Desk) -> None:
    payment = await pay(desk)
    payments = desk.way.running.provider.payments
    payments.move(payment.payment_id, {"status": "finished"})
    child = payments.repeat(payment.payment_id, {})
    strange = payments.repeat(payment.payment_id, {"pay_currency": "trx"})
    await desk.receive_all(PAYMENT)
    await desk.applying.run()
    assert (await booked(desk, child.payment_id))["unallocated_reason"] == 2
    assert (await booked(desk, strange.payment_id))["unallocated_reason"] == 3
