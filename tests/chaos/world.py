"""A stack with two replicas of every service, the demo economy that goes on in it, and what is seen of both."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc

from deploy.local.demo.front_door import FrontDoor
from deploy.local.ports import LOOPBACK, SERVICES, replica_name
from deploy.local.services import is_ok, is_serving
from protos.distribution.v1 import ledger_pb2
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub
from tests.e2e.test_demo_economy import Played, finish, start_demo
from tests.support.eventually import eventually
from tests.support.stacks import Stack

REPLICAS = 2
RECOVERS_WITHIN_S = 90.0
CALM_RUNS_MAX = 4

Heads = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Recovery:
    """What was done, and the seconds from then until everything answered, and until no listener was behind."""

    row: str
    what: str
    answers_s: float
    caught_up_s: float


@dataclass
class World:
    """What faults are done to."""

    stack: Stack
    dice: random.Random
    demo_state: Path
    http: aiohttp.ClientSession
    recoveries: list[Recovery] = field(default_factory=list)
    payments: list[str] = field(default_factory=list)
    """What buyers paid at the provider meanwhile."""
    runs: list[str] = field(default_factory=list)
    """How each run of the demo ended: its exit code, and what it said last."""
    _demo: asyncio.subprocess.Process | None = None
    _calm: bool = False

    def processes_of(self, service: str) -> list[str]:
        return [replica_name(service, replica) for replica in range(REPLICAS)]

    def signal(self, name: str, number: signal.Signals) -> None:
        # It may be dead already, by a fault before this one.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.stack.pid(name), number)

    def kill_caller(self) -> None:
        if self._demo is not None and self._demo.returncode is None:
            self._demo.kill()

    async def control(self, path: str, body: dict[str, Any]) -> None:
        """The provider's simulator is told what to do."""
        url = self.stack.line["provider"].removesuffix("/v1") + "/control" + path
        async with self.http.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def pay(self) -> None:
        """Somebody pays $12.50 at the provider, for an order that nobody announced."""
        wanted = {
            "price_amount": 12.5,
            "price_currency": "usd",
            "pay_currency": "usdttrc20",
            "order_id": f"order-in-chaos-{len(self.payments) + 1}",
        }
        headers = {"x-api-key": self.stack.secrets["nowpayments_api_key"]}
        async with self.http.post(self.stack.line["provider"] + "/payment", json=wanted, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            self.payments.append(str((await answer.json())["payment_id"]))
        await self.control(f"/payments/{self.payments[-1]}", {"status": "finished"})

    async def play(self) -> Played:
        """Plays the demo again and again, as callers do who get no answer; the last time when all is calm."""
        calm_runs = 0
        while True:
            calm_runs += self._calm
            self._demo = await start_demo(self.stack, self.demo_state)
            played = await finish(self._demo)
            said = [line.strip() for line in played.printed.splitlines() if any(map(str.isalpha, line))]
            self.runs.append(f"{played.code} ({said[-1][:90] if said else ''})")
            if self._calm and (played.code == 0 or calm_runs == CALM_RUNS_MAX):
                return played

    def calm(self) -> None:
        self._calm = True

    async def recover(self, row: str, what: str, begun: float) -> None:
        """Notes how long it takes from `begun` until all is well; fails where it never is."""
        await eventually(self._answers, within=RECOVERS_WITHIN_S, every=0.2)
        answers_s = time.monotonic() - begun
        heads = await self.heads()
        await eventually(lambda: self._has_applied(heads), within=RECOVERS_WITHIN_S, every=0.2)
        self.recoveries.append(Recovery(row, what, answers_s, time.monotonic() - begun))

    async def _answers(self) -> bool:
        """Every process says that it serves, and two questions through all of it are answered."""
        ports = self.stack.ports
        asked = {
            replica_name(name, replica): asyncio.to_thread(is_serving, ports.probes(name, replica))
            for name in SERVICES
            for replica in range(REPLICAS)
        } | {
            replica_name("gateway", replica): asyncio.to_thread(is_ok, port, "/readyz")
            for replica, port in enumerate((ports.gateway, ports.second_gateway))
        }
        silent = [name for name, up in zip(asked, await asyncio.gather(*asked.values()), strict=True) if not up]
        assert not silent, f"no answer from {', '.join(silent)}; {self.stack.tells()}"
        async with FrontDoor(self.stack.line["gateway"]) as door, asyncio.timeout(5):
            await door.board()
        async with grpc.aio.insecure_channel(self.stack.line["distribution"]) as channel:
            trial = await LedgerServiceStub(channel).GetTrialBalance(ledger_pb2.GetTrialBalanceRequest(), timeout=5)
        assert trial.total_micro == 0
        return True

    async def heads(self) -> Heads:
        """The newest position that each publisher has numbered, by topic and partition."""
        async with self.books() as books:
            rows = [
                row
                for name in SERVICES
                for row in await books.fetch(f"SELECT topic, partition, position FROM {name}.event_heads")  # noqa: S608
            ]
        return {(row["topic"], row["partition"]): row["position"] for row in rows}

    async def newest_job(self) -> datetime:
        """The latest instant, of business time, that a job of distribution has run for."""
        async with self.books() as books:
            newest: datetime = await books.fetchval("SELECT max(last_run) FROM distribution.jobs")
        return newest

    async def _has_applied(self, heads: Heads) -> bool:
        async with self.books() as books:
            for name in SERVICES:
                rows = await books.fetch(f"SELECT topic, partition, position FROM {name}.inbox")  # noqa: S608
                if any(position < heads.get((topic, partition), 0) for topic, partition, position in rows):
                    return False
        return True

    @asynccontextmanager
    async def books(self) -> AsyncIterator[asyncpg.Connection]:
        """The operator's eye on all schemas, anew: the database may have been killed."""
        connection = await asyncpg.connect(self.stack.line["postgres"], timeout=5)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)


@asynccontextmanager
async def balanced(ports: tuple[int, ...]) -> AsyncIterator[str]:
    """One address in front of several, as a cluster's: each connection goes to the next that takes it."""
    connected: set[asyncio.StreamWriter] = set()
    turn = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        for attempt in range(len(ports)):
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection(LOOPBACK, ports[(turn + attempt) % len(ports)])
                break
        else:
            writer.transport.abort()
            return
        connected.update((writer, back))
        with contextlib.suppress(OSError):
            await asyncio.gather(_copied(reader, back), _copied(there, writer))
        for each in (writer, back):
            each.transport.abort()
            connected.discard(each)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in connected:
            each.transport.abort()
        await server.wait_closed()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError  # the other direction ends too
