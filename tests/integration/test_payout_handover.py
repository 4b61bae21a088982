"""Payouts are handed to the provider, whatever it does; the ledger is debited what was truly sent."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from services.payout.model import Stage
from services.payout.model.submissions import AttemptState
from tests.conftest import Database
from tests.support.handover import MINUTE, STEP, Road, road
from tests.support.provider import impatient

HOUR = timedelta(hours=1)


@pytest.fixture
async def way(database: Database) -> AsyncIterator[Road]:
    async with road(await database("payout"), await database("distribution")) as made:
        yield made


async def hasty(way: Road, kind: str) -> None:
    """A client that does not wait long, where the fault is silence."""
    if kind.startswith("hang"):
        await way.client.balances()
        impatient(way.client)


async def test_a_payout_is_sent_once_and_its_fee_is_what_did_not_arrive(way: Road) -> None:
    payout = await way.burned(await way.creator())
    ended = await way.end(payout)
    assert (ended.stage, ended.fee_micro, ended.fee_final, ended.sent_amount) == (
        Stage.COMPLETED, 1_500_000, True, Decimal("48.5"),
    )  # fmt: skip
    assert ended.transaction_hash
    assert await way.stages(payout) == ["REQUESTED", "QUEUED", "SUBMITTING", "PROCESSING", "COMPLETED"]
    assert [each.state for each in await way.attempts(payout)] == [AttemptState.FINISHED]
    await way.check_settled()


async def test_a_fee_that_the_receiver_pays_is_trued_up(database: Database) -> None:
    async with road(await database("payout"), await database("distribution"), fee_paid_by="receiver") as way:
        payout = await way.burned(await way.creator())
        ended = await way.end(payout)
        assert (ended.fee_micro, ended.net_micro, ended.sent_amount) == (1_327_659, 48_672_341, Decimal("48.672341"))
        await way.check()


@pytest.mark.parametrize(
    "kind", ["drop_before", "drop_after", "hang_after", "error_before", "error_after", "cut_json", "hang_before"]
)
async def test_a_creation_of_unknown_fate_is_found_out_and_sent_once(way: Road, kind: str) -> None:
    await hasty(way, kind)
    way.running.fault("create", kind, seconds=1.2)
    payout = await way.burned(await way.creator())
    await way.run()
    assert (await way.payout(payout)).stage is Stage.UNKNOWN
    assert (await way.end(payout)).stage is Stage.COMPLETED
    assert len(await way.attempts(payout)) == 1
    assert len(way.running.rows) == 1
    await way.check_settled()


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "hang_after", "error_after", "as_json", "refused"])
async def test_a_verification_of_unknown_fate_is_found_out(way: Road, kind: str) -> None:
    await hasty(way, kind)
    way.running.fault("verify", kind, seconds=1.2)
    payout = await way.burned(await way.creator())
    assert (await way.end(payout)).stage is Stage.COMPLETED
    assert len(way.running.rows) == 1
    await way.check_settled()


async def test_what_landed_and_is_not_listed_is_held_until_it_is(way: Road) -> None:
    way.running.fault("create", "drop_after")
    payout = await way.burned(await way.creator())
    await way.run()
    row = way.running.rows[0]
    row.hidden_until = way.clock.now() + 2 * HOUR
    assert (await way.payout(payout)).stage is Stage.UNKNOWN
    await way.run(20, MINUTE)
    assert (await way.payout(payout)).stage is Stage.UNKNOWN
    assert len(way.running.rows) == 1, "the same id again is refused, and no other is tried"
    ended = await way.end(payout)
    # It was never verified: dead after an hour, another attempt is made, and that one is sent.
    assert ended.stage is Stage.COMPLETED
    assert [each.state for each in await way.attempts(payout)] == [AttemptState.REJECTED, AttemptState.FINISHED]
    await way.check_settled()


@pytest.mark.parametrize("kind", ["busy", "forbidden"])
async def test_a_provider_that_does_not_let_us_in_is_tried_until_it_does(way: Road, kind: str) -> None:
    way.running.fault("create", kind, times=6)
    payout = await way.burned(await way.creator())
    assert (await way.end(payout)).stage is Stage.COMPLETED
    assert len(await way.attempts(payout)) == 1
    await way.check_settled()


async def test_a_refusal_that_may_pass_is_tried_three_times_more_and_then_given_up(way: Road) -> None:
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(1)
    payout = await way.burned(await way.creator())
    ended = await way.end(payout)
    assert (ended.stage, ended.reason) == (Stage.FAILED, "PROVIDER_REJECTED")
    assert [each.state for each in await way.attempts(payout)] == [AttemptState.REFUSED] * 4
    assert way.sent_micro == 0
    assert await way.books.part(str(payout.account_ref), "settled") == 100_000_000
    await way.check_settled()


async def test_a_refusal_that_passes_is_sent_by_a_later_attempt(way: Road) -> None:
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(1)
    payout = await way.burned(await way.creator())
    await way.run()
    assert (await way.payout(payout)).stage is Stage.REJECTED
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(1000)
    assert (await way.end(payout)).stage is Stage.COMPLETED
    await way.check_settled()


async def test_a_refusal_for_good_gives_the_money_back_once(way: Road) -> None:
    way.running.fault("create", "refused", code="BAD_CREATE_WITHDRAWAL_REQUEST", message="Invalid payout_address")
    payout = await way.burned(await way.creator())
    ended = await way.end(payout)
    assert (ended.stage, way.running.rows) == (Stage.FAILED, [])
    await way.settle()
    await way.check_settled()
    assert await way.books.part(str(payout.account_ref), "settled") == 100_000_000


async def test_a_second_refusal_says_nothing_about_a_first_call_that_may_have_landed(way: Road) -> None:
    way.running.fault("create", "drop_after")
    payout = await way.burned(await way.creator())
    await way.run()
    way.running.rows[0].hidden_until = way.clock.now() + timedelta(minutes=10)
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(1)
    await way.run(3, MINUTE)
    assert (await way.payout(payout)).stage is Stage.UNKNOWN
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(1000)
    assert (await way.end(payout)).stage is Stage.COMPLETED
    await way.check_settled()


async def test_a_batch_that_the_provider_rejects_is_made_again(way: Road) -> None:
    way.running.fault("create", "reject")
    payout = await way.burned(await way.creator())
    ended = await way.end(payout)
    assert ended.stage is Stage.COMPLETED
    assert [each.state for each in await way.attempts(payout)] == [AttemptState.REJECTED, AttemptState.FINISHED]
    await way.check_settled()


async def test_failed_is_held_for_people_and_completed_when_it_is_sent_after_all(way: Road) -> None:
    way.running.fault("create", "fail")
    payout = await way.burned(await way.creator())
    await way.run(30, MINUTE)
    held = await way.payout(payout)
    assert (held.stage, held.reason) == (Stage.STALLED, "PROVIDER_FAILED")
    await way.run(100, MINUTE * 30)
    assert (await way.payout(payout)).stage is Stage.STALLED
    way.running.provider.book.move(way.running.rows[0], "FINISHED")
    assert (await way.end(payout)).stage is Stage.COMPLETED
    assert len(way.running.rows) == 1
    await way.check_settled()


async def test_failed_that_is_rejected_in_the_end_gives_the_money_back(way: Road) -> None:
    way.running.fault("create", "fail")
    payout = await way.burned(await way.creator())
    await way.run(30, MINUTE)
    way.running.provider.book.move(way.running.rows[0], "REJECTED")
    assert (await way.end(payout)).stage is Stage.FAILED
    await way.check_settled()


async def test_a_state_that_goes_back_changes_nothing(way: Road) -> None:
    payout = await way.burned(await way.creator())
    way.running.fault("create", "freeze")
    await way.run(3, MINUTE)
    row = way.running.rows[0]
    way.running.provider.book.move(row, "SENDING")
    await way.run(3, MINUTE)
    way.running.provider.book.move(row, "WAITING")
    await way.run(3, MINUTE * 15)
    (attempt,) = await way.attempts(payout)
    assert attempt.provider_state == "SENDING"


async def test_a_word_that_nobody_knows_is_held_for_people(way: Road) -> None:
    way.running.fault("create", "freeze")
    payout = await way.burned(await way.creator())
    await way.run(2, MINUTE)
    way.running.rows[0].shown = "REJECTED_NOT_CHECKED"
    await way.run(4, MINUTE * 15)
    held = await way.payout(payout)
    assert (held.stage, held.reason) == (Stage.STALLED, "PROVIDER_STATE_UNKNOWN")
    assert way.sent_micro == 0


async def test_a_row_with_another_amount_or_address_concludes_nothing(way: Road) -> None:
    payout = await way.burned(await way.creator())
    await way.run(1)
    way.running.rows[0].amount = Decimal("48.4")
    await way.run(20, MINUTE)
    held = await way.payout(payout)
    assert (held.stage, held.reason) == (Stage.STALLED, "PROVIDER_MISMATCH")
    assert await way.value("SELECT count(*) FROM differences WHERE kind = 4 AND closed_at IS NULL") == 1


async def test_a_provider_without_a_second_factor_stops_everything(way: Road) -> None:
    first, second = await way.creators(2, 100_000_000)
    payout = await way.burned(first)
    original = way.running.provider.book.create

    def create(body: dict[str, object], **more: object) -> object:
        batch = original(body, **more)  # type: ignore[arg-type]
        for row in batch.rows:
            way.running.provider.book.move(row, "SENDING")
        return batch

    way.running.provider.book.create = create  # type: ignore[assignment, method-assign]
    await way.run()
    assert await way.value("SELECT reason FROM provider_halts") == "SECOND_FACTOR_IS_OFF"
    other = await way.burned(second)
    await way.run(10, MINUTE)
    assert await way.attempts(other) == []
    assert (await way.payout(payout)).stage is Stage.PROCESSING


async def test_one_batch_is_made_in_thirty_seconds(way: Road) -> None:
    made = [await way.burned(each) for each in await way.creators(4, 100_000_000)]
    for _ in range(5):
        await way.engine.run()
    assert len(way.running.rows) == 1
    await way.run(8, STEP)
    assert len(way.running.rows) == 4
    assert {(await way.payout(each)).stage for each in made} <= {Stage.PROCESSING, Stage.COMPLETED}


async def test_nothing_is_handed_over_while_payouts_are_off(database: Database) -> None:
    async with road(await database("payout"), await database("distribution"), enabled=False) as way:
        payout = await way.burned(await way.creator())
        await way.run(5, MINUTE)
        assert (await way.attempts(payout), way.running.rows) == ([], [])


async def test_a_dead_provider_stops_nothing_for_good(way: Road) -> None:
    payout = await way.burned(await way.creator())
    way.running.fault("*", "drop_before", times=20)
    assert (await way.end(payout)).stage is Stage.COMPLETED
    await way.check_settled()
