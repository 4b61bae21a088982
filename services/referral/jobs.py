"""Door 3, time."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from libs.clock import Clock
from libs.jobs import Job
from libs.postgres import Postgres
from services.referral import metrics
from services.referral.commands import codes
from services.referral.commands.budgets import Budgets
from services.referral.commands.granting import Granting
from services.referral.settings import Settings


def all_jobs(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Every job of referral."""

    async def expire_codes(now: datetime) -> None:
        metrics.expired_codes(await codes.expire_codes(postgres, now))

    return [Job("expire_codes", timedelta(seconds=settings.code_expiry_every_seconds), expire_codes)]


def bonus_jobs(budgets: Budgets, granting: Granting, clock: Clock, settings: Settings) -> Sequence[Job]:
    """What moves bonuses on, in the order in which one step leads to the next."""
    every = timedelta(seconds=settings.bonus_every_seconds)

    def newest(run: Callable[[datetime], Awaitable[None]]) -> Callable[[datetime], Awaitable[None]]:
        """Of several periods that passed, the last one alone finds everything that is due."""

        async def run_newest(now: datetime) -> None:
            if clock.now() - now < every:
                await run(now)

        return run_newest

    return [
        Job("release_budgets", every, newest(budgets.release_all)),
        Job("reserve_budgets", every, newest(budgets.reserve_all)),
        Job("check_bonuses", every, newest(granting.check_all)),
        Job("grant_bonuses", every, newest(granting.grant_all)),
    ]
