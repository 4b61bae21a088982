"""The one way out: every call has a deadline and says who asks, for which request, in which trace."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import grpc

from libs import telemetry
from libs.calls import CHANNEL_OPTIONS, REQUEST_ID_KEY
from libs.rpc.deadline import within
from libs.rpc.identity import Tls

WAIT_SECONDS = 5.0
"""How long a unary call waits unless it says otherwise. Streams have no bound of their own."""

RENEWAL_SECONDS = 10.0
"""How often a process looks whether its certificate's files have changed."""
LEAVING_SECONDS = 60.0
"""How long calls of a connection with the former certificate may take."""


def channel(
    address: str, *, caller: str, tls: Tls | None = None, service: str = "", wait_seconds: float = WAIT_SECONDS
) -> grpc.aio.Channel:
    """Open a channel to host:port as `caller`.

    With TLS the other side must show a certificate for the name `service`, wherever it runs. Calls wait `wait_seconds`
    unless they name a time-out, and never longer than the call that they are made for.
    """
    if tls is None:
        return Channel(grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS), caller, wait_seconds)
    options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", service)) if service else CHANNEL_OPTIONS

    def connect(tls: Tls) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(address, tls.channel_credentials(), options=options)

    return Channel(connect(tls), caller, wait_seconds, _Renewal(tls, connect))


@dataclass
class _Renewal:
    """Looks now and then whether the process has another certificate, and connects anew where it has."""

    tls: Tls
    connect: Callable[[Tls], grpc.aio.Channel]
    look_at: float = 0.0

    def channel(self) -> grpc.aio.Channel | None:
        """A channel with the new certificate; None where there is none."""
        now = time.monotonic()
        if now < self.look_at:
            return None
        self.look_at = now + RENEWAL_SECONDS
        current = self.tls.current()
        if current is self.tls:
            return None
        self.tls = current
        return self.connect(current)


class Channel(grpc.aio.Channel):
    """Adds to each call what every call needs; lighter than interceptors, which cost a task per call."""

    def __init__(
        self, inner: grpc.aio.Channel, caller: str, wait_seconds: float, renewal: _Renewal | None = None
    ) -> None:
        self._inner = inner
        self._caller = ("x-caller", caller)
        self._wait_seconds = wait_seconds
        self._renewal = renewal
        self._left: set[asyncio.Task[None]] = set()

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """One request, one answer."""
        return self._outgoing(lambda inner: inner.unary_unary(*args, **options), self._wait_seconds)

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """One request, many answers."""
        return self._outgoing(lambda inner: inner.unary_stream(*args, **options), None)

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """Many requests, one answer."""
        return self._outgoing(lambda inner: inner.stream_unary(*args, **options), None)

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """Many requests, many answers."""
        return self._outgoing(lambda inner: inner.stream_stream(*args, **options), None)

    def _outgoing(
        self, callable_on: Callable[[grpc.aio.Channel], Callable[..., Any]], wait_seconds: float | None
    ) -> Callable[..., Any]:
        inner = self._inner
        call = callable_on(inner)

        def invoke(*request: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
            nonlocal inner, call
            if self._renewal is not None:
                self._renew(self._renewal)
                if inner is not self._inner:
                    inner = self._inner
                    call = callable_on(inner)
            carried = dict(metadata or ())
            carried.setdefault(REQUEST_ID_KEY, telemetry.current_request_id())
            if parent := telemetry.current_traceparent():
                carried.setdefault("traceparent", parent)
            wait = within(wait_seconds if timeout is None else timeout)
            return call(*request, timeout=wait, metadata=(*carried.items(), self._caller), **options)

        return invoke

    def _renew(self, renewal: _Renewal) -> None:
        """Leave a connection whose certificate is outdated; its calls end in peace."""
        renewed = renewal.channel()
        if renewed is None:
            return
        leaving = asyncio.get_running_loop().create_task(self._inner.close(LEAVING_SECONDS))
        self._left.add(leaving)
        leaving.add_done_callback(self._left.discard)
        self._inner = renewed

    async def close(self, grace: float | None = None) -> None:
        """Close; running calls get `grace` seconds."""
        for leaving in list(self._left):
            leaving.cancel()
        await asyncio.gather(*self._left, return_exceptions=True)
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's own
        """Return the state of the connection."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection's state is another."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the other side answers."""
        await self._inner.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
