"""Door 3, time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.clock import Clock
from libs.jobs import Job
from libs.postgres import Postgres
from services.referral import metrics
from services.referral.commands import audit, codes, retention, review, risk, standings
from services.referral.commands.budgets import Budgets
from services.referral.commands.enforcing import Enforcing
from services.referral.commands.erasure import Erasing
from services.referral.commands.granting import Granting
from services.referral.settings import Settings
from services.referral.store import figures


def all_jobs(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Every job of referral."""

    async def expire_codes(now: datetime) -> None:
        metrics.expired_codes(await codes.expire_codes(postgres, now))

    async def purge(now: datetime) -> None:
        months = settings.attribution_window_months + settings.binding_retention_months
        await retention.purge(postgres, now, months=months)

    async def measure_launch(now: datetime) -> None:
        async with postgres.connection() as connection:
            metrics.launch(await figures.count(connection, now - timedelta(days=30), now))

    return [
        Job("expire_codes", timedelta(seconds=settings.code_expiry_every_seconds), expire_codes, sweeps=True),
        Job("purge", timedelta(days=1), purge),
        Job("measure_launch", timedelta(hours=1), measure_launch),
    ]


def erasure_jobs(erasing: Erasing, settings: Settings) -> Sequence[Job]:
    """What takes erasures on, and what becomes of money that has no owner any more."""

    async def forfeit_ownerless(now: datetime) -> None:
        await erasing.forfeit_ownerless(now, months=settings.attribution_window_months)

    return [
        Job("erase", timedelta(seconds=5), erasing.take_on_all, sweeps=True),
        Job("forfeit_ownerless", timedelta(days=1), forfeit_ownerless),
    ]


def bonus_jobs(budgets: Budgets, granting: Granting, settings: Settings) -> Sequence[Job]:
    """What moves bonuses on, in the order in which one step leads to the next."""
    every = timedelta(seconds=settings.bonus_every_seconds)
    return [
        Job("release_budgets", every, budgets.release_all, sweeps=True),
        Job("reserve_budgets", every, budgets.reserve_all, sweeps=True),
        Job("check_bonuses", every, granting.check_all, sweeps=True),
        Job("grant_bonuses", every, granting.grant_all, sweeps=True),
    ]


def risk_jobs(postgres: Postgres, clock: Clock, settings: Settings) -> Sequence[Job]:
    """What time does to risk, standings and reviews; it decides no case."""
    often, seldom = timedelta(seconds=settings.review_every_seconds), timedelta(seconds=settings.risk_every_seconds)

    async def rescore(now: datetime) -> None:
        await risk.rescore_all(postgres, clock, now)

    async def look_at_standings(_now: datetime) -> None:
        await standings.look_at_all(postgres, clock)

    async def purge_signals(now: datetime) -> None:
        metrics.PURGED.inc(await risk.purge_signals(postgres, now - settings.risk_signals))

    async def escalate_reviews(now: datetime) -> None:
        await review.escalate_all(postgres, now)
        metrics.reviews_waiting(await review.waiting(postgres, now))

    async def verify_audit_log(_now: datetime) -> None:
        metrics.AUDIT_BROKEN_AT.set(await audit.broken_at(postgres) or 0)

    return [
        Job("rescore", seldom, rescore, sweeps=True),
        Job("look_at_standings", seldom, look_at_standings, sweeps=True),
        Job("purge_signals", seldom, purge_signals, sweeps=True),
        Job("escalate_reviews", often, escalate_reviews, sweeps=True),
        Job("verify_audit_log", timedelta(days=1), verify_audit_log, sweeps=True),
    ]


def standing_jobs(enforcing: Enforcing, settings: Settings) -> Sequence[Job]:
    """What tells distribution of standings until it answers."""
    every = timedelta(seconds=settings.enforce_every_seconds)
    return [Job("enforce_standings", every, enforcing.tell_all, sweeps=True)]
