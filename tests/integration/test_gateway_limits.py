"""How often somebody may call, counted in a real Valkey, and what happens when it is gone."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deploy.local import servers
from deploy.local.ports import LOOPBACK
from gateway import readiness
from gateway.limiter import Limiter, Quota, open_redis
from gateway.problems import LimitsUnavailable, RateLimited
from gateway.route import Limited
from protos.referral.v1 import referral_pb2 as pb
from protos.referral.v1 import referral_pb2_grpc
from tests.support.gateways import NOWHERE, Client, Scripted, opened, served

QUOTAS = {
    Limited.STANDARD: (Quota("account", "account", 3),),
    Limited.REGISTER: (Quota("register", "account", 2), Quota("register-address", "address", 3)),
}
CLOSED = frozenset({Limited.REGISTER})
PATIENT_S = 5.0
"""For a Redis that is there: a slow machine is no outage."""


@pytest.fixture
async def limiter(redis_url: str) -> AsyncIterator[Limiter]:
    redis = open_redis(redis_url, PATIENT_S)
    yield Limiter(redis, QUOTAS, closed=CLOSED, wait_seconds=PATIENT_S)
    await redis.aclose()


async def test_calls_beyond_the_quota_are_refused_and_told_when_to_come_back(limiter: Limiter) -> None:
    began = asyncio.get_running_loop().time()
    left = [(await limiter.admit(Limited.STANDARD, account="a", address=""))["RateLimit"] for _ in range(3)]
    assert [re.findall(r"r=(\d+)", each) for each in left] == [["2"], ["1"], ["0"]]
    with pytest.raises(RateLimited) as refused:
        await limiter.admit(Limited.STANDARD, account="a", address="")
    passed = asyncio.get_running_loop().time() - began
    assert 59 - passed <= int(refused.value.headers["Retry-After"]) <= 60
    assert refused.value.headers["RateLimit-Policy"] == '"account";q=3;w=60'
    assert (await limiter.admit(Limited.STANDARD, account="b", address=""))["RateLimit"].startswith('"account";r=2')


async def test_a_refused_call_is_counted_by_no_limit(limiter: Limiter) -> None:
    for _ in range(2):
        await limiter.admit(Limited.REGISTER, account="a", address="x")
    for _ in range(5):
        with pytest.raises(RateLimited):
            await limiter.admit(Limited.REGISTER, account="a", address="x")
    headers = await limiter.admit(Limited.REGISTER, account="b", address="x")
    assert re.findall(r"r=(\d+)", headers["RateLimit"]) == ["1", "0"]
    with pytest.raises(RateLimited):
        await limiter.admit(Limited.REGISTER, account="c", address="x")


async def test_concurrent_calls_share_one_count(limiter: Limiter) -> None:
    admitted = await asyncio.gather(
        *(limiter.admit(Limited.STANDARD, account="a", address="") for _ in range(50)), return_exceptions=True
    )
    assert len([each for each in admitted if isinstance(each, dict)]) == 3
    assert len([each for each in admitted if isinstance(each, RateLimited)]) == 47


async def test_a_window_moves(redis_url: str) -> None:
    redis = open_redis(redis_url, PATIENT_S)
    quotas = {Limited.STANDARD: (Quota("account", "account", 2, seconds=1),)}
    limiter = Limiter(redis, quotas, closed=frozenset(), wait_seconds=PATIENT_S)
    loop = asyncio.get_running_loop()
    times: list[float] = []
    while len(times) < 5:
        try:
            await limiter.admit(Limited.STANDARD, account="a", address="")
            times.append(loop.time())
        except RateLimited:
            await asyncio.sleep(0.02)
    assert all(later - earlier > 0.9 for earlier, later in zip(times, times[2:], strict=False))
    await redis.aclose()


async def test_the_keys_name_nobody_and_do_not_stay(limiter: Limiter, redis_url: str) -> None:
    await limiter.admit(Limited.REGISTER, account="alice@example.org", address="198.51.100.7")
    redis = open_redis(redis_url)
    keys = [key for key in await redis.keys() if isinstance(key, bytes)]
    assert len(keys) == 2
    assert not [key for key in keys if b"alice" in key or b"198." in key]
    assert all([0 < await redis.ttl(key) <= 60 for key in keys])
    await redis.aclose()


async def test_without_redis_reads_go_on_and_registrations_are_refused() -> None:
    redis = open_redis(f"redis://{NOWHERE}/0")
    limiter = Limiter(redis, QUOTAS, closed=CLOSED)
    for _ in range(10):
        assert await limiter.admit(Limited.STANDARD, account="a", address="") == {}
    with pytest.raises(LimitsUnavailable):
        await limiter.admit(Limited.REGISTER, account="a", address="x")
    await redis.aclose()


async def test_a_redis_that_does_not_answer_costs_little_time() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(hold, LOOPBACK, 0)
    redis = open_redis(f"redis://{LOOPBACK}:{silent.sockets[0].getsockname()[1]}/0")
    limiter = Limiter(redis, QUOTAS, closed=CLOSED)
    started = asyncio.get_running_loop().time()
    # Were the first not believed, each would wait as long as it did: half a minute together.
    for _ in range(60):
        assert await limiter.admit(Limited.STANDARD, account="a", address="") == {}
    assert asyncio.get_running_loop().time() - started < 5
    await redis.aclose()
    silent.close()


@pytest.fixture
async def referral() -> AsyncIterator[str]:
    code = pb.ReferralCode(code="abcdefghjk", state=pb.CODE_STATE_ACTIVE, created_at={"seconds": 1})  # type: ignore[arg-type]
    scripted = Scripted(
        GetCode=pb.GetCodeResponse(code=code),
        Register=pb.RegisterResponse(registered_at={"seconds": 1}),  # type: ignore[arg-type]
    )
    registrar = referral_pb2_grpc.add_ReferralServiceServicer_to_server
    async with served(registrar, scripted, "creator.referral.v1.ReferralService", "referral") as address:
        yield address


async def register(client: Client, account: str, address: str = "198.51.100.1") -> int:
    token = await client.token(account)
    headers = {"X-Forwarded-For": address}
    answer = await client.call("POST", "/api/referrals/register", token=token, body={"code": "x"}, headers=headers)
    if answer.status != 200:
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.code in {"RATE_LIMITED", "LIMITS_UNAVAILABLE"}
    return answer.status


async def test_ten_registrations_a_minute_for_an_account(tmp_path: Path, redis_url: str, referral: str) -> None:
    async with opened(tmp_path / "clock", redis_url, REFERRAL_ADDRESS=referral) as client:
        assert [await register(client, "a", f"198.51.100.{n}") for n in range(11)] == [200] * 10 + [429]
        assert await register(client, "b", "198.51.100.1") == 200


async def test_sixty_registrations_a_minute_for_an_address(tmp_path: Path, redis_url: str, referral: str) -> None:
    async with opened(tmp_path / "clock", redis_url, REFERRAL_ADDRESS=referral) as client:
        assert [await register(client, f"a{n}") for n in range(61)] == [200] * 60 + [429]
        assert await register(client, "b", "198.51.100.2") == 200


async def test_redis_may_go_and_come_back(tmp_path: Path, referral: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Who is slow on a slow machine is up.
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 5.0)
    process, port = servers.start_anywhere(
        lambda port: servers.valkey(tmp_path / "redis", port), tmp_path / "redis.log"
    )
    async with AsyncExitStack() as stack:
        url = f"redis://{LOOPBACK}:{port}/0"
        client = await stack.enter_async_context(opened(tmp_path / "clock", url, REFERRAL_ADDRESS=referral))
        token = await client.token("alice")
        answer = await client.call("GET", "/api/referrals/code", token=token)
        assert answer.headers["RateLimit"].startswith('"account";r=299')
        assert await register(client, "bob") == 200
        assert (await client.call("GET", "/readyz")).json["state"] == "degraded"  # there is no leaderboard
        process.stop()
        answer = await client.call("GET", "/api/referrals/code", token=token)
        assert answer.status == 200
        assert "RateLimit" not in answer.headers
        assert await register(client, "bob") == 503
        dependencies = (await client.call("GET", "/readyz")).json["dependencies"]
        assert (dependencies["referral"], dependencies["redis"]) == ("up", "down")
