"""One child process: what it is, how it is started, when it is ready, how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.trouble import Trouble

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.02
LAST_WORDS_MAX, LAST_WORDS_SEARCHED = 300, 65_536


@dataclass(frozen=True)
class Owner:
    """The user that a process runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Spec:
    """A program to keep running: `stops` are signals to end it by and the seconds for each; SIGKILL follows."""

    name: str
    argv: tuple[str, ...]
    directory: Path
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    stops: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)
    death_signal: signal.Signals = signal.SIGKILL


class Process:
    """One run of a `Spec`; start it from the main thread, whose end is the child's end too (on Linux)."""

    def __init__(self, spec: Spec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.started_at = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._popen = subprocess.Popen(
                leashed(spec.argv, spec.owner, spec.death_signal),
                cwd=spec.directory,
                env=environment(spec.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._popen.poll()

    def last_words(self) -> str:
        """What this run wrote last about an error, or else its last line."""
        with contextlib.suppress(OSError), self.log.open("rb") as output:
            output.seek(self._log_start)
            return last_words(output.read().decode(errors="replace")[-LAST_WORDS_SEARCHED:])
        return ""

    def wait_ready(self, within_seconds: float) -> None:
        """Returns when it answers; raises Trouble when it dies first or is late."""
        deadline = time.monotonic() + within_seconds
        while not self.spec.ready():
            if self.exit_code is not None:
                raise Trouble(
                    f"{self.spec.name} ended with code {self.exit_code} ({self.last_words()}): see {self.log}."
                )
            if time.monotonic() > deadline:
                raise Trouble(f"{self.spec.name} was not ready within {within_seconds:.0f} s: see {self.log}.")
            time.sleep(POLL_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self._popen.send_signal(number)

    def ask_to_stop(self) -> None:
        self.signal(self.spec.stops[0][0])

    def stop(self, *, asked: bool = False) -> None:
        """Ends it within the seconds that its spec allows; `asked` when it has had the first signal."""
        for number, seconds in self.spec.stops:
            if not asked:
                self.signal(number)
            asked = False
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
                return
        self.kill()

    def kill(self) -> None:
        """Ends it, and what it started in its session, at once."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def last_words(text: str) -> str:
    """The last line of plain text or of an error in JSON, in one short line."""
    lines = text.strip().splitlines() or [""]
    return next(filter(None, map(_complaint, reversed(lines))), lines[-1])[:LAST_WORDS_MAX]


def _complaint(line: str) -> str:
    """What `line` complains of; nothing when it is a log line of a lower level."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict) or entry.get("level") not in {"error", "critical"}:
        return ""
    trace = [line.strip(" |+-") for line in str(entry.get("exception", "")).splitlines()]
    cause = next(filter(None, reversed(trace)), "")
    return ": ".join(filter(None, (str(entry.get("event", "")), cause)))


def leashed(argv: tuple[str, ...], owner: Owner | None, death_signal: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command line that runs `argv` as `owner` and ends it with this process."""
    uid, gid = (owner.uid, owner.gid) if owner else (-1, -1)
    numbers = (os.getpid(), int(death_signal), uid, gid)
    return [sys.executable, "-I", "-S", str(LEASH), *map(str, numbers), "--", *argv]


def run(argv: tuple[str, ...], owner: Owner | None, within_seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a short command as `owner` to its end."""
    return subprocess.run(
        leashed(argv, owner),
        cwd="/",
        env=environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_seconds,
        check=False,
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what bends Python or sends loopback through a proxy, and with `extra`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PG", "GRPC_"))}
    loopback = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return inherited | loopback | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | dict(extra)
