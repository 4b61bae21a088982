"""The whole stack as `make up` starts it, on ports and in a directory of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.local.ports import free_ports
from deploy.local.processes import leashed
from deploy.local.state import PROJECT, State


class Stack:
    """A running stack. Its processes may be killed: like in a cluster, whoever dies is started again."""

    def __init__(self, directory: Path, replicas: int = 1) -> None:
        self.directory = directory
        self.ports = free_ports(replicas)
        self._state = State(directory)
        self._state.make()
        self.secrets = self._state.secrets()
        self.environment = os.environ | {
            "LOCAL_STATE_DIR": str(directory),
            "PORT_BASE": str(self.ports.base),
            "REPLICAS": str(replicas),
        }
        self.start()

    def start(self) -> None:
        """Starts it, after `down` too, and waits until everything is ready."""
        # Leashed, so that a test run that is killed leaves nothing behind.
        self._supervisor = subprocess.Popen(
            leashed((sys.executable, "-m", "deploy.local", "serve"), None, signal.SIGTERM),
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not self._state.is_running() and self._supervisor.poll() is None:
            time.sleep(0.02)
        try:
            self.line = self.up()
        except BaseException:
            self._supervisor.terminate()
            self._supervisor.wait(60)
            raise

    def up(self) -> dict[str, Any]:
        """Waits until everything is ready, and returns the line that tells where."""
        line: dict[str, Any] = json.loads(self._run("up"))
        return line

    def processes(self) -> dict[str, int]:
        """The id of each process by its name."""
        return self._state.processes()

    def pid(self, name: str) -> int:
        return self.processes()[name]

    def tells(self) -> str:
        """What the supervisor says of itself: how far it is, and why it gave up."""
        phase = self._state.read_record().get("phase", "gone")
        return f"the stack: {phase} {self._state.read_failure(self._supervisor.pid)}".strip()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(name), number)

    def kill_supervisor(self) -> None:
        self._supervisor.kill()
        self._supervisor.wait()

    def clean(self) -> None:
        """Ends it and removes what it kept."""
        self.down()
        self._run("clean")

    def down(self) -> None:
        self._run("down")
        self._supervisor.wait(60)

    def _run(self, command: str) -> str:
        ran = subprocess.run(
            (sys.executable, "-m", "deploy.local", command),
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
