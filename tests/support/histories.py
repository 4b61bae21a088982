"""A ledger in which everything has happened that moves money."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from services.distribution.commands import closing, payments, refunds, settling
from services.distribution.model import Part
from services.distribution.model.holds import HoldState
from services.distribution.model.payments import PaymentState, Report
from tests.support.campaigns import SCORE, Campaigns, grant
from tests.support.distribution import NOW, Ledger, charge, later
from tests.support.treasury import DELAY, HOLD, Treasury

BUYER = "01a1fc6b-5253-7483-b418-80bf1cd55f0b"


@dataclass
class History:
    """Its ledger, and one of each thing that a test may want to spoil."""

    ledger: Ledger
    treasury: Treasury
    creator_ref: str
    payout_id: str


async def lived(ledger: Ledger, campaigns: Campaigns) -> History:
    """Charges, settlement, refunds before and after it, payouts in every state, forfeiture, grants, burns."""
    creator_ref = await ledger.referral.refer("payer", later(days=-3))
    treasury = Treasury(ledger.postgres, ledger.clock)
    await _spend_credits(ledger, campaigns)
    await _charge(ledger)
    await _buy_and_refund(ledger)
    ledger.clock.advance(HOLD)
    await settling.settle(ledger.postgres, ledger.clock.now(), delay=DELAY, hold=HOLD)
    await _tell(ledger, Report("late", "o", PaymentState.REFUNDED, 100_000, 100_000, NOW, 1))
    payout_id = await _pay_out(treasury)
    await _lose_standing(treasury)
    # Left open: a share that is pending, and one that matures.
    maturing = charge("maturing", finalized_at=ledger.clock.now() - timedelta(minutes=1))
    await ledger.finalize(maturing)
    ledger.clock.advance(DELAY + timedelta(hours=1))
    await settling.settle(ledger.postgres, ledger.clock.now(), delay=DELAY, hold=HOLD)
    await closing.close_hours(ledger.postgres, ledger.clock.now())
    await ledger.finalize(charge("pending", revenue_micro=777_777, finalized_at=ledger.clock.now()))
    return History(ledger, treasury, creator_ref, payout_id)


async def _charge(ledger: Ledger) -> None:
    for number, revenue_micro in enumerate((1, 7, 99, 33_333, 7_777_777)):
        await ledger.finalize(charge(f"plain-{number}", revenue_micro=revenue_micro))
    await ledger.finalize(charge("organic", "somebody", 100_000))
    await ledger.finalize(charge("thin", provider_cost_micro=99_999))
    await ledger.finalize(charge("given", promotional_micro=100_000))
    await ledger.finalize(charge("early", finalized_at=later(days=-4)))


async def _buy_and_refund(ledger: Ledger) -> None:
    await payments.record_purchase(ledger.postgres, ledger.clock, "o", BUYER, 300_000)
    for payment_id in ("early", "late", "kept"):
        await _tell(ledger, Report(payment_id, "o", PaymentState.CONFIRMED, 100_000, 0, NOW, 1))
        await ledger.finalize(charge(f"funded-{payment_id}", funding=(Part(payment_id, 100_000),)))
    await _tell(ledger, Report("early", "o", PaymentState.PARTIALLY_REFUNDED, 100_000, 33_333, NOW, 1))


async def _tell(ledger: Ledger, report: Report) -> None:
    await payments.record_payment(ledger.postgres, ledger.clock, report)
    await refunds.apply_refunds(ledger.postgres, ledger.clock, report.payment_id)


async def _pay_out(treasury: Treasury) -> str:
    creator_ref = await treasury.creator(100_000)
    hold = (await treasury.hold(creator_ref, 10_000)).hold
    await treasury.move(hold, HoldState.RETURNED)
    failed = (await treasury.burn((await treasury.hold(creator_ref, 20_000)).hold)).hold
    await treasury.move(failed, HoldState.FAILED)
    again = (await treasury.burn((await treasury.hold(creator_ref, 20_000, failed.payout_id, 2)).hold)).hold
    await treasury.move(again, HoldState.COMPLETED, 19_000, 1_000)
    await treasury.burn((await treasury.hold(creator_ref, 5_000)).hold)
    return (await treasury.hold(creator_ref, 7_000)).hold.payout_id


async def _lose_standing(treasury: Treasury) -> None:
    creator_ref = await treasury.creator(9_000)
    await treasury.earn(creator_ref, 4_000)
    returns, fails, stays = [(await treasury.hold(creator_ref, 2_000)).hold for _ in range(3)]
    await treasury.burn(fails)
    await treasury.freeze(creator_ref)
    await treasury.forfeit(creator_ref)
    await treasury.move(returns, HoldState.RETURNED)
    await treasury.move(fails, HoldState.FAILED)
    assert stays.forfeitures == 0


async def _spend_credits(ledger: Ledger, campaigns: Campaigns) -> None:
    campaign_id = await campaigns.active(1_000_000, cap_micro=500_000)
    account_ref = await campaigns.give(campaign_id, "payer", 60_000, 50_000)
    await campaigns.reserve("kept", account_ref, 1_000, campaign_id=campaign_id)
    await campaigns.reserve("released", account_ref, 1_000, campaign_id=campaign_id)
    await campaigns.release("released")
    await campaigns.spend("burned", "payer", 70_000)
    await campaigns.spend("put-back", "payer", 5_000)
    await campaigns.put_back("put-back")
    await ledger.finalize(charge("burned", promotional_micro=70_000))
    score = await campaigns.active(500_000, SCORE)
    await campaigns.open("staged", 2_000, campaign_id=score)
    await campaigns.stage("staged", [grant(str(uuid.uuid4()), 900), grant(str(uuid.uuid4()), 600)])
    await campaigns.commit("staged", 2, 1_500)
    await campaigns.open("open", 3_000, campaign_id=score)
