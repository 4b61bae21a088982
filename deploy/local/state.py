"""Where the stack keeps what it must remember: `.local/` of the project, or LOCAL_STATE_DIR."""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from deploy.local import postgres
from deploy.local.trouble import require_writable

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = (
    "jwt_secret",
    "nowpayments_ipn_secret",
    "nowpayments_api_key",
    "fingerprint_key",
    "risk_hash_key",
    "pseudonym_key",
    "address_key",
)


class State:
    """The files of one stack."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.clock = directory / "clock"
        self._record = directory / "stack.json"
        self._processes = directory / "processes.json"
        self._lock: IO[str] | None = None

    def make(self) -> None:
        require_writable(self.directory)
        self.logs.mkdir(exist_ok=True)

    def postgres_directory(self) -> Path:
        """Beside the rest, or where the server's own user can get to it."""
        if postgres.server_owner() is None or postgres.reachable(self.directory):
            return self.directory / "postgres"
        return postgres.outside(self.directory) / "postgres"

    def secrets(self) -> dict[str, str]:
        """The development secrets by name, made at first sight and kept."""
        path = self.directory / "secrets.json"
        kept: dict[str, str] = _read(path)
        missing = [name for name in (*SECRETS, "postgres_password") if name not in kept]
        if missing:
            kept |= {name: secrets.token_hex(32) for name in missing}
            _write(path, kept, mode=0o600)
        return kept

    def try_lock(self, within_seconds: float = 0) -> bool:
        """True when this process is now the one that runs the stack; the kernel gives the lock back at its end.

        Give a moment when it matters: whoever asks `is_running` holds the lock for an instant.
        """
        deadline = time.monotonic() + within_seconds
        self._lock = (self.directory / "lock").open("w")
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.005)
                    continue
                self.unlock()
            return self._lock is not None

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_running(self) -> bool:
        """True while some process runs the stack."""
        if not self.directory.exists():
            return False
        free = self.try_lock()
        self.unlock()
        return not free

    def record(self, phase: str, **facts: object) -> None:
        """Notes how far the stack is: starting, ready or failed."""
        _write(self._record, {"phase": phase, "pid": os.getpid(), "born": born(os.getpid())} | facts)

    def read_record(self) -> dict[str, Any]:
        """What the living supervisor noted last; nothing when the note is a dead one's."""
        kept = _read(self._record)
        return kept if kept and born(kept["pid"]) == kept["born"] else {}

    def read_failure(self, pid: int) -> str:
        """Why the supervisor that had this id gave up."""
        kept = _read(self._record)
        return str(kept.get("sentence", "")) if kept.get("pid") == pid else ""

    def record_processes(self, children: Mapping[int, tuple[str, int]]) -> None:
        """Notes each child's id, name, birth and stop signal, so that a later start can end what a crash left."""
        entries = [
            {"pid": pid, "name": name, "born": born(pid), "stop": stop} for pid, (name, stop) in children.items()
        ]
        _write(self._processes, entries)

    def processes(self) -> dict[str, int]:
        """The id of each process by its name, as noted last."""
        return {entry["name"]: entry["pid"] for entry in _read(self._processes) or []}

    def end_leftovers(self, within_seconds: float = 15) -> int:
        """Ends what an earlier stack left running, and nothing else: the id and the birth must both fit."""
        left = [entry for entry in _read(self._processes) or [] if born(entry["pid"]) == entry["born"] is not None]
        for entry in left:
            os.kill(entry["pid"], entry["stop"])
        deadline = time.monotonic() + within_seconds
        for entry in left:
            while born(entry["pid"]) == entry["born"]:
                if time.monotonic() > deadline:
                    os.kill(entry["pid"], 9)
                time.sleep(0.02)
        self._processes.unlink(missing_ok=True)
        return len(left)


def role_password(password: str, service: str) -> str:
    """Each service's own password for the database, from the superuser's."""
    return hmac.new(password.encode(), service.encode(), hashlib.sha256).hexdigest()


def born(pid: int) -> float | None:
    """When the process began; None when there is none (a zombie is none)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def open_state() -> State:
    """The state that this command is about."""
    return State(Path(os.environ.get("LOCAL_STATE_DIR") or PROJECT / ".local").absolute())


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # half-written: as good as not there
        return {}


def _write(path: Path, content: object, *, mode: int = 0o644) -> None:
    making = path.with_name(f"{path.name}.{os.getpid()}")
    making.touch(mode=mode)
    making.write_text(json.dumps(content, indent=1))
    making.replace(path)
