"""Fixtures that start real servers: PostgreSQL, Valkey, the broker and the whole stack."""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from deploy.local import postgres, servers, stubs
from deploy.local.ports import LOOPBACK
from deploy.local.processes import Spec
from tests.support import brokers, temporary
from tests.support.brokers import Broker
from tests.support.databases import Databases
from tests.support.eventually import eventually as poll
from tests.support.stacks import Stack

stubs.generate()  # so that plain `pytest` works from a fresh clone
temporary.choose()

# The same examples at every run, so that `make test` says here what it says elsewhere; new ones at night. How long it
# takes to think of them is the machine's.
PATIENT = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "default", max_examples=50, deadline=None, derandomize=True, suppress_health_check=PATIENT
)
hypothesis.settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=PATIENT)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

Database = Callable[[str], Awaitable[str]]


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory for the servers' data, gone at the end."""
    directory = postgres.scratch()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn(scratch: Path) -> Iterator[str]:
    """The superuser's address of a PostgreSQL server for this run of the tests."""
    cluster = postgres.Cluster(scratch / "postgres", 0, secrets.token_hex(8), hasty=True)

    def on(port: int) -> Spec:
        cluster.port = port
        return cluster.prepare()

    process, _ = servers.start_anywhere(on, scratch / "postgres.log")
    yield cluster.dsn()
    process.stop()


@pytest.fixture(scope="session")
def databases(postgres_dsn: str) -> Databases:
    return Databases(postgres_dsn)


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """`await database("referral")` → the address of a fresh database with that service's schema."""
    made: list[str] = []

    async def create(service: str) -> str:
        made.append(await databases.create(service))
        return databases.dsn_of(made[-1])

    yield create
    for name in made:
        await databases.drop(name)


@pytest.fixture
async def empty_database(databases: Databases) -> AsyncIterator[str]:
    """The address of a fresh database with nothing in it."""
    name = await databases.create(None)
    yield databases.dsn_of(name)
    await databases.drop(name)


@pytest.fixture(scope="session")
def redis_server(scratch: Path) -> Iterator[int]:
    """The port of a Valkey server for this run of the tests."""
    process, port = servers.start_anywhere(lambda port: servers.valkey(scratch / "redis", port), scratch / "redis.log")
    yield port
    process.stop()


@pytest.fixture
def redis_url(redis_server: int) -> str:
    """The address of a Valkey that holds nothing."""
    servers.flush(redis_server)
    return f"redis://{LOOPBACK}:{redis_server}/0"


# Files that take a minute begin first, so that no worker is left alone with one at the end.
LONG = (
    "test_demo_economy",
    "test_pages",
    "test_bench",
    "test_backup",
    "test_local_",
    "test_payout_process",
    "test_leaderboard_boards",
    "test_distribution_cuts",
    "test_distribution_process",
    "test_rolling_restart",
    "test_gateway_inputs",
    "test_whole_surface",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks whatever stands on a broker, so that no such test is forgotten by `make test-kafka`; long ones go first."""
    items.sort(key=lambda item: not item.path.name.startswith(LONG))
    for item in items:
        if brokers.FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("broker")


@pytest.fixture(scope="session")
def shared_broker(scratch: Path) -> Iterator[Broker]:
    broker = Broker(scratch / "shared")
    yield broker
    broker.kill()


@pytest.fixture
def kafka_bootstrap(shared_broker: Broker) -> str:
    """The address of a broker that all tests share: name topics apart."""
    return shared_broker.bootstrap


@pytest.fixture
def fresh_broker(tmp_path: Path) -> Iterator[Broker]:
    """An empty broker of this test's own, that it may `kill()` and `start()` again."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[object]]:
    """`await eventually(predicate, within=seconds)`: polls until it answers something true, and returns that."""
    return poll


@pytest.fixture(scope="module")
def stack(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The whole stack, for one module of tests."""
    brokers.require()
    running = Stack(scratch / request.module.__name__)
    yield running
    running.clean()
