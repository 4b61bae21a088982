"""The way in and the way out, over real connections."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from libs import rpc, telemetry
from libs.calls import REQUEST_ID_KEY
from libs.refusals import Code, FailedPrecondition, InvalidArgument
from protos.events.v1 import events_pb2, events_pb2_grpc
from tests.support.eventually import eventually
from tests.support.meshes import Answer, served, stub

Request = events_pb2.ListHeadsRequest
METHOD = "/creator.events.v1.EventLogService/ListHeads"


class TideTooLow(FailedPrecondition):
    """The tide is too low."""


class DraughtInvalid(InvalidArgument):
    """A draught is a positive number."""


@asynccontextmanager
async def answered(answer: Answer, **settings: Any) -> AsyncIterator[Any]:
    async with served(answer, **settings) as server, stub(server) as log:
        yield log


@asynccontextmanager
async def bare(port: int) -> AsyncIterator[Any]:
    """What any client may do: bytes, without a deadline."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary(METHOD)


def raising(error: BaseException) -> Answer:
    async def answer(_request: Request, _context: Any) -> None:
        raise error

    return answer


async def nothing(_request: Request, _context: Any) -> None:
    return None


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def test_a_refusal_reaches_the_caller_whole() -> None:
    async with answered(raising(TideTooLow(depth_cm=40))) as log:
        error = await failure(log.ListHeads(Request()))
    refused = rpc.refusal_of(error)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (refused.code, refused.reason, refused.message, refused.data) == (
        Code.FAILED_PRECONDITION,
        "TIDE_TOO_LOW",
        "The tide is too low.",
        {"depth_cm": "40"},
    )


async def test_a_refused_field_is_told_as_a_bad_request() -> None:
    async with answered(raising(DraughtInvalid(field="draught_cm"))) as log:
        error = await failure(log.ListHeads(Request()))
    details = rpc_status.from_call(error).details
    bad = error_details_pb2.BadRequest()
    info = error_details_pb2.ErrorInfo()
    assert details[0].Unpack(info)
    assert details[1].Unpack(bad)
    assert (info.domain, info.reason) == ("creator-economy", "DRAUGHT_INVALID")
    assert [(each.field, each.description) for each in bad.field_violations] == [
        ("draught_cm", "A draught is a positive number.")
    ]


async def test_an_echoed_value_of_any_length_does_not_cost_the_answer() -> None:
    data = {f"key_{number}": "ü" * 100_000 for number in range(100)}
    async with answered(raising(TideTooLow("x" * 100_000, **data))) as log:
        refused = rpc.refusal_of(await failure(log.ListHeads(Request())))
    assert refused.reason == "TIDE_TOO_LOW"


async def test_a_refusal_that_comes_out_of_a_task_group_is_still_a_refusal() -> None:
    async with answered(raising(ExceptionGroup("group", [TideTooLow()]))) as log:
        assert rpc.refusal_of(await failure(log.ListHeads(Request()))).reason == "TIDE_TOO_LOW"


@pytest.mark.parametrize(
    "bug",
    [ValueError("the password is hush"), asyncpg.InterfaceError("2 arguments expected"), asyncio.CancelledError()],
)
async def test_a_bug_is_told_without_a_word_of_detail_and_logged_with_its_trace(bug: BaseException) -> None:
    with capture_logs() as lines:
        async with answered(raising(bug)) as log:
            error = await failure(log.ListHeads(Request(), metadata=[(REQUEST_ID_KEY, "mine")]))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "hush" not in str(error.trailing_metadata())
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert (line["log_level"], line["exc_info"]) == ("error", bug)


async def test_a_failed_call_names_its_request() -> None:
    async with served(raising(ValueError())) as server, bare(server.port) as call:
        given = await failure(call(b"", metadata=[(REQUEST_ID_KEY, "mine")]))
        made = await failure(call(b""))
        too_long = await failure(call(b"", metadata=[(REQUEST_ID_KEY, "x" * 129)]))
    assert dict(given.trailing_metadata() or ())[REQUEST_ID_KEY] == "mine"
    assert len(str(dict(made.trailing_metadata() or ())[REQUEST_ID_KEY])) == 36
    assert len(str(dict(too_long.trailing_metadata() or ())[REQUEST_ID_KEY])) == 36


