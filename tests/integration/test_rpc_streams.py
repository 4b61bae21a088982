"""Streams: the same door, without a bound of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from libs import rpc, telemetry
from libs.refusals import FailedPrecondition
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc

Ask = distribution_pb2.FinalizeStreamRequest
Answer = distribution_pb2.FinalizeStreamResponse
SERVICE = "creator.distribution.v1.DistributionService"
CALLERS = frozenset({"tester"})


class StreamTorn(FailedPrecondition):
    """The stream is torn."""


class Yielding(distribution_pb2_grpc.DistributionServiceServicer):
    """Answers each, with a pause where the first revenue says so, and refuses the third."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def FinalizeStream(self, requests: AsyncIterator[Ask], _context: Any) -> AsyncIterator[Answer]:  # noqa: N802
        count = 0
        try:
            async for _ in requests:
                count += 1
                if count == 3:
                    raise StreamTorn(count=count)
                yield Answer()
        finally:
            self.closed.set()


class Writing(distribution_pb2_grpc.DistributionServiceServicer):
    """The other way to answer a stream: reads and writes."""

    async def FinalizeStream(  # type: ignore[override] # noqa: N802 - grpc allows both, its stubs know one
        self, requests: AsyncIterator[Ask], context: Any
    ) -> None:
        async for _ in requests:
            await context.write(Answer())


@asynccontextmanager
async def served(servicer: Any, **settings: Any) -> AsyncIterator[tuple[rpc.Server, Any]]:
    server = rpc.Server("sample", **{"test_mode": True, "drain_wait_seconds": 0.0} | settings)
    server.add(distribution_pb2_grpc.add_DistributionServiceServicer_to_server, servicer, SERVICE, CALLERS)
    await server.start()
    await server.ready()
    async with rpc.channel(f"127.0.0.1:{server.port}", caller="tester") as channel:
        yield server, distribution_pb2_grpc.DistributionServiceStub(channel)
    await server.drain(hasty=True)


def built(kind: Any) -> Any:
    return kind()


async def charges(number: int) -> AsyncIterator[Ask]:
    for _ in range(number):
        yield Ask()


@pytest.mark.parametrize("kind", [Yielding, Writing])
async def test_every_message_is_answered(kind: Any) -> None:
    with capture_logs() as lines:
        async with served(built(kind)) as (_, stub):
            assert [Answer(), Answer()] == [answer async for answer in stub.FinalizeStream(charges(2))]
    assert [line["code"] for line in lines if line["event"] == "rpc"] == ["OK"]


async def test_a_refusal_in_the_middle_comes_after_the_answers_before_it() -> None:
    async with served(built(Yielding)) as (_, stub):
        call = stub.FinalizeStream(charges(5))
        assert [await call.read(), await call.read()] == [Answer(), Answer()]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call.read()
    refused = rpc.refusal_of(failed.value)
    assert (refused.reason, refused.data) == ("STREAM_TORN", {"count": "3"})


async def test_bytes_that_are_no_message_end_the_stream_with_a_reason() -> None:
    async with (
        served(built(Yielding)) as (server, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        open_stream: Any = channel.stream_stream(f"/{SERVICE}/FinalizeStream")
        call = open_stream()
        await call.write(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call.read()
    assert rpc.refusal_of(failed.value).reason == "MALFORMED_REQUEST"


async def test_a_stream_may_stay_open_longer_than_a_call() -> None:
    async with served(built(Writing), wait_seconds=0.05) as (_, stub):
        call = stub.FinalizeStream()
        await call.write(Ask())
        await call.read()
        await asyncio.sleep(0.2)  # longer than a unary call may take: time passing is the point
        await call.write(Ask())
        assert await call.read() == Answer()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_a_handler_is_closed_when_its_caller_hangs_up() -> None:
    servicer = built(Yielding)
    async with served(servicer) as (_, stub):
        call = stub.FinalizeStream()
        await call.write(Ask())
        await call.read()
        call.cancel()
        await asyncio.wait_for(servicer.closed.wait(), 5)


async def test_draining_finishes_a_stream_that_ends_in_time() -> None:
    async with served(built(Writing), drain_grace_seconds=5.0) as (server, stub):
        call = stub.FinalizeStream()
        await call.write(Ask())
        await call.read()
        draining = asyncio.ensure_future(server.drain())
        await call.write(Ask())
        assert await call.read() == Answer()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(draining, 5)


def test_a_handler_that_is_not_async_is_refused_at_the_start() -> None:
    class Blocking(distribution_pb2_grpc.DistributionServiceServicer):
        def Finalize(self, _request: Any, _context: Any) -> Any:  # noqa: N802
            return None

    async def add() -> None:
        server = rpc.Server("sample", test_mode=True)
        registrar = distribution_pb2_grpc.add_DistributionServiceServicer_to_server
        server.add(registrar, built(Blocking), SERVICE, CALLERS)

    with pytest.raises(TypeError, match="not an async function"):
        asyncio.run(add())


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.start_tracing("sample", "", SimpleSpanProcessor(exporter))
    yield exporter
    telemetry.stop_tracing()


async def test_spans_of_one_trace_join_across_a_call(spans: InMemorySpanExporter) -> None:
    async with served(built(Writing)) as (_, stub):
        with telemetry.span("outside"):
            assert [Answer()] == [answer async for answer in stub.FinalizeStream(charges(1))]
    inner, outer = spans.get_finished_spans()
    assert (inner.name, outer.name) == (f"{SERVICE}/FinalizeStream", "outside")
    assert inner.parent is not None
    assert outer.context is not None
    assert (inner.parent.trace_id, inner.parent.span_id) == (outer.context.trace_id, outer.context.span_id)
