"""Door 3, time."""

import asyncio
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

    async def begin_run(_now: datetime) -> None:
        await schedule.begin()

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
    if settings.run_automatic:
        jobs.append(Job("begin_run", timedelta(hours=1), begin_run))
    return jobs


class AdvancingRuns:
    """Takes runs on, one replica at a time; what is away is waited for."""

    def __init__(self, postgres: Postgres, advancing: Advancing, poll_seconds: float) -> None:
        self._postgres = postgres
        self._advancing = advancing
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Never returns."""
        await lead(self._postgres, "advance_runs", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        while True:
            # Asked through the connection that holds the lead: who has lost it learns so.
            await connection.execute("SELECT 1")
            try:
                await self._advancing.advance_all()
            except Exception as error:
                if not isinstance(error, grpc.aio.AioRpcError) and not is_fault(error):
                    raise
                log.warning("runs wait", error=type(error).__name__)
            await asyncio.sleep(self._poll_seconds)
