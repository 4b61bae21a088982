"""Operators follow the runbooks of stalled payouts, unsigned callbacks and differences; and a provider that lies."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.local.nowpayments import merchant
from protos.payout.v1 import admin_pb2, events_pb2, payout_pb2
from services.payout.commands.callbacks import Applying, SignatureInvalid, receive
from services.payout.commands.reconciling import Reconciling
from services.payout.model.callbacks import CallbackKind
from services.payout.provider.signatures import sign
from tests.conftest import Database
from tests.support.payout import DOLLAR, EVM_COIN, MINUTE, OLGA, Payouts, key, payouts_running, said
from tests.support.provider import IPN_SECRET


@pytest.fixture
async def payouts(database: Database) -> AsyncIterator[Payouts]:
    async with payouts_running(database) as running:
        yield running


async def at_provider(payouts: Payouts) -> tuple[str, str]:
    """A payout that the provider has, verified: its creator and its id."""
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await payouts.advancing.run()
    await payouts.engine.run()
    return creator, queued.payout_id


async def stalled(payouts: Payouts, word: str) -> tuple[str, str]:
    creator, payout_id = await at_provider(payouts)
    (row,) = payouts.running.rows
    row.frozen, row.status = True, word
    for _ in range(5):
        payouts.clock.advance(MINUTE)
        await payouts.engine.run()
    return creator, payout_id


async def recheck(payouts: Payouts, payout_id: str, request_id: str = "") -> None:
    await payouts.admin.RecheckPayout(
        admin_pb2.RecheckPayoutRequest(request_id=request_id or key(), payout_id=payout_id, **OLGA)
    )


@pytest.mark.parametrize(
    ("word", "reason"), [("FAILED", "PROVIDER_FAILED"), ("REJECTED_NOT_CHECKED", "PROVIDER_STATE_UNKNOWN")]
)
async def test_the_runbook_of_stalled_payouts_ends_one_by_a_look_up_that_an_operator_asks_for(
    payouts: Payouts, word: str, reason: str
) -> None:
    creator, payout_id = await stalled(payouts, word)
    # 1. See what is known.
    stages = [events_pb2.PAYOUT_STAGE_STALLED, events_pb2.PAYOUT_STAGE_UNKNOWN]
    (listed,) = (await payouts.admin.ListPayoutRecords(admin_pb2.ListPayoutRecordsRequest(stages=stages))).payouts
    assert (listed.payout.payout_id, listed.payout.reason) == (payout_id, reason)
    record = admin_pb2.GetPayoutRecordRequest(payout_id=payout_id)
    (attempt,) = (await payouts.admin.GetPayoutRecord(record)).submissions
    (row,) = payouts.running.rows
    assert (attempt.unique_external_id, attempt.batch_id) == (row.unique_external_id, row.batch_id)
    assert attempt.HasField("verified_at")
    # 2. The provider does something; it is looked up now, not in a quarter of an hour.
    payouts.running.provider.book.move(row, "FINISHED")
    await payouts.engine.run()
    assert await payouts.stage(payout_id) == "STALLED", "its turn has not come"
    await recheck(payouts, payout_id, "once")
    await recheck(payouts, payout_id, "once")
    await payouts.engine.run()
    assert await payouts.stage(payout_id) == "COMPLETED"
    assert [each["what"] for each in await payouts.rows("SELECT what FROM orders")] == ["RECHECK"]
    assert await payouts.to_end(payout_id) == "COMPLETED"
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    # What is over is looked up by nobody any more, whoever asks.
    calls = payouts.running.calls("look_up")
    await recheck(payouts, payout_id)
    await payouts.engine.run()
    assert payouts.running.calls("look_up") == calls
    await payouts.books.check()


async def test_a_look_up_of_nothing_is_refused(payouts: Payouts) -> None:
    assert await said(recheck(payouts, key())) == "PAYOUT_UNKNOWN"
    assert await said(recheck(payouts, "5")) == "PAYOUT_NAME_INVALID"
    assert await payouts.rows("SELECT 1 FROM orders") == []


async def test_the_runbook_of_an_account_without_a_second_factor_opens_the_way_again(payouts: Payouts) -> None:
    _, payout_id = await at_provider(payouts)
    state = await payouts.admin.GetProviderState(admin_pb2.GetProviderStateRequest())
    assert (state.open, state.reason) == (True, "")
    await payouts.rows("INSERT INTO provider_halts (reason, halted_at) VALUES ('SECOND_FACTOR_IS_OFF', now())")
    state = await payouts.admin.GetProviderState(admin_pb2.GetProviderStateRequest())
    assert (state.open, state.reason) == (False, "SECOND_FACTOR_IS_OFF")
    other = await payouts.queued(await payouts.creator())
    for _ in range(3):
        payouts.clock.advance(MINUTE)
        await payouts.advancing.run()
        await payouts.engine.run()
    assert len(payouts.running.rows) == 1, "nothing more is handed over; what is there is followed up"
    await payouts.rows("DELETE FROM provider_halts")
    assert await payouts.to_end(other.payout_id) == "COMPLETED"
    assert await payouts.to_end(payout_id) == "COMPLETED"


async def test_the_runbook_of_unsigned_callbacks_makes_up_for_what_was_missed(payouts: Payouts) -> None:
    _, payout_id = await at_provider(payouts)
    for _ in range(4):
        payouts.clock.advance(MINUTE)
        payouts.running.provider.pass_time()
    made = list(payouts.running.provider.callbacks.made)
    take = payouts.postgres, payouts.clock, CallbackKind.PAYOUT
    # 1. The secret changed: everything is refused, nothing is stored.
    for each in made:
        with pytest.raises(SignatureInvalid):
            await receive(*take, each.body, each.signature, ("another secret",))
    assert await payouts.rows("SELECT 1 FROM callbacks") == []
    # While it is being changed both are taken. 4. The provider sends them again; its look-up does not answer yet.
    for each in made:
        await receive(*take, each.body, each.signature, ("the new secret", IPN_SECRET))
    applying = Applying(*take[:2], payouts.engine._client, None, fee_paid_by="sender")  # type: ignore[arg-type]
    payouts.running.fault("look_up", "error_before", times=len(made))
    await applying.run()
    waiting = admin_pb2.ListCallbacksRequest(state=admin_pb2.CALLBACK_STATE_WAITING)
    listed = (await payouts.admin.ListCallbacks(waiting)).callbacks
    assert len(listed) == len(made)
    # It works again: an operator does not wait for the next try.
    for each in listed:
        request = admin_pb2.ReapplyCallbackRequest(request_id=key(), callback_id=each.callback_id, **OLGA)
        await payouts.admin.ReapplyCallback(request)
    await applying.run()
    assert (await payouts.admin.ListCallbacks(waiting)).callbacks == []
    assert await payouts.stage(payout_id) == "COMPLETED"
    # 5. A reconciliation agrees.
    assert await payouts.to_end(payout_id) == "COMPLETED"
    assert (await reconciled(payouts)).state == admin_pb2.RECONCILIATION_STATE_MATCHED


async def reconciled(payouts: Payouts) -> admin_pb2.Reconciliation:
    """An operator asks for one, the job runs it."""
    await payouts.admin.RunReconciliation(admin_pb2.RunReconciliationRequest(request_id=key(), **OLGA))
    unchecked: Any = payouts.advancing._ledger
    job = Reconciling(payouts.postgres, payouts.clock, payouts.engine._client, unchecked._treasury)
    await job.run()
    answer = await payouts.admin.GetReconciliation(admin_pb2.GetReconciliationRequest())
    found: admin_pb2.Reconciliation = answer.reconciliation
    return found


async def test_the_runbook_of_differences_closes_one_that_is_explained_and_has_it_back_while_it_is_there(
    payouts: Payouts,
) -> None:
    _, payout_id = await at_provider(payouts)
    await payouts.to_end(payout_id)
    (row,) = payouts.running.rows
    row.status = "REJECTED"
    assert (await reconciled(payouts)).state == admin_pb2.RECONCILIATION_STATE_DIFFERS
    (found,) = (await payouts.admin.ListDifferences(admin_pb2.ListDifferencesRequest())).differences
    assert (found.kind, found.payout_id) == (admin_pb2.DIFFERENCE_KIND_STATE, payout_id)
    request = admin_pb2.CloseDifferenceRequest(request_id=key(), difference_id=found.difference_id, **OLGA)
    await payouts.admin.CloseDifference(request)
    assert (await payouts.admin.ListDifferences(admin_pb2.ListDifferencesRequest())).differences == []
    await reconciled(payouts)
    (again,) = (await payouts.admin.ListDifferences(admin_pb2.ListDifferencesRequest())).differences
    assert again.difference_id != found.difference_id
    row.status = "FINISHED"
    assert (await reconciled(payouts)).state == admin_pb2.RECONCILIATION_STATE_MATCHED
    kept = admin_pb2.ListDifferencesRequest(include_closed=True)
    assert {each.closed_by for each in (await payouts.admin.ListDifferences(kept)).differences} == {
        "olga", "job:reconcile",
    }  # fmt: skip
    assert await payouts.stage(payout_id) == "COMPLETED", "nothing is corrected by itself"


async def test_a_price_that_nobody_can_believe_is_kept_out_until_there_is_none(
    payouts: Payouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    creator = await payouts.creator()
    honest = await payouts.rows("SELECT * FROM prices WHERE currency = $1", EVM_COIN)
    # A hundred coins for a dollar: every payout would send a hundred times what was burned.
    monkeypatch.setitem(merchant.PAYABLE, EVM_COIN, ("0.0114", "0.5", "0.01"))
    payouts.clock.advance(MINUTE * 5)
    await payouts.pricing.refresh(payouts.clock.now())
    assert await payouts.rows("SELECT * FROM prices WHERE currency = $1", EVM_COIN) == honest
    asked = await payouts.request(creator)
    assert asked.net_micro + asked.fee_micro == 40 * DOLLAR
    assert await payouts.value("SELECT net_amount FROM payouts") < 40
    payouts.clock.advance(MINUTE * 120)
    await payouts.pricing.refresh(payouts.clock.now())
    quote = payout_pb2.QuotePayoutRequest(account_id=creator, amount_micro=40 * DOLLAR, currency=EVM_COIN)
    assert await said(payouts.owners.QuotePayout(quote)) == "PRICE_UNKNOWN"


async def test_prices_are_asked_for_one_by_one_and_one_without_an_answer_keeps_none_of_the_others(
    payouts: Payouts,
) -> None:
    await payouts.creator()
    before = {row["currency"]: row["asked_at"] for row in await payouts.rows("SELECT * FROM prices")}
    payouts.clock.advance(MINUTE * 5)
    payouts.running.fault("estimate", "error_before")
    await payouts.pricing.refresh(payouts.clock.now())
    after = {row["currency"]: row["asked_at"] for row in await payouts.rows("SELECT * FROM prices")}
    assert [name for name in sorted(after) if after[name] == before[name]] == [EVM_COIN]
    assert [name for name in sorted(after) if after[name] == payouts.clock.now()] == ["usdttrc20"]


HOSTILE: dict[str, Any] = {"hash": "\x00", "status": "FINI\x00SHED", "fee": 10**40}


@pytest.mark.parametrize("part", HOSTILE)
async def test_a_row_that_no_column_would_take_keeps_nobody_elses_payout(payouts: Payouts, part: str) -> None:
    _, poisoned = await at_provider(payouts)
    (row,) = payouts.running.rows
    plain = row.view
    row.view = lambda **style: plain(**style) | {part: HOSTILE[part]}
    other = await payouts.queued(await payouts.creator())
    for _ in range(12):
        payouts.clock.advance(MINUTE)
        await payouts.advancing.run()
        await payouts.engine.run()
    assert (await payouts.stage(poisoned), await payouts.stage(other.payout_id)) == ("PROCESSING", "COMPLETED")
    row.view = plain
    assert await payouts.to_end(poisoned) == "COMPLETED"
    await payouts.books.check()


async def test_a_signed_callback_that_no_column_would_take_is_refused_and_leaves_nothing(payouts: Payouts) -> None:
    body = b'{"id":"5000000002","status":"FINI\\u0000SHED"}'
    with pytest.raises(Exception, match="A callback names a payout") as refused:
        await receive(payouts.postgres, payouts.clock, CallbackKind.PAYOUT, body, sign(body, IPN_SECRET), (IPN_SECRET,))
    assert type(refused.value).__name__ == "CallbackInvalid"
    assert await payouts.rows("SELECT 1 FROM callbacks") == []
