"""A gRPC server: the main port, and a plain one for probes with nothing but health on it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs import telemetry
from libs.calls import MAX_MESSAGE_BYTES
from libs.rpc.door import Door, Handler, is_written
from libs.rpc.identity import Tls
from libs.settings import Misconfigured
from libs.telemetry.metrics import RPC_IN_FLIGHT

LIVE = "live"
"""The health service name for liveness: serving for as long as the process answers. Readiness is the name ""."""

_log = telemetry.logger(__name__)

Callers = Mapping[str, frozenset[str]] | frozenset[str]
Registrar = Callable[[Any, grpc.aio.Server], None]

_OPTIONS = (
    # A second process on a port is told so, instead of getting every other call.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Callers reconnect now and then, so that new replicas get their part.
    ("grpc.max_connection_age_ms", 600_000),
)


class Server:
    """Serves from `start` to `drain`; health says SERVING between `ready` and `drain` only."""

    def __init__(
        self,
        name: str,
        *,
        listen: str = "127.0.0.1:0",
        probes_listen: str = "127.0.0.1:0",
        tls: Tls | None = None,
        test_mode: bool = False,
        max_concurrent: int = 1000,
        wait_seconds: float = 10.0,
        drain_wait_seconds: float = 1.0,
        drain_grace_seconds: float = 10.0,
    ) -> None:
        """`wait_seconds` bounds unary calls without a deadline. Raises Misconfigured without TLS outside test mode."""
        if tls is None and not test_mode:
            raise Misconfigured("TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE must be set: only test mode goes without.")
        self.port = self.probes_port = 0
        self._name = name
        self._listen = listen
        self._probes_listen = probes_listen
        self._tls = tls
        self._wait_seconds = wait_seconds
        self._drain_wait_seconds = drain_wait_seconds
        self._drain_grace_seconds = drain_grace_seconds
        self._health = health.aio.HealthServicer()
        self._services: list[str] = []
        self._doors: list[Door] = []
        self._main = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=max_concurrent)
        self._probes = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=100)
        RPC_IN_FLIGHT.labels(name).set_function(lambda: sum(door.in_flight for door in self._doors))

    def add(
        self,
        registrar: Registrar,
        servicer: object,
        service: str,
        callers: Callers,
        *,
        quiet: frozenset[str] = frozenset(),
    ) -> None:
        """Serve one service: `registrar` is the generated `add_…_to_server`, `service` the protocol's full name.

        `callers` lists who may call, for all methods or by method; a method left out is a TypeError, not an open door.
        Methods that the servicer does not write itself are answered UNIMPLEMENTED.
        `quiet` methods (hot ones) get no log line, span or trace per call, only metrics.
        """
        recorder = _Recorder()
        registrar(servicer, cast("grpc.aio.Server", recorder))
        if set(recorder.services) != {service}:
            raise TypeError(f"{registrar} registers {', '.join(recorder.services)}, not {service}")
        methods = recorder.services[service]
        handlers = {method: handler for method, handler in methods.items() if is_written(handler)}
        lists = dict.fromkeys(handlers, callers) if isinstance(callers, frozenset) else callers
        if not set(handlers) <= set(lists) <= set(methods) or not quiet <= set(methods):
            raise TypeError(f"{service}: the lists of callers and quiet methods do not match {', '.join(handlers)}")
        self._main.add_registered_method_handlers(
            service,
            {method: self._door(service, method, lists[method], quiet).wrap(h) for method, h in handlers.items()},
        )
        self._services.append(service)

    async def start(self) -> None:
        """Listen; answers are given, but health is NOT_SERVING until `ready`. Raises Misconfigured for a taken port."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._health.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        for server in (self._main, self._probes):
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._main)
        credentials = self._tls.server_credentials() if self._tls else None
        self.port = _bind(self._main, self._listen, credentials)
        self.probes_port = _bind(self._probes, self._probes_listen, None)
        await self._probes.start()
        await self._main.start()

    async def ready(self) -> None:
        """Tell probes and balancers that everything is wired."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, *, hasty: bool = False) -> None:
        """Stop without losing a call: say so, let callers turn away, refuse new calls, finish the running ones.

        In haste, because something they wait for is broken, running calls are cut.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if not hasty:
            await asyncio.sleep(self._drain_wait_seconds)
        await self._main.stop(0 if hasty else self._drain_grace_seconds)
        await self._probes.stop(0)

    def _door(self, service: str, method: str, callers: frozenset[str], quiet: frozenset[str]) -> Door:
        door = Door(
            self._name,
            f"{service}/{method}",
            callers,
            quiet=method in quiet,
            secure=self._tls is not None,
            wait_seconds=self._wait_seconds,
        )
        self._doors.append(door)
        return door

    async def _set_health(self, state: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", *self._services):
            await self._health.set(service, state)


class _Recorder:
    """Stands in for a server while generated code registers its handlers, so that they can be wrapped."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Handler]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code registers everything twice; the other way has the names."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        self.services[service] = handlers


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, credentials)
    except RuntimeError:
        raise Misconfigured(
            f"{listen} cannot be listened on: another process has the port, or it is no address here."
        ) from None
