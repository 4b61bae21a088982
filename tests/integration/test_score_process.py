"""Score as a real process, alone: healthy, telling what it serves and tells of, and ended when told to."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from deploy.local.processes import Process, Spec
from protos.events.v1 import events_pb2, events_pb2_grpc

ROOT = Path(__file__).parents[2]
SERVICES = {"creator.score.v1.ScoreService", "creator.score.v1.ScoreAdminService"}
TOPICS = ("score.wallets.v1", "score.runs.v1")


@dataclass
class Room:
    """A running service and the way to it."""

    process: Process
    channel: grpc.aio.Channel
    address: str
    probes: grpc.aio.Channel


def ready_line(log: Path) -> dict[str, Any] | None:
    """The ports that the service listens on, once it is ready."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return next((line for line in lines if line.get("event") == "ready"), None)


@pytest.fixture
async def room(
    database: Callable[[str], Awaitable[str]],
    kafka_bootstrap: str,
    eventually: Callable[..., Awaitable[Any]],
    tmp_path: Path,
) -> AsyncIterator[Room]:
    told = {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "POSTGRES_DSN": await database("score"),
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "KAFKA_IDEMPOTENT": "0",
        "DRAIN_WAIT_SECONDS": "0",
        # Nobody listens there: it is up all the same.
        "DISTRIBUTION_ADDRESS": "127.0.0.1:9",
        "REFERRAL_ADDRESS": "127.0.0.1:9",
    }
    log = tmp_path / "score.log"
    process = Process(Spec("score", (sys.executable, "-m", "services.score"), ROOT, lambda: True, told), log)

    def ports() -> dict[str, Any] | None:
        assert process.exit_code is None or ready_line(log), log.read_text()
        return ready_line(log)

    try:
        line = await eventually(ports, within=90)
        address = f"127.0.0.1:{line['grpc_port']}"
        async with (
            grpc.aio.insecure_channel(address) as channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{line['probes_port']}") as probes,
        ):
            yield Room(process, channel, address, probes)
    finally:
        process.kill()


async def refusal_of(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and message that a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason, status.message


async def test_it_is_healthy_and_tells_what_it_serves(room: Room) -> None:
    health = health_pb2_grpc.HealthStub(room.probes)
    answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(room.address) as channel:
        served = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert served >= SERVICES | {"creator.events.v1.EventLogService", "grpc.health.v1.Health"}


async def test_its_event_log_answers_for_its_own_topics_only(room: Room) -> None:
    log = events_pb2_grpc.EventLogServiceStub(room.channel)
    for topic in TOPICS:
        heads = (await log.ListHeads(events_pb2.ListHeadsRequest(topic=topic), timeout=5)).heads
        assert [(head.partition, head.position) for head in heads] == [(0, 0), (1, 0), (2, 0), (3, 0)]
        request = events_pb2.ListEventsRequest(topic=topic, partition=3)
        assert not (await log.ListEvents(request, timeout=5)).events
    foreign = log.ListHeads(events_pb2.ListHeadsRequest(topic="referral.registrations.v1"), timeout=5)
    assert (await refusal_of(foreign))[1] == "TOPIC_UNKNOWN"


async def test_told_to_stop_it_ends_with_code_zero(room: Room, eventually: Callable[..., Awaitable[Any]]) -> None:
    room.process.signal(signal.SIGTERM)
    await eventually(lambda: room.process.exit_code is not None, within=60)
    assert room.process.exit_code == 0
