"""PostgreSQL: a pool on one schema, transactions, commands that run again after a conflict, and migrations.

Commands take a `Postgres` and open one transaction; stores take a `Connection`. READ COMMITTED with explicit row locks
is the rule: a command says itself what it locks, in id order. One that is a single statement needs no transaction
around it: `connection`.
"""

import asyncio
import functools
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, ParamSpec, Self, TypeVar

import asyncpg

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

P = ParamSpec("P")
T = TypeVar("T")

PLUMBING = Path(__file__).parent / "migrations"
CONFLICTS = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # Another replica migrated the schema meanwhile; the driver forgot its plans when it raised this.
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
)
"""The transaction was rolled back for certain, and would go well when run again."""
FAULTS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement time-out
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a replica, while another server takes over
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver, when the server's farewell meets the next statement
    OSError,
    TimeoutError,
)
"""A dependency is down or slow; whether a commit under way happened is unknown. Ask `is_fault`."""

_TRIES_MAX = 5
_CONNECT_TIMEOUT_S = 5.0
_MIGRATION_LOCK = 0x63726561746F72
_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def is_fault(error: BaseException) -> bool:
    """True for one of FAULTS, unless it says that a value cannot be encoded: that is a bug, and stays one."""
    return isinstance(error, FAULTS) and not isinstance(error, ValueError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session of the pool may take, in seconds; 0 for ever."""

    statement: float = 30.0
    lock: float = 10.0
    idle_in_transaction: float = 30.0

    @property
    def command(self) -> float | None:
        """When this side stops waiting for a server that has fallen silent."""
        return self.statement + _CONNECT_TIMEOUT_S if self.statement else None


_TIMEOUTS = Timeouts()


class MigrationMismatch(Exception):
    """The schema was migrated by other files than these: a file that was applied is missing or has changed."""


class Postgres:
    """One database as one service sees it: its schema, and no other, on the search path."""

    def __init__(self, dsn: str, schema: str, pool: asyncpg.Pool, name: str, timeouts: Timeouts) -> None:
        self._dsn = dsn
        self._schema = schema
        self._pool = pool
        self._name = name
        self._timeouts = timeouts

    @classmethod
    async def open(
        cls, dsn: str, *, schema: str, pool_max: int = 10, name: str = "", timeouts: Timeouts = _TIMEOUTS
    ) -> Self:
        """Connects; raises one of FAULTS when the server cannot be reached."""
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=pool_max,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=timeouts.command,
            max_inactive_connection_lifetime=300,
            reset=_kept,
            server_settings=_server_settings(schema, name, timeouts),
        )
        return cls(dsn, schema, pool, name, timeouts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def schema(self) -> str:
        """The schema that unqualified names mean."""
        return self._schema

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncIterator[Connection]:
        """One transaction on a connection of the pool. A read-only one is a snapshot: REPEATABLE READ."""
        isolation: Literal["repeatable_read", "read_committed"] = "repeatable_read" if readonly else "read_committed"
        async with (
            self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool, for single statements."""
        async with self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as connection:
            yield connection

    async def dedicated(self) -> asyncpg.Connection:
        """A connection outside the pool, for a leader or a group writer; its owner closes it."""
        return await asyncpg.connect(
            self._dsn,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=self._timeouts.command,
            server_settings=_server_settings(self._schema, self._name, self._timeouts),
        )

    async def close(self) -> None:
        """Gives every connection back; those still busy after ten seconds are cut."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=10)
        except TimeoutError:
            self._pool.terminate()


async def _kept(_connection: asyncpg.Connection) -> None:
    """Saves a round trip after each use: whoever borrows a connection of the pool sets nothing but SET LOCAL.

    The driver itself still rolls back what was left open.
    """


def retried(command: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Runs a whole command again when its transaction lost against another one; at most five times.

    Only conflicts that rolled back are tried again. A connection lost at COMMIT is unknown, not failed: it surfaces.
    """

    @functools.wraps(command)
    async def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for tries_left in range(_TRIES_MAX - 1, -1, -1):
            try:
                return await command(*args, **kwargs)
            except CONFLICTS:
                if not tries_left:
                    raise
            await asyncio.sleep(random.uniform(0.005, 0.05) * (_TRIES_MAX - tries_left))  # noqa: S311 - jitter
        raise AssertionError

    return again


def violated(error: asyncpg.IntegrityConstraintViolationError) -> str | None:
    """The name of the constraint that was violated: a store turns it into the refusal it stands for."""
    name: str | None = getattr(error, "constraint_name", None)
    return name


@dataclass(frozen=True, slots=True)
class _Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(dsn: str, *, schema: str, directory: Path) -> None:
    """Brings a schema up to date: the plumbing of libs first, then the service's own files, each in one transaction.

    Safe with any number of replicas starting at once: they take turns. Raises MigrationMismatch.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise ValueError(f"{schema!r} is no name for a schema")
    wanted = [*_read(PLUMBING, "libs"), *_read(directory, schema)]
    settings = _server_settings(schema, f"{schema} migrations", Timeouts(0, 0, 0))
    connection = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S, server_settings=settings)
    try:
        await connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", _MIGRATION_LOCK % 2**31, schema)
        await _prepare(connection, schema)
        await _apply(connection, wanted)
    finally:
        # The lock goes with the session.
        await connection.close()


async def _prepare(connection: asyncpg.Connection, schema: str) -> None:
    # A login that may use its schema need not be allowed to make one.
    if not await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema):
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(
        """
        CREATE TABLE IF NOT EXISTS migrations (
            name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


async def _apply(connection: asyncpg.Connection, wanted: list[_Migration]) -> None:
    rows = await connection.fetch("SELECT name, checksum FROM migrations")
    applied: dict[str, str] = {row["name"]: row["checksum"] for row in rows}
    known = {migration.name: migration.checksum for migration in wanted}
    for name, checksum in sorted(applied.items()):
        if name not in known and not _newer(name, known):
            raise MigrationMismatch(f"{name} was applied to this schema, but is not among these files")
        if name in known and known[name] != checksum:
            raise MigrationMismatch(f"{name} has changed since it was applied: write a new migration instead")
    for migration in wanted:
        if migration.name not in applied:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
                )


def _newer(name: str, known: dict[str, str]) -> bool:
    """True for a migration of a later release: during a rolling update the old replica must still start."""
    owner = name.partition("/")[0]
    return name > max((each for each in known if each.partition("/")[0] == owner), default="")


def _read(directory: Path, owner: str) -> list[_Migration]:
    files = sorted(directory.glob("*.sql"))
    strangers = [path.name for path in files if not _FILE_NAME.fullmatch(path.name)]
    if strangers:
        raise ValueError(f"a migration is named 0001_what_it_does.sql, not {strangers[0]}")
    return [_Migration(f"{owner}/{path.name}", path.read_text(encoding="utf-8")) for path in files]


def _server_settings(schema: str, name: str, timeouts: Timeouts) -> dict[str, str]:
    return {
        "search_path": schema,
        "application_name": name or schema,
        "timezone": "UTC",
        "statement_timeout": f"{timeouts.statement * 1000:.0f}ms",
        "lock_timeout": f"{timeouts.lock * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction * 1000:.0f}ms",
        # A leader whose machine is gone holds its lock no longer than this: 19 seconds.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "3",
        "tcp_keepalives_count": "3",
    }
