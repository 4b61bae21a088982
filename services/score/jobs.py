"""Door 3, time."""

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import grpc

from libs.clock import Clock
from libs.jobs import Job
from libs.leader import lead
from libs.postgres import Postgres, is_fault
from libs.telemetry import logger
from services.score.commands import imports, wallets
from services.score.commands.advancing import Advancing
from services.score.commands.pulling import pull
from services.score.commands.schedule import Schedule
from services.score.model import Order
from services.score.settings import Settings

log = logger(__name__)

_PULL: Final = Order("job:pull", "The scheduled pull.")


def all_jobs(postgres: Postgres, clock: Clock, schedule: Schedule, settings: Settings) -> Sequence[Job]:
    """Every job of score."""

    async def drop_challenges(now: datetime) -> None:
        await wallets.drop_challenges(postgres, now)

    async def give_up_imports(_now: datetime) -> None:
        await imports.give_up_silent(postgres, clock, timedelta(seconds=settings.import_idle_seconds))

    async def pull_scores(_now: datetime) -> None:
        await pull(postgres, clock, settings, _PULL)

    async def measure(_now: datetime) -> None:
        await schedule.measure()

    jobs = [
        Job("drop_challenges", timedelta(hours=1), drop_challenges),
        Job("give_up_imports", timedelta(minutes=1), give_up_imports, sweeps=True),
        Job("measure_scores", timedelta(minutes=1), measure, sweeps=True),
    ]
    if settings.pull_url:
        every = timedelta(seconds=settings.pull_every_seconds)
        jobs.append(Job("pull_scores", every, pull_scores, settings.pull_timeout_seconds * 2))
    return jobs


class AdvancingRuns:
    """Begins runs that are due and takes them on, one replica at a time; what is away is waited for."""

    def __init__(self, postgres: Postgres, advancing: Advancing, schedule: Schedule, settings: Settings) -> None:
        self._postgres = postgres
        self._advancing = advancing
        self._schedule = schedule
        self._poll_seconds = settings.run_poll_seconds
        self._begin_seconds = settings.run_begin_seconds if settings.run_automatic else math.inf
        self._begin_at = 0.0 if settings.run_automatic else math.inf

    async def run(self) -> None:
        """Never returns."""
        await lead(self._postgres, "advance_runs", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        while True:
            # Asked through the connection that holds the lead: who has lost it learns so.
            await connection.execute("SELECT 1")
            try:
                if time.monotonic() >= self._begin_at and not await self._schedule.begin():
                    self._begin_at = time.monotonic() + self._begin_seconds
                await self._advancing.advance_all()
            except Exception as error:
                if not isinstance(error, grpc.aio.AioRpcError) and not is_fault(error):
                    raise
                log.warning("runs wait", error=type(error).__name__)
            await asyncio.sleep(self._poll_seconds)
