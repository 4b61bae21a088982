"""Every way to be told no is a whole problem, over a real socket and before real gRPC servers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.routes import routes
from libs.idempotency import RequestIdReused
from libs.refusals import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from libs.refusals import ResourceExhausted as Exhausted
from protos.referral.v1 import referral_pb2 as pb
from protos.referral.v1 import referral_pb2_grpc
from tests.support.gateways import NOWHERE, Client, Scripted, opened, served

REFERRAL = "creator.referral.v1.ReferralService"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
JSON = {"Content-Type": "application/json"}


class GatewayTestInvalid(InvalidArgument):
    """The vanity code is not nice."""


class GatewayTestMissing(NotFound):
    """No such thing, says the service."""


class GatewayTestState(FailedPrecondition):
    """Not now, says the service."""


class GatewayTestTaken(AlreadyExists):
    """Taken, says the service."""


class GatewayTestDenied(PermissionDenied):
    """Not you, says the service."""


class GatewayTestSpent(Exhausted):
    """Too often, says the service."""


class GatewayTestRace(Aborted):
    """Again, says the service."""


class GatewayTestDown(Unavailable):
    """Down, says the service."""


@pytest.fixture(scope="module")
def scripted() -> Scripted:
    """What stands where referral stands."""
    return Scripted()


@pytest.fixture(scope="module")
async def gateways(
    scripted: Scripted, redis_server: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Client, Client]]:
    """One as patient as any, and one that is not, for those who try its patience: a slow machine would, too."""
    clock = tmp_path_factory.mktemp("gateway") / "clock"
    async with AsyncExitStack() as stack:
        registrar = referral_pb2_grpc.add_ReferralServiceServicer_to_server
        referral = await stack.enter_async_context(served(registrar, scripted, REFERRAL, "referral"))
        url = f"redis://127.0.0.1:{redis_server}/0"
        settings = {"REFERRAL_ADDRESS": referral, "REQUEST_SECONDS": "20"}
        settings |= {"ACCOUNT_CALLS_PER_MINUTE": "10000", "REGISTER_CALLS_PER_MINUTE": "10000"}
        settings |= {"REGISTER_CALLS_PER_MINUTE_AND_ADDRESS": "10000", "CORS_ORIGINS": "https://app.example.org"}
        hasty = settings | {"REQUEST_SECONDS": "2", "BODY_SECONDS": "0.5", "IDLE_SECONDS": "0.7"}
        yield (
            await stack.enter_async_context(opened(clock, url, **settings)),
            await stack.enter_async_context(opened(clock, url, **hasty)),
        )


@pytest.fixture
def client(gateways: tuple[Client, Client]) -> Client:
    return gateways[0]


@pytest.fixture
def hasty(gateways: tuple[Client, Client]) -> Client:
    return gateways[1]


@pytest.fixture
async def token(client: Client) -> str:
    return await client.token("alice")


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (GatewayTestMissing(), 404, "GATEWAY_TEST_MISSING"),
        (GatewayTestState(), 409, "GATEWAY_TEST_STATE"),
        (GatewayTestTaken(), 409, "GATEWAY_TEST_TAKEN"),
        (GatewayTestDenied(), 403, "GATEWAY_TEST_DENIED"),
        (GatewayTestSpent(), 429, "GATEWAY_TEST_SPENT"),
        (GatewayTestRace(), 409, "GATEWAY_TEST_RACE"),
        (GatewayTestDown(), 503, "GATEWAY_TEST_DOWN"),
        (RequestIdReused(), 422, "REQUEST_ID_REUSED"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_services_refusal_is_told_with_its_reason(
    client: Client, token: str, scripted: Scripted, refusal: Exception, status: int, code: str
) -> None:
    scripted.answers = {"GetCode": refusal}
    answer = await client.call("GET", "/api/referrals/code", token=token)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["detail"] == str(refusal)
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert answer.headers["RateLimit"].startswith('"account";r=')


async def test_a_field_that_a_service_complains_of_is_pointed_at(
    client: Client, token: str, scripted: Scripted
) -> None:
    scripted.answers = {"CreateCode": GatewayTestInvalid(field="vanity_code")}
    answer = await client.call("POST", "/api/referrals/code", token=token, body={"vanity_code": "rude"})
    assert (answer.status, answer.code) == (400, "GATEWAY_TEST_INVALID")
    assert answer.json["errors"] == [{"pointer": "#/vanity_code", "detail": "The vanity code is not nice."}]


async def test_a_services_bug_is_a_500_without_a_word_of_detail(client: Client, token: str, scripted: Scripted) -> None:
    scripted.answers = {"GetCode": RuntimeError("password=hunter2")}
    answer = await client.call("GET", "/api/referrals/code", token=token)
    assert (answer.status, answer.code) == (500, "INTERNAL")
    assert b"hunter2" not in answer.raw
    assert b"RuntimeError" not in answer.raw


async def test_a_slow_service_is_a_504_in_time(hasty: Client, token: str, scripted: Scripted) -> None:
    async def dawdle(_request: Any, context: Any) -> None:
        assert context.time_remaining() < 2.5
        await asyncio.sleep(30)

    scripted.answers = {"GetCode": dawdle}
    started = asyncio.get_running_loop().time()
    answer = await hasty.call("GET", "/api/referrals/code", token=token)
    assert answer.status == 504
    assert answer.code in {"DEADLINE_EXCEEDED", "REQUEST_TOO_SLOW"}
    assert asyncio.get_running_loop().time() - started < 10


async def test_a_service_that_is_down_is_a_503(client: Client, token: str) -> None:
    answer = await client.call("GET", "/api/referrals/leaderboard", token=token)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"] == "1"
    assert NOWHERE.encode() not in answer.raw


async def test_a_method_that_the_service_does_not_have_is_a_501(client: Client, token: str, scripted: Scripted) -> None:
    async def missing(_request: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nothing here")

    scripted.answers = {"GetReferralStats": missing}
    answer = await client.call("GET", "/api/creator/referrals", token=token)
    assert (answer.status, answer.code) == (501, "UNIMPLEMENTED")


async def test_what_the_service_is_told(client: Client, scripted: Scripted) -> None:
    scripted.calls.clear()
    scripted.answers = {"Register": pb.RegisterResponse(already_bound=False, registered_at={"seconds": 1})}  # type: ignore[arg-type]
    token = await client.token("bob", account_created_at="2026-01-02T03:04:05Z")
    headers = {
        "X-Forwarded-For": "198.51.100.7", "User-Agent": "test/1",
        "X-Client-Fingerprint": "fp", "X-Request-Id": "my-id.1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    }  # fmt: skip
    body = {"code": "abcdefghjk", "channel": "discord"}
    answer = await client.call("POST", "/api/referrals/register", token=token, body=body, headers=headers)
    assert (answer.status, answer.json) == (200, {"already_bound": False, "registered_at": "1970-01-01T00:00:01Z"})
    _, request, context = scripted.calls[-1]
    assert request == pb.RegisterRequest(
        account_id="bob",
        code="abcdefghjk",
        account_created_at={"seconds": 1767323045},  # type: ignore[arg-type]
        channel="discord",
        client=pb.ClientContext(ip_address="198.51.100.7", user_agent="test/1", fingerprint="fp"),
    )
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    assert metadata["x-request-id"] == "my-id.1"
    assert metadata["x-caller"] == "gateway"
    assert metadata["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert answer.headers["X-Request-Id"] == "my-id.1"


@pytest.mark.parametrize("stated", ["", "x" * 129, "a b", "ä", "<script>", "a/b"])
async def test_a_request_id_that_is_not_fit_is_replaced(client: Client, stated: str) -> None:
    answer = await client.call("GET", "/healthz", headers={"X-Request-Id": stated})
    assert answer.status == 200
    assert len(answer.headers["X-Request-Id"]) == 36


async def test_an_answer_says_how_it_may_be_used(client: Client) -> None:
    answer = await client.call("GET", "/healthz")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "aiohttp" not in answer.headers["Server"].lower()
    assert "Python" not in answer.headers["Server"]


@pytest.mark.parametrize("path", ["/api", "/api/referrals", "/api/referrals/code/", "/dev", "/metrics", "/%00", "//"])
async def test_an_unknown_path_is_a_404(client: Client, path: str) -> None:
    answer = await client.call("GET", path)
    assert (answer.status, answer.code) == (404, "ROUTE_UNKNOWN")


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_another_method_is_a_405_that_says_which(client: Client, method: str) -> None:
    answer = await client.call(method, "/api/referrals/register")
    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "POST"


async def test_a_head_request_has_no_body(client: Client) -> None:
    answer = await client.call("HEAD", "/healthz")
    assert (answer.status, answer.raw) == (405, b"")


async def test_every_declared_route_answers_and_needs_what_it_says(client: Client) -> None:
    for route in routes(test_mode=True):
        answer = await client.call(route.method, re.sub(r"{\w+}", "1", route.path))
        assert answer.status != 405
        assert answer.status != 404 or answer.code == "ASSET_UNKNOWN"
        assert (answer.status == 401) == (
            route.access.__class__.__name__ == "Scope" or route.access.name == "ANY_TOKEN"
        )
        if answer.status == 401:
            assert answer.code == "TOKEN_MISSING"
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="creator-economy"'


@pytest.mark.parametrize("header", ["Bearer x.y.z", "Bearer " + "x" * 8100, "Bearer", "Basic YTpi"])
async def test_a_bad_token_is_a_401(client: Client, header: str) -> None:
    answer = await client.call("GET", "/api/referrals/code", headers={"Authorization": header})
    assert answer.status == 401
    assert answer.code in {"TOKEN_INVALID", "TOKEN_MISSING"}
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_a_missing_scope_is_a_403_that_names_it(client: Client) -> None:
    token = await client.token("alice", scope="admin:review")
    answer = await client.call("GET", "/api/creator/referrals", token=token)
    assert (answer.status, answer.code) == (403, "SCOPE_MISSING")
    assert 'scope="creator"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("raw", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "BODY_MALFORMED"),
        (b"", JSON, 400, "BODY_MISSING"),
        (b'{"code": "a", "code": "b"}', JSON, 400, "BODY_MALFORMED"),
        (b'{"code": "\xff"}', JSON, 400, "BODY_MALFORMED"),
        (b'{"code": "\\ud800"}', JSON, 400, "BODY_MALFORMED"),
        (b"[" * 50_000, JSON, 400, "BODY_MALFORMED"),
        (b'{"code": 1.5}', JSON, 400, "BODY_INVALID"),
        (b'{"code": "a", "more": 1}', JSON, 400, "BODY_INVALID"),
        (b'{"code": "a"}', {"Content-Type": "text/plain"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        (b'{"code": "a"}', {"Content-Type": "application/json; charset=utf-16"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        (b'{"code": "a"}', {"Content-Type": "application/octet-stream"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        (b"\x1f\x8b", JSON | {"Content-Encoding": "gzip"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        (b'{"code": "' + b"x" * 65_536 + b'"}', JSON, 413, "BODY_TOO_LARGE"),
    ],
    ids=range(13),
)  # fmt: skip
async def test_a_body_that_cannot_be_taken(
    client: Client, token: str, raw: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client.call("POST", "/api/referrals/register", token=token, data=raw, headers=headers)
    assert (answer.status, answer.code) == (status, code)


async def test_a_large_body_in_chunks_is_a_413_too(client: Client, token: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 8192

    answer = await client.call("POST", "/api/referrals/register", token=token, data=chunks(), headers=JSON)
    assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE")


async def test_a_body_where_none_belongs_is_refused(client: Client, token: str) -> None:
    answer = await client.call("GET", "/api/referrals/code", token=token, body={})
    assert (answer.status, answer.code) == (400, "BODY_UNEXPECTED")


async def test_an_unknown_parameter_is_refused(client: Client, token: str) -> None:
    answer = await client.call("GET", "/api/referrals/leaderboard?limit=1000", token=token)
    assert (answer.status, answer.code) == (400, "QUERY_INVALID")
    assert answer.json["errors"][0]["pointer"] == "?limit"
    answer = await client.call("GET", "/api/referrals/code?verbose=1", token=token)
    assert (answer.status, answer.code) == (400, "QUERY_INVALID")


async def spoken(port: int, raw: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """What is answered to raw bytes: the status line, the headers and the body; the connection ends by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(8):
        said = await reader.read()
    writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    return line, dict(field.split(b": ", 1) for field in fields), body


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /healthz HTTP/9.9\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (POST + b"Content-Length: -5\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (POST + b"Expect: miracles\r\nConnection: close\r\n\r\n", 417, "EXPECTATION_UNKNOWN"),
        (b"GET /nope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "ROUTE_UNKNOWN"),
    ],
    ids=range(10),
)  # fmt: skip
async def test_what_is_hardly_http_is_answered_with_a_problem(
    client: Client, raw: bytes, status: int, code: str
) -> None:
    line, headers, body = await spoken(client.port, raw)
    assert line.split(b" ")[1] == str(status).encode()
    assert headers[b"Content-Type"] == b"application/problem+json"
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert json.loads(body)["code"] == code
    assert json.loads(body)["request_id"] == headers[b"X-Request-Id"].decode()


