"""A connection to one service, which follows its certificates as they are renewed."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc

from libs.calls import CHANNEL_OPTIONS, REQUEST_ID_KEY
from libs.client.certificates import Certificates

LOOK_EVERY_SECONDS: Final = 10.0
"""How often the files of the certificates are looked at."""
LEAVING_SECONDS: Final = 60.0
"""How long calls of a connection with the former certificate may take."""

_Stub = TypeVar("_Stub")


class Connection:
    """One service's channel; it is opened at the first call, which must run in an event loop."""

    def __init__(self, address: str, caller: str, service: str, certificates: Certificates | None) -> None:
        self._address = address
        self._caller = caller
        self._service = service
        self._certificates = certificates
        self._pems = certificates.read() if certificates else None
        self._look_at = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[Callable[[grpc.aio.Channel], Any], Any] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def stub(self, kind: Callable[[grpc.aio.Channel], _Stub]) -> _Stub:
        """The service's stub of this kind, on the connection to use now."""
        self._renew()
        if self._channel is None:
            self._channel = self._open()
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        stub: _Stub = self._stubs[kind]
        return stub

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Who calls, and an id for the call that the platform's logs will show."""
        return (("x-caller", self._caller), (REQUEST_ID_KEY, str(uuid.uuid4())))

    async def close(self, grace_seconds: float) -> None:
        """Close; running calls get `grace_seconds`."""
        for leaving in list(self._leaving):
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close(grace_seconds)

    def _open(self) -> grpc.aio.Channel:
        if self._pems is None:
            return grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self._service))
        return grpc.aio.secure_channel(self._address, self._pems.credentials(), options=options)

    def _renew(self) -> None:
        """Leave a connection whose certificate is outdated; its calls end in peace."""
        now = time.monotonic()
        if self._pems is None or self._certificates is None or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_SECONDS
        renewed = self._pems.newer(self._certificates)
        if renewed is None:
            return
        self._pems = renewed
        if self._channel is not None:
            leaving = asyncio.get_running_loop().create_task(self._channel.close(LEAVING_SECONDS))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            self._channel = None
            self._stubs.clear()
