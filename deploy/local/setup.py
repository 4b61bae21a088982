"""Makes `.venv`, installs what `constraints.txt` pins, makes the stubs: `python -m deploy.local.setup`.

Standard library only, and nothing newer than Python 3.6 before the first check: it must be able to say what is missing.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
import venv
from pathlib import Path

from deploy.local.trouble import Trouble, require_space, require_writable

OLDEST = (3, 11)
if sys.version_info < OLDEST:
    sys.exit(
        f"Python 3.11 or newer is needed and this is {platform.python_version()}: install one, or name it, for example"
        " `make PYTHON=/usr/bin/python3.12 run`."
    )

PROJECT = Path(__file__).resolve().parents[2]
SPACE_MIB = 1536
OFFLINE = (
    "NewConnectionError",
    "ConnectTimeout",
    "name resolution",
    "Max retries",
    "Read timed out",
    "ProxyError",
    "SSLError",
)
# Settings of the person's pip that would send packages elsewhere than into .venv.
UNWANTED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "PIP_CONSTRAINT",
    "PIP_REQUIRE_VIRTUALENV",
)


def set_up(project: Path = PROJECT) -> None:
    """Brings `.venv` and the stubs up to date; milliseconds when they are."""
    require_writable(project / ".local")
    with (project / ".local" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(project)
    stubs = subprocess.run([python_of(project), "-m", "deploy.local.stubs"], cwd=project, check=False)
    if stubs.returncode != 0:
        sys.exit(stubs.returncode)


def python_of(project: Path) -> str:
    return str(project / ".venv" / "bin" / "python")


def _install(project: Path) -> None:
    """Installs unless the stamp, written last, says that all of it is there."""
    stamp = project / ".venv" / "stamp"
    key = stamp_of(project)
    if Path(python_of(project)).exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == key:
        return
    require_writable(project)
    require_space(project, SPACE_MIB, "Setting up")
    _make_venv(project, clear=not _is_whole(stamp, key))
    stamp.unlink(missing_ok=True)
    print("Installing the packages that constraints.txt pins into .venv (about half a minute)…", file=sys.stderr)
    _pip(project)
    stamp.write_text(key, encoding="utf-8")


def stamp_of(project: Path) -> str:
    """What `.venv` was made by and where (its scripts name their own path), then what is in it."""
    maker = f"{sys.implementation.cache_tag} {platform.machine()} {project}"
    return f"{maker}\n{hashlib.sha256((project / 'constraints.txt').read_bytes()).hexdigest()}\n"


def _is_whole(stamp: Path, key: str) -> bool:
    """True when only the list of packages changed since it was made."""
    return stamp.exists() and stamp.read_text(encoding="utf-8").splitlines()[:1] == key.splitlines()[:1]


def _make_venv(project: Path, *, clear: bool) -> None:
    if not clear and Path(python_of(project)).exists():
        return
    if importlib.util.find_spec("ensurepip") is None:
        raise Trouble(
            "This Python has no venv module: install it (Debian, Ubuntu: `apt install python3-venv`), or name another"
            " Python, for example `make PYTHON=/usr/bin/python3.12 run`."
        )
    try:
        venv.create(project / ".venv", clear=True, symlinks=True, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise Trouble(f"Could not make .venv ({_last_line(error.output or b'')}): {_advice(project)}") from error
    except OSError as error:
        raise Trouble(f"Could not make .venv ({error.strerror}): {_advice(project)}") from error


def _advice(project: Path) -> str:
    return f"look whether {project} is writable and its disk has room, then run it again."


def _pip(project: Path) -> None:
    argv = [python_of(project), "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    done = subprocess.run(
        [*argv, *quiet, "--requirement", "constraints.txt"],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    log = project / ".local" / "setup.log"
    with contextlib.suppress(OSError):
        log.write_text(said, encoding="utf-8")
    raise Trouble(explain(said, log))


def explain(said: str, log: Path) -> str:
    """One sentence for what pip said."""
    if "No space left" in said:
        return f"The disk is full: free {SPACE_MIB} MiB and run it again."
    if "Permission denied" in said or "Read-only file system" in said:
        return "Cannot write into .venv: run as the owner of the project, or remove .venv and run it again."
    if any(word in said for word in OFFLINE):
        return f"The package index cannot be reached: check the network (or pip's proxy) and run it again; see {log}."
    if wanted := re.search(r"No matching distribution found for ([^\s(;]+)", said):
        return (
            f"There is no wheel of {wanted[1]} for this platform ({platform.system()} {platform.machine()}, Python"
            f" {platform.python_version()}): use Python 3.11 to 3.14 on Linux (glibc) or macOS, x86-64 or ARM64."
        )
    if "DO NOT MATCH THE HASHES" in said:
        return f"A package differs from the one that constraints.txt pins: nothing was installed from it; see {log}."
    return f"pip could not install the packages ({_last_line(said.encode())}): see {log}."


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


if __name__ == "__main__":
    try:
        set_up()
    except Trouble as trouble:
        sys.exit(str(trouble))
    except KeyboardInterrupt:
        sys.exit(130)