async def test_a_body_that_dribbles_is_cut_off(hasty: Client, token: str) -> None:
    head = f"POST /api/referrals/register HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    raw = head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    started = asyncio.get_running_loop().time()
    line, _, body = await spoken(hasty.port, raw)
    assert line.split(b" ")[1] == b"408"
    assert json.loads(body)["code"] == "BODY_TOO_SLOW"
    assert asyncio.get_running_loop().time() - started < 5


@pytest.mark.parametrize("raw", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_head_that_dribbles_is_cut_off(hasty: Client, raw: bytes) -> None:
    started = asyncio.get_running_loop().time()
    assert (await spoken(hasty.port, raw))[0] == b""
    assert asyncio.get_running_loop().time() - started < 3


async def test_slow_clients_do_not_keep_others_waiting(client: Client) -> None:
    slow = [await asyncio.open_connection("127.0.0.1", client.port) for _ in range(200)]
    for _, writer in slow:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX")
    started = asyncio.get_running_loop().time()
    assert (await client.call("GET", "/healthz")).status == 200
    # They are borne for half a minute: whoever had to wait for them would wait for that.
    assert asyncio.get_running_loop().time() - started < 5
    for _, writer in slow:
        writer.close()


async def test_one_connection_too_many_is_closed(tmp_path: Path, redis_url: str) -> None:
    async with opened(tmp_path / "clock", redis_url, CONNECTIONS_MAX="3") as few:
        held = [await asyncio.open_connection("127.0.0.1", few.port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", few.port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        for _, each in [*held, (reader, writer)]:
            each.close()


async def test_a_page_of_a_known_origin_may_call_and_no_other(client: Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = await client.call(
        "OPTIONS", "/api/referrals/register", headers={"Origin": "https://app.example.org"} | asked
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    answer = await client.call("OPTIONS", "/api/referrals/register", headers={"Origin": "https://evil.example"} | asked)
    assert answer.status == 405
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await client.call("GET", "/nope", headers={"Origin": "https://app.example.org"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert answer.headers["Vary"] == "Origin"


async def test_no_page_may_call_unless_a_setting_says_so(tmp_path: Path, redis_url: str) -> None:
    async with opened(tmp_path / "clock", redis_url) as closed:
        answer = await closed.call("GET", "/healthz", headers={"Origin": "https://app.example.org"})
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
