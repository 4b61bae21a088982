"""The listening socket: bounded in connections and in patience, and polite even to what is not HTTP."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from gateway import metrics
from gateway.door import Door, identify
from gateway.problems import HeadersTooLarge, Internal, Problem, RequestMalformed
from libs.settings import Misconfigured
from libs.telemetry import logger

log = logger(__name__)

LINGER_SECONDS: Final = 2.0
BACKLOG: Final = 1024


@dataclass(frozen=True)
class Patience:
    """How long and how many clients are waited for."""

    idle_seconds: float = 30.0
    """A request's head must be complete within this time of the connection, or of the answer before."""
    connections: int = 2000
    grace_seconds: float = 10.0


class _Connection(RequestHandler):
    """aiohttp's protocol, but its own errors are problems too, and one connection too many is closed at once."""

    def __init__(self, server: web.Server, door: Door, patience: Patience) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=patience.idle_seconds,
            lingering_time=LINGER_SECONDS,
            # A small compressed body may be a large one; none is taken.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # None is how it is switched off
        )
        self._door = door
        self._server = server
        self._most = patience.connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > self._most:
            metrics.CONNECTIONS_REFUSED.inc()
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Tell what never came as far as the application: broken heads, and bugs."""
        del status, message  # aiohttp's words
        if request.writer.output_size > 0:
            raise ConnectionError("part of another answer is out already")
        problem = _malformed(exc) if isinstance(exc, BadHttpMessage) else _unexpected(exc)
        known = identify(request)
        log.info("request", status=int(problem.status), code=problem.reason)
        response = self._door.tell(request, problem, known)
        response.force_close()
        return response


class Listener:
    """Serves an application on host:port."""

    def __init__(self, application: web.Application, door: Door, patience: Patience) -> None:
        self.port = 0
        self._runner = web.AppRunner(application, shutdown_timeout=patience.grace_seconds)
        self._door = door
        self._patience = patience
        self._listening: asyncio.Server | None = None

    async def start(self, listen: str) -> None:
        """Listen; raises Misconfigured where the port is taken."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up just now
        server.request_handler = self._door.around(server.request_handler)
        host, _, port = listen.rpartition(":")
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._factory(server), host.strip("[]"), int(port), backlog=BACKLOG
            )
        except OSError as error:
            raise Misconfigured(f"{listen} cannot be listened on: {error.strerror or error}.") from None
        self.port = _port(self._listening.sockets[0])

    def _factory(self, server: web.Server) -> Callable[[], _Connection]:
        return lambda: _Connection(server, self._door, self._patience)

    async def drain(self) -> None:
        """Take no more connections and finish what is being answered."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _malformed(error: BadHttpMessage) -> Problem:
    return HeadersTooLarge() if isinstance(error, LineTooLong) else RequestMalformed()


def _unexpected(error: BaseException | None) -> Problem:
    log.error("unexpected", exc_info=error)
    return Internal()
