"""Door 3, time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.jobs import Job
from libs.postgres import Postgres
from services.distribution.commands import settling
from services.distribution.settings import Settings


def all_jobs(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Every job of distribution."""

    async def settle(now: datetime) -> None:
        await settling.settle(postgres, now, delay=settings.settlement_delay, hold=settings.earnings_hold)

    async def drop_matured(now: datetime) -> None:
        await settling.drop_matured(postgres, now)

    return [
        Job("settle", timedelta(minutes=1), settle),
        Job("drop_matured", timedelta(hours=1), drop_matured),
    ]
