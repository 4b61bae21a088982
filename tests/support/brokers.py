"""Brokers of one's own, for tests that end them: of the kind that BROKER chooses."""

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import brokers, kafka, servers
from deploy.local.kafka import Node
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.processes import Process, Spec

FIXTURES = frozenset({"shared_broker", "fresh_broker", "stack", "cluster"})
"""Whoever asks for one of these touches a broker."""
READY_SECONDS = 120


def require() -> str:
    """The kind of broker to use; skips the test where this machine cannot run it."""
    kind = brokers.chosen()
    if kind == "kafka" and (why := kafka.missing()):
        pytest.skip(why)
    return kind


class Broker:
    """A running broker; when it ends, every topic is gone, and it comes back on the same port."""

    def __init__(self, directory: Path) -> None:
        self.kind = require()
        self._directory = directory / "broker"
        self._log = directory / "kafka.log"
        self._controller_port = free_port()
        self._process, self._port = servers.start_anywhere(self._spec, self._log, READY_SECONDS)

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def idempotent(self) -> bool:
        """Whether producers may number what they send."""
        return brokers.is_idempotent(self.kind)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _spec(self, port: int) -> Spec:
        return brokers.server(self.kind, self._directory, port, self._controller_port)

    def kill(self) -> None:
        self._process.signal(signal.SIGKILL)
        self._process.kill()

    def start(self) -> None:
        """Starts it again after `kill`, empty."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._process = Process(self._spec(self._port), self._log)
        self._process.wait_ready(READY_SECONDS)

    def restart(self) -> None:
        self.kill()
        self.start()


class Cluster:
    """Nodes of Apache Kafka that copy one another; they keep their data when they end."""

    def __init__(self, directory: Path, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self._log = directory
        self._specs = [kafka.server(directory / f"node-{node.number}", node, nodes) for node in nodes]
        self._processes = [self._started(each) for each in range(len(nodes))]
        for process in self._processes:
            process.wait_ready(READY_SECONDS)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def _started(self, place: int) -> Process:
        return Process(self._specs[place], self._log / f"node-{place + 1}.log")

    def kill(self, place: int) -> None:
        self._processes[place].signal(signal.SIGKILL)
        self._processes[place].kill()

    def start(self, place: int) -> None:
        """Starts a node again after `kill`, with its data."""
        self._processes[place] = self._started(place)
        self._processes[place].wait_ready(READY_SECONDS)

    def end(self) -> None:
        for place in range(len(self.nodes)):
            self.kill(place)


@contextmanager
def cluster_of(count: int, directory: Path) -> Iterator[Cluster]:
    """So many nodes, until the block's end."""
    nodes = [Node(number, free_port(), free_port()) for number in range(1, count + 1)]
    cluster = Cluster(directory, nodes)
    try:
        yield cluster
    finally:
        cluster.end()
