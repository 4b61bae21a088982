"""The gateway as a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local import ports
from protos.referral.v1 import referral_pb2 as pb
from protos.referral.v1 import referral_pb2_grpc
from tests.support.gateways import Client, Scripted, environment, opened, served

Eventually = Callable[..., Awaitable[Any]]
PROJECT = Path(__file__).resolve().parents[2]


async def started(told: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway",
        cwd=PROJECT, env=dict(os.environ) | told, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def running(told: dict[str, str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    process = await started(told)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while (line := json.loads(await process.stdout.readline()))["event"] != "ready":
                pass
            yield process, Client(f"http://127.0.0.1:{line['port']}", http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def logged(process: asyncio.subprocess.Process) -> list[dict[str, object]]:
    assert process.stdout is not None
    return [json.loads(line) for line in (await process.stdout.read()).splitlines()]


async def test_a_request_in_hand_is_finished_before_the_process_ends(
    tmp_path: Path, redis_url: str, eventually: Eventually
) -> None:
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def slowly(_request: object, _context: object) -> pb.GetReferralStatsResponse:
        arrived.set()
        await leave.wait()
        return pb.GetReferralStatsResponse(registered=7)

    registrar = referral_pb2_grpc.add_ReferralServiceServicer_to_server
    scripted = Scripted(GetReferralStats=slowly)
    async with served(registrar, scripted, "creator.referral.v1.ReferralService", "referral") as referral:
        patient = {"DRAIN_GRACE_SECONDS": "30", "REQUEST_SECONDS": "30"}
        told = environment(tmp_path / "clock", redis_url, REFERRAL_ADDRESS=referral, **patient)
        async with running(told) as (process, client):
            token = await client.token("alice")
            asking = asyncio.ensure_future(client.call("GET", "/api/creator/referrals", token=token))
            await arrived.wait()
            process.send_signal(signal.SIGTERM)
            await eventually(lambda: refuses(client.port))
            leave.set()
            assert (await asking).json["registered"] == 7
            assert await process.wait() == 0
            events = [line["event"] for line in await logged(process)]
            assert events[-1] == "stopped"


async def test_the_access_log_names_nobody(tmp_path: Path, redis_url: str) -> None:
    async with running(environment(tmp_path / "clock", redis_url, LOG_LEVEL="DEBUG")) as (process, client):
        token = await client.token("alice@example.org")
        headers = {"X-Forwarded-For": "198.51.100.77", "X-Request-Id": "r-1", "User-Agent": "Mozilla/9"}
        body = {"code": "secretcode"}
        path = "/api/referrals/register"
        assert (await client.call("POST", path, token=token, body=body, headers=headers)).status == 503
        await client.call("GET", "/nope/alice@example.org?token=abc", headers=headers)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        lines = await logged(process)
        said = json.dumps(lines)
        for secret in ("alice", "198.51.100.77", "secretcode", "Mozilla", "token=abc", token, token.split(".")[2]):
            assert secret not in said
        requests = [line for line in lines if line["event"] == "request" and line.get("request_id") == "r-1"]
        assert [(line["method"], line["route"], line["status"], line["code"]) for line in requests] == [
            ("POST", path, 503, "UNAVAILABLE"), ("GET", "(none)", 404, "ROUTE_UNKNOWN"),
        ]  # fmt: skip
        assert {line["client"] for line in requests} == {"198.51.100.0/24"}


async def test_metrics_have_a_port_of_their_own(tmp_path: Path, redis_url: str) -> None:
    port = ports.free_port()
    told = environment(tmp_path / "clock", redis_url, METRICS_LISTEN=f"127.0.0.1:{port}")
    async with running(told) as (_, client):
        await client.call("GET", "/healthz")
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
    assert 'creator_gateway_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ENVIRONMENT": "production"}, "TEST_MODE must not be set in production"),
        ({"REFERRAL_ADDRESS": ""}, "REFERRAL_ADDRESS must be set"),
        ({"REDIS_URL": "banana://x"}, "REDIS_URL"),
        ({"GATEWAY_LISTEN": "192.0.2.1:80"}, "cannot be listened on"),
    ],
)
async def test_a_wrong_setting_ends_the_process_with_a_sentence(
    tmp_path: Path, redis_url: str, change: dict[str, str], complaint: str
) -> None:
    process = await started(environment(tmp_path / "clock", redis_url) | change)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert complaint in said.decode()
    assert "Traceback" not in said.decode()


async def test_a_clock_moves_for_everybody_and_tokens_stay_valid(tmp_path: Path, redis_url: str) -> None:
    told = environment(tmp_path / "clock", redis_url)
    async with running(told) as (_, client), running(told) as (_, other):
        token = await client.token("alice")
        before = (await other.call("GET", "/dev/clock")).json["now"]
        year = 365 * 86_400
        moved = await client.call("POST", "/dev/clock/advance", body={"seconds": year})
        assert moved.status == 200
        after = (await other.call("GET", "/dev/clock")).json["now"]
        assert before.endswith("Z")
        assert int(after[:4]) == int(before[:4]) + 1
        assert (await other.call("GET", "/api/referrals/code", token=token)).status == 503  # not 401: referral is away


@pytest.mark.parametrize("seconds", [0, -1, 1.5, True, "5", None, 400 * 86_400 + 1, 10**30])
async def test_the_clock_moves_by_whole_seconds_within_reason(tmp_path: Path, redis_url: str, seconds: object) -> None:
    async with opened(tmp_path / "clock", redis_url) as client:
        answer = await client.call("POST", "/dev/clock/advance", body={"seconds": seconds})
        assert (answer.status, answer.code) == (400, "BODY_INVALID")
        assert answer.json["errors"][0]["pointer"] == "#/seconds"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"account_id": ""}, "#/account_id"), ({"account_id": "é"}, "#/account_id"),
        ({"account_id": "a" * 129}, "#/account_id"),
        ({}, "#/account_id"), ({"account_id": "a", "scope": 1}, "#/scope"),
        ({"account_id": "a", "account_created_at": "then"}, "#/account_created_at"),
        ({"account_id": "a", "account_created_at": 1.5}, "#/account_created_at"),
        ({"account_id": "a", "account_created_at": -5}, "#/account_created_at"),
    ],
)  # fmt: skip
async def test_a_token_is_asked_for_properly(tmp_path: Path, redis_url: str, body: object, pointer: str) -> None:
    async with opened(tmp_path / "clock", redis_url) as client:
        answer = await client.call("POST", "/dev/token", body=body)
        assert (answer.status, answer.code) == (400, "BODY_INVALID")
        assert answer.json["errors"][0]["pointer"] == pointer
