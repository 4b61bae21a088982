"""The stack as a person meets it: it starts, it stays up, it says what is wrong, it leaves nothing behind."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import psutil
import pytest
import redis.asyncio

from deploy.local import postgres
from deploy.local.ports import LOOPBACK, SERVICES, Ports, free_ports
from deploy.local.services import is_ok, is_serving
from deploy.local.state import PROJECT, State, born, role_password
from tests.support.stacks import Stack

Eventually = Callable[..., Awaitable[object]]


def command(name: str, directory: Path, base: object) -> subprocess.CompletedProcess[str]:
    """`python -m deploy.local NAME` against a state directory and ports of its own."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", name],
        cwd=PROJECT,
        env=os.environ | {"LOCAL_STATE_DIR": str(directory), "PORT_BASE": str(base)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """A state directory with a space in its name, and no stack left in it at the end."""
    directory = postgres.scratch()
    state = directory / "a state"
    yield state
    command("clean", state, 8000)
    shutil.rmtree(directory, ignore_errors=True)


def test_the_line_names_every_address_and_secret(stack: Stack) -> None:
    assert list(stack.line) == ["gateway", *SERVICES, "postgres", "redis", "kafka", "provider", "secrets"]
    assert {"jwt_secret", "nowpayments_ipn_secret"} <= set(stack.line["secrets"])


def test_up_again_prints_the_same_line_and_nothing_else(stack: Stack) -> None:
    assert stack.up() == stack.line


async def test_the_addresses_answer(stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        assert (await http.get(f"{stack.line['gateway']}/readyz")).status == 200
        assert (await http.get(f"{stack.line['provider']}/status")).status == 200
    async with redis.asyncio.Redis.from_url(stack.line["redis"]) as client:
        assert await client.ping()


def test_the_quick_start_works_line_by_line(stack: Stack) -> None:
    page = (PROJECT / "docs/quick-start.md").read_text()
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    for name in ("gateway", "distribution", "referral"):
        told = f"{LOOPBACK}:{getattr(Ports(), name, None) or Ports().service(name)}"
        assert told in lines
        lines = lines.replace(told, stack.line[name].removeprefix("http://"))
    ended = subprocess.run(
        ["/bin/sh", "-eu"],
        input=lines.replace("make audit", ".venv/bin/python -m deploy.local.audit").replace(
            ".venv/bin/python", shlex.quote(sys.executable)
        ),
        cwd=PROJECT,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "referrer_micro: 100000\n" in ended.stdout
    assert '"pending_micro":"100000"' in ended.stdout
    assert ("replayed" in ended.stdout) == bool(shutil.which("grpcurl"))


async def test_a_service_cannot_read_the_tables_of_another(stack: Stack) -> None:
    superuser = stack.line["postgres"]
    password = role_password(stack.secrets["postgres_password"], "leaderboard")
    connection = await asyncpg.connect(superuser, user="leaderboard", password=password)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT 1 FROM referral.migrations")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE SCHEMA another")
    finally:
        await connection.close()


def test_the_secrets_are_for_the_owner_only(stack: Stack) -> None:
    assert (stack.directory / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["referral", "kafka", "redis", "gateway", "provider"])
async def test_whoever_is_killed_is_started_again(stack: Stack, eventually: Eventually, name: str) -> None:
    before = stack.pid(name)
    stack.kill(name)
    await eventually(lambda: stack.pid(name) != before and born(stack.pid(name)) is not None, within=90)
    ports = stack.ports
    await eventually(lambda: is_serving(ports.probes("referral")) and is_ok(ports.gateway, "/readyz"), within=90)


async def test_a_killed_database_comes_back_with_its_data(stack: Stack, eventually: Eventually) -> None:
    before = stack.pid("postgres")
    stack.kill("postgres")
    await eventually(lambda: stack.pid("postgres") != before, within=90)

    async def migrations() -> object:
        connection = await asyncpg.connect(stack.line["postgres"])
        try:
            return await connection.fetchval("SELECT count(*) FROM referral.migrations")
        finally:
            await connection.close()

    assert await eventually(migrations, within=90)


async def test_a_supervisor_that_is_killed_leaves_no_process(place: Path, eventually: Eventually) -> None:
    running = Stack(place)
    children = list(running.processes().values())
    assert len(children) == len(SERVICES) + 5
    running.kill_supervisor()
    await eventually(lambda: not any(map(born, children)), within=90)
    again = Stack(place)  # what the first left is no obstacle
    again.clean()
    assert not any(map(born, again.processes().values()))


def test_down_is_idempotent(place: Path) -> None:
    for _ in range(2):
        ran = command("down", place, 8000)
        assert (ran.returncode, ran.stderr) == (0, "The stack was not up.\n")


def failed(ran: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a start that failed: the last line, with no trace above it and nothing on standard output."""
    assert ran.returncode == 1
    assert not ran.stdout
    assert "Traceback" not in ran.stderr
    return ran.stderr.splitlines()[-1]


def test_a_busy_port_is_named_with_its_holder_and_the_way_out(place: Path) -> None:
    ports = free_ports()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.kafka))
        holder.listen()
        sentence = failed(command("up", place, ports.base))
    name = psutil.Process().name()
    assert f"Port {ports.kafka} (kafka) is in use by {name} (process {os.getpid()})" in sentence
    assert "PORT_BASE=" in sentence


@pytest.mark.parametrize("base", ["80", "65500", "many", "-1", "٣٠٠٠"])
def test_a_base_that_is_no_port_is_refused(place: Path, base: str) -> None:
    assert failed(command("up", place, base)).startswith(f"PORT_BASE={base} is no port")


def test_data_of_another_version_is_not_touched(place: Path) -> None:
    state = State(place)
    state.make()
    data = state.postgres_directory()
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    sentence = failed(command("up", place, free_ports().base))
    assert "holds data of PostgreSQL 16" in sentence
    assert "make clean" in sentence


def test_a_pid_file_of_a_server_that_is_gone_is_removed_whatever_has_its_number_now(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    for content in (f"{os.getpid()}\n{tmp_path}\n", "999999999\n"):
        pid_file.write_text(content)
        postgres.require_unused(tmp_path)
        assert not pid_file.exists()


def test_a_process_that_has_the_number_of_a_child_of_ours_is_left_alone(tmp_path: Path) -> None:
    state = State(tmp_path)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state.record_processes({bystander.pid: ("referral", signal.SIGTERM)})
        text = (tmp_path / "processes.json").read_text()
        (tmp_path / "processes.json").write_text(text.replace('"born": ', '"born": 1'))
        assert state.end_leftovers() == 0
        assert bystander.poll() is None
        state.record_processes({bystander.pid: ("referral", signal.SIGTERM)})
        assert state.end_leftovers() == 1
    finally:
        bystander.kill()
        bystander.wait()


def test_the_ports_never_overlap() -> None:
    numbers = list(Ports(8000).named().values())
    assert len(numbers) == len(set(numbers))
    assert {8001, 8021, 8041, 8080, 8046, 8032, 8033, 8034, 8035} <= set(numbers)


def test_who_asks_for_ports_at_the_same_time_is_given_others() -> None:
    """Nothing listens on a stack's ports until it starts, seconds after they were chosen."""
    asking = "from deploy.local.ports import free_ports; print(*(free_ports().base for _ in range(20))); input()"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", asking], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    given = [each.stdout.readline().split() for each in both if each.stdout]
    for each in both:
        each.communicate("\n")
    assert len({base for bases in given for base in bases}) == 40
