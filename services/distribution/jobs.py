"""Door 3, time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.clock import Clock
from libs.jobs import Job
from libs.postgres import Postgres
from services.distribution.commands import (
    answers,
    audit,
    campaigns,
    closing,
    erasing,
    governance,
    margins,
    refunds,
    settling,
    treasury,
)
from services.distribution.settings import Settings


def all_jobs(postgres: Postgres, clock: Clock, settings: Settings) -> Sequence[Job]:
    """Every job of distribution."""

    async def settle(now: datetime) -> None:
        await settling.settle(postgres, now, delay=settings.settlement_delay, hold=settings.earnings_hold)

    async def drop_matured(now: datetime) -> None:
        await settling.drop_matured(postgres, now)

    async def apply_refunds(_now: datetime) -> None:
        await refunds.apply_all(postgres, clock)

    async def measure_coverage(_now: datetime) -> None:
        await treasury.measure_coverage(postgres)
        await campaigns.measure_campaigns(postgres)

    async def close_hours(now: datetime) -> None:
        await closing.close_hours(postgres, now)

    async def schedule_audit(now: datetime) -> None:
        await audit.schedule(postgres, now)

    async def activate_rules(_now: datetime) -> None:
        await governance.activate_cooled(postgres, clock)

    async def judge_tiers(now: datetime) -> None:
        await margins.judge_tiers(postgres, clock, now)

    return [
        Job("apply_refunds", timedelta(minutes=1), apply_refunds, sweeps=True),
        Job("settle", timedelta(minutes=1), settle),
        Job("drop_matured", timedelta(hours=1), drop_matured),
        Job("activate_rules", timedelta(minutes=1), activate_rules, sweeps=True),
        Job("judge_tiers", timedelta(minutes=5), judge_tiers),
        Job("measure_coverage", timedelta(minutes=1), measure_coverage, sweeps=True),
        Job("close_hours", timedelta(minutes=10), close_hours),
        Job("audit", timedelta(hours=1), schedule_audit),
        *_retention(postgres, settings),
    ]


def _retention(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Those that forget."""

    async def purge_answers(_now: datetime) -> None:
        await answers.purge(postgres, settings.answers_kept)

    async def forget_bindings(now: datetime) -> None:
        months = settings.attribution_window_months + settings.binding_retention_months
        await erasing.forget_bindings(postgres, now, months=months)

    return [
        Job("purge_answers", timedelta(days=1), purge_answers, sweeps=True),
        Job("forget_bindings", timedelta(days=1), forget_bindings),
    ]
