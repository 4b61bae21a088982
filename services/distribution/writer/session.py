"""The writer's own connection, and how one group goes through it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Self

import asyncpg

from libs.postgres import Postgres
from services.distribution.model import Posted, Row, Terms
from services.distribution.store import accounts, journal, revenue
from services.distribution.writer import posting
from services.distribution.writer.ticket import Ticket

_ACCOUNTS_MAX = 500_000

# Plans of look-ups made while tables were empty cost several times as much later.
_SET_UP = "SET plan_cache_mode = force_custom_plan"

_TRIES_MAX = 10


class RulesMoved(Exception):
    """The rules changed since they were read: nothing was written, and the group is to be decided again."""


class Written(NamedTuple):
    """What one group came to: its rows that were new, and the others as the journal has them."""

    rows: list[Row]
    earlier: dict[str, Posted]


class Session:
    """A connection with what is known through it: the terms at their revision, and accounts by name."""

    def __init__(self, connection: asyncpg.Connection, revision: int, terms: Terms) -> None:
        self._connection = connection
        self._revision = revision
        self._terms = terms
        self._account_ids: dict[str, int] = {}
        self._expects_replays = False

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
        """Write one group in one transaction. Raises RulesMoved, having read them anew.

        Writes first and asks after: only where that fails because a charge was there before, the journal is asked which
        ones they are, and the rest is written. While that happens (billing sends again what it sent) it is asked first.
        """
        rows = posting.rows(tickets, self._terms)
        earlier: dict[str, Posted] = {}
        for _ in range(_TRIES_MAX):
            if self._expects_replays:
                earlier |= await self._find(rows)
                rows = [row for row in rows if row.posted.inference_charge_id not in earlier]
            try:
                return Written(await self._post(rows, now), earlier)
            except asyncpg.UniqueViolationError:
                self._expects_replays = True
        raise asyncpg.SerializationError("others keep writing the same charges")

    async def _find(self, rows: Sequence[Row]) -> dict[str, Posted]:
        found = await journal.find_posted(self._connection, [row.posted.inference_charge_id for row in rows])
        self._expects_replays = bool(found)
        return found

    async def _post(self, rows: list[Row], now: datetime) -> list[Row]:
        if not rows:
            return rows
        amounts = posting.Amounts(rows)
        await self._open_accounts(amounts)
        micro = {self._account_ids[name]: amount_micro for name, amount_micro in amounts.micro.items()}
        told = posting.events(rows)
        if not await journal.post_group(self._connection, rows, micro, told, revision=self._revision, recorded_at=now):
            self._revision, self._terms = await revenue.load(self._connection)
            raise RulesMoved
        return rows

    async def _open_accounts(self, amounts: posting.Amounts) -> None:
        missing = {name: kind for name, kind in amounts.kinds.items() if name not in self._account_ids}
        if not missing:
            return
        if len(self._account_ids) > _ACCOUNTS_MAX:
            self._account_ids.clear()
            missing = amounts.kinds
        self._account_ids |= await accounts.open_accounts(self._connection, missing)
