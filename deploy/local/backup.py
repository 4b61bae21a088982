"""All five schemas to one consistent point, and back: `python -m deploy.local.backup save|restore FILE`.

One dump is one snapshot of one database: what referral has published and what leaderboard has applied fit each other,
down to the event. `save` runs beside the stack, which goes on; `restore` needs it down. What it means for the broker,
for Redis and for the payment provider stands in docs/runbooks/backup.md.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local import database
from deploy.local.ports import parse_base
from deploy.local.postgres import Cluster
from deploy.local.processes import Process, environment
from deploy.local.state import State, open_state
from deploy.local.trouble import Trouble

START_SECONDS = 60
PROGRAM_SECONDS = 3600


def save(programs: Path, dsn: str, file: Path) -> None:
    """Writes the database of `dsn` to `file`, whole or not at all."""
    making = file.with_name(f"{file.name}.making")
    making.touch(mode=0o600)
    _run(programs / "pg_dump", dsn, "--format=custom", "--compress=1", f"--file={making}")
    making.replace(file)


def restore(cluster: Cluster, file: Path) -> None:
    """Puts what `file` holds in the place of the running cluster's database."""
    asyncio.run(_drop(cluster.dsn()))
    database.prepare(cluster.dsn(), cluster.password)
    options = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error")
    dsn = cluster.dsn(database.NAME)
    _run(cluster.programs / "pg_restore", dsn, *options, f"--dbname={urlsplit(dsn).path[1:]}", str(file))


def save_stack(state: State, file: Path) -> None:
    """Saves what the running stack keeps."""
    record = state.read_record()
    if record.get("phase") != "ready":
        raise Trouble("The stack is not up, so there is nothing to save: `make up` starts it.")
    save(_cluster(state).programs, str(record["line"]["postgres"]), file)


def restore_stack(state: State, file: Path) -> None:
    """Restores into the stack that is down."""
    if not file.is_file():
        raise Trouble(f"There is no {file}: `make backup` makes one.")
    state.make()
    if not state.try_lock(within_seconds=1):
        raise Trouble("The stack is up: `make down` first.")
    try:
        state.end_leftovers()
        cluster = _cluster(state)
        server = Process(cluster.prepare(), state.logs / "restore.log")
        try:
            server.wait_ready(START_SECONDS)
            restore(cluster, file)
        finally:
            server.stop()
    finally:
        state.unlock()


def _cluster(state: State) -> Cluster:
    ports = parse_base(os.environ.get("PORT_BASE") or "8000")
    return Cluster(state.postgres_directory(), ports.postgres, state.secrets()["postgres_password"])


async def _drop(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {database.NAME} WITH (FORCE)")
    finally:
        await connection.close()


def _run(program: Path, dsn: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs; the password goes by the environment, where others cannot read it."""
    parts = urlsplit(dsn)
    bare = urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))
    where = () if program.name == "pg_restore" else (f"--dbname={bare}",)
    told = {
        "PGPASSWORD": parts.password or "",
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGUSER": parts.username or "",
    }
    ended = subprocess.run(
        [str(program), *where, *arguments],
        env=environment(told),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines() or ["it said nothing"]
        raise Trouble(f"{program.name} failed: {said[0]}.")


def main() -> int:
    """0 when it is done; else 1 and a sentence."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.backup", description=__doc__)
    parser.add_argument("command", choices=("save", "restore"))
    parser.add_argument("file", type=Path)
    asked = parser.parse_args()
    try:
        {"save": save_stack, "restore": restore_stack}[asked.command](open_state(), asked.file.absolute())
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    sys.stderr.write(f"{'Saved to' if asked.command == 'save' else 'Restored from'} {asked.file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
