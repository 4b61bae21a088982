"""Which of the processes behind the gateway answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.schemas.operations import Readiness, State

CHECK_SECONDS = 1.0
_OPTIONAL = frozenset({"redis"})

Check = Callable[[], Awaitable[bool]]


@dataclass
class Dependencies:
    """Asked when a probe asks. Each one that is down takes its own routes away; the others go on."""

    checks: Mapping[str, Check]
    draining: bool = False

    async def ask(self) -> tuple[HTTPStatus, Readiness]:
        """200 while anything can be served; the body says what cannot."""
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(_answers(check)) for name, check in self.checks.items()}
        up = {name: task.result() for name, task in tasks.items()}
        services = [answers for name, answers in up.items() if name not in _OPTIONAL]
        serving = not self.draining and (any(services) or not services)
        state: State = "down" if not serving else "ready" if all(up.values()) else "degraded"
        status = HTTPStatus.OK if serving else HTTPStatus.SERVICE_UNAVAILABLE
        return status, Readiness(state=state, dependencies={name: "up" if ok else "down" for name, ok in up.items()})


def serving(channel: grpc.aio.Channel) -> Check:
    """Whether the service at the other end says that it is ready."""
    stub = health_pb2_grpc.HealthStub(channel)

    async def check() -> bool:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CHECK_SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return check


async def _answers(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except (grpc.aio.AioRpcError, OSError, TimeoutError):
        return False
