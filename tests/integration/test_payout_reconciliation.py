"""Every difference between the provider's list, our attempts and the ledger's holds is found, explained and kept."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.clock import Clock
from libs.postgres import Postgres
from libs.refusals import Refusal
from protos.payout.v1 import admin_pb2 as pb
from services.payout.commands.reconciling import Reconciling
from services.payout.provider.client import Client
from services.payout.servicer.provider import ProviderDesk
from tests.conftest import Database
from tests.support import treasury
from tests.support.handover import MINUTE, Road, road
from tests.support.provider import TRON


class Desk(ProviderDesk):
    """The part of the operators' desk that looks at the provider."""

    def __init__(self, postgres: Postgres, clock: Clock, client: Client) -> None:
        self._postgres = postgres
        self._clock = clock
        self._client = client
        self._payouts_enabled = True


ORDER: dict[str, Any] = {"operator_id": "olga", "reason": "looked into"}


@dataclass
class Office:
    """What compares, and the operators' desk."""

    way: Road
    reconciling: Reconciling
    desk: Desk

    async def compare(self) -> pb.Reconciliation:
        await self.reconciling.hourly()
        request = pb.GetReconciliationRequest()
        answer: pb.GetReconciliationResponse = await self.desk.GetReconciliation(request, _NOBODY)
        return answer.reconciliation

    async def differences(self, *, closed: bool = False) -> list[pb.Difference]:
        request = pb.ListDifferencesRequest(include_closed=closed)
        return list((await self.desk.ListDifferences(request, _NOBODY)).differences)


_NOBODY: Any = None


@pytest.fixture
async def office(database: Database) -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        way = await stack.enter_async_context(road(await database("payout"), await database("distribution")))
        doors = await stack.enter_async_context(treasury.served(way.books))
        reconciling = Reconciling(way.postgres, way.clock, way.client, doors.treasury)
        desk = Desk(way.postgres, way.clock, way.client)
        yield Office(way, reconciling, desk)


async def test_what_agrees_is_matched(office: Office) -> None:
    way = office.way
    payout = await way.burned(await way.creator())
    assert (await way.end(payout)).sent_amount == Decimal("48.5")
    way.clock.advance(timedelta(hours=1))
    found = await office.compare()
    assert found.state == pb.RECONCILIATION_STATE_MATCHED
    assert (found.payouts, found.provider_sent_micro, found.ledger_sent_micro) == (1, 48_500_000, 48_500_000)


async def test_what_is_under_way_is_no_difference(office: Office) -> None:
    way = office.way
    made = [await way.burned(each) for each in await way.creators(3, 100_000_000)]
    await way.run(2, MINUTE)
    assert (await office.compare()).state == pb.RECONCILIATION_STATE_MATCHED
    assert made


async def test_what_arrived_and_was_not_heard_of_yet_is_in_neither_sum(office: Office) -> None:
    way = office.way
    payout = await way.burned(await way.creator())
    await way.run(1)
    way.running.provider.book.move(way.running.rows[0], "FINISHED")
    found = await office.compare()
    assert (found.state, found.payouts) == (pb.RECONCILIATION_STATE_MATCHED, 1)
    assert (found.provider_sent_micro, found.ledger_sent_micro) == (0, 0)
    await way.end(payout)
    found = await office.compare()
    assert found.provider_sent_micro == found.ledger_sent_micro == 48_500_000


async def test_a_payout_that_nobody_here_sent_is_told_until_it_is_explained(office: Office) -> None:
    way = office.way
    way.running.provider.book.create({"withdrawals": [{"address": TRON, "currency": "usdttrc20", "amount": 20}]})
    for _ in range(3):
        assert (await office.compare()).state == pb.RECONCILIATION_STATE_DIFFERS
    (found,) = await office.differences()
    assert found.kind == pb.DIFFERENCE_KIND_UNKNOWN_AT_OURS
    request = pb.CloseDifferenceRequest(request_id="r1", difference_id=found.difference_id, **ORDER)
    closed = (await office.desk.CloseDifference(request, _NOBODY)).difference
    assert (closed.closed_by, closed.explanation) == ("olga", "looked into")
    assert (await office.desk.CloseDifference(request, _NOBODY)).difference == closed


