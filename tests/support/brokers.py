"""A broker of one's own, for tests that end it."""

import signal
from pathlib import Path

from deploy.local import servers
from deploy.local.ports import LOOPBACK
from deploy.local.processes import Process


class Broker:
    """A running broker; when it ends, every topic is gone, and it comes back on the same port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "kafka.log"
        self._process, self._port = servers.start_anywhere(lambda port: servers.tansu(directory, port), self._log)

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.signal(signal.SIGKILL)
        self._process.kill()

    def start(self) -> None:
        """Starts it again after `kill`, empty."""
        self._process = Process(servers.tansu(self._directory, self._port), self._log)
        self._process.wait_ready(30)

    def restart(self) -> None:
        self.kill()
        self.start()
