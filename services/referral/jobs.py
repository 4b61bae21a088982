"""Door 3, time."""

from collections.abc import Awaitable, Callable, Sequence
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


def all_jobs(postgres: Postgres, settings: Settings) -> Sequence[Job]:
    """Every job of referral."""

    async def expire_codes(now: datetime) -> None:
        metrics.expired_codes(await codes.expire_codes(postgres, now))

    async def purge(now: datetime) -> None:
        months = settings.attribution_window_months + settings.binding_retention_months
        await retention.purge(postgres, now, months=months)

    return [
        Job("expire_codes", timedelta(seconds=settings.code_expiry_every_seconds), expire_codes),
        Job("purge", timedelta(days=1), purge),
    ]


def erasure_jobs(erasing: Erasing, settings: Settings) -> Sequence[Job]:
    """What takes erasures on, and what becomes of money that has no owner any more."""

    async def forfeit_ownerless(now: datetime) -> None:
        await erasing.forfeit_ownerless(now, months=settings.attribution_window_months)

    return [
        Job("erase", timedelta(seconds=5), erasing.take_on_all),
        Job("forfeit_ownerless", timedelta(days=1), forfeit_ownerless),
    ]


def bonus_jobs(budgets: Budgets, granting: Granting, clock: Clock, settings: Settings) -> Sequence[Job]:
    """What moves bonuses on, in the order in which one step leads to the next."""
    every = timedelta(seconds=settings.bonus_every_seconds)
    return [
        _newest("release_budgets", every, clock, budgets.release_all),
        _newest("reserve_budgets", every, clock, budgets.reserve_all),
        _newest("check_bonuses", every, clock, granting.check_all),
        _newest("grant_bonuses", every, clock, granting.grant_all),
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

    async def verify_audit_log(_now: datetime) -> None:
        metrics.AUDIT_BROKEN_AT.set(await audit.broken_at(postgres) or 0)

    return [
        _newest("rescore", seldom, clock, rescore),
        _newest("look_at_standings", seldom, clock, look_at_standings),
        _newest("purge_signals", seldom, clock, purge_signals),
        _newest("escalate_reviews", often, clock, escalate_reviews),
        _newest("verify_audit_log", timedelta(days=1), clock, verify_audit_log),
    ]


def standing_jobs(enforcing: Enforcing, clock: Clock, settings: Settings) -> Sequence[Job]:
    """What tells distribution of standings until it answers."""
    every = timedelta(seconds=settings.enforce_every_seconds)
    return [_newest("enforce_standings", every, clock, enforcing.tell_all)]


def _newest(name: str, every: timedelta, clock: Clock, run: Callable[[datetime], Awaitable[None]]) -> Job:
    """A job for which, of several periods that passed, the last one alone finds everything that is due."""

    async def run_newest(now: datetime) -> None:
        if clock.now() - now < every:
            await run(now)

    return Job(name, every, run_newest)
