"""Small real gRPC servers on loopback, for tests of the ways in and out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from libs import rpc
from libs.rpc.server import Callers
from protos.events.v1 import events_pb2, events_pb2_grpc

SERVICE = "creator.events.v1.EventLogService"
Context = Any
Answer = Callable[[events_pb2.ListHeadsRequest, Context], Awaitable[events_pb2.ListHeadsResponse | None]]


class Log(events_pb2_grpc.EventLogServiceServicer):
    """Answers `ListHeads` by a function of the test's own, and leaves `ListEvents` to the generated class."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def ListHeads(  # noqa: N802 - the protocol's name
        self, request: events_pb2.ListHeadsRequest, context: Context
    ) -> events_pb2.ListHeadsResponse:
        return await self._answer(request, context) or events_pb2.ListHeadsResponse()


@asynccontextmanager
async def served(
    answer: Answer, *, callers: Callers = frozenset({"tester"}), quiet: bool = False, **settings: Any
) -> AsyncIterator[rpc.Server]:
    """Run a server whose `ListHeads` is `answer`."""
    server = rpc.Server("sample", **{"test_mode": True, "drain_wait_seconds": 0.0} | settings)
    registrar = events_pb2_grpc.add_EventLogServiceServicer_to_server
    log: Any = Log  # abstract in its stubs: ListEvents is left out on purpose
    server.add(
        registrar,
        log(answer),
        SERVICE,
        callers,
        quiet=frozenset({"ListHeads"} if quiet else ()),
    )
    await server.start()
    await server.ready()
    try:
        yield server
    finally:
        await server.drain(hasty=True)


@asynccontextmanager
async def stub(server: rpc.Server, caller: str = "tester", **settings: Any) -> AsyncIterator[Any]:
    """Open a channel to it as a service would."""
    async with rpc.channel(f"127.0.0.1:{server.port}", caller=caller, **settings) as channel:
        yield events_pb2_grpc.EventLogServiceStub(channel)
