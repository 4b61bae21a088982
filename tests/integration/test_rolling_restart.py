"""A new version without an interruption: replicas restart one after the other, while calls go on; none fails."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc
import pytest

from deploy.local.ports import free_port
from deploy.local.processes import Process, Spec
from libs import rpc
from libs.clock import SystemClock
from protos.distribution.v1 import distribution_pb2_grpc
from protos.referral.v1 import referral_pb2, referral_pb2_grpc
from tests.conftest import Database
from tests.support.distribution import charge, request
from tests.support.eventually import eventually
from tests.support.gateways import environment

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"
CALLERS = 4


class Replica:
    """One process of a service, on a port that it keeps."""

    def __init__(self, service: str, told: Mapping[str, str], directory: Path) -> None:
        self.port = free_port()
        self._log = directory / f"{service}-{self.port}.log"
        listen, module = (
            ("GATEWAY_LISTEN", "gateway") if service == "gateway" else ("GRPC_LISTEN", f"services.{service}")
        )
        environment = {**told, listen: f"127.0.0.1:{self.port}"}
        argv = (sys.executable, "-m", module)
        self._spec = Spec(service, argv, ROOT, self._is_ready, environment)
        self._process = Process(self._spec, self._log)
        self._starts = 1

    def _is_ready(self) -> bool:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line.get("event") for line in lines].count("ready") == self._starts

    async def wait_ready(self) -> None:
        await eventually(self._is_ready, within=60)

    async def restart(self) -> None:
        self._process.signal(signal.SIGTERM)
        await eventually(lambda: self._process.exit_code is not None, within=30)
        assert self._process.exit_code == 0, self._process.last_words()
        self._starts += 1
        self._process = Process(self._spec, self._log)
        await self.wait_ready()

    def kill(self) -> None:
        self._process.kill()


@asynccontextmanager
async def replicas(service: str, told: Mapping[str, str], directory: Path) -> AsyncIterator[list[Replica]]:
    """Two of a service."""
    both = [Replica(service, told, directory) for _ in range(2)]
    try:
        for each in both:
            await each.wait_ready()
        yield both
    finally:
        for each in both:
            each.kill()


class Balancer:
    """Sends each request to the next replica that was ready when it last looked, a second ago at most."""

    LOOKS_EVERY_S = 1.0

    def __init__(self, both: list[Replica], http: aiohttp.ClientSession) -> None:
        self._both, self._http = both, http
        self._ready = list(both)
        self._looked_at, self._turn = 0.0, 0

    async def post(self, path: str, token: str, body: dict[str, str]) -> dict[str, Any]:
        if time.monotonic() > self._looked_at + self.LOOKS_EVERY_S:
            self._looked_at = time.monotonic()
            # Who loses sight of everybody goes on with those it knew, as balancers do.
            self._ready = [each for each in self._both if await self._is_ready(each)] or self._ready
        self._turn += 1
        url = f"http://127.0.0.1:{self._ready[self._turn % len(self._ready)].port}{path}"
        async with self._http.post(url, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status in {200, 201}, await answer.text()
            said: dict[str, Any] = await answer.json()
            return said

    async def _is_ready(self, replica: Replica) -> bool:
        try:
            async with self._http.get(f"http://127.0.0.1:{replica.port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorError:
            return False


def addresses(both: list[Replica]) -> str:
    """Both as one address, as a headless service's name would be resolved."""
    return "ipv4:" + ",".join(f"127.0.0.1:{each.port}" for each in both)


