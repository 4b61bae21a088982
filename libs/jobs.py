"""Periodic work in business time, by one replica: every period that passed is run, also when the clock jumps."""

import asyncio
import heapq
import operator
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
from prometheus_client import Counter, Histogram

from libs.clock import Clock
from libs.leader import lead
from libs.postgres import Postgres
from libs.telemetry import logger, span

log = logger(__name__)

JOB_SECONDS = Histogram("creator_job_seconds", "Time that one period of a job took.", ["service", "job"])
JOB_FAILURES = Counter("creator_job_failures_total", "Periods of a job that failed.", ["service", "job"])

CATCH_UP_MAX = 1000
_REST_MAX_S = 10.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Job:
    """`run` is given the instant at which its period was due, a whole multiple of `every`.

    A crash between its effect and the record of it runs the period again: what it does must be repeatable. It is cut
    off after `timeout_seconds` of real time, and tried again. One that `sweeps` finds everything that is due by itself,
    so that of several periods that passed only the last is run.
    """

    name: str
    every: timedelta
    run: Callable[[datetime], Awaitable[None]]
    timeout_seconds: float = 300.0
    sweeps: bool = False


class Jobs:
    """Runs the jobs of one service one after the other, in the order they fall due. Any number may run; one leads."""

    def __init__(
        self, postgres: Postgres, clock: Clock, jobs: Sequence[Job], poll_seconds: float, name: str = "jobs"
    ) -> None:
        """`name` tells groups of jobs of one service apart: each has its leader, and none waits for another."""
        self._postgres = postgres
        self._clock = clock
        self._jobs = jobs
        self._poll_seconds = poll_seconds
        self._name = name
        self._rests: dict[str, _Rest] = {}
        self._last_runs: dict[str, datetime] = {}

    async def run(self) -> None:
        """Leads when it can; never returns."""
        await lead(self._postgres, self._name, self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        # Whoever led meanwhile knows better.
        self._last_runs.clear()
        while True:
            await self.run_due(connection)
            await asyncio.sleep(self._poll_seconds)

    async def run_due(self, connection: asyncpg.Connection) -> None:
        """Runs what is due. A job that fails is tried again at a later wake, and does not stop the others."""
        now = self._clock.now()
        due = [await self._due(connection, job, now) for job in self._jobs]
        failed: set[str] = set()
        for instant, job in heapq.merge(*due, key=operator.itemgetter(0)):
            if job.name not in failed and not await self._run_period(connection, job, instant):
                failed.add(job.name)

    async def _due(self, connection: asyncpg.Connection, job: Job, now: datetime) -> list[tuple[datetime, Job]]:
        rest, remembered = self._rests.get(job.name), self._last_runs.get(job.name)
        if (rest and not rest.is_over) or (remembered and now - remembered < job.every):
            return []
        # Asked through the connection that holds the lead: who has lost it learns so before it runs anything.
        last_run = self._last_runs[job.name] = await _last_run(connection, job, now)
        passed = periods(last_run, now, job.every)
        return [(instant, job) for instant in (passed[-1:] if job.sweeps else passed)]

    async def _run_period(self, connection: asyncpg.Connection, job: Job, due: datetime) -> bool:
        labels = (self._postgres.schema, job.name)
        try:
            with JOB_SECONDS.labels(*labels).time(), span(f"job {job.name}"):
                async with asyncio.timeout(job.timeout_seconds):
                    await job.run(due)
        except Exception:
            JOB_FAILURES.labels(*labels).inc()
            log.exception("job failed", job=job.name, due=due.isoformat())
            before = self._rests.get(job.name)
            self._rests[job.name] = before.longer() if before else _Rest(self._poll_seconds)
            return False
        await connection.execute("UPDATE jobs SET last_run = $2 WHERE name = $1", job.name, due)
        self._last_runs[job.name] = due
        self._rests.pop(job.name, None)
        return True


class _Rest:
    """How long a job that failed is left alone: the next wake at first, then ever longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def longer(self) -> "_Rest":
        return _Rest(min(2 * self._seconds, _REST_MAX_S))


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