async def test_what_the_provider_forgot_is_told_and_goes_away_when_it_remembers(office: Office) -> None:
    way = office.way
    payout = await way.burned(await way.creator())
    await way.run(1)
    way.running.rows[0].hidden_until = way.clock.now() + timedelta(hours=2)
    way.clock.advance(timedelta(hours=1))
    await office.compare()
    (found,) = await office.differences()
    assert (found.kind, found.payout_id) == (pb.DIFFERENCE_KIND_MISSING_AT_PROVIDER, str(payout.payout_id))
    way.clock.advance(timedelta(hours=1))
    await office.compare()
    assert await office.differences() == []
    assert [each.closed_by for each in await office.differences(closed=True)] == ["job:reconcile"]


async def test_a_finished_payout_that_is_called_rejected_later_is_told_and_nothing_is_sent_again(
    office: Office,
) -> None:
    way = office.way
    payout = await way.burned(await way.creator())
    await way.end(payout)
    way.running.rows[0].shown = "REJECTED"
    way.clock.advance(timedelta(hours=1))
    await office.compare()
    assert [each.kind for each in await office.differences()] == [pb.DIFFERENCE_KIND_STATE]
    await way.run(10, MINUTE)
    assert len(way.running.rows) == 1


async def test_another_amount_at_the_provider_is_told(office: Office) -> None:
    way = office.way
    await way.burned(await way.creator())
    await way.run(1)
    way.running.rows[0].amount = Decimal(48)
    await office.compare()
    assert [each.kind for each in await office.differences()] == [pb.DIFFERENCE_KIND_CONTENT]


async def test_a_ledger_that_was_not_told_is_told_of_once_it_had_time(office: Office) -> None:
    way = office.way
    await way.burned(await way.creator())
    await way.run(20, MINUTE)
    assert (await office.compare()).state == pb.RECONCILIATION_STATE_MATCHED
    way.clock.advance(timedelta(hours=1))
    await office.compare()
    (found,) = await office.differences()
    assert (found.kind, found.theirs) == (pb.DIFFERENCE_KIND_LEDGER, "round 1 BURNED 50000000")
    await way.settle()
    await office.compare()
    assert await office.differences() == []


async def test_a_provider_that_does_not_answer_fails_the_comparison_and_closes_nothing(office: Office) -> None:
    way = office.way
    way.running.provider.book.create({"withdrawals": [{"address": TRON, "currency": "usdttrc20", "amount": 20}]})
    await office.compare()
    way.running.fault("list", "error_before", times=10)
    assert (await office.compare()).state == pb.RECONCILIATION_STATE_FAILED
    assert len(await office.differences()) == 1


async def test_operators_start_one_and_see_the_account(office: Office) -> None:
    request = pb.RunReconciliationRequest(request_id="r1", **ORDER)
    started = (await office.desk.RunReconciliation(request, _NOBODY)).reconciliation
    assert started.state == pb.RECONCILIATION_STATE_RUNNING
    await office.reconciling.run()
    listed = (await office.desk.ListReconciliations(pb.ListReconciliationsRequest(), _NOBODY)).reconciliations
    assert [(each.reconciliation_id, each.state) for each in listed] == [
        (started.reconciliation_id, pb.RECONCILIATION_STATE_MATCHED)
    ]
    state = await office.desk.GetProviderState(pb.GetProviderStateRequest(), _NOBODY)
    assert (state.open, state.reason, state.balances[-1].amount) == (True, "", "100000")
    office.way.running.fault("balance", "forbidden")
    state = await office.desk.GetProviderState(pb.GetProviderStateRequest(), _NOBODY)
    assert (state.open, state.reason) == (False, "ENDPOINT_NOT_ALLOWED")


@pytest.mark.parametrize(
    "call",
    [
        lambda desk: desk.CloseDifference(pb.CloseDifferenceRequest(request_id="1", difference_id="x", **ORDER), None),
        lambda desk: desk.RunReconciliation(pb.RunReconciliationRequest(request_id="1"), None),
        lambda desk: desk.ListCallbacks(pb.ListCallbacksRequest(page_token="?"), None),
        lambda desk: desk.ListDifferences(pb.ListDifferencesRequest(page_size=201), None),
        lambda desk: desk.ReapplyCallback(
            pb.ReapplyCallbackRequest(request_id="1", callback_id="0" * 32, **ORDER), None
        ),
        lambda desk: desk.GetReconciliation(pb.GetReconciliationRequest(), None),
    ],
)
async def test_what_cannot_be_is_refused(office: Office, call: Any) -> None:
    with pytest.raises(Refusal):
        await call(office.desk)
