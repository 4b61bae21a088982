"""Periodic work in business time, by one replica: every period that passed is run, also when the clock jumps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from libs.clock import Clock
from libs.leader import lead
from libs.postgres import Postgres
from libs.telemetry import logger

log = logger(__name__)

CATCH_UP_MAX = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Job:
    """`run` is given the instant at which its period was due, a whole multiple of `every`.

    A crash between its effect and the record of it runs the period again: what it does must be repeatable.
    """

    name: str
    every: timedelta
    run: Callable[[datetime], Awaitable[None]]


class Jobs:
    """Runs the jobs of one service. Any number may run; one leads."""

    def __init__(self, postgres: Postgres, clock: Clock, jobs: Sequence[Job], poll_seconds: float) -> None:
        self._postgres = postgres
        self._clock = clock
        self._jobs = jobs
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Leads when it can; never returns."""
        await lead(self._postgres, "jobs", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        while True:
            await self.run_due(connection)
            await asyncio.sleep(self._poll_seconds)

    async def run_due(self, connection: asyncpg.Connection) -> None:
        """Runs what is due of each job; one that fails is tried again at the next wake and does not stop the others."""
        for job in self._jobs:
            last_run = await _last_run(connection, job, self._clock.now())
            try:
                for due in periods(last_run, self._clock.now(), job.every):
                    await job.run(due)
                    await connection.execute("UPDATE jobs SET last_run = $2 WHERE name = $1", job.name, due)
            except Exception:
                log.exception("job failed", job=job.name)


def periods(last_run: datetime, now: datetime, every: timedelta) -> list[datetime]:
    """The instants due since the last run, oldest first; of more than a thousand only the newest thousand."""
    passed = (_whole(now, every) - last_run) // every
    return [last_run + every * number for number in range(max(0, passed - CATCH_UP_MAX) + 1, passed + 1)]


async def _last_run(connection: asyncpg.Connection, job: Job, now: datetime) -> datetime:
    """When it last ran; a job that is new begins with the period that just ended."""
    last_run: datetime = await connection.fetchval(
        """
        WITH made AS (
            INSERT INTO jobs (name, last_run) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING last_run
        )
        SELECT last_run FROM made UNION ALL SELECT last_run FROM jobs WHERE name = $1 LIMIT 1
        """,
        job.name,
        _whole(now, job.every) - job.every,
    )
    # A period that was changed since leaves an odd instant behind.
    return _whole(last_run, job.every)


def _whole(instant: datetime, every: timedelta) -> datetime:
    return instant - (instant - _EPOCH) % every
