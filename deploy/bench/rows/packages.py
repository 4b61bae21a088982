"""A ledger from a package, on the same server: what people would pick instead."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure
from deploy.local.state import PROJECT

_ROW = "django-hordak, a transaction per charge, 4 processes"
_NOTE = "5 legs; no balances kept, no fingerprints, attribution, earnings, events; no RPC"
_PROGRAM = PROJECT / "deploy" / "bench" / "hordak_ledger.py"
_PINNED = PROJECT / "deploy" / "bench" / "ledgers.txt"
_DATABASE = "hordak"
_INSTALL_SECONDS = 300


def measure(bench: Bench) -> Iterator[Figure]:
    """In a venv of its own, made at first; a row that says so where that cannot be made."""
    python = _installed(PROJECT / ".local" / "bench-ledgers")
    if python is None:
        yield Figure(_ROW, 0.0, "charges/s", note="not measured: its packages could not be installed")
        return
    bench.stage.fetch(f"CREATE DATABASE {_DATABASE}")
    seconds = bench.size.seconds
    done = subprocess.run(
        [str(python), str(_PROGRAM), bench.stage.cluster.dsn(_DATABASE), "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    told = bench.stage.told(done, "hordak_ledger")
    yield Figure(_ROW, told["rate"], "charges/s", bench.ratio(told["rate"]), note=_NOTE)


def _installed(place: Path) -> Path | None:
    """The venv's Python, when all that is pinned is in it."""
    python, stamp = place / "bin" / "python", place / "stamp"
    wanted = _PINNED.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(place, clear=True, symlinks=True, with_pip=True)
    argv = [str(python), "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-input"]
    # One of them comes as source only; it is pure Python.
    quiet = ["--disable-pip-version-check", "--quiet", "--requirement", str(_PINNED)]
    done = subprocess.run(
        argv + quiet, env=dict(os.environ), stdin=subprocess.DEVNULL, timeout=_INSTALL_SECONDS, check=False
    )
    if done.returncode:
        print("The packages of another ledger could not be installed; the bench goes on without.", file=sys.stderr)
        return None
    stamp.write_text(wanted, encoding="utf-8")
    return python
