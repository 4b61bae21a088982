"""Lets a service's transactions about payouts through one at a time, so that it can be killed in front of each."""

import asyncio
from typing import Final

import asyncpg

from tests.support.eventually import eventually

WRITTEN: Final = {
    "payout": ("payout.payouts", "payout.payout_submissions"),
    "distribution": ("distribution.payout_holds",),
}
"""Where each service writes whatever happens to a payout."""


class Gate:
    """Keeps a service's transactions about payouts waiting, and lets one through at a time."""

    def __init__(self, dsn: str, service: str) -> None:
        self._dsn = dsn
        self._service = service
        self._lock = f"LOCK TABLE {', '.join(WRITTEN[service])} IN EXCLUSIVE MODE"
        self._holder: asyncpg.Connection | None = None

    async def close(self) -> object:
        """From now on each of them waits. One that holds the second table and wants the first is let through."""
        while True:
            self._holder = await asyncpg.connect(self._dsn)
            await self._holder.execute("BEGIN")
            try:
                return await self._holder.execute(self._lock)
            except asyncpg.DeadlockDetectedError:
                await self._holder.close()

    async def open(self) -> None:
        """Lets everything through."""
        if self._holder is not None:
            await self._holder.close()
        self._holder = None

    async def step(self) -> None:
        """Lets through whoever waits, and nobody who comes after: locks are given in the order they are asked for."""
        former = self._holder
        asking = asyncio.create_task(self.close())
        await eventually(lambda: self._waiting(own=True))
        if former is not None:
            await former.close()
        await asking

    async def has_waiting(self) -> bool:
        """Whether the service is about to write."""
        return await self._waiting(own=False)

    async def forget_the_dead(self) -> None:
        """Ends the sessions of a killed process at once, as its host's kernel would."""
        await self._ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1")

    async def _waiting(self, *, own: bool) -> bool:
        who = "usename <> $1 AND query LIKE 'LOCK TABLE %'" if own else "usename = $1"
        query = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {who}"  # noqa: S608
        return bool(await self._ask(query))

    async def _ask(self, query: str) -> int:
        connection = await asyncpg.connect(self._dsn)
        try:
            count: int = await connection.fetchval(query, self._service)
        finally:
            await connection.close()
        return count
