"""The whole stack as `make up` starts it, on ports and in a directory of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.local.ports import free_ports
from deploy.local.state import PROJECT, State


class Stack:
    """A running stack. Its processes may be killed: like in a cluster, whoever dies is started again."""

    def __init__(self, directory: Path) -> None:
        self._state = State(directory)
        self._environment = os.environ | {"LOCAL_STATE_DIR": str(directory), "PORT_BASE": str(free_ports().base)}
        self.line: dict[str, Any] = json.loads(self._run("up"))

    def pid(self, name: str) -> int:
        return self._state.processes()[name]

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid(name), number)

    def down(self) -> None:
        self._run("down")

    def _run(self, command: str) -> str:
        ran = subprocess.run(
            (sys.executable, "-m", "deploy.local", command),
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout
