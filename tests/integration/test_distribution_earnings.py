"""A share's way: pending, maturing, withdrawable; frozen, forfeited. The seven buckets add up at every step."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.ids import new_id
from protos.distribution.v1 import ledger_pb2, treasury_pb2
from services.distribution.commands import freezes, settling
from services.distribution.model import Part
from services.distribution.model.campaigns import Order
from tests.conftest import Database
from tests.support.books import assert_books
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running

DELAY, HOLD = timedelta(hours=48), timedelta(days=14)
ORDER = Order("olga", "FRAUD_CONFIRMED")
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    dsn, referral_dsn = await database("distribution"), await database("referral")
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as running:
        await referral.refer("payer", later(days=-3))
        yield running


async def settle(ledger: Ledger) -> int:
    return await settling.settle(ledger.postgres, ledger.clock.now(), delay=DELAY, hold=HOLD)


async def look(ledger: Ledger) -> ledger_pb2.GetEarningsResponse:
    """What the creator is told; checks what must be true of it at any time."""
    told = await ledger.balances_stub.GetEarnings(ledger_pb2.GetEarningsRequest(account_id="creator"))
    buckets = (
        told.pending_micro,
        told.maturing_micro,
        told.withdrawable_micro,
        told.frozen_micro,
        told.held_micro,
        told.paid_out_micro,
        told.reversed_micro,
    )
    assert min(buckets) >= 0
    assert told.accrued_micro == sum(buckets)
    accrued = await ledger.value("SELECT coalesce(sum(referrer_micro), 0)::bigint FROM distributions")
    assert told.accrued_micro == accrued
    for bucket, amount_micro in ((1, told.pending_micro), (2, told.maturing_micro), (4, told.frozen_micro)):
        assert sum(part.amount_micro for part in told.parts if part.bucket == bucket) == amount_micro
    assert all(part.HasField("unlocks_at") != bool(part.reason) for part in told.parts)
    async with ledger.postgres.connection() as connection:
        await assert_books(connection)
    return told


async def test_a_share_settles_48_hours_after_its_charge_and_is_withdrawable_14_days_after_it(ledger: Ledger) -> None:
    await ledger.finalize(charge("c"))
    assert (await look(ledger)).pending_micro == 10_000
    assert (await look(ledger)).parts[0].unlocks_at.ToDatetime(NOW.tzinfo) == NOW + HOLD
    ledger.clock.advance(DELAY - MICROSECOND)
    assert await settle(ledger) == 0
    ledger.clock.advance(MICROSECOND)
    assert await settle(ledger) == 1
    assert (await look(ledger)).maturing_micro == 10_000
    ledger.clock.advance(HOLD - DELAY - MICROSECOND)
    assert (await look(ledger)).maturing_micro == 10_000
    ledger.clock.advance(MICROSECOND)
    told = await look(ledger)
    assert (told.withdrawable_micro, told.maturing_micro, len(told.parts)) == (10_000, 0, 0)
    assert await settling.drop_matured(ledger.postgres, ledger.clock.now()) == 1
    assert (await look(ledger)).withdrawable_micro == 10_000


async def test_a_share_that_settles_late_is_withdrawable_at_once(ledger: Ledger) -> None:
    await ledger.finalize(charge("c"))
    ledger.clock.advance(timedelta(days=20))
    assert await settle(ledger) == 1
    assert (await look(ledger)).withdrawable_micro == 10_000


async def test_settling_twice_or_at_the_same_time_settles_once(ledger: Ledger) -> None:
    for number in range(40):
        await ledger.finalize(charge(f"c{number}"))
    ledger.clock.advance(DELAY)
    settled = await asyncio.gather(*(settle(ledger) for _ in range(8)))
    assert sum(settled) == 40
    assert await settle(ledger) == 0
    assert (await look(ledger)).maturing_micro == 400_000
    changes = await ledger.rows("SELECT distribution_id, count(*) FROM earning_changes GROUP BY 1 HAVING count(*) > 1")
    assert changes == []


async def test_charges_that_come_while_others_settle_are_neither_lost_nor_settled_early(ledger: Ledger) -> None:
    for number in range(30):
        await ledger.finalize(charge(f"early{number}"))
    ledger.clock.advance(DELAY)
    late = [charge(f"late{number}", finalized_at=ledger.clock.now()) for number in range(60)]
    await asyncio.gather(settle(ledger), settle(ledger), *(ledger.finalize(one) for one in late))
    told = await look(ledger)
    assert (told.maturing_micro, told.pending_micro) == (300_000, 600_000)


async def test_a_charge_whose_funding_has_not_cleared_has_a_reason_instead_of_a_date(ledger: Ledger) -> None:
    await ledger.finalize(charge("c", funding=(Part("payment", 100_000),)))
    ledger.clock.advance(timedelta(days=30))
    assert await settle(ledger) == 0
    told = await look(ledger)
    assert told.pending_micro == 10_000
    assert told.parts[0].reason != ledger_pb2.LOCK_REASON_UNSPECIFIED


async def test_a_freeze_follows_the_newest_standing_and_hides_nothing(ledger: Ledger) -> None:
    creator = await ledger.referral.commands.ref("creator")
    await ledger.finalize(charge("c"))
    ledger.clock.advance(HOLD)
    await settle(ledger)
    frozen = await freezes.set_frozen(ledger.postgres, ledger.clock, creator, frozen=True, standing_revision=2)
    assert frozen.frozen
    told = await look(ledger)
    assert (told.withdrawable_micro, told.frozen_micro) == (0, 10_000)
    late = await freezes.set_frozen(ledger.postgres, ledger.clock, creator, frozen=False, standing_revision=1)
    assert late.frozen
    await freezes.set_frozen(ledger.postgres, ledger.clock, creator, frozen=False, standing_revision=3)
    assert (await look(ledger)).withdrawable_micro == 10_000


async def test_forfeiture_takes_pending_and_settled_once_and_gives_the_backing_back(ledger: Ledger) -> None:
    creator = await ledger.referral.commands.ref("creator")
    await ledger.finalize(charge("old"))
    ledger.clock.advance(DELAY)
    await settle(ledger)
    await ledger.finalize(charge("new", finalized_at=ledger.clock.now()))
    request = treasury_pb2.ForfeitEarningsRequest(
        request_id=str(new_id()), account_ref=creator, reason="FRAUD_CONFIRMED", operator_id="olga", standing_revision=4
    )
    answers = await asyncio.gather(*(freezes.forfeit(ledger.postgres, ledger.clock, request, ORDER) for _ in range(8)))
    assert {(each.pending_micro, each.settled_micro) for each in answers} == {(10_000, 10_000)}
    told = await look(ledger)
    assert (told.reversed_micro, told.pending_micro, told.maturing_micro) == (20_000, 0, 0)
    balances = await ledger.balances()
    assert balances["platform:forfeited"] == 20_000
    assert "treasury:payout_reserve" not in balances
    await ledger.finalize(charge("after", finalized_at=ledger.clock.now()))
    assert (await look(ledger)).pending_micro == 10_000


async def test_forfeiture_racing_with_charges_and_settlement_keeps_the_books(ledger: Ledger) -> None:
    creator = await ledger.referral.commands.ref("creator")
    for number in range(20):
        await ledger.finalize(charge(f"early{number}"))
    ledger.clock.advance(DELAY)
    request = treasury_pb2.ForfeitEarningsRequest(request_id="f", account_ref=creator, reason="FRAUD", operator_id="o")
    late = [charge(f"late{number}", finalized_at=ledger.clock.now()) for number in range(60)]
    await asyncio.gather(
        settle(ledger),
        freezes.forfeit(ledger.postgres, ledger.clock, request, ORDER),
        *(ledger.finalize(one) for one in late),
    )
    await look(ledger)
