"""The writer's own connection, and the transaction of one group."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple, Self

import asyncpg

from libs.postgres import Postgres
from services.distribution.model import Posted, Row, Rule
from services.distribution.store import accounts, journal, revenue
from services.distribution.writer import posting
from services.distribution.writer.ticket import Ticket

_ACCOUNTS_MAX = 500_000

# Plans made while tables were empty cost several times as much later. A transaction that this process left behind,
# killed or cut off, must not block its successor for long.
_SET_UP = "SET plan_cache_mode = force_custom_plan; SET idle_in_transaction_session_timeout = '10s'"

# Held shared by every group commit, and alone by whoever changes the rules: see the migration.
_BEGIN = "BEGIN; SELECT pg_advisory_xact_lock_shared(1920298085, 1)"


class RulesMoved(Exception):
    """The rules changed since they were read: nothing was written, and the group is to be decided again."""


class Written(NamedTuple):
    """What one committed group came to: its rows as decided, and those that had been in the journal before."""

    rows: list[Row]
    earlier: dict[str, Posted]


class Session:
    """A connection with what is known through it: the rules at their revision, and accounts by name."""

    def __init__(self, connection: asyncpg.Connection, revision: int, revenue_rules: tuple[Rule, ...]) -> None:
        self._connection = connection
        self._revision = revision
        self._rules = revenue_rules
        self._account_ids: dict[str, int] = {}

    @classmethod
    async def open(cls, postgres: Postgres) -> Self:
        """Connect and read the rules."""
        connection = await postgres.dedicated()
        try:
            await connection.execute(_SET_UP)
            return cls(connection, *await revenue.load(connection))
        except BaseException:
            connection.terminate()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it may still be used."""
        return not self._connection.is_closed()

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        self._connection.terminate()

    async def write(self, tickets: Iterable[Ticket], now: datetime) -> Written:
        """Write one group in one transaction. Raises RulesMoved, having read them anew."""
        rows = posting.rows(tickets, self._rules)
        amounts = posting.Amounts(rows)
        await self._open_accounts(amounts)
        try:
            async with _transaction(self._connection):
                return Written(rows, await self._insert_and_post(rows, amounts, now))
        except RulesMoved:
            self._revision, self._rules = await revenue.load(self._connection)
            raise

    async def _insert_and_post(self, rows: list[Row], amounts: posting.Amounts, now: datetime) -> dict[str, Posted]:
        """Insert first and ask after: only what proves to be new moves balances and is told; the rest is returned."""
        inserted = await journal.insert(self._connection, rows, revision=self._revision, recorded_at=now)
        if inserted.revision != self._revision:
            raise RulesMoved
        earlier: dict[str, Posted] = {}
        new = inserted.inference_charge_ids
        if len(new) < len(rows):
            known = [row.posted.inference_charge_id for row in rows if row.posted.inference_charge_id not in new]
            earlier = await journal.find_posted(self._connection, known)
            rows = [row for row in rows if row.posted.inference_charge_id in new]
            amounts = posting.Amounts(rows)
        if rows:
            micro = {self._account_ids[name]: amount_micro for name, amount_micro in amounts.micro.items()}
            await accounts.add_and_tell(self._connection, micro, posting.events(rows), occurred_at=now)
        return earlier

    async def _open_accounts(self, amounts: posting.Amounts) -> None:
        missing = {name: kind for name, kind in amounts.kinds.items() if name not in self._account_ids}
        if not missing:
            return
        if len(self._account_ids) > _ACCOUNTS_MAX:
            self._account_ids.clear()
            missing = amounts.kinds
        self._account_ids |= await accounts.open_accounts(self._connection, missing)


@asynccontextmanager
async def _transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Commit, or leave nothing open: a connection that cannot even roll back is cut."""
    try:
        await connection.execute(_BEGIN)
        yield
        await connection.execute("COMMIT")
    except (asyncpg.PostgresError, RulesMoved):
        await _roll_back(connection)
        raise
    except BaseException:
        connection.terminate()
        raise


async def _roll_back(connection: asyncpg.Connection) -> None:
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    except BaseException:
        connection.terminate()
        raise
