"""Whatever comes in, what goes out is a documented success or a whole problem, and never a 5xx."""

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.openapi import statuses
from gateway.problems import BodyInvalid, BodyMalformed, QueryInvalid
from gateway.reading import parse_json, read_body, read_query
from gateway.route import Access, Route
from gateway.routes import routes
from gateway.schemas.boards import BoardQuery
from gateway.schemas.referrals import CreateCode
from tests.support.databases import Databases
from tests.support.gateway_mesh import meshed
from tests.support.gateways import Client

# Operators' routes are tried by their document, before all services (test_gateway_document).
# Of services that are not up here; test_whole_surface has them all.
ELSEWHERE = (
    "/api/admin",
    "/api/payouts",
    "/api/wallets",
    "/api/score",
    "/api/creator/earnings",
    "/api/creator/payouts",
    "/api/creator/statement",
)
DECLARED = [
    route
    for route in routes(test_mode=True)
    if route.path != "/dev/clock/advance" and not route.path.startswith(ELSEWHERE) and "{" not in route.path
]
WITH_BODY = [route for route in DECLARED if isinstance(route.body, type)]
UNLIMITED = dict.fromkeys(
    ("ACCOUNT_CALLS_PER_MINUTE", "REGISTER_CALLS_PER_MINUTE", "REGISTER_CALLS_PER_MINUTE_AND_ADDRESS"), "10000"
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

HEADERS = ("X-Forwarded-For", "User-Agent", "X-Client-Fingerprint", "X-Request-Id", "traceparent", "Origin", "Accept")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def near(route: Route) -> st.SearchStrategy[Any]:
    """A body of the route's own members with values of any kind, and perhaps one more."""
    assert isinstance(route.body, type)
    members = dict.fromkeys(route.body.__struct_fields__, JSON)
    return st.fixed_dictionaries({}, optional={**members, "more": JSON})


@pytest.fixture(scope="module")
async def client(
    databases: Databases, redis_server: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    url = f"redis://127.0.0.1:{redis_server}/0"
    async with meshed(databases, url, tmp_path_factory.mktemp("inputs"), **UNLIMITED) as mesh:
        yield mesh.client


async def check(client: Client, route: Route, path: str, account: str = "anybody", **options: Any) -> None:
    token = await client.token(account) if route.access is not Access.PUBLIC else ""
    answer = await client.call(route.method, path, token=token, **options)
    assert answer.status < 500, (route.name, options, answer.raw)
    if answer.status < 400:
        shape = route.answers[HTTPStatus(answer.status)]
        if isinstance(shape, type):
            msgspec.json.decode(answer.raw, type=shape)
        return
    assert answer.code in statuses(route)[HTTPStatus(answer.status)]
    assert "Traceback" not in answer.raw.decode()


@given(route=st.sampled_from(WITH_BODY), data=st.data())
@patient
async def test_a_body_of_nearly_the_right_shape(client: Client, route: Route, data: st.DataObject) -> None:
    body = data.draw(near(route) | JSON)
    raw = json.dumps(body, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    await check(client, route, route.path, data=raw, headers={"Content-Type": "application/json"})


@given(route=st.sampled_from(WITH_BODY), raw=st.binary(max_size=300))
@patient
async def test_a_body_of_bytes(client: Client, route: Route, raw: bytes) -> None:
    await check(client, route, route.path, data=raw, headers={"Content-Type": "application/json"})


@given(
    code=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
    account=st.from_regex(r"[ -~]{1,128}", fullmatch=True),
)
@example(code="\x00", account=" ")
@example(code="\u212a" * 10, account="%00")
@patient
async def test_any_code_and_any_account(client: Client, code: str, account: str) -> None:
    register = next(route for route in DECLARED if route.name == "register")
    await check(client, register, register.path, account=account, body={"code": code})


@given(
    route=st.sampled_from([route for route in DECLARED if route.method == "GET"]),
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["limit", "timeframe", "page_token"]) | st.text(st.characters(codec="utf-8"), max_size=8),
            st.sampled_from(["1", "daily", "all_time", "AAAA"]) | st.text(st.characters(codec="utf-8"), max_size=20),
        ),
        max_size=3,
    ),
)
@patient
async def test_any_query(client: Client, route: Route, pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    await check(client, route, f"{route.path}?{query}" if query else route.path)


@given(
    st.dictionaries(
        st.sampled_from(HEADERS),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60),
    )
)
@patient
async def test_any_headers(client: Client, headers: dict[str, str]) -> None:
    register = next(route for route in DECLARED if route.name == "register")
    await check(client, register, register.path, body={"code": "unknown000"}, headers=headers)


@given(st.binary(max_size=2000) | JSON.map(lambda value: json.dumps(value).encode()))
def test_json_is_read_or_refused(raw: bytes) -> None:
    try:
        tree = parse_json(raw)
        assert json.loads(raw) == tree or "NaN" in repr(tree)
        read_body(raw, CreateCode)
    except (BodyMalformed, BodyInvalid):
        return


@given(st.integers())
def test_a_limit_is_taken_as_it_is_written(number: int) -> None:
    try:
        assert read_query([("limit", str(number))], BoardQuery).limit == number
        assert 1 <= number <= 100
    except QueryInvalid:
        assert not 1 <= number <= 100