@pytest.mark.parametrize(
    "fault",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.TooManyConnectionsError("sorry"),
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("pool is closing"),
        ConnectionResetError("reset by 10.0.0.7"),
        TimeoutError(),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_fault_of_the_store_is_unavailable_and_keeps_its_text_to_itself(fault: Exception) -> None:
    async with answered(raising(fault)) as log:
        error = await failure(log.ListHeads(Request()))
    refused = rpc.refusal_of(error)
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert error.details() == "The store cannot be reached now; try again."


async def test_a_store_that_is_not_there_is_unavailable(unused_port: int) -> None:
    async def answer(_request: Request, _context: Any) -> None:
        await asyncpg.connect(f"postgresql://nobody@127.0.0.1:{unused_port}/none", timeout=2)

    async with answered(answer) as log:
        assert rpc.refusal_of(await failure(log.ListHeads(Request()))).reason == "STORE_UNAVAILABLE"


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_what_gives_up_after_conflicts_is_aborted() -> None:
    async with answered(raising(asyncpg.SerializationError("could not serialize"))) as log:
        assert rpc.refusal_of(await failure(log.ListHeads(Request()))).code is Code.ABORTED


async def test_another_service_that_is_down_makes_the_answer_unavailable(unused_port: int) -> None:
    async with rpc.channel(f"127.0.0.1:{unused_port}", caller="sample") as nowhere:
        call: Any = nowhere.unary_unary(METHOD)

        async def answer(_request: Request, _context: Any) -> None:
            await call(b"")

        async with answered(answer) as log:
            refused = rpc.refusal_of(await failure(log.ListHeads(Request())))
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


async def test_a_failure_of_grpc_itself_reads_like_a_refusal_without_its_text(unused_port: int) -> None:
    async with rpc.channel(f"127.0.0.1:{unused_port}", caller="tester") as nowhere:
        call: Any = nowhere.unary_unary(METHOD)
        refused = rpc.refusal_of(await failure(call(b"")))
    assert (refused.code, refused.reason, refused.message, refused.data) == (
        Code.UNAVAILABLE,
        "UNAVAILABLE",
        "unavailable",
        {},
    )


async def test_bytes_that_are_no_message_are_an_invalid_argument() -> None:
    async with served(nothing) as server, bare(server.port) as call:
        error = await failure(call(b"\xff\xff\xff"))
    assert rpc.refusal_of(error).reason == "MALFORMED_REQUEST"


async def test_a_message_of_more_than_4_mib_is_refused() -> None:
    async with answered(nothing) as log:
        error = await failure(log.ListHeads(Request(topic="x" * (4 * 1024 * 1024))))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_without_a_deadline_is_bounded_by_the_server() -> None:
    async def answer(_request: Request, _context: Any) -> None:
        await asyncio.Event().wait()

    async with served(answer, wait_seconds=0.1) as server, bare(server.port) as call:
        error = await failure(call(b""))
    assert rpc.refusal_of(error).reason == "TOOK_TOO_LONG"


async def test_a_handler_stops_when_its_caller_hangs_up() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def answer(_request: Request, _context: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with answered(answer) as log:
        call = log.ListHeads(Request())
        await asyncio.wait_for(begun.wait(), 5)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_call_never_waits_longer_than_the_call_it_is_made_for() -> None:
    left: dict[str, float | None] = {}

    async def inner(request: Request, context: Any) -> None:
        left[request.topic] = context.time_remaining()

    async with served(inner, callers=frozenset({"tester", "sample"})) as server, stub(server, "sample") as onwards:

        async def outer(request: Request, _context: Any) -> None:
            await onwards.ListHeads(request, timeout=60 if request.topic == "generous" else None)

        async with answered(outer) as log:
            await log.ListHeads(Request(topic="generous"), timeout=30)
            await log.ListHeads(Request(topic="default"), timeout=4)
            await log.ListHeads(Request(topic="long"), timeout=60)
    # gRPC rounds to its own clock.
    assert 5.1 < (left["generous"] or 0) < 30.1
    assert 0 < (left["default"] or 0) < 4.1
    assert 0 < (left["long"] or 0) < 5.1


async def test_every_call_has_a_deadline() -> None:
    left: list[float | None] = []

    async def answer(_request: Request, context: Any) -> None:
        left.append(context.time_remaining())

    async with answered(answer) as log:
        await log.ListHeads(Request())
    assert left[0] is not None
    assert left[0] < 5.1


async def test_request_and_trace_travel_with_the_call() -> None:
    seen: list[tuple[str, str, str]] = []

    async def answer(_request: Request, _context: Any) -> None:
        seen.append((telemetry.current_request_id(), telemetry.current_traceparent(), rpc.current_caller()))

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with served(answer, callers=frozenset({"tester", "sample"})) as server, stub(server, "sample") as onwards:

        async def outer(request: Request, context: Any) -> None:
            await answer(request, context)
            await onwards.ListHeads(request)

        async with answered(outer) as log:
            await log.ListHeads(Request(), metadata=[(REQUEST_ID_KEY, "mine"), ("traceparent", parent)])
            await log.ListHeads(Request(), metadata=[("traceparent", "nonsense")])
    assert seen[:2] == [("mine", parent, "tester"), ("mine", parent, "sample")]
    assert seen[2][:2] == seen[3][:2]
    assert seen[2][1].startswith("00-")


async def test_an_unavailable_answer_is_asked_for_again() -> None:
    tries: list[str] = []

    async def answer(_request: Request, _context: Any) -> None:
        tries.append("once more")
        if len(tries) < 3:
            raise rpc.StoreUnavailable

    async with answered(answer) as log:
        await log.ListHeads(Request())
    assert len(tries) == 3


async def test_calls_that_reach_a_server_as_it_stops_are_answered_by_another() -> None:
    """It cuts what it has not begun, with CANCELLED; some of a crowd always meet that moment."""
    crowd, rounds = 100, 20
    async with served(nothing) as leaving, served(nothing) as staying:
        address = f"ipv4:127.0.0.1:{leaving.port},127.0.0.1:{staying.port}"
        async with rpc.channel(address, caller="tester") as channel:
            log: Any = events_pb2_grpc.EventLogServiceStub(channel)

            async def caller() -> None:
                for _ in range(rounds):
                    await log.ListHeads(Request())

            await asyncio.gather(*(log.ListHeads(Request()) for _ in range(crowd)))
            async with asyncio.TaskGroup() as group:
                for _ in range(crowd):
                    group.create_task(caller())
                await log.ListHeads(Request())
                await leaving.drain()


async def test_a_call_that_its_own_caller_gave_up_is_not_made_again() -> None:
    tries: list[str] = []
    begun = asyncio.Event()

    async def answer(_request: Request, _context: Any) -> None:
        tries.append("once")
        begun.set()
        await asyncio.Event().wait()

    async with answered(answer) as log:
        call = log.ListHeads(Request())
        waiting = asyncio.ensure_future(call)
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(tries) == 1


async def test_a_refusal_is_not_asked_for_again() -> None:
    tries: list[str] = []

    async def answer(_request: Request, _context: Any) -> None:
        tries.append("once")
        raise TideTooLow

    async with answered(answer) as log:
        await failure(log.ListHeads(Request()))
    assert tries == ["once"]


async def test_more_calls_than_the_bound_are_refused() -> None:
    release = asyncio.Event()

    async def answer(_request: Request, _context: Any) -> None:
        await release.wait()

    async with answered(answer, max_concurrent=2) as log:
        calls = [asyncio.ensure_future(log.ListHeads(Request())) for _ in range(5)]
        await eventually(lambda: sum(each.done() for each in calls) == 3)
        release.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    codes = [each.code() for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3


async def test_a_call_is_one_log_line_and_a_quiet_one_none() -> None:
    with capture_logs() as lines:
        async with answered(nothing) as log:
            await log.ListHeads(Request())
        async with answered(nothing, quiet=True) as log:
            await log.ListHeads(Request())
    told = [(line["method"], line["code"], line["caller"]) for line in lines if line["event"] == "rpc"]
    assert told == [(METHOD[1:], "OK", "tester")]


async def test_a_store_that_is_down_does_not_fill_the_log_of_a_hot_method() -> None:
    with capture_logs() as lines:
        async with answered(raising(asyncpg.ConnectionDoesNotExistError()), quiet=True) as log:
            began = time.monotonic()
            await asyncio.gather(*(failure(log.ListHeads(Request())) for _ in range(20)))
            seconds = time.monotonic() - began
    assert 1 <= len([line for line in lines if line["event"] == "rpc"]) <= 1 + seconds


async def test_calls_are_counted_by_outcome_and_refusals_by_reason() -> None:
    def count(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"service": "sample", "method": METHOD[1:], **labels}) or 0.0

    before = (
        count("creator_rpc_seconds_count", code="FAILED_PRECONDITION"),
        count("creator_rpc_refusals_total", reason="TIDE_TOO_LOW"),
    )
    async with answered(raising(TideTooLow()), quiet=True) as log:
        await failure(log.ListHeads(Request()))
    assert count("creator_rpc_seconds_count", code="FAILED_PRECONDITION") == before[0] + 1
    assert count("creator_rpc_refusals_total", reason="TIDE_TOO_LOW") == before[1] + 1
