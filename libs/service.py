"""A service's life: settings, logs, metrics; wiring; answering and working until SIGTERM; draining; an exit code.

async def wire(app: App) -> None:
    settings = Settings.read()
    postgres = await app.open_postgres("payout", Path(__file__).parent / "migrations")
    app.serve(add_PayoutServiceServicer_to_server, PayoutServicer(…), "creator.payout.v1.PayoutService", CALLERS)
    app.relay(postgres)

if __name__ == "__main__":
    run("payout", wire)
"""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NoReturn

import asyncpg
import grpc
import uvloop

from libs import memory, rpc, telemetry
from libs.clock import Clock, open_clock
from libs.consumer import Consumer
from libs.eventlog import EventLogServicer
from libs.inbox import Subscription
from libs.jobs import Job, Jobs
from libs.kafka import Publisher
from libs.outbox import Relay
from libs.postgres import FAULTS, MigrationMismatch, Postgres, migrate
from libs.rpc.server import Callers, Registrar
from libs.settings import Deployment, Misconfigured
from protos.events.v1 import events_pb2_grpc

MESH = frozenset({"referral", "distribution", "payout", "score", "leaderboard", "gateway"})
"""Every name that a certificate of this system may carry."""

_JOBS_POLL_SECONDS = 1.0
_TEST_JOBS_POLL_SECONDS = 0.05
_RETRY_SECONDS_MAX = 2.0

_NOT_ACCEPTED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.InsufficientPrivilegeError,
)

_log = telemetry.logger(__name__)

Part = Callable[[], Awaitable[None]]


