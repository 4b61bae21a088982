"""Distribution as a real process: killed at the worst moment, its database killed under it, told to stop."""

import asyncio
import contextlib
import functools
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from deploy.local import postgres, servers
from deploy.local.processes import Process, Spec
from libs import rpc
from libs.clock import MovableClock
from libs.postgres import Postgres, migrate
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc, events_pb2
from protos.events.v1 import events_pb2 as log_pb2
from protos.events.v1 import events_pb2_grpc as log_pb2_grpc
from services.distribution.model import Charge
from tests.conftest import Database
from tests.support.books import assert_books
from tests.support.distribution import RunningReferral, charge, later, referral_running, request
from tests.support.eventually import eventually
from tests.support.proxies import proxied

ROOT = Path(__file__).parents[2]


class Service:
    """One process of distribution, that may be killed and started again."""

    def __init__(self, dsn: str, referral: RunningReferral, kafka: str, directory: Path) -> None:
        self._log = directory / "distribution.log"
        self._told = {
            "ENVIRONMENT": "test",
            "TEST_MODE": "1",
            "DEV_CLOCK_FILE": str(directory / "clock"),
            "POSTGRES_DSN": dsn,
            "KAFKA_BOOTSTRAP": kafka,
            "KAFKA_IDEMPOTENT": "0",
            "REFERRAL_ADDRESS": f"127.0.0.1:{referral.server.port}",
            "FINGERPRINT_KEY": "a development key",
            "DRAIN_WAIT_SECONDS": "0",
        }
        self.process: Process | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        self._log.unlink(missing_ok=True)
        argv = (sys.executable, "-m", "services.distribution")
        self.process = Process(Spec("distribution", argv, ROOT, lambda: True, self._told), self._log)
        port = await eventually(self._port, within=90)
        self._channel = rpc.channel(f"127.0.0.1:{port}", caller="anonymous")

    def _port(self) -> int | None:
        assert self.process is not None
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        assert self.process.exit_code is None, self._log.read_text()
        return next((line["grpc_port"] for line in lines if line.get("event") == "ready"), None)

    async def kill(self) -> None:
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            self.process.kill()
            self.process = None
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    async def finalize(self, one: Charge) -> distribution_pb2.FinalizeResponse:
        stub = distribution_pb2_grpc.DistributionServiceStub(self.channel)
        return await stub.Finalize(request(one))

    async def finalize_somehow(self, one: Charge) -> distribution_pb2.FinalizeResponse:
        """As billing does: again until there is an answer."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.CancelledError, AssertionError):
                return await self.finalize(one)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(dsn: str, referral: RunningReferral, kafka: str, directory: Path) -> AsyncIterator[Service]:
    service = Service(dsn, referral, kafka, directory)
    MovableClock(directory / "clock")
    await service.start()
    try:
        yield service
    finally:
        await service.kill()


async def check_books(straight: Postgres) -> None:
    """At one instant: the jobs of the process go on meanwhile, and settle what is due."""
    async with (
        straight.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await assert_books(connection)


async def count(straight: Postgres) -> int:
    async with straight.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM distributions"))


async def test_killed_between_commit_and_answer_it_gives_the_same_answer_later(
    database: Database, kafka_bootstrap: str, tmp_path: Path
) -> None:
    dsn = await database("distribution")
    async with (
        proxied(dsn) as (proxy, through),
        referral_running(await database("referral")) as referral,
        serving(through, referral, kafka_bootstrap, tmp_path) as service,
        await Postgres.open(dsn, schema="distribution") as straight,
    ):
        await referral.refer("payer", later(days=-3))
        await service.finalize(charge("first"))
        proxy.mute()
        call = asyncio.ensure_future(service.finalize(charge("c")))
        await eventually(lambda: is_count(straight, 2))
        assert not call.done()
        await service.kill()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        proxy.cut()
        await service.start()
        answer = await service.finalize(charge("c"))
        assert answer.replayed
        assert (answer.referrer_micro, answer.foundation_micro) == (10_000, 22_500)
        async with straight.connection() as connection:
            written = await connection.fetchval(
                "SELECT distribution_id::text FROM distributions WHERE inference_charge_id = 'c'"
            )
        assert answer.distribution_id == written
        await check_books(straight)


async def is_count(straight: Postgres, rows: int) -> bool:
    return await count(straight) == rows


async def test_killed_again_and_again_the_books_are_exact_and_every_charge_is_told_once(
    database: Database, kafka_bootstrap: str, tmp_path: Path
) -> None:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        serving(dsn, referral, kafka_bootstrap, tmp_path) as service,
        await Postgres.open(dsn, schema="distribution") as straight,
    ):
        for number in range(4):
            await referral.refer(f"payer-{number}", later(days=-3), f"creator-{number % 2}")
        charges = [charge(f"c{number}", f"payer-{number % 6}") for number in range(600)]

        async def kill() -> None:
            for rows in (50, 200, 400):
                await eventually(functools.partial(reached, straight, rows), within=90)
                await service.kill()
                await service.start()

        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            for part in range(20):
                group.create_task(pour(service, charges[part::20]))
        assert await count(straight) == len(charges)
        await check_books(straight)
        told = await eventually(lambda: listed(service, len(charges)))
        assert sorted(told) == sorted(each.inference_charge_id for each in charges)


async def reached(straight: Postgres, rows: int) -> bool:
    return await count(straight) >= rows


async def pour(service: Service, charges: list[Charge]) -> None:
    for each in charges:
        answer = await service.finalize_somehow(each)
        attributed = each.payer_account_id < "payer-4"
        assert answer.referrer_micro == (10_000 if attributed else 0)


async def listed(service: Service, least: int) -> list[str]:
    """The charges of the event log, once there are so many."""
    told: list[str] = []
    log = log_pb2_grpc.EventLogServiceStub(service.channel)
    for partition in range(4):
        after = 0
        while True:
            page = await log.ListEvents(
                log_pb2.ListEventsRequest(topic="distribution.finalized.v1", partition=partition, after_position=after)
            )
            if not page.events:
                break
            assert [event.position for event in page.events] == list(range(after + 1, after + len(page.events) + 1))
            after = page.events[-1].position
            for event in page.events:
                told += [
                    each.inference_charge_id for each in events_pb2.ChargesFinalized.FromString(event.payload).charges
                ]
    return told if len(told) >= least else []


async def test_a_postgres_that_is_killed_under_it_loses_nothing_that_was_answered(
    database: Database, kafka_bootstrap: str, tmp_path: Path, scratch: Path
) -> None:
    cluster = postgres.Cluster(scratch / f"own-{secrets.token_hex(4)}", 0, secrets.token_hex(8))
    log = tmp_path / "postgres.log"

    def on(port: int) -> Spec:
        cluster.port = port
        return cluster.prepare()

    server, _ = servers.start_anywhere(on, log)
    try:
        await migrate(cluster.dsn(), schema="distribution", directory=ROOT / "services/distribution/migrations")
        async with (
            referral_running(await database("referral")) as referral,
            serving(cluster.dsn(), referral, kafka_bootstrap, tmp_path) as service,
        ):
            await referral.refer("payer-0", later(days=-3))
            charges = [charge(f"c{number}", f"payer-{number % 6}") for number in range(300)]
            async with asyncio.TaskGroup() as group:
                answered = [group.create_task(service.finalize_somehow(each)) for each in charges[:50]]
                rest = [group.create_task(keep(service, charges[50 + part :: 10])) for part in range(10)]
                await asyncio.gather(*answered)
                server.signal(signal.SIGKILL)
                server.kill()
                server = Process(cluster.prepare(), log)
                await asyncio.to_thread(server.wait_ready, 30)
            assert all(task.done() for task in rest)
            async with await Postgres.open(cluster.dsn(), schema="distribution") as straight:
                assert await count(straight) == len(charges)
                await check_books(straight)
    finally:
        server.stop()


async def keep(service: Service, charges: list[Charge]) -> None:
    for each in charges:
        await service.finalize_somehow(each)


async def test_told_to_stop_it_ends_with_code_zero(database: Database, kafka_bootstrap: str, tmp_path: Path) -> None:
    async with (
        referral_running(await database("referral")) as referral,
        serving(await database("distribution"), referral, kafka_bootstrap, tmp_path) as service,
    ):
        await service.finalize(charge("c"))
        process = service.process
        assert process is not None
        process.signal(signal.SIGTERM)
        await eventually(lambda: process.exit_code is not None, within=60)
        assert process.exit_code == 0
