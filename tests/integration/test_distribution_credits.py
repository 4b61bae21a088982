"""Credits spent and put back, and what that means for the charge that they are spent on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.refusals import Refusal
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.model import Answer
from tests.conftest import Database
from tests.support.campaigns import SCORE, Campaigns, campaigns_running, refusal
from tests.support.distribution import charge, ledger_running, referral_running
from tests.support.eventually import eventually


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns
        await campaigns.check_books()


async def test_credits_are_spent_oldest_first_whatever_their_pool(mesh: Campaigns) -> None:
    signup, score = await mesh.active(1_000), await mesh.active(1_000, SCORE)
    for campaign_id, amount in ((signup, 30), (score, 20), (signup, 50)):
        await mesh.give(campaign_id, "payer", amount)
        mesh.ledger.clock.advance(timedelta(hours=1))
    assert (await mesh.credits("payer")).available_micro == 100
    spent = await mesh.spend("c1", "payer", 60)
    assert (spent.spent_micro, spent.replayed) == (60, False)
    assert {pool.pool: pool.amount_micro for pool in spent.pools} == {"referral:signup": 40, "score:rewards": 20}
    assert [lot.remaining_micro for lot in await mesh.lots("payer")] == [0, 0, 40]
    rest = await mesh.credits("payer")
    assert [(pool.pool, pool.amount_micro) for pool in rest.pools] == [("referral:signup", 40)]
    assert (await mesh.spend("c2", "payer", 60)).spent_micro == 40
    assert (await mesh.spend("c3", "payer", 60)).spent_micro == 0
    again = await mesh.spend("c1", "payer", 60)
    assert (again.spent_micro, again.replayed, list(again.pools)) == (60, True, list(spent.pools))
    assert (await mesh.ledger.balances())["platform:promotional_spend"] == 100


async def test_what_was_burned_goes_back_into_its_lots(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(1_000)
    await mesh.give(campaign_id, "payer", 30, 50)
    await mesh.spend("c", "payer", 60)
    back = await mesh.put_back("c")
    assert (back.returned_micro, back.replayed) == (60, False)
    assert (await mesh.put_back("c")).replayed
    assert [lot.remaining_micro for lot in await mesh.lots("payer")] == [30, 50]
    assert await refusal(mesh.spend("c", "payer", 60)) == "BURN_RETURNED"
    assert await refusal(mesh.put_back("never")) == "BURN_UNKNOWN"
    await mesh.spend("nobody's", "nobody", 5)
    assert (await mesh.put_back("nobody's")).returned_micro == 0


async def test_the_same_charge_on_other_terms_is_refused(mesh: Campaigns) -> None:
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await mesh.spend("c", "payer", 60)
    assert await refusal(mesh.spend("c", "payer", 61)) == "BURN_MISMATCH"
    assert await refusal(mesh.spend("c", "another", 60)) == "BURN_MISMATCH"
    for call, reason in (
        (mesh.spend("", "payer", 1), "CHARGE_ID_INVALID"),
        (mesh.spend("d", "", 1), "PAYER_INVALID"),
        (mesh.spend("d", "payer", 0), "BUDGET_AMOUNT_OUT_OF_RANGE"),
        (mesh.spend("d", "payer", 10**15 + 1), "BUDGET_AMOUNT_OUT_OF_RANGE"),
        (mesh.put_back(""), "CHARGE_ID_INVALID"),
        (mesh.credits(""), "PAYER_INVALID"),
        (mesh.lots("payer", pool="gifts"), "POOL_INVALID"),
        (mesh.lots("payer", page_size=201), "LOT_PAGE_INVALID"),
        (mesh.lots("payer", page_token="x"), "LOT_PAGE_INVALID"),
    ):
        assert await refusal(call) == reason
    assert await mesh.ledger.value("SELECT count(*) FROM burns") == 1


async def test_lots_are_listed_oldest_first_in_pages(mesh: Campaigns) -> None:
    signup, score = await mesh.active(1_000), await mesh.active(1_000, SCORE)
    await mesh.give(signup, "payer", *range(1, 6))
    await mesh.give(score, "payer", 6)
    found, token = [], ""
    while True:
        page = await mesh.stub.ListCreditLots(
            pb.ListCreditLotsRequest(account_id="payer", page_size=4, page_token=token)
        )
        found += [lot.granted_micro for lot in page.lots]
        token = page.next_page_token
        if not token:
            break
    assert found == [1, 2, 3, 4, 5, 6]
    assert [lot.granted_micro for lot in await mesh.lots("payer", pool="score:rewards")] == [6]
    assert await mesh.lots("stranger") == []
    assert (await mesh.credits("stranger")).available_micro == 0


async def test_many_spend_at_once_and_no_credit_is_spent_twice(mesh: Campaigns) -> None:
    await mesh.give(await mesh.active(10_000), "payer", *[7] * 20)
    answers = await asyncio.gather(*(mesh.spend(f"c{number % 40}", "payer", 5) for number in range(80)))
    new = [answer.spent_micro for answer in answers if not answer.replayed]
    assert (len(new), sum(new)) == (40, 140)
    backs = await asyncio.gather(*(mesh.put_back(f"c{number % 20}") for number in range(64)))
    assert Counter(back.replayed for back in backs) == {False: 20, True: 44}
    left = (await mesh.credits("payer")).available_micro
    assert left == sum(back.returned_micro for back in backs if not back.replayed)


async def test_a_charge_says_at_least_what_was_burned_for_it(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await mesh.spend("c", "payer", 60)
    for promotional in (0, 59):
        with pytest.raises(Refusal) as refused:
            await ledger.finalize(charge("c", revenue_micro=1_000, promotional_micro=promotional))
        assert refused.value.reason == "PROMOTIONAL_BELOW_BURNED"
        assert refused.value.data == {"field": "promotional_micro", "burned_micro": "60"}
    assert await ledger.count() == 0
    assert not await ledger.told()
    answer = await ledger.finalize(charge("c", revenue_micro=1_000, promotional_micro=60))
    assert answer.posted.decision.split.foundation_micro == 235
    assert await ledger.try_finalize(charge("c", revenue_micro=1_000, promotional_micro=60)) == "REPLAYED"
    assert await ledger.try_finalize(charge("c", revenue_micro=1_000, promotional_micro=59)) == "CHARGE_MISMATCH"


async def test_one_uncovered_charge_spoils_no_other_of_its_batch(mesh: Campaigns) -> None:
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await mesh.spend("c13", "payer", 60)
    charges = [charge(f"c{number}") for number in range(50)]
    outcomes = await mesh.ledger.finalize_batch(charges)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert [outcome.reason for outcome in refused] == ["PROMOTIONAL_BELOW_BURNED"]
    assert isinstance(outcomes[12], Answer)
    assert outcomes[13] is refused[0]
    assert await mesh.ledger.count() == 49


async def test_no_credits_are_burned_or_put_back_for_a_finalized_charge(mesh: Campaigns) -> None:
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await mesh.ledger.finalize(charge("c"))
    assert await refusal(mesh.spend("c", "payer", 60)) == "CHARGE_FINALIZED"
    await mesh.spend("d", "payer", 60)
    await mesh.ledger.finalize(charge("d", promotional_micro=60))
    assert await refusal(mesh.put_back("d")) == "CHARGE_FINALIZED"
    assert (await mesh.spend("d", "payer", 60)).replayed
    assert (await mesh.credits("payer")).available_micro == 40


async def test_a_charge_whose_credits_were_put_back_needs_none(mesh: Campaigns) -> None:
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await mesh.spend("c", "payer", 60)
    await mesh.put_back("c")
    assert await mesh.ledger.try_finalize(charge("c")) == "ORGANIC"


async def test_burning_and_finalizing_at_once_never_both_go_through_uncovered(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    await mesh.give(await mesh.active(1_000_000), "payer", 100_000)
    await ledger.finalize(charge("warm"))
    outcomes: Counter[tuple[str, str]] = Counter()

    async def race(number: int) -> None:
        one = charge(f"c{number}")
        delay = (number % 7) * 0.0004

        async def burn() -> str:
            await asyncio.sleep(delay)
            return await refusal(mesh.spend(one.inference_charge_id, "payer", 10))

        burned, finalized = await asyncio.gather(burn(), ledger.try_finalize(one))
        outcomes[burned, finalized] += 1
        if finalized != "ORGANIC":
            covered = one._replace(promotional_micro=10)
            assert await ledger.try_finalize(covered) == "ORGANIC"

    for start in range(0, 320, 32):
        await asyncio.gather(*(race(number) for number in range(start, start + 32)))
    assert set(outcomes) <= {("", "PROMOTIONAL_BELOW_BURNED"), ("CHARGE_FINALIZED", "ORGANIC")}, outcomes
    uncovered = await ledger.value(
        """
        SELECT count(*) FROM distributions JOIN burns USING (inference_charge_id)
        WHERE promotional_micro < spent_micro AND returned_at IS NULL
        """
    )
    assert uncovered == 0


async def test_whoever_holds_the_charge_is_waited_for(mesh: Campaigns) -> None:
    """Both orders, each held open at its most dangerous moment: written, not committed."""
    ledger = mesh.ledger
    await mesh.give(await mesh.active(1_000), "payer", 100)
    await ledger.finalize(charge("warm"))
    async with ledger.postgres.transaction() as connection:
        # A burn that is written and not committed.
        await connection.execute("SELECT pg_advisory_xact_lock(charge_lock('c'))")
        await connection.execute(
            """
            INSERT INTO burns (
                inference_charge_id, account_ref, up_to_micro, spent_micro, lot_ids, amounts_micro, burned_at
            )
            VALUES ('c', gen_random_uuid(), 5, 0, '{}', '{}', now())
            """
        )
        finalizing = asyncio.ensure_future(ledger.try_finalize(charge("c")))
        await eventually(lambda: _waiting(mesh))
        assert not finalizing.done()
    assert await finalizing == "ORGANIC"
    async with ledger.postgres.transaction() as connection:
        # A charge that is written and not committed.
        await connection.execute("SELECT pg_advisory_xact_lock_shared(charge_lock('d'))")
        spending = asyncio.ensure_future(refusal(mesh.spend("d", "payer", 5)))
        await eventually(lambda: _waiting(mesh))
        assert not spending.done()
    assert await spending == ""


async def _waiting(mesh: Campaigns) -> bool:
    return bool(await mesh.ledger.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