class App:
    """What `wire` builds a service from."""

    def __init__(self, name: str, settings: Deployment, server: rpc.Server, clock: Clock, tls: rpc.Tls | None) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self._server = server
        self._tls = tls
        self._postgres: Postgres | None = None
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._parts: list[tuple[str, Part]] = []
        self._closing = AsyncExitStack()
        self._stop = asyncio.Event()
        self._wired = False
        self._life: asyncio.Task[Any] | None = None

    @property
    def postgres(self) -> Postgres:
        """The service's database; `open_postgres` comes first."""
        if self._postgres is None:
            raise RuntimeError("open_postgres comes first")
        return self._postgres

    async def open_postgres(self, schema: str, migrations: Path) -> Postgres:
        """Wait for PostgreSQL, bring the schema up to date and open the pool. Raises Misconfigured where it cannot."""
        dsn = self.settings.postgres_dsn
        if not dsn:
            raise Misconfigured("POSTGRES_DSN must be set.")
        self._postgres = await self._answered(lambda: _opened(dsn, schema, migrations, self))
        self.on_close(self._postgres.close)
        return self._postgres

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel to another service, closed at the end. Raises Misconfigured without its address."""
        if service not in self._channels:
            address: str = getattr(self.settings, f"{service}_address")
            if not address:
                raise Misconfigured(f"{service.upper()}_ADDRESS must be set.")
            channel = rpc.channel(address, caller=self.name, tls=self._tls, service=service)
            self._channels[service] = channel
            self.on_close(channel.close)
        return self._channels[service]

    def serve(
        self,
        registrar: Registrar,
        servicer: object,
        service: str,
        callers: Callers,
        *,
        quiet: frozenset[str] = frozenset(),
    ) -> None:
        """Answer a gRPC service; see `libs.rpc.Server.add`."""
        self._server.add(registrar, servicer, service, callers, quiet=quiet)

    def relay(self, postgres: Postgres) -> None:
        """Publish what commands append to the outbox, and answer who missed some of it."""
        publisher = Publisher(self._bootstrap(), self.settings.kafka_idempotent, self.settings.kafka_replication)
        self.on_close(publisher.close)
        self.run(Relay(postgres, publisher).run, "relay")
        registrar = events_pb2_grpc.add_EventLogServiceServicer_to_server
        self.serve(registrar, EventLogServicer(postgres), "creator.events.v1.EventLogService", MESH)

    def consume(self, subscriptions: Sequence[Subscription[Any]]) -> None:
        """Apply other services' events."""
        consumer = Consumer(
            self.postgres,
            self._bootstrap(),
            self.name,
            subscriptions,
            self.settings.heads_poll_seconds,
            replication=self.settings.kafka_replication,
        )
        self.run(consumer.run, "consumer")

    def jobs(self, jobs: Sequence[Job], name: str = "jobs") -> None:
        """Run periodic work; in test mode the clock is looked at often, because it jumps.

        Jobs of one name run one after the other; what waits for other services has a name of its own.
        """
        poll_seconds = _TEST_JOBS_POLL_SECONDS if self.settings.test_mode else _JOBS_POLL_SECONDS
        self.run(Jobs(self.postgres, self.clock, jobs, poll_seconds, name).run, name)

    def run(self, part: Part, name: str = "") -> None:
        """Do something in the background for as long as the service lives; its crash is the service's."""
        self._parts.append((name or getattr(part, "__qualname__", "part"), part))

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call at the end, when nothing is answered any more; the last one given is called first."""
        self._closing.push_async_callback(close)

    async def _answered(self, attempt: Callable[[], Coroutine[Any, Any, Postgres]]) -> Postgres:
        give_up = time.monotonic() + self.settings.start_wait_seconds
        pause = 0.1
        while True:
            try:
                return await attempt()
            except FAULTS as fault:
                if time.monotonic() + pause > give_up:
                    waited = f"{self.settings.start_wait_seconds:g} s"
                    raise Misconfigured(f"PostgreSQL did not answer within {waited}: {type(fault).__name__}.") from None
                _log.warning("waiting for PostgreSQL", fault=type(fault).__name__)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
            pause = min(pause * 2, _RETRY_SECONDS_MAX)

    def _bootstrap(self) -> str:
        if not self.settings.kafka_bootstrap:
            raise Misconfigured("KAFKA_BOOTSTRAP must be set.")
        return self.settings.kafka_bootstrap

    async def live(self, wire: Callable[["App"], Awaitable[None]]) -> bool:
        """Wire, answer, work, drain, close; False where a part crashed. For `run`."""
        self._life = asyncio.current_task()
        async with self._closing:
            try:
                await wire(self)
                memory.settle()
                self._wired = True
                return await self._work()
            except asyncio.CancelledError:
                if not self._stop.is_set():
                    raise
                _log.warning("stopped at once")
                return True

    def stop(self) -> None:
        """Drain and end; at once when still starting, or when told a second time."""
        hasty = self._stop.is_set() or not self._wired
        self._stop.set()
        if hasty and self._life is not None:
            self._life.cancel()

    async def _work(self) -> bool:
        await self._server.start()
        crashed = False
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(_told(name, part), name=name) for name, part in self._parts]
                await self._server.ready()
                _log.info("ready", grpc_port=self._server.port, probes_port=self._server.probes_port)
                await self._stop.wait()
                _log.info("draining")
                await self._server.drain()
                for part in parts:
                    part.cancel()
        except* Exception:  # noqa: BLE001 - the process ends, with the parts that still stand
            crashed = True  # Logged where it happened.
        if crashed:
            await self._server.drain(hasty=True)
        return not crashed


async def _opened(dsn: str, schema: str, migrations: Path, app: App) -> Postgres:
    try:
        await migrate(dsn, schema=schema, directory=migrations)
        return await Postgres.open(dsn, schema=schema, pool_max=app.settings.postgres_pool_max, name=app.name)
    except MigrationMismatch as error:
        raise Misconfigured(f"The schema {schema} does not fit: {error}.") from None
    except _NOT_ACCEPTED as error:
        # Their text may repeat the address with its password.
        raise Misconfigured(f"POSTGRES_DSN is not accepted: {type(error).__name__}.") from None


async def _told(name: str, part: Part) -> None:
    try:
        await part()
    except Exception:
        _log.exception("a part crashed", part=name)
        raise


def _built(name: str, settings: Deployment) -> App:
    try:
        clock = open_clock(settings.test_mode, settings.dev_clock_file)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"DEV_CLOCK_FILE cannot be used: {error}.") from None
    tls = rpc.Tls.read(settings)
    server = rpc.Server(
        name,
        listen=settings.grpc_listen,
        probes_listen=settings.probes_listen,
        tls=tls,
        test_mode=settings.test_mode,
        max_concurrent=settings.grpc_max_concurrent,
        drain_wait_seconds=settings.drain_wait_seconds,
        drain_grace_seconds=settings.drain_grace_seconds,
    )
    return App(name, settings, server, clock, tls)


async def _main(name: str, settings: Deployment, wire: Callable[[App], Awaitable[None]]) -> bool:
    try:
        metrics = telemetry.serve_metrics(settings.metrics_listen)
    except OSError as error:
        raise Misconfigured(f"METRICS_LISTEN {settings.metrics_listen} is not free: {error.strerror}.") from None
    telemetry.start_tracing(name, settings.otel_exporter_otlp_endpoint)
    try:
        app = _built(name, settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, app.stop)
        return await app.live(wire)
    finally:
        telemetry.stop_tracing()
        metrics.close()


def run(name: str, wire: Callable[[App], Awaitable[None]]) -> NoReturn:
    """Run a service until SIGTERM or SIGINT. Exit code 0 after a drain, 1 after a crash or a wrong setting.

    What keeps it from starting is told in one sentence on standard error, not in a trace.
    """
    settings = Deployment.read()
    telemetry.configure_logs(name, settings.log_level)
    if settings.test_mode:
        _log.warning("test mode", environment=settings.environment)
    healthy = uvloop.run(_main(name, settings, wire))
    _log.info("stopped", healthy=healthy)
    sys.exit(0 if healthy else 1)
