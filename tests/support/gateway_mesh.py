"""Referral and leaderboard as real processes, with a gateway in front of them."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio as redis

from deploy.local.processes import Process, Spec
from tests.support.brokers import Broker
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.gateways import NOWHERE, Client, environment, opened

RISK_HASH_KEY = "another key of the tests"
ROOT = Path(__file__).parents[2]


@dataclass
class Mesh:
    client: Client
    referral: Process
    leaderboard: Process
    broker: Broker
    referral_dsn: str = ""


@asynccontextmanager
async def meshed(databases: Databases, redis_url: str, directory: Path, **settings: str) -> AsyncIterator[Mesh]:
    """`settings` are the gateway's."""
    # Boards of another test, made from another database, are nobody's here.
    async with redis.Redis.from_url(redis_url) as shared:
        await shared.flushdb()
    async with AsyncExitStack() as stack:
        broker = Broker(directory)
        stack.callback(broker.kill)
        told = environment(directory / "clock", redis_url) | {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "KAFKA_IDEMPOTENT": "0",
            "DISTRIBUTION_ADDRESS": NOWHERE,
            "PAYOUT_ADDRESS": NOWHERE,
            "SCORE_ADDRESS": NOWHERE,
            "PSEUDONYM_KEY": "a key of the tests, long enough",
            "FINGERPRINT_KEY": "a key of the tests, long enough",
            "RISK_HASH_KEY": RISK_HASH_KEY,
            "BOARD_CACHE_SECONDS": "0",
            "HEADS_POLL_SECONDS": "0.5",
        }
        addresses: dict[str, str] = {}
        dsns: dict[str, str] = {}
        processes: dict[str, Process] = {}
        for name in ("referral", "leaderboard"):
            database = await databases.create(name)
            stack.push_async_callback(databases.drop, database)
            dsns[name] = databases.dsn_of(database)
            own = told | addresses | {"POSTGRES_DSN": dsns[name]}
            spec = Spec(name, (sys.executable, "-m", f"services.{name}"), ROOT, lambda: True, own)
            processes[name] = Process(spec, directory / f"{name}.log")
            stack.callback(processes[name].kill)
            addresses[f"{name.upper()}_ADDRESS"] = f"127.0.0.1:{await ready_port(processes[name])}"
        client = await stack.enter_async_context(opened(directory / "clock", redis_url, **addresses, **settings))
        yield Mesh(client, processes["referral"], processes["leaderboard"], broker, dsns["referral"])


async def ready_port(process: Process) -> int:
    """The port that a process says it serves on."""

    def said() -> int | None:
        log = process.log.read_text()
        assert process.exit_code is None, log
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        return next((line["grpc_port"] for line in lines if line.get("event") == "ready"), None)

    port = await eventually(said, within=90)
    assert port is not None
    return port
