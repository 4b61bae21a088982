"""What is measured: PostgreSQL, the broker, referral, distribution and the echo, each a process, on free ports."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import asyncpg
import grpc
import psutil
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.bench.charges import CREATORS, REFERRED_EACH, payer
from deploy.local import database, postgres, servers, services
from deploy.local.ports import LOOPBACK, free_port, free_ports, replica_name
from deploy.local.postgres import Cluster
from deploy.local.processes import Process, Spec, environment
from deploy.local.services import Surroundings
from deploy.local.state import PROJECT, State, role_password
from deploy.local.supervisor import stop_together
from libs.clock import MovableClock
from protos.referral.v1 import referral_pb2, referral_pb2_grpc

_READY_SECONDS = 60
_PROGRAM_SECONDS = 900
_AUTOVACUUM_SECONDS = 60
# Ten minutes past, hours are closed, and at the full hour the books are audited: business time begins after both.
_QUIET_MINUTE = 12


class Stage:
    """Every process of one run; leave it, and all of them and their data are gone."""

    def __init__(self, payers: int, *, hasty: bool = False) -> None:
        """`hasty` leaves durability out, for tests of the bench itself."""
        self._payers = payers
        self._directory = postgres.scratch()
        self.logs = self._directory / "logs"
        state = State(self._directory)
        state.make()
        self._secrets = state.secrets()
        self.ports = free_ports()
        self.clock_file = state.clock
        self.clock = MovableClock(state.clock)
        minute = int(time.time_ns() // 60_000_000_000) % 60
        self.clock.advance(timedelta(minutes=(_QUIET_MINUTE - minute) % 60))
        self.around = Surroundings(PROJECT, self.ports, state.clock, self._secrets)
        self.cluster = Cluster(
            self._directory / "postgres", self.ports.postgres, self._secrets["postgres_password"], hasty=hasty
        )
        self.echo_address = f"{LOOPBACK}:{free_port()}"
        self._processes: dict[str, Process] = {}

    @property
    def address(self) -> str:
        """Where distribution answers."""
        return f"{LOOPBACK}:{self.ports.service('distribution')}"

    @property
    def score_address(self) -> str:
        """Where score answers, once it is started."""
        return f"{LOOPBACK}:{self.ports.service('score')}"

    @property
    def superuser_dsn(self) -> str:
        return self.cluster.dsn(database.NAME)

    @property
    def dsn(self) -> str:
        """As distribution itself connects."""
        password = role_password(self._secrets["postgres_password"], "distribution")
        return self.cluster.dsn(database.NAME, user="distribution", password=password)

    def __enter__(self) -> Self:
        try:
            self._start(self.cluster.prepare())
            self._start(servers.tansu(self._directory / "kafka", self.ports.kafka))
            database.prepare(self.cluster.dsn(), self._secrets["postgres_password"])
            self.start("referral")
            self.start("distribution")
            self._start(self._echo())
            asyncio.run(self._register())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, service: str) -> float:
        """Start a service; how many seconds passed until it was ready."""
        began = time.monotonic()
        self._start(services.service(service, self.around))
        return time.monotonic() - began

    def open(self, *specs: Spec) -> None:
        """Start what is no service of the five."""
        for spec in specs:
            self._start(spec)

    def has(self, name: str) -> bool:
        return name in self._processes

    def stop(self, name: str) -> None:
        self._processes.pop(name).stop()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def start_replica(self, number: int) -> str:
        """Start another distribution on the same database, on free ports; where it answers."""
        spec, probes, address = services.service("distribution", self.around), free_port(), f"{LOOPBACK}:{free_port()}"
        own = {
            "GRPC_LISTEN": address,
            "PROBES_LISTEN": f"{LOOPBACK}:{probes}",
            "METRICS_LISTEN": f"{LOOPBACK}:{free_port()}",
        }
        env, name = {**spec.env, **own}, replica_name("distribution", number)
        self._start(replace(spec, name=name, env=env, ready=lambda: services.is_serving(probes)))
        return address

    def stop_replica(self, number: int) -> None:
        self.stop(replica_name("distribution", number))

    def call(self, kind: str, **options: object) -> dict[str, float]:
        """Let a process of its own call for a while, as `deploy.bench.calls` is told; rate is of charges a second."""
        return self.call_at(self.echo_address if kind.startswith("echo") else self.address, kind, **options)

    def call_at(self, address: str, kind: str, **options: object) -> dict[str, float]:
        """The same to another address."""
        given = {"ahead": self.clock.offset.total_seconds(), "payers": self._payers} | options
        return self.run("calls", kind, address, *(f"--{name}={value}" for name, value in given.items()))

    def produce(self, count: int, order: str) -> None:
        """Give charges to the broker, as billing would."""
        given = {"ahead": self.clock.offset.total_seconds(), "payers": self._payers, "order": order}
        bootstrap = f"{LOOPBACK}:{self.ports.kafka}"
        self.run("produce", bootstrap, str(count), *(f"--{name}={value}" for name, value in given.items()))

    def run(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run another program of this folder to its end, and return the line of JSON that it told."""
        argv = (sys.executable, "-m", f"deploy.bench.{module}", *arguments)
        variables = services.service("distribution", self.around).env
        ended = subprocess.run(
            argv,
            cwd=PROJECT,
            env=environment(variables),
            capture_output=True,
            text=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
        return self.told(ended, f"deploy.bench.{module}")

    def told(self, ended: subprocess.CompletedProcess[str], program: str) -> dict[str, Any]:
        """What a program's last line says. Raises RuntimeError with its own last words where it failed."""
        if ended.returncode:
            raise RuntimeError(f"{program}: {ended.stderr[-2000:]}")
        told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return told

    def cpu_seconds(self) -> float:
        """What distribution and the database have used of the cores so far."""
        database = psutil.Process(self.pid("postgres"))
        used = [each.cpu_times() for each in (self._process("distribution"), database, *database.children())]
        return sum(each.user + each.system for each in used)

    def memory_mib(self, name: str) -> float:
        """Resident memory of one process."""
        return float(self._process(name).memory_info().rss / 2**20)

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement as the superuser, who sees distribution's tables first."""
        return asyncio.run(_fetch(self.superuser_dsn, query, *arguments))

    def rest(self) -> None:
        """Let PostgreSQL end what the rows before have left it to do, as it has on a server that lives long.

        Autovacuum looks once a minute. A checkpoint gives segments of the log back: a server that has none left zeroes
        16 MiB for each new one, and all who commit wait for that, 60 to 100 ms.
        """
        time.sleep(_AUTOVACUUM_SECONDS)
        give_up = time.monotonic() + _PROGRAM_SECONDS
        while self.fetch("SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"):
            if time.monotonic() > give_up:
                raise RuntimeError("autovacuum does not end")
            time.sleep(1)
        self.fetch("CHECKPOINT")

    def _process(self, name: str) -> psutil.Process:
        return psutil.Process(self.pid(name))

    def _start(self, spec: Spec) -> None:
        process = self._processes[spec.name] = Process(spec, self.logs / f"{spec.name}.log")
        process.wait_ready(_READY_SECONDS)

    def _echo(self) -> Spec:
        probes = free_port()
        own = {
            "GRPC_LISTEN": self.echo_address,
            "PROBES_LISTEN": f"{LOOPBACK}:{probes}",
            "METRICS_LISTEN": f"{LOOPBACK}:{free_port()}",
        }
        argv = (sys.executable, "-m", "deploy.bench.echo")
        return Spec("echo", argv, PROJECT, lambda: services.is_serving(probes), self.around.environment() | own)

    async def _register(self) -> None:
        """Bring a part of the payers in by creators' codes; the others turn out to be organic."""
        created_at = Timestamp()
        created_at.FromDatetime(self.clock.now())
        gate = asyncio.Semaphore(16)
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{self.ports.service('referral')}") as channel:
            referral: Any = referral_pb2_grpc.ReferralServiceStub(channel)
            codes = [
                (await referral.CreateCode(referral_pb2.CreateCodeRequest(account_id=f"bench-creator-{n}"))).code.code
                for n in range(CREATORS)
            ]

            async def register(number: int) -> None:
                async with gate:
                    await referral.Register(
                        referral_pb2.RegisterRequest(
                            account_id=payer(number),
                            code=codes[number // REFERRED_EACH % CREATORS],
                            account_created_at=created_at,
                        )
                    )

            async with asyncio.TaskGroup() as tasks:
                for number in range(0, self._payers, REFERRED_EACH):
                    tasks.create_task(register(number))

    def _end(self) -> None:
        processes = list(self._processes.values())
        stop_together([process for process in processes if process.spec.name != "postgres"])
        stop_together(processes)
        shutil.rmtree(self._directory, ignore_errors=True)


async def _fetch(dsn: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "distribution"})
    try:
        return await connection.fetch(query, *arguments, timeout=600)
    finally:
        await connection.close()
