"""Which of the processes behind the gateway answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.problems import NotReady
from gateway.schemas.operations import Readiness, State
from gateway.schemas.problem import FieldProblem

CHECK_SECONDS = 1.0
_OPTIONAL = frozenset({"redis"})

Check = Callable[[], Awaitable[bool]]


@dataclass
class Dependencies:
    """Asked when a probe asks. Each one that is down takes its own routes away; the others go on."""

    checks: Mapping[str, Check]
    draining: bool = False

    async def ask(self) -> Readiness:
        """What answers. Raises NotReady where no service does, and while the process is about to stop."""
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(_answers(check)) for name, check in self.checks.items()}
        up = {name: task.result() for name, task in tasks.items()}
        if self.draining:
            raise NotReady("This process is about to stop.")
        if not any(answers for name, answers in up.items() if name not in _OPTIONAL):
            down = tuple(FieldProblem(pointer=name, detail="Down.") for name, answers in up.items() if not answers)
            raise NotReady(errors=down)
        state: State = "ready" if all(up.values()) else "degraded"
        return Readiness(state=state, dependencies={name: "up" if answers else "down" for name, answers in up.items()})


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
