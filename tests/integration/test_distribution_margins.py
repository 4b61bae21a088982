"""A tier that earns too little is suspended for referrers, on every replica from the same instant."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from libs.timestamps import to_timestamp
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution.commands import margins
from services.distribution.jobs import all_jobs
from tests.conftest import Database
from tests.support.distribution import (
    NOW,
    Ledger,
    RunningReferral,
    charge,
    later,
    ledger_running,
    referral_running,
    settings,
)
from tests.support.rules import assert_audited, governed

FIVE = timedelta(minutes=5)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def dsn(database: Database) -> str:
    return await database("distribution")


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[RunningReferral]:
    async with referral_running(await database("referral")) as running:
        await running.refer("payer", later(days=-3))
        yield running


@pytest.fixture
async def ledger(dsn: str, referral: RunningReferral) -> AsyncIterator[Ledger]:
    async with ledger_running(dsn, referral) as running:
        yield running
        await assert_audited(running)


async def judge(ledger: Ledger) -> None:
    """As the job does, at a whole five minutes."""
    (job,) = [job for job in all_jobs(ledger.postgres, ledger.clock, settings()) if job.name == "judge_tiers"]
    assert job.every == FIVE
    await job.run(ledger.clock.now())


async def suspensions(ledger: Ledger) -> list[tuple[str, datetime, datetime | None, int]]:
    rows = await ledger.rows("SELECT * FROM tier_suspensions ORDER BY suspension_id")
    return [(row["model_tier"], row["from_time"], row["to_time"], row["margin_bps"]) for row in rows]


async def spend(ledger: Ledger, cost_micro: int, revenue_micro: int = 100_000, tier: str = "standard") -> str:
    one = charge(
        revenue_micro=revenue_micro,
        provider_cost_micro=cost_micro,
        model_tier=tier,
        finalized_at=ledger.clock.now(),
    )
    return await ledger.try_finalize(one)


async def test_a_tier_is_suspended_resumed_and_replays_agree(
    dsn: str, referral: RunningReferral, ledger: Ledger
) -> None:
    async with ledger_running(dsn, referral) as other:
        first = charge("first", provider_cost_micro=0)
        assert await ledger.try_finalize(first) == "ATTRIBUTED"
        assert await spend(other, 900_000, 1_000_000) == "MARGIN_FLOOR"
        assert await spend(other, 0, tier="premium") == "ATTRIBUTED"
        for replica in (ledger, other):
            replica.clock.advance(FIVE)
        await judge(ledger)
        # 1,100,000 brought, 900,000 cost.
        assert await suspensions(ledger) == [("standard", NOW + FIVE, None, 1818)]
        for replica in (ledger, other):
            assert await spend(replica, 0) == "TIER_SUSPENDED"
            assert await spend(replica, 0, tier="premium") == "ATTRIBUTED"
            late = charge(provider_cost_micro=0, finalized_at=NOW + FIVE - MICROSECOND)
            assert await replica.try_finalize(late) == "ATTRIBUTED"
        assert await other.try_finalize(first) == "REPLAYED"
        for replica in (ledger, other):
            replica.clock.advance(timedelta(hours=1))
        await judge(other)
        end = NOW + FIVE + timedelta(hours=1)
        assert await suspensions(ledger) == [("standard", NOW + FIVE, end, 1818)]
        for replica in (ledger, other):
            assert await spend(replica, 0) == "ATTRIBUTED"
            within = charge(provider_cost_micro=0, finalized_at=end - MICROSECOND)
            assert await replica.try_finalize(within) == "TIER_SUSPENDED"


async def test_the_margin_is_weighed_by_volume_over_the_last_hour(ledger: Ledger) -> None:
    await spend(ledger, 100_000)
    ledger.clock.advance(timedelta(minutes=55))
    await spend(ledger, 0, 1_000_000)
    await spend(ledger, 69_999, tier="premium")
    ledger.clock.advance(FIVE)
    # Within the hour the loss is outweighed.
    await judge(ledger)
    assert await suspensions(ledger) == []
    await spend(ledger, 2_000_000)
    await spend(ledger, 10, 100, tier="")
    await spend(ledger, 99, 100, tier="")
    await spend(ledger, 99, 100, tier="")
    ledger.clock.advance(FIVE)
    await judge(ledger)
    await judge(ledger)
    assert [tier for tier, *_ in await suspensions(ledger)] == ["standard"]


async def test_at_the_floor_it_goes_on_and_a_micro_under_it_does_not(ledger: Ledger) -> None:
    await spend(ledger, 70_000)
    ledger.clock.advance(FIVE)
    await judge(ledger)
    assert await suspensions(ledger) == []
    await spend(ledger, 70_001)
    ledger.clock.advance(FIVE)
    await judge(ledger)
    assert [row[3] for row in await suspensions(ledger)] == [2999]


async def test_a_suspension_begins_after_what_was_finalized_already(ledger: Ledger) -> None:
    ahead = later(minutes=8)
    await spend(ledger, 100_000)
    ledger.clock.advance(FIVE)
    assert await ledger.try_finalize(charge(provider_cost_micro=0, finalized_at=ahead)) == "ATTRIBUTED"
    assert await ledger.try_finalize(charge(model_tier="premium", finalized_at=later(minutes=9))) == "ATTRIBUTED"
    await spend(ledger, 100_000)
    await judge(ledger)
    assert await suspensions(ledger) == [("standard", ahead + MICROSECOND, None, 0)]
    assert await ledger.try_finalize(charge(finalized_at=ahead)) == "ATTRIBUTED"
    assert await ledger.try_finalize(charge(finalized_at=ahead + MICROSECOND)) == "TIER_SUSPENDED"


async def test_old_and_dropped_minutes_change_nothing(ledger: Ledger) -> None:
    assert await ledger.try_finalize(charge(finalized_at=later(hours=-3))) == "ATTRIBUTED"
    assert await ledger.value("SELECT count(*) FROM tier_minutes") == 0
    await spend(ledger, 100_000)
    ledger.clock.advance(timedelta(hours=4))
    # A judgement of the past is not made; one that is due now drops what is old.
    assert await margins.judge_tiers(ledger.postgres, ledger.clock, later(minutes=5)) is None
    await judge(ledger)
    assert await suspensions(ledger) == []
    assert await ledger.value("SELECT count(*) FROM tier_minutes") == 0


async def test_many_judges_at_once_suspend_once_while_charges_pour_in(
    dsn: str, referral: RunningReferral, ledger: Ledger
) -> None:
    await spend(ledger, 10**9)
    ledger.clock.advance(FIVE)
    async with ledger_running(dsn, referral) as other:
        other.clock.advance(FIVE)

        async def pour(replica: Ledger, number: int) -> None:
            for place in range(12):
                at = replica.clock.now() + timedelta(microseconds=number * place)
                await replica.finalize(charge(provider_cost_micro=0, finalized_at=at))
                replica.clock.advance(MICROSECOND)

        due = ledger.clock.now()
        async with asyncio.TaskGroup() as group:
            for number in range(32):
                group.create_task(pour((ledger, other)[number % 2], number))
            for number in range(16):
                replica = (ledger, other)[number % 2]
                group.create_task(_judge(replica, due))
    assert len(await suspensions(ledger)) == 1
    wrong = await ledger.value(
        """
        SELECT count(*) FROM distributions, (SELECT from_time FROM tier_suspensions) AS suspended
        WHERE provider_cost_micro = 0 AND (referrer_outcome = 6) <> (finalized_at >= from_time)
        """
    )
    assert wrong == 0


async def _judge(replica: Ledger, due: datetime) -> None:
    await margins.judge_tiers(replica.postgres, replica.clock, due)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE tier_suspensions SET margin_bps = 0", asyncpg.RestrictViolationError),
        ("UPDATE tier_suspensions SET to_time = to_time + interval '1 s'", asyncpg.RestrictViolationError),
        ("UPDATE tier_suspensions SET to_time = NULL", asyncpg.RestrictViolationError),
        ("DELETE FROM tier_suspensions", asyncpg.RestrictViolationError),
        ("TRUNCATE tier_suspensions", asyncpg.RestrictViolationError),
        (
            "INSERT INTO tier_suspensions (model_tier, from_time, margin_bps) VALUES ('poor', '2026-03-01', 1)",
            asyncpg.ExclusionViolationError,
        ),
    ],
)
async def test_a_suspension_that_ended_cannot_be_changed(
    ledger: Ledger, statement: str, error: type[asyncpg.PostgresError]
) -> None:
    await ledger.execute(
        "INSERT INTO tier_suspensions (model_tier, from_time, margin_bps) VALUES ('poor', $1, 7)", later(days=1)
    )
    await ledger.execute("UPDATE tier_suspensions SET to_time = $1", later(days=2))
    with pytest.raises(error):
        await ledger.execute(statement)


async def test_suspensions_are_listed_newest_first(ledger: Ledger) -> None:
    for day, tier in enumerate(("a", "b", "a")):
        await ledger.execute(
            "UPDATE tier_suspensions SET to_time = $1 WHERE model_tier = 'a' AND to_time IS NULL", later(days=day)
        )
        await ledger.execute(
            "INSERT INTO tier_suspensions (model_tier, from_time, margin_bps) VALUES ($1, $2, -5)",
            tier,
            later(days=day),
        )
    async with governed(ledger) as rules:

        async def listed(**asked: Any) -> tuple[list[str], str]:
            page = await rules.stub.ListTierSuspensions(pb.ListTierSuspensionsRequest(**asked))
            return [
                f"{each.model_tier}{' ended' if each.HasField('to_time') else ''}" for each in page.suspensions
            ], page.next_page_token

        assert await listed() == (["a", "b", "a ended"], "")
        assert await listed(model_tier="a") == (["a", "a ended"], "")
        assert await listed(open_only=True) == (["a", "b"], "")
        first, token = await listed(page_size=2)
        assert (first, await listed(page_size=2, page_token=token)) == (["a", "b"], (["a ended"], ""))
        page = await rules.stub.ListTierSuspensions(pb.ListTierSuspensionsRequest(model_tier="b"))
        assert page.suspensions[0] == pb.TierSuspension(
            model_tier="b", from_time=to_timestamp(later(days=1)), margin_bps=-5
        )
