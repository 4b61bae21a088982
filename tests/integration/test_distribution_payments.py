"""Purchases, payments and refunds, in any order: what they clear, and what they take back."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from libs.refusals import Refusal
from services.distribution.commands import payments, refunds, settling
from services.distribution.model import Part
from services.distribution.model.payments import Payment, PaymentState, Report
from tests.conftest import Database
from tests.support.books import assert_books
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running

DELAY, HOLD = timedelta(hours=48), timedelta(days=14)
ACCOUNT = "01a1fc6b-5253-7483-b418-80bf1cd55f0b"


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    dsn, referral_dsn = await database("distribution"), await database("referral")
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as running:
        await referral.refer("payer", later(days=-3))
        yield running
        async with running.postgres.connection() as connection:
            await assert_books(connection)


def report(state: PaymentState, paid: int = 0, refunded: int = 0, payment: str = "p", **other: Any) -> Report:
    cleared_at = other.pop("cleared_at", NOW if paid else None)
    return Report(payment, other.pop("order", "o"), state, paid, refunded, cleared_at, 1, **other)


CONFIRMED = report(PaymentState.CONFIRMED, 100_000)
HALF = report(PaymentState.PARTIALLY_REFUNDED, 100_000, 50_000)
ALL = report(PaymentState.REFUNDED, 100_000, 100_000)


async def tell(ledger: Ledger, one: Report) -> Payment:
    payment, _ = await payments.record_payment(ledger.postgres, ledger.clock, one)
    await refunds.apply_refunds(ledger.postgres, ledger.clock, one.payment_id)
    return payment


async def buy(ledger: Ledger, order: str = "o", price: int = 100_000) -> None:
    await payments.record_purchase(ledger.postgres, ledger.clock, order, ACCOUNT, price)


async def settle(ledger: Ledger) -> int:
    return await settling.settle(ledger.postgres, ledger.clock.now(), delay=DELAY, hold=HOLD)


def funded(charge_id: str = "c", amount: int = 100_000, payment: str = "p") -> Any:
    return charge(charge_id, revenue_micro=amount, funding=(Part(payment, amount),))


async def creator_micro(ledger: Ledger) -> int:
    balances = await ledger.balances()
    return sum(amount for name, amount in balances.items() if name.startswith("creator:"))


async def test_a_share_settles_48_hours_after_its_payment_cleared(ledger: Ledger) -> None:
    await buy(ledger)
    await ledger.finalize(funded())
    await tell(ledger, report(PaymentState.PENDING))
    ledger.clock.advance(timedelta(days=5))
    assert await settle(ledger) == 0
    await tell(ledger, report(PaymentState.CONFIRMED, 100_000, cleared_at=ledger.clock.now()))
    ledger.clock.advance(DELAY - timedelta(microseconds=1))
    assert await settle(ledger) == 0
    ledger.clock.advance(timedelta(microseconds=1))
    assert await settle(ledger) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(["buy", "pay", "refund", "charge"])))
async def test_the_order_of_arrival_does_not_matter(ledger: Ledger, order: tuple[str, ...]) -> None:
    steps: dict[str, Callable[[], Awaitable[object]]] = {
        "buy": lambda: buy(ledger),
        "pay": lambda: tell(ledger, CONFIRMED),
        "refund": lambda: tell(ledger, HALF),
        "charge": lambda: ledger.finalize(funded()),
    }
    for step in order:
        await steps[step]()
    await refunds.apply_all(ledger.postgres, ledger.clock)
    balances = await ledger.balances()
    assert await creator_micro(ledger) == 5_000
    assert balances["platform:receipts"] == -50_000
    assert balances["commons"] == 2_250
    assert balances["treasury:payout_reserve"] == 5_000


async def test_a_refund_takes_the_unspent_part_first(ledger: Ledger) -> None:
    await buy(ledger)
    await tell(ledger, CONFIRMED)
    await ledger.finalize(funded("c", 40_000))
    await tell(ledger, HALF)
    assert await creator_micro(ledger) == 4_000
    await tell(ledger, report(PaymentState.PARTIALLY_REFUNDED, 100_000, 80_000))
    assert await creator_micro(ledger) == 2_000


async def test_what_is_settled_stays_the_creators_and_the_platform_bears_it(ledger: Ledger) -> None:
    await buy(ledger)
    await tell(ledger, CONFIRMED)
    await ledger.finalize(funded())
    ledger.clock.advance(DELAY)
    assert await settle(ledger) == 1
    await tell(ledger, ALL)
    balances = await ledger.balances()
    assert await creator_micro(ledger) == 10_000
    assert balances["platform:clawback_loss"] == -10_000
    assert balances["treasury:payout_reserve"] == 10_000
    assert balances.get("platform:receipts", 0) == 0


async def test_a_full_refund_leaves_nothing_behind(ledger: Ledger) -> None:
    await buy(ledger)
    for number, amount in enumerate((33_333, 1, 7, 66_659)):
        await ledger.finalize(funded(f"c{number}", amount))
    await tell(ledger, HALF)
    await tell(ledger, ALL)
    assert await ledger.balances() == {}
    assert await ledger.rows("SELECT * FROM pending_earnings") == []


async def test_refunds_reported_in_steps_twice_and_at_once_take_back_once(ledger: Ledger) -> None:
    await buy(ledger)
    for number in range(20):
        await ledger.finalize(funded(f"c{number}", 5_000))
    steps = [report(PaymentState.PARTIALLY_REFUNDED, 100_000, amount) for amount in range(10_000, 100_000, 10_000)]
    await asyncio.gather(*(tell(ledger, step) for step in [CONFIRMED, *steps, ALL, *steps, CONFIRMED, ALL]))
    await refunds.apply_all(ledger.postgres, ledger.clock)
    assert await ledger.balances() == {}


async def test_two_payments_of_one_charge_that_clear_at_once_date_it(ledger: Ledger) -> None:
    await buy(ledger)
    for number in range(10):
        parts = (Part("p", 50_000), Part("q", 50_000))
        await ledger.finalize(charge(f"c{number}", funding=parts))
    await asyncio.gather(
        tell(ledger, report(PaymentState.CONFIRMED, 500_000)),
        tell(ledger, report(PaymentState.CONFIRMED, 500_000, payment="q", cleared_at=later(hours=-1))),
    )
    assert await ledger.value("SELECT count(*) FROM pending_earnings WHERE cleared_at IS NULL") == 0


async def test_charges_racing_with_reports_of_their_payment_end_the_same(ledger: Ledger) -> None:
    await buy(ledger)
    await asyncio.gather(
        *(ledger.finalize(funded(f"c{number}", 10_000)) for number in range(10)),
        tell(ledger, CONFIRMED),
        tell(ledger, HALF),
    )
    await refunds.apply_all(ledger.postgres, ledger.clock)
    assert await creator_micro(ledger) == 5_000
    assert await ledger.value("SELECT count(*) FROM pending_earnings WHERE cleared_at IS NULL") == 0


async def test_an_older_report_changes_nothing(ledger: Ledger) -> None:
    await buy(ledger)
    await tell(ledger, HALF)
    for stale in (CONFIRMED, report(PaymentState.PENDING), report(PaymentState.FAILED)):
        _, changed = await payments.record_payment(ledger.postgres, ledger.clock, stale)
        assert not changed
    assert (await tell(ledger, HALF)).refunded_micro == 50_000


async def test_a_payment_of_an_unknown_order_waits_on_the_list_until_the_purchase_is_announced(ledger: Ledger) -> None:
    await ledger.finalize(funded())
    payment = await tell(ledger, CONFIRMED)
    assert payment.unallocated_reason
    assert await ledger.value("SELECT count(*) FROM pending_earnings WHERE cleared_at IS NOT NULL") == 0
    await buy(ledger)
    assert await ledger.value("SELECT count(*) FROM pending_earnings WHERE cleared_at IS NOT NULL") == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (report(PaymentState.CONFIRMED, -1), "PAYMENT_AMOUNT_INVALID"),
        (report(PaymentState.CONFIRMED, 10**15 + 1), "PAYMENT_AMOUNT_INVALID"),
        (report(PaymentState.REFUNDED, 5, 6), "PAYMENT_AMOUNT_INVALID"),
        (report(PaymentState.PENDING, 5), "PAYMENT_AMOUNT_INVALID"),
        (report(PaymentState.NAMED), "PAYMENT_STATE_INVALID"),
        (report(PaymentState.CONFIRMED, 5, cleared_at=None), "PAYMENT_CLEARING_INVALID"),
        (report(PaymentState.CONFIRMED, 5, cleared_at=NOW + timedelta(minutes=6)), "PAYMENT_CLEARING_INVALID"),
        (report(PaymentState.CONFIRMED, 5, payment="x" * 129), "PAYMENT_INVALID"),
        (report(PaymentState.CONFIRMED, 5, order="\n"), "ORDER_INVALID"),
    ],
)
async def test_a_bad_report_is_refused_and_writes_nothing(ledger: Ledger, wrong: Report, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        await payments.record_payment(ledger.postgres, ledger.clock, wrong)
    assert refused.value.reason == reason
    assert await ledger.value("SELECT count(*) FROM payments") == 0
