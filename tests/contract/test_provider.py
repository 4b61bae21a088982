"""The provider's simulator answers as the provider does."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from deploy.local.nowpayments import Coin, Merchant, Provider
from libs.clock import ManualClock

KEY = {"x-api-key": "key"}
LOGIN = {"email": "a@example.test", "password": "Secret"}
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def provider(clock: ManualClock) -> Provider:
    balance = {"trx": Coin(Decimal("0.0000001"), Decimal(3)), "eth": Coin(Decimal("12345678901234567890.123456"))}
    return Provider(Merchant("key", "a@example.test", "Secret", balance), clock, b"k" * 32)


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    application = provider.application()
    application.router.add_get("/v1/guarded", provider.guarded(provider.tell_status, token=True))
    async with TestClient(TestServer(application)) as running:
        yield running


async def test_status_is_open_to_all(client: Client) -> None:
    answer = await client.get("/v1/status")
    assert (answer.status, await answer.json()) == (200, {"message": "OK"})


async def test_a_token_lives_five_minutes(client: Client, clock: ManualClock) -> None:
    token = (await (await client.post("/v1/auth", json=LOGIN)).json())["token"]
    bearer = KEY | {"Authorization": f"Bearer {token}"}
    clock.advance(timedelta(seconds=299))
    assert (await client.get("/v1/guarded", headers=bearer)).status == 200
    clock.advance(timedelta(seconds=1))
    answer = await client.get("/v1/guarded", headers=bearer)
    assert (answer.status, (await answer.json())["code"]) == (401, "AUTH_REQUIRED")


async def test_email_and_password_are_case_sensitive(client: Client) -> None:
    answer = await client.post("/v1/auth", json=LOGIN | {"password": "secret"})
    assert await answer.json() == {
        "status": False,
        "statusCode": 403,
        "code": "ACCESS_DENIED",
        "message": "Access denied",
    }


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
async def test_a_login_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    answer = await client.post("/v1/auth", data=body)
    assert (answer.status, (await answer.json())["message"]) == (400, "value must be of type object")


async def test_the_key_is_checked_before_the_token(client: Client) -> None:
    wrong = await client.get("/v1/guarded", headers={"x-api-key": "other"})
    assert (wrong.status, (await wrong.json())["code"]) == (403, "INVALID_API_KEY")
    missing = await client.get("/v1/guarded", headers=KEY)
    expected = "Authorization header is empty (Bearer JWTtoken is required)"
    assert (missing.status, (await missing.json())["message"]) == (401, expected)


async def test_a_forged_token_is_refused(client: Client) -> None:
    for token in ("x.y.z", "e30.e30.", "é", "a b"):
        answer = await client.get("/v1/guarded", headers=KEY | {"Authorization": f"Bearer {token}"})
        assert answer.status == 401


async def test_an_unlisted_address_is_refused_by_name(client: Client, provider: Provider) -> None:
    provider.merchant.allowed_addresses = frozenset({"192.0.2.1"})
    answer = await client.get("/v1/balance", headers=KEY)
    body = await answer.json()
    assert (answer.status, body["code"]) == (403, "ENDPOINT_NOT_ALLOWED")
    assert body["message"] == "Access denied | Invalid IP - 127.0.0.1"


async def test_the_balance_is_exact_numbers(client: Client) -> None:
    answer = await client.get("/v1/balance", headers=KEY)
    assert await answer.json(loads=lambda text: json.loads(text, parse_float=Decimal)) == {
        "eth": {"amount": Decimal("12345678901234567890.123456"), "pendingAmount": 0},
        "trx": {"amount": Decimal("0.0000001"), "pendingAmount": 3},
    }


async def test_an_unknown_path_is_not_found_in_the_providers_shape(client: Client) -> None:
    for answer in (await client.get("/v1/payout/1", headers=KEY), await client.delete("/v1/status")):
        assert (answer.status, (await answer.json())["code"]) == (404, "NOT_FOUND")


async def test_a_body_too_large_is_refused(client: Client) -> None:
    answer = await client.post("/v1/auth", data=b" " * 300_000)
    assert (answer.status, (await answer.json())["statusCode"]) == (413, 413)
