"""Door 3, time."""

from datetime import datetime, timedelta
from typing import Final

from libs.clock import Clock
from libs.jobs import Job
from libs.postgres import Postgres
from services.payout.commands import attempts
from services.payout.commands.advancing import Advancing
from services.payout.commands.callbacks import Applying, purge
from services.payout.commands.handover import Handover
from services.payout.commands.pricing import Pricing
from services.payout.commands.reconciling import Reconciling
from services.payout.rules.submissions import STALLED_AFTER
from services.payout.store import submissions

_OFTEN: Final = timedelta(seconds=1)
_STALLS_MAX: Final = 200


def ledger_jobs(advancing: Advancing) -> list[Job]:
    """Taking payouts on as far as the ledger is concerned; it waits for nobody but the ledger and referral."""

    async def advance(_due: datetime) -> None:
        await advancing.run()

    return [Job("advance", _OFTEN, advance, sweeps=True)]


def price_jobs(pricing: Pricing, every: timedelta) -> list[Job]:
    """Asking the provider for fees, so that nobody who asks for a payout has to wait for it."""
    return [Job("prices", every, pricing.refresh, sweeps=True)]


def provider_jobs(postgres: Postgres, clock: Clock, handover: Handover) -> list[Job]:
    """Handing over and following up; they wait for the provider."""

    async def hand_over(_due: datetime) -> None:
        await handover.run()

    async def stall(_due: datetime) -> None:
        async with postgres.connection() as connection:
            silent = await submissions.silent(connection, clock.now() - STALLED_AFTER, _STALLS_MAX)
        for payout_id in silent:
            await attempts.stall(postgres, clock, payout_id, "NO_NEWS")

    return [
        Job("hand-over", _OFTEN, hand_over, sweeps=True),
        Job("stall", timedelta(minutes=5), stall, sweeps=True),
    ]


def callback_jobs(postgres: Postgres, clock: Clock, applying: Applying) -> list[Job]:
    """Applying what was stored."""

    async def apply(_due: datetime) -> None:
        await applying.run()

    async def drop(_due: datetime) -> None:
        await purge(postgres, clock)

    return [
        Job("apply-callbacks", _OFTEN, apply, sweeps=True),
        Job("drop-callbacks", timedelta(hours=1), drop),
    ]


def reconciliation_jobs(reconciling: Reconciling) -> list[Job]:
    """Comparing, every hour, and when an operator asks."""

    async def hourly(_due: datetime) -> None:
        await reconciling.hourly()

    async def asked(_due: datetime) -> None:
        await reconciling.run()
        await reconciling.watch()

    return [
        Job("reconcile", timedelta(hours=1), hourly, 600, sweeps=True),
        Job("reconcile-asked", timedelta(seconds=5), asked, 600, sweeps=True),
    ]
