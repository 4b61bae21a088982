"""Door 3, time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.jobs import Job
from libs.postgres import Postgres
from services.referral import metrics
from services.referral.commands import codes
from services.referral.settings import Settings


def all_jobs(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Every job of referral."""

    async def expire_codes(now: datetime) -> None:
        metrics.expired_codes(await codes.expire_codes(postgres, now))

    return [Job("expire_codes", timedelta(seconds=settings.code_expiry_every_seconds), expire_codes)]