async def test_replicas_restart_one_by_one_and_no_call_fails(
    database: Database, kafka_bootstrap: str, tmp_path: Path
) -> None:
    common = {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "KAFKA_IDEMPOTENT": "0",
        # As the manifests have it: callers take half of it to try a replica again, and have the other one until then.
        "DRAIN_WAIT_SECONDS": "5",
        "FINGERPRINT_KEY": "a development key of some length",
        "RISK_HASH_KEY": "another key of some length",
        **{f"{name}_ADDRESS": NOBODY for name in ("DISTRIBUTION", "PAYOUT", "SCORE")},
    }
    dsns = {name: await database(name) for name in ("referral", "distribution")}
    async with AsyncExitStack() as open_:
        referrals = await open_.enter_async_context(
            replicas("referral", common | {"POSTGRES_DSN": dsns["referral"]}, tmp_path)
        )
        told = common | {"POSTGRES_DSN": dsns["distribution"], "REFERRAL_ADDRESS": addresses(referrals)}
        ledgers = await open_.enter_async_context(replicas("distribution", told, tmp_path))
        referral = await open_.enter_async_context(rpc.channel(addresses(referrals), caller="anonymous"))
        ledger = await open_.enter_async_context(rpc.channel(addresses(ledgers), caller="anonymous"))
        stubs = referral_pb2_grpc.ReferralServiceStub(referral), distribution_pb2_grpc.DistributionServiceStub(ledger)
        answered = await _calls_during(stubs, list(zip(referrals, ledgers, strict=True)))
    assert answered > 100
    connection = await asyncpg.connect(dsns["distribution"])
    try:
        assert await connection.fetchval("SELECT count(*)::int FROM distribution.distributions") == answered
    finally:
        await connection.close()


@pytest.mark.nightly
async def test_gateways_restart_one_by_one_and_no_request_fails(
    database: Database, kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> None:
    common = environment(tmp_path / "clock", redis_url) | {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "POSTGRES_DSN": await database("referral"),
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "KAFKA_IDEMPOTENT": "0",
        "DRAIN_WAIT_SECONDS": "5",
        "FINGERPRINT_KEY": "a development key of some length",
        "RISK_HASH_KEY": "another key of some length",
        "DISTRIBUTION_ADDRESS": NOBODY,
        "METRICS_LISTEN": "127.0.0.1:0",
    }
    async with AsyncExitStack() as open_:
        referrals = await open_.enter_async_context(replicas("referral", common, tmp_path))
        told = common | {"REFERRAL_ADDRESS": addresses(referrals)}
        gateways = await open_.enter_async_context(replicas("gateway", told, tmp_path))
        once = aiohttp.TCPConnector(force_close=True)
        http = await open_.enter_async_context(aiohttp.ClientSession(connector=once))
        balancer, done, answered = Balancer(gateways, http), asyncio.Event(), 0

        async def caller(name: int) -> None:
            nonlocal answered
            while not done.is_set():
                token = (await balancer.post("/dev/token", "", {"account_id": f"creator-{name}-{answered}"}))["token"]
                await balancer.post("/api/referrals/code", token, {})
                answered += 1

        async with asyncio.TaskGroup() as group:
            for name in range(CALLERS):
                group.create_task(caller(name))
            for each in gateways:
                await each.restart()
            done.set()
    assert answered > 100


async def _calls_during(stubs: tuple[Any, Any], rounds: list[tuple[Replica, ...]]) -> int:
    """Charges new payers without a pause until every replica is a new one; how many were answered."""
    referral, ledger = stubs
    done, answered, now = asyncio.Event(), 0, SystemClock().now()

    async def caller(name: int) -> None:
        nonlocal answered
        while not done.is_set():
            payer = f"payer-{name}-{answered}"
            try:
                await referral.CreateCode(referral_pb2.CreateCodeRequest(account_id=payer))
                await ledger.Finalize(request(charge(payer=payer, finalized_at=now)))
            except grpc.aio.AioRpcError as error:
                raise AssertionError(f"{answered} answered, then: {error.code()} {error.details()}") from None
            answered += 1

    async with asyncio.TaskGroup() as group:
        for name in range(CALLERS):
            group.create_task(caller(name))
        for each in rounds:
            await asyncio.gather(*(replica.restart() for replica in each))
        done.set()
    return answered
