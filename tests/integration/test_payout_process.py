"""The provider's callbacks, through the real gateway into real processes that are killed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from libs import rpc
from protos.distribution.v1 import payments_pb2, payments_pb2_grpc
from protos.payout.v1 import admin_pb2, admin_pb2_grpc
from tests.support.payout_walk import Walk, walking
from tests.support.stacks import Stack

Eventually = Callable[..., Awaitable[object]]
HELD_BURNED_COMPLETED = 3


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def control(http: aiohttp.ClientSession, stack: Stack, path: str, body: dict[str, Any]) -> Any:
    url = stack.line["provider"].removesuffix("/v1") + path
    async with http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json() if answer.content_type == "application/json" else None


async def paid(http: aiohttp.ClientSession, stack: Stack, order_id: str) -> str:
    """A payment that a buyer made at the provider."""
    wanted = {"price_amount": 12.5, "price_currency": "usd", "pay_currency": "usdttrc20", "order_id": order_id}
    headers = {"x-api-key": stack.secrets["nowpayments_api_key"]}
    async with http.post(stack.line["provider"] + "/payment", json=wanted, headers=headers) as answer:
        assert answer.status == 201
        payment_id = str((await answer.json())["payment_id"])
    await control(http, stack, f"/control/payments/{payment_id}", {"status": "finished"})
    return payment_id


async def is_booked(stack: Stack, payment_id: str) -> bool:
    async with rpc.channel(stack.line["distribution"], caller="gateway") as channel:
        request = payments_pb2.ListUnallocatedPaymentsRequest()
        listed = await payments_pb2_grpc.PaymentsServiceStub(channel).ListUnallocatedPayments(request)
    return any(each.payment_id == payment_id and each.paid_micro == 12_500_000 for each in listed.payments)


async def test_a_payment_of_an_unknown_order_is_on_the_list(
    stack: Stack, http: aiohttp.ClientSession, eventually: Eventually
) -> None:
    payment_id = await paid(http, stack, "order-nobody-announced")
    await eventually(lambda: is_booked(stack, payment_id), within=90)


async def test_a_callback_is_not_lost_with_the_process_that_took_it(
    stack: Stack, http: aiohttp.ClientSession, eventually: Eventually
) -> None:
    payment_id = await paid(http, stack, "order-of-a-dying-process")
    stack.kill("payout")
    stack.kill("distribution")
    await eventually(lambda: _booked_sometime(stack, http, payment_id), within=60)


async def _booked_sometime(stack: Stack, http: aiohttp.ClientSession, payment_id: str) -> bool:
    # The provider gives up after a few tries; an operator has it send them again.
    await control(http, stack, "/control/callbacks/again", {})
    try:
        return await is_booked(stack, payment_id)
    except Exception:  # noqa: BLE001 - it is being started again
        return False


async def test_a_forged_callback_is_refused_at_the_front_door(stack: Stack, http: aiohttp.ClientSession) -> None:
    for what in ("payouts", "payments"):
        for signature in ({}, {"x-nowpayments-sig": "0" * 128}):
            url = f"{stack.line['gateway']}/webhooks/nowpayments/{what}"
            async with http.post(url, data=b'{"id":"1","status":"FINISHED"}', headers=signature) as answer:
                assert (answer.status, (await answer.json())["code"]) == (401, "SIGNATURE_INVALID")
    async with http.post(url, data=b"x" * 70_000) as answer:
        assert answer.status == 413


async def test_the_provider_can_be_used_as_the_stack_is_told(stack: Stack) -> None:
    async with rpc.channel(stack.line["payout"], caller="gateway") as channel:
        desk = admin_pb2_grpc.PayoutAdminServiceStub(channel)
        state = await desk.GetProviderState(admin_pb2.GetProviderStateRequest())
    assert (state.open, state.reason) == (True, "")


@pytest.fixture(scope="module")
async def walk(stack: Stack) -> AsyncIterator[Walk]:
    """The stack with creators who have earned enough to ask."""
    async with walking(stack) as made:
        await made.earn("anna", "bert", "cleo", "dora", "emil")
        yield made


async def test_payout_killed_at_some_steps_between_request_and_completion_pays_once(walk: Walk) -> None:
    assert await walk.killed_at_each_step("anna", 1, "payout", every=7, seconds=30) > 0
    await walk.check("anna", 1, paid=True)


async def test_distribution_killed_at_every_step_between_request_and_completion_debits_once(walk: Walk) -> None:
    kills = await walk.killed_at_each_step("bert", 2, "distribution", every=1, seconds=30)
    # A call that was cut off comes again, and is a step again.
    assert kills >= HELD_BURNED_COMPLETED
    await walk.check("bert", 2, paid=True)


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_payout_killed_at_every_step_between_request_and_completion_pays_once(walk: Walk) -> None:
    assert await walk.killed_at_each_step("cleo", 3, "payout", every=1, seconds=30) > 10
    await walk.check("cleo", 3, paid=True)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("victim", "name", "number"), [("payout", "dora", 4), ("distribution", "emil", 5)])
async def test_killed_at_every_step_of_a_payout_that_is_rejected_its_money_is_back_once(
    walk: Walk, victim: str, name: str, number: int
) -> None:
    await walk.control("/faults", {"on": "create", "kind": "reject", "times": 10})
    assert await walk.killed_at_each_step(name, number, victim, every=1, seconds=120) > 2
    await walk.check(name, number, paid=False)
    async with (
        aiohttp.ClientSession() as http,
        http.delete(walk.stack.line["provider"].removesuffix("/v1") + "/control/faults") as answer,
    ):
        assert answer.status == 200
