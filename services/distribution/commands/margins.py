"""Tiers that earn too little are suspended for referrers, and resumed."""

from collections.abc import Callable
from datetime import datetime

from libs import telemetry
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from services.distribution import metrics
from services.distribution.model.margins import Suspension, Verdicts
from services.distribution.rules import margins as rules
from services.distribution.rules.governance import first_instant
from services.distribution.store import governance
from services.distribution.store import margins as store

_log = telemetry.logger(__name__)


@retried
async def judge_tiers(postgres: Postgres, clock: Clock, due: datetime) -> Verdicts | None:
    """Judges the hour before `due`, a whole minute; None where that is past. What changes, changes from now on."""
    if rules.is_stale(due, clock.now()):
        return None
    async with postgres.transaction() as connection:
        await governance.lock(connection)
        suspended = await store.open_suspensions(connection)
        floor_bps = (await governance.former(connection)).margin_floor_bps
        verdicts = rules.judge(await store.hours(connection, due - rules.WINDOW, due), suspended, floor_bps)
        await store.drop_before(connection, due - rules.KEPT)
        if any(verdicts):
            await _carry_out(connection, verdicts, suspended, clock.now)
    metrics.SUSPENDED_TIERS.set(len(suspended) + len(verdicts.suspend) - len(verdicts.resume))
    for tier, margin_bps in verdicts.suspend.items():
        _log.warning("a model tier is suspended for its margin", model_tier=tier, margin_bps=margin_bps)
    return verdicts


async def _carry_out(
    connection: Connection, verdicts: Verdicts, suspended: dict[str, Suspension], clock: Callable[[], datetime]
) -> None:
    await governance.hold_charges(connection)
    now = clock()
    for tier in sorted(verdicts.resume):
        last = await store.last_finalized_at(connection, now, tier)
        await store.resume(
            connection, suspended[tier].suspension_id, first_instant(now, last, suspended[tier].from_time)
        )
    for tier, margin_bps in sorted(verdicts.suspend.items()):
        last = await store.last_finalized_at(connection, now, tier)
        end = await store.last_end(connection, tier)
        await store.suspend(connection, tier, first_instant(now, last, end), margin_bps)
