"""The stack on this machine: `python -m deploy.local up | down | run | serve | clean`.

`up` and `run` print on standard output what a program may read; everything for the person goes to standard error.
"""

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from deploy.local import leash, postgres, stubs
from deploy.local.ports import parse_base
from deploy.local.processes import environment, leashed
from deploy.local.state import PROJECT, State, born, open_state
from deploy.local.supervisor import Supervisor, rotate
from deploy.local.trouble import Trouble

START_SECONDS = 300
STOP_SECONDS = 60
POLL_SECONDS = 0.05


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def up(state: State) -> None:
    """Starts the stack in the background, if it is not up, and prints its line when everything is ready."""
    if not state.is_running():
        launch(state, leash_to_me=False)
    print(json.dumps(wait_until_ready(state)), flush=True)


def launch(state: State, *, leash_to_me: bool) -> int:
    """Starts a supervisor in a session of its own and returns its process id when it is ready."""
    state.make()
    argv = (sys.executable, "-m", "deploy.local", "serve")
    # Leashed, it is told to stop when this process ends, however it ends.
    command = leashed(argv, None, signal.SIGTERM) if leash_to_me else list(argv)
    with (state.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment(dict(os.environ)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_ready(state, process)
    except KeyboardInterrupt:
        process.terminate()
        process.wait(STOP_SECONDS)
        raise
    return process.pid


def wait_until_ready(state: State, process: subprocess.Popen[bytes] | None = None) -> dict[str, object]:
    """The stack's line, as soon as it is ready; says what it is doing meanwhile."""
    deadline = time.monotonic() + START_SECONDS
    said = ""
    while time.monotonic() < deadline:
        record = state.read_record()
        if record.get("phase") == "ready":
            line: dict[str, object] = record["line"]
            return line
        if (doing := record.get("doing", "")) and doing != said:
            said = doing
            say(f"{said}…")
        if process is not None and process.poll() is not None:
            raise Trouble(
                state.read_failure(process.pid) or f"The stack did not start: see {state.logs / 'supervisor.log'}."
            )
        if process is None and not state.is_running():
            raise Trouble("The stack ended while it was starting: run it again.")
        time.sleep(POLL_SECONDS)
    raise Trouble(f"The stack was not ready within {START_SECONDS} s: see {state.logs}, then `make down`.")


def down(state: State) -> None:
    """Ends the stack; does nothing when there is none."""
    deadline = time.monotonic() + STOP_SECONDS
    asked = False
    while state.is_running():
        record = state.read_record()
        if record and not asked:
            os.kill(record["pid"], signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline and record:
            os.kill(record["pid"], signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    while state.read_record():  # the lock is gone a moment before the process
        time.sleep(POLL_SECONDS)
    if state.directory.exists():
        left = state.end_leftovers()
        asked = asked or left > 0
    say("The stack is down." if asked else "The stack was not up.")


def serve(state: State) -> None:
    """Runs the stack in the foreground until SIGTERM or Ctrl-C."""
    state.make()
    if not state.try_lock(within_seconds=1):
        raise Trouble("The stack is up already: `make down` ends it.")
    state.record("starting")
    stop_on_signals()
    supervisor = None
    try:
        ports = parse_base(os.environ.get("PORT_BASE") or "8000", os.environ.get("REPLICAS") or "1")
        state.end_leftovers()
        rotate(state)
        supervisor = Supervisor(state, ports, say=lambda doing: state.record("starting", doing=doing))
        supervisor.start()
        state.record("ready", line=supervisor.line())
        while True:
            supervisor.tend()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        state.record("stopping")
    except Trouble as trouble:
        state.record("failed", sentence=str(trouble))
        raise
    finally:
        ignore_signals()
        if supervisor is not None:
            supervisor.stop()
            state.end_leftovers()


def run(state: State) -> int:
    """Starts the stack, plays the demo economy and stays until Ctrl-C, which ends all of it."""
    stop_on_signals()
    end_with_parent()
    ours = not state.is_running()
    pid = launch(state, leash_to_me=True) if ours else 0
    line = wait_until_ready(state)
    try:
        say(f"The stack is up: {line['gateway']}")
        failed = play(line, state)
        if not ours:
            say("The stack was up before and stays up: `make down` ends it.")
            return failed
        say("Everything stays up until Ctrl-C.")
        while born(pid) is not None:
            time.sleep(POLL_SECONDS)
        raise Trouble(state.read_failure(pid) or f"The stack ended by itself: see {state.logs / 'supervisor.log'}.")
    except KeyboardInterrupt:
        return 0
    finally:
        if ours:
            ignore_signals()
            down(state)


def play(line: dict[str, object], state: State) -> int:
    """The demo economy, against the stack that `line` tells of; its exit code."""
    argv = [
        sys.executable,
        "-m",
        "deploy.local.demo",
        "--stack",
        json.dumps(line),
        "--state",
        str(state.directory / "demo.json"),
    ]
    with subprocess.Popen(argv, cwd=PROJECT, env=environment({})) as demo:
        try:
            return demo.wait()
        except KeyboardInterrupt:
            demo.terminate()
            raise


def clean(state: State) -> None:
    """Ends the stack and removes everything that it made, the virtual environment excepted."""
    down(state)
    if postgres.server_owner() is not None:
        shutil.rmtree(postgres.outside(state.directory), ignore_errors=True)
    shutil.rmtree(state.directory, ignore_errors=True)


def stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """On Linux, SIGTERM to this process when make is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(leash.PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "run", "serve", "clean"))
    command = parser.parse_args().command
    state = open_state()
    try:
        if command in {"up", "run", "serve"}:
            stubs.generate()
        if command == "run":
            return run(state)
        {"up": up, "down": down, "serve": serve, "clean": clean}[command](state)
    except Trouble as trouble:
        say(str(trouble))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
