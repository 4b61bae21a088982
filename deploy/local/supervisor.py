"""Keeps every process of the stack running, as Kubernetes would, until it is told to stop."""

import time
from collections.abc import Callable, Sequence

from deploy.local import brokers, database, postgres, servers, services
from deploy.local.ports import SERVICES, Ports, require_free
from deploy.local.postgres import Cluster
from deploy.local.processes import Process, Spec
from deploy.local.services import Surroundings
from deploy.local.state import PROJECT, State
from deploy.local.trouble import Trouble, require_space

QUICK_DEATHS_MAX = 5
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 0.2, 5.0
STEADY_SECONDS = 10.0
READY_SECONDS = 120.0
POLL_SECONDS = 0.05
SPACE_MIB = 512


class Kept:
    """A process that is started again when it dies unasked."""

    def __init__(self, spec: Spec, state: State) -> None:
        self.spec = spec
        self._log = state.logs / f"{spec.name}.log"
        self._deaths = 0
        self._start_at = 0.0
        self._was_ready = False
        self._lived_at = float("-inf")
        self.process = Process(spec, self._log)

    def wait_ready(self) -> None:
        """Waits for the first time, through deaths if need be: a service may give up on one that comes later."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._was_ready:
            self.tend()
            if time.monotonic() > deadline:
                raise Trouble(f"{self.spec.name} was not ready within {READY_SECONDS:.0f} s: see {self._log}.")
            time.sleep(POLL_SECONDS)

    def tend(self) -> bool:
        """Looks after it once; True when there is a new process. Raises Trouble when it dies again and again."""
        if self.process.exit_code is None:
            self._note_health()
            return False
        if not self._start_at:
            self._schedule()
        if time.monotonic() < self._start_at:
            return False
        self._start_at = 0.0
        self._was_ready = False
        self.process = Process(self.spec, self._log)
        return True

    def _note_health(self) -> None:
        if not self._was_ready and self.spec.ready():
            self._was_ready = True
        if self._was_ready:
            self._lived_at = time.monotonic()
        if self._was_ready and time.monotonic() - self.process.started_at > STEADY_SECONDS:
            self._deaths = 0

    def _schedule(self) -> None:
        """Decides when to start it again; what has lived is given up when it has not lived again for long.

        PostgreSQL that was killed dies at every start until its last query is over: seconds on a busy machine.
        """
        self._deaths = 1 if self._was_ready else self._deaths + 1
        if self._deaths >= QUICK_DEATHS_MAX and time.monotonic() > self._lived_at + READY_SECONDS:
            raise Trouble(
                f"{self.spec.name} died {self._deaths} times before it was ready, the last time with code"
                f" {self.process.exit_code} ({self.process.last_words()}): see {self._log}."
            )
        wait = min(BACKOFF_SECONDS * 2 ** (self._deaths - 1), BACKOFF_SECONDS_MAX)
        self._start_at = time.monotonic() + wait


class Supervisor:
    """Every process of one stack, in groups: each group starts when the one before is ready, and ends in reverse."""

    def __init__(self, state: State, ports: Ports, say: Callable[[str], None]) -> None:
        self._state = state
        self._ports = ports
        self._say = say
        self._groups: list[list[Kept]] = []
        self._secrets = state.secrets()
        self.around = Surroundings(PROJECT, ports, state.clock, self._secrets, brokers.chosen())
        self._cluster = Cluster(state.postgres_directory(), ports.postgres, self._secrets["postgres_password"])

    def line(self) -> dict[str, object]:
        return self.around.line(self._cluster.dsn(database.NAME))

    def start(self) -> None:
        """Returns when every process is ready; raises Trouble with the sentence for the person."""
        require_space(self._state.directory, SPACE_MIB, "The stack")
        require_free(self._ports)
        postgres.require_unused(self._cluster.directory)
        directory, ports = self._state.directory, self._ports
        self._say("starting PostgreSQL, Valkey, the broker and the payment provider's simulator")
        self._start_group(
            self._cluster.prepare(),
            servers.valkey(directory / "redis", ports.redis),
            brokers.server(self.around.broker, directory / "kafka", ports.kafka, ports.kafka_controller),
            services.provider(self.around),
        )
        database.prepare(self._cluster.dsn(), self._secrets["postgres_password"])
        self._say(f"starting {', '.join(SERVICES)} and the gateway")
        replicas = range(ports.replicas)
        self._start_group(*(services.service(name, self.around, each) for name in SERVICES for each in replicas))
        self._start_group(*(services.gateway(self.around, each) for each in replicas))

    def _start_group(self, *specs: Spec) -> None:
        group: list[Kept] = []
        self._groups.append(group)
        for spec in specs:
            group.append(Kept(spec, self._state))
            self._note()
        for kept in group:
            kept.wait_ready()
        self._note()

    def tend(self) -> None:
        """Starts again whatever died; raises Trouble when one cannot live."""
        started = [kept.tend() for kept in self._all()]
        if any(started):
            self._note()

    def stop(self) -> None:
        """Ends everything, the last started first, PostgreSQL at the very end."""
        for group in reversed(self._groups):
            stop_together([kept.process for kept in group if kept.spec.name != "postgres"])
        stop_together([kept.process for kept in self._all()])

    def _all(self) -> Sequence[Kept]:
        return [kept for group in self._groups for kept in group]

    def _note(self) -> None:
        self._state.record_processes(
            {kept.process.pid: (kept.spec.name, kept.spec.stops[0][0]) for kept in self._all()}
        )


def stop_together(processes: Sequence[Process]) -> None:
    """Asks all at once, then waits for each within its bound."""
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop(asked=True)


def rotate(state: State) -> None:
    """Keeps the last run's logs beside this one's."""
    for log in state.logs.glob("*.log"):
        if log.stat().st_size and log.name != "supervisor.log":
            log.replace(log.with_suffix(".previous"))
