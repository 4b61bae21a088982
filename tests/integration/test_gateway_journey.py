"""From a code to a place on the board, over REST, before the real services."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import asyncpg
import pytest

from gateway import readiness
from services.referral.model.risk import Client as Seen
from services.referral.rules import signals
from tests.support.databases import Databases
from tests.support.gateway_mesh import RISK_HASH_KEY, Mesh, meshed
from tests.support.gateways import Client

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
async def mesh(
    databases: Databases, redis_server: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    directory: Path = tmp_path_factory.mktemp("journey")
    async with meshed(databases, f"redis://127.0.0.1:{redis_server}/0", directory) as running:
        yield running


@pytest.fixture
def client(mesh: Mesh) -> Client:
    return mesh.client


async def code_of(client: Client, creator: str) -> str:
    answer = await client.call("POST", "/api/referrals/code", token=await client.token(creator))
    assert answer.status in {200, 201}, answer.raw
    return str(answer.json["code"])


async def register(client: Client, account: str, code: str, **claims: Any) -> Any:
    token = await client.token(account, scope="", **claims)
    headers = {"X-Forwarded-For": f"198.51.100.{crc32(account.encode()) % 250}"}
    return await client.call("POST", "/api/referrals/register", token=token, body={"code": code}, headers=headers)


async def board(client: Client, account: str, query: str = "") -> Any:
    answer = await client.call("GET", f"/api/referrals/leaderboard{query}", token=await client.token(account))
    assert answer.status == 200, answer.raw
    return answer.json


async def test_a_creators_journey(client: Client, eventually: Eventually) -> None:
    token = await client.token("ann")
    assert (await client.call("GET", "/api/referrals/code", token=token)).code == "NO_ACTIVE_CODE"
    made = await client.call("POST", "/api/referrals/code", token=token)
    assert made.status == 201
    assert set(made.json) == {"code", "state", "uses", "max_uses", "created_at", "expires_at"}
    assert (made.json["state"], made.json["max_uses"], made.json["expires_at"]) == ("active", None, None)
    assert made.json["created_at"].endswith("Z")
    again = await client.call("POST", "/api/referrals/code", token=token, body={})
    assert (again.status, again.json) == (200, made.json)
    assert (await client.call("GET", "/api/referrals/code", token=token)).json == made.json

    code = made.json["code"]
    for number in range(3):
        answer = await register(client, f"ann-referee-{number}", code.upper())
        assert (answer.status, answer.json["already_bound"]) == (200, False)
    answer = await register(client, "ann-referee-0", code)
    assert (answer.status, answer.json["already_bound"]) == (200, True)

    renamed = await client.call("PUT", "/api/creator/profile", token=token, body={"display_name": "Ann of Cleves"})
    assert (renamed.status, renamed.json["display_name"]) == (200, "Ann of Cleves")

    async def three() -> list[Any]:
        rows = (await board(client, "ann"))["rows"]
        return [row for row in rows if row["me"] and row["referral_count"] == 3]

    row = (await eventually(three, within=60, every=0.5))[0]
    assert row["display_name"] == "Ann of Cleves"
    assert (row["earned_micro"], row["streak_days"]) == ("0", 1)
    # The mesh is shared: others may stand before her, from a week that another test has left behind.
    seen = (await board(client, "somebody", "?timeframe=all_time&limit=100"))["rows"]
    assert [each["me"] for each in seen if each["display_name"] == "Ann of Cleves"] == [False]
    mine = (await client.call("GET", "/api/referrals/leaderboard/me?timeframe=daily", token=token)).json
    assert mine["row"]["me"]
    assert mine["row"] in mine["neighbours"]
    stats = (await client.call("GET", "/api/creator/referrals", token=token)).json
    assert stats["registered"] == 3
    assert (await client.call("GET", "/api/referrals/code", token=token)).json["uses"] == 3


async def test_a_board_has_pages_and_windows(client: Client, eventually: Eventually) -> None:
    for creator in ("bea", "cyd", "dot"):
        await register(client, f"{creator}-referee", await code_of(client, creator))

    async def all_there() -> bool:
        return len((await board(client, "bea"))["rows"]) >= 3

    await eventually(all_there, within=60, every=0.5)
    first = await board(client, "bea", "?limit=2")
    assert first["timeframe"] == "weekly"
    assert first["window_start"].endswith("T00:00:00Z")
    assert first["window_end"] > first["as_of"] >= first["window_start"]
    second = await board(client, "bea", f"?limit=2&page_token={first['next_page_token']}")
    assert [row["rank"] for row in first["rows"] + second["rows"]][:3] == [1, 2, 3]
    assert (await board(client, "bea", "?timeframe=all_time"))["window_start"] is None
    token = await client.token("bea")
    wrong = await client.call("GET", "/api/referrals/leaderboard?page_token=nonsense", token=token)
    assert (wrong.status, wrong.code) == (400, "PAGE_TOKEN_INVALID")
    assert wrong.json["errors"][0]["pointer"] == "?page_token"


async def test_wishes_for_a_code(client: Client) -> None:
    token = await client.token("eve")
    body = {"vanity_code": "EveCode1", "expires_at": "2199-01-01T00:00:00+01:00", "max_uses": 2}
    answer = await client.call("POST", "/api/referrals/code", token=token, body=body)
    assert answer.status == 201, answer.raw
    assert answer.json["code"] == "evecode1"
    assert (answer.json["max_uses"], answer.json["expires_at"]) == (2, "2198-12-31T23:00:00Z")
    for wish, pointer in (
        ({"vanity_code": "no"}, "#/vanity_code"),
        ({"vanity_code": "admin123"}, "#/vanity_code"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "2199-01-01T00:00:00"}, "#/expires_at"),
        ({"max_uses": -1}, "#/max_uses"),
    ):
        refused = await client.call("POST", "/api/referrals/code", token=await client.token("fay"), body=wish)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (400, pointer), refused.raw
    taken = await client.call(
        "POST", "/api/referrals/code", token=await client.token("fay"), body={"vanity_code": "evecode1"}
    )
    assert (taken.status, taken.code) == (409, "CODE_TAKEN")


async def test_every_no_of_a_registration(client: Client) -> None:
    code = await code_of(client, "gil")
    assert (await register(client, "r1", "0000000000")).code == "CODE_UNKNOWN"
    assert (await register(client, "r1", "\x00 ' OR 1=1")).code == "CODE_UNKNOWN"
    assert (await register(client, "gil", code)).code == "SELF_REFERRAL"
    old = await register(client, "r2", code, account_created_at="2020-01-01T00:00:00Z")
    assert (old.status, old.code) == (409, "ACCOUNT_TOO_OLD")
    for number in range(10):
        assert (await register(client, f"v{number}", code)).status == 200
    fast = await register(client, "v10", code)
    assert (fast.status, fast.code) == (429, "CODE_VELOCITY_EXCEEDED")


async def test_names_are_refused_where_the_client_put_them(client: Client) -> None:
    token = await client.token("hal")
    for name in ("a", "admin", "x" * 33, "a\x00b", "a\u202eb"):
        answer = await client.call("PUT", "/api/creator/profile", token=token, body={"display_name": name})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (400, "#/display_name"), name
    answer = await client.call("PUT", "/api/creator/profile", token=token, body={"display_name": None})
    assert (answer.status, answer.json["display_name"]) == (200, None)
    assert answer.json["pseudonym"]


async def test_what_the_gateway_saw_of_a_sign_up_is_kept_as_hashes_of_referrals_key(mesh: Mesh) -> None:
    code = await code_of(mesh.client, "hana")
    # Nearest to the trusted proxy is what counts; whatever the client itself wrote before it is not believed.
    headers = {
        "X-Forwarded-For": "6.6.6.6, 203.0.113.99",
        "User-Agent": "Mozilla/5.0 (risk)",
        "X-Client-Fingerprint": "f-1",
    }
    token = await mesh.client.token("hana-referee", scope="")
    body = {"code": code}
    bound = await mesh.client.call("POST", "/api/referrals/register", token=token, body=body, headers=headers)
    assert bound.status == 200, bound.raw
    connection = await asyncpg.connect(mesh.referral_dsn, server_settings={"search_path": "referral"})
    try:
        rows = await connection.fetch(
            """
            SELECT kind, hash FROM risk_signals JOIN accounts ON account_ref = referee_ref
            WHERE account_id = 'hana-referee'
            """
        )
    finally:
        await connection.close()
    seen = signals.hashes(Seen("203.0.113.99", "Mozilla/5.0 (risk)", "f-1"), [signals.key_of(RISK_HASH_KEY)])
    assert {(row["kind"], row["hash"]) for row in rows} == {(each.kind, each.hash) for each in seen}


async def test_with_one_service_or_the_broker_gone_the_rest_goes_on(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who is slow on a slow machine is up.
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 5.0)
    client = mesh.client
    token = await client.token("ida")
    absent = {"distribution": "down", "payout": "down", "score": "down"}
    up = {"referral": "up", "leaderboard": "up", "redis": "up"}
    assert (await client.call("GET", "/readyz")).json["dependencies"] == absent | up
    mesh.broker.kill()
    assert (await client.call("GET", "/readyz")).json["dependencies"] == absent | up
    assert (await client.call("POST", "/api/referrals/code", token=token)).status == 201
    assert (await client.call("GET", "/api/referrals/leaderboard", token=token)).status == 200
    mesh.leaderboard.kill()
    ready = await client.call("GET", "/readyz")
    assert (ready.status, ready.json["state"]) == (200, "degraded")
    assert ready.json["dependencies"] == absent | up | {"leaderboard": "down"}
    down = await client.call("GET", "/api/referrals/leaderboard", token=token)
    assert (down.status, down.code) == (503, "UNAVAILABLE")
    assert (await client.call("GET", "/api/referrals/code", token=token)).status == 200
    mesh.referral.kill()
    ready = await client.call("GET", "/readyz")
    assert (ready.status, ready.code) == (503, "NOT_READY")
    assert {each["pointer"] for each in ready.json["errors"]} == {"referral", "leaderboard", *absent}
    assert (await client.call("GET", "/healthz")).status == 200
