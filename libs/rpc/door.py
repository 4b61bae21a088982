"""The one interceptor: identity, request id, trace, deadline, refusals, metrics and one log line.

It wraps each method's handler once, when it is registered, so that a call pays for no lookup, no chain and no closure.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import wraps
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.trace import SpanKind

from libs import telemetry
from libs.calls import REQUEST_ID_KEY
from libs.refusals import Code, Refusal
from libs.rpc.deadline import deadline
from libs.rpc.errors import MalformedRequest, TookTooLong, as_refusal, to_status
from libs.rpc.identity import ANONYMOUS, CallerNotAllowed, caller, certified_name
from libs.telemetry.context import valid_traceparent
from libs.telemetry.metrics import RPC_REFUSALS, RPC_SECONDS

_log = telemetry.logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[[Any, Context], Coroutine[Any, Any, Any]]
# A string: the class is generic in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_REQUEST_ID_CHARS = 128
# While the store is down a hot method would write a line per call.
_QUIET_LOG_SECONDS = 1.0


class Door:
    """The way into one method: who may call it, and how a call begins and ends."""

    def __init__(
        self, service: str, method: str, callers: frozenset[str], *, quiet: bool, secure: bool, wait_seconds: float
    ) -> None:
        self.in_flight = 0
        self._service = service
        self._method = method
        self._callers = callers if secure else callers | {ANONYMOUS}
        self._quiet = quiet
        self._secure = secure
        self._wait_seconds = wait_seconds
        self._seconds: dict[str, Any] = {}
        self._logged_at = float("-inf")

    def wrap(self, handler: Handler) -> Handler:
        """Return the handler to register in place of this one; it takes and gives bytes where a message is single."""
        call, make = _parts(handler)
        parse = None if handler.request_streaming else handler.request_deserializer
        serialize = None if handler.response_streaming else handler.response_serializer
        serve = self._serve(self._traced(call), parse, serialize, streams=serialize is None or parse is None)
        return make(
            serve,
            handler.request_deserializer if parse is None else None,
            handler.response_serializer if serialize is None else None,
        )

    def _serve(
        self,
        call: Call,
        parse: Callable[[bytes], Any] | None,
        serialize: Callable[[Any], bytes] | None,
        *,
        streams: bool,
    ) -> Call:
        async def serve(request: Any, context: Context) -> Any:
            began = time.monotonic()
            self.in_flight += 1
            try:
                unbounded = self._admit(context, began) or streams
                if parse is not None:
                    request = _parsed(parse, request)
                if unbounded:
                    answer = await call(request, context)
                else:
                    answer = await self._bounded(call, request, context)
                if serialize is not None:
                    answer = serialize(answer)
            except BaseException as error:  # noqa: BLE001 - the end of the road: whatever it is, the caller is told
                await self._fail(error, context, began)
            finally:
                self.in_flight -= 1
            self._count("OK", began)
            if not self._quiet:
                _log.info("rpc", method=self._method, code="OK", caller=caller.get(), duration_ms=_ms_since(began))
            return answer

        return serve

    def _admit(self, context: Context, now: float) -> bool:
        """Begin a call: tell whether its caller set a deadline."""
        known = parent = claimed = ""
        for key, value in context.invocation_metadata() or ():
            if key == REQUEST_ID_KEY and len(value) <= _REQUEST_ID_CHARS:
                known = str(value)
            elif key == "traceparent" and valid_traceparent(str(value)):
                parent = str(value)
            elif key == "x-caller":
                claimed = str(value)
        if not (self._quiet or telemetry.tracing()):
            parent = parent or telemetry.new_traceparent()
        telemetry.request_id.set(known)
        telemetry.traceparent.set(parent)
        remaining: float | None = context.time_remaining()
        deadline.set(now + (self._wait_seconds if remaining is None else remaining))
        name = certified_name(context) if self._secure else claimed or ANONYMOUS
        caller.set(name)
        if name not in self._callers:
            raise CallerNotAllowed(caller=name or ANONYMOUS, method=self._method)
        return remaining is not None

    async def _bounded(self, call: Call, request: Any, context: Context) -> Any:
        try:
            async with asyncio.timeout(self._wait_seconds) as limit:
                return await call(request, context)
        except TimeoutError:
            if limit.expired():
                raise TookTooLong from None
            raise

    def _traced(self, call: Call) -> Call:
        if not telemetry.tracing():
            return call

        @wraps(call)
        async def traced(request: Any, context: Context) -> Any:
            parent = telemetry.traceparent.get()
            # A hot method begins no trace; one that its caller follows goes on.
            if self._quiet and not telemetry.is_sampled(parent):
                return await call(request, context)
            with telemetry.span(self._method, parent, SpanKind.SERVER):
                # For the log line, which is written when the span is over.
                telemetry.traceparent.set(telemetry.current_traceparent())
                return await call(request, context)

        return traced

    async def _fail(self, error: BaseException, context: Context, began: float) -> NoReturn:
        """End a call that has no answer: tell the caller why, and us more."""
        if _is_cancelled(error):
            self._count("CANCELLED", began)
            raise error
        if isinstance(error, grpc.aio.AbortError) or not isinstance(error, (Exception, asyncio.CancelledError)):
            # Only a servicer that sets its own status gets here, and what ends the process.
            self._count("ABORTED", began)
            raise error
        refusal = as_refusal(error)
        self._count(refusal.code.name, began)
        RPC_REFUSALS.labels(self._service, self._method, refusal.reason).inc()
        self._log_failure(error, refusal, began)
        code, message, metadata = to_status(refusal)
        await context.abort(code, message, (*metadata, (REQUEST_ID_KEY, telemetry.current_request_id())))

    def _log_failure(self, error: BaseException, refusal: Refusal, began: float) -> None:
        told = {
            "method": self._method,
            "code": refusal.code.name,
            "reason": refusal.reason,
            "caller": caller.get(),
            "duration_ms": _ms_since(began),
        }
        telemetry.current_request_id()
        if refusal.code is Code.INTERNAL:
            _log.error("rpc", exc_info=error, **told)
            return
        if self._quiet and began - self._logged_at < _QUIET_LOG_SECONDS:
            return
        if error is not refusal and refusal.code is not Code.INVALID_ARGUMENT:
            self._logged_at = began
            _log.warning("rpc", fault=type(error).__name__, **told)
        elif not self._quiet:
            _log.info("rpc", **told)

    def _count(self, code: str, began: float) -> None:
        seconds = self._seconds.get(code)
        if seconds is None:
            seconds = self._seconds[code] = RPC_SECONDS.labels(self._service, self._method, code)
        seconds.observe(time.monotonic() - began)


def is_written(handler: Handler) -> bool:
    """Tell a servicer's own method from the generated one that it inherits."""
    return not getattr(_behaviour(handler), "__module__", "").endswith("_pb2_grpc")


def _behaviour(handler: Handler) -> Any:
    if handler.response_streaming:
        return handler.stream_stream if handler.request_streaming else handler.unary_stream
    return handler.stream_unary if handler.request_streaming else handler.unary_unary


def _parts(handler: Handler) -> tuple[Call, Callable[..., Handler]]:
    """Return a handler's function, as a coroutine function, and what makes a handler of its kind."""
    call = _behaviour(handler)
    if handler.response_streaming:
        streaming, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    else:
        streaming, unary = grpc.stream_unary_rpc_method_handler, grpc.unary_unary_rpc_method_handler
    if inspect.isasyncgenfunction(call):
        call = _written(call)
    if not inspect.iscoroutinefunction(call):
        raise TypeError(f"{getattr(call, '__qualname__', call)} is not an async function")
    return call, streaming if handler.request_streaming else unary


def _written(generate: Callable[[Any, Context], Any]) -> Call:
    """Turn a handler that yields its answers into one that writes them."""

    @wraps(generate)
    async def write(request: Any, context: Context) -> None:
        async with aclosing(generate(request, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    return write


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError:
        raise MalformedRequest from None


def _is_cancelled(error: BaseException) -> bool:
    """Tell the caller's hanging up from a cancelled future that a handler happened to wait for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)
