"""Referral as a real process: it answers, publishes, runs its job when the clock moves, and ends when told to."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from deploy.local.processes import Process, Spec
from libs import rpc
from libs.clock import MovableClock
from libs.timestamps import to_timestamp
from protos.events.v1 import events_pb2, events_pb2_grpc
from protos.referral.v1 import events_pb2 as referral_events
from protos.referral.v1 import referral_pb2, referral_pb2_grpc, share_pb2, share_pb2_grpc
from tests.conftest import Database
from tests.support.brokers import Broker
from tests.support.referral import KEYS

ROOT = Path(__file__).parents[2]
Eventually = Callable[..., Awaitable[Any]]


@dataclass
class Running:
    process: Process
    channel: grpc.aio.Channel
    dsn: str
    clock: MovableClock

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "referral"})
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture
async def running(
    database: Database, fresh_broker: Broker, eventually: Eventually, tmp_path: Path
) -> AsyncIterator[Running]:
    dsn, log = await database("referral"), tmp_path / "referral.log"
    told = {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "DEV_CLOCK_FILE": str(tmp_path / "clock"),
        "POSTGRES_DSN": dsn,
        "KAFKA_BOOTSTRAP": fresh_broker.bootstrap,
        "KAFKA_IDEMPOTENT": "0",
        "DRAIN_WAIT_SECONDS": "0",
        **KEYS,
        "DISTRIBUTION_ADDRESS": "127.0.0.1:1",  # nobody is there
        "PAYOUT_ADDRESS": "127.0.0.1:1",
        "SCORE_ADDRESS": "127.0.0.1:1",
    }
    process = Process(Spec("referral", (sys.executable, "-m", "services.referral"), ROOT, lambda: True, told), log)

    def port() -> int | None:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        assert process.exit_code is None, log.read_text()
        return next((line["grpc_port"] for line in lines if line.get("event") == "ready"), None)

    try:
        address = f"127.0.0.1:{await eventually(port, within=90)}"
        async with rpc.channel(address, caller="anonymous") as channel:
            yield Running(process, channel, dsn, MovableClock(tmp_path / "clock"))
    finally:
        process.kill()


async def test_a_life_from_code_to_sigterm(running: Running, eventually: Eventually) -> None:
    referral = referral_pb2_grpc.ReferralServiceStub(running.channel)
    now = running.clock.now()
    made = await referral.CreateCode(
        referral_pb2.CreateCodeRequest(account_id="creator", expires_at=to_timestamp(now + timedelta(days=1)))
    )
    request = referral_pb2.RegisterRequest(
        account_id="referee", code=made.code.code, account_created_at=to_timestamp(now)
    )
    await referral.Register(request)
    await referral.ResolveAttribution(referral_pb2.ResolveAttributionRequest(account_ids=["referee", "payer"]))

    # Both decisions reach the broker, and can be asked for again.
    await eventually(lambda: published(running))
    log = events_pb2_grpc.EventLogServiceStub(running.channel)
    topic = "referral.registrations.v1"
    heads = (await log.ListHeads(events_pb2.ListHeadsRequest(topic=topic))).heads
    assert sum(head.position for head in heads) == 2

    # A code ends while nobody looks at it.
    running.clock.advance(timedelta(days=1, minutes=1))
    await eventually(lambda: ended(running))
    running.process.signal(signal.SIGTERM)
    assert await eventually(lambda: running.process.exit_code is not None)
    assert running.process.exit_code == 0


async def test_without_distribution_bonuses_wait_and_everything_else_is_answered(running: Running) -> None:
    referral = referral_pb2_grpc.ReferralServiceStub(running.channel)
    made = await referral.CreateCode(referral_pb2.CreateCodeRequest(account_id="creator"))
    now = to_timestamp(running.clock.now())
    await referral.Register(
        referral_pb2.RegisterRequest(account_id="referee", code=made.code.code, account_created_at=now)
    )
    acted = await referral.RecordQualifyingAction(
        referral_pb2.RecordQualifyingActionRequest(
            account_id="referee",
            kind=referral_events.QUALIFYING_ACTION_KIND_DNFT_MINT,
            action_id="mint",
            paid_micro=1_000_000,
            occurred_at=now,
        )
    )
    assert acted.bonus_state == referral_events.BONUS_STATE_PENDING
    share = share_pb2_grpc.ShareServiceStub(running.channel)
    card = await share.GetShareCard(share_pb2.GetShareCardRequest(account_id="creator"))
    assert card.code == made.code.code
    assert await running.rows("SELECT state, budget FROM bonuses") == [("pending", "asked")]


async def published(running: Running) -> bool:
    return await running.rows("SELECT sum(published)::int FROM event_heads") == [(2,)]


async def ended(running: Running) -> bool:
    return await running.rows("SELECT state, end_reason FROM codes") == [("expired", "time")]
