"""Funding the score pool from what the foundation earned in a period."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.commands import posting
from services.distribution.model.ledger import TransferKind
from tests.conftest import Database
from tests.support.campaigns import Campaigns, campaigns_running, refusal, refused
from tests.support.distribution import charge, ledger_running, referral_running


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns
        await campaigns.check_books()


async def earn(mesh: Campaigns, finalized_at: datetime, foundation_micro: int) -> None:
    one = charge(finalized_at=finalized_at, revenue_micro=foundation_micro * 4, provider_cost_micro=0)
    answer = await mesh.ledger.finalize(one)
    assert answer.posted.decision.split.foundation_micro == foundation_micro


async def reverse(mesh: Campaigns, amount_micro: int) -> None:
    """What a refund does to the foundation."""
    async with mesh.ledger.postgres.transaction() as connection:
        legs = {"foundation": -amount_micro, "platform:receipts": amount_micro}
        await posting.post(connection, TransferKind.CLAWBACK, "payment", legs, now=mesh.ledger.clock.now())


async def test_a_month_is_funded_once(mesh: Campaigns) -> None:
    for finalized_at, micro in (
        (datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), 1_000),
        (datetime(2026, 2, 1, tzinfo=UTC), 20_010),
        (datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC), 300_000),
        (datetime(2026, 3, 1, tzinfo=UTC), 4_000_000),
    ):
        await earn(mesh, finalized_at, micro)
    funded = await mesh.fund_pool("2026-02")
    assert (funded.funding.net_foundation_micro, funded.funding.funding_bps) == (320_010, 1_000)
    assert (funded.funding.funded_micro, funded.available_micro, funded.replayed) == (32_001, 32_001, False)
    await earn(mesh, datetime(2026, 2, 10, tzinfo=UTC), 80)  # too late to count
    again = await mesh.fund_pool("2026-02", operator_id="olga", reason="to be sure")
    assert (again.funding, again.available_micro, again.replayed) == (funded.funding, 32_001, True)
    balances = await mesh.ledger.balances()
    assert balances["foundation:score_rewards"] == 32_001
    assert balances["foundation"] == 1_000 + 20_010 + 300_000 + 4_000_000 + 80 - 32_001


async def test_a_period_funded_by_many_at_once_is_funded_once(mesh: Campaigns) -> None:
    await earn(mesh, datetime(2026, 2, 10, tzinfo=UTC), 1_000)
    answers = await asyncio.gather(*(mesh.fund_pool("2026-02") for _ in range(32)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 31
    assert {answer.available_micro for answer in answers} == {100}


async def test_refunds_count_in_the_period_of_their_booking(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    await earn(mesh, datetime(2026, 2, 10, tzinfo=UTC), 1_000)
    await reverse(mesh, 400)  # on the first of March
    assert (await mesh.fund_pool("2026-02")).funding.net_foundation_micro == 1_000
    ledger.clock.advance(timedelta(days=31))
    march = await mesh.fund_pool("2026-03")
    assert (march.funding.net_foundation_micro, march.funding.funded_micro) == (-400, 0)
    assert march.available_micro == 100


async def test_no_more_is_moved_than_the_foundation_holds(mesh: Campaigns) -> None:
    await earn(mesh, datetime(2026, 2, 10, tzinfo=UTC), 1_000)
    await reverse(mesh, 960)
    assert (await mesh.fund_pool("2026-02")).funding.funded_micro == 40
    await reverse(mesh, 500)
    await earn(mesh, datetime(2026, 1, 10, tzinfo=UTC), 100)
    assert (await mesh.fund_pool("2026-01")).funding.funded_micro == 0
    assert (await mesh.ledger.balances())["foundation"] == -400


async def test_a_period_must_be_over_and_none_of_its_days_funded(mesh: Campaigns) -> None:
    found, told = await refused(mesh.fund_pool("2026-03"))
    assert (found, told["over_at"]) == ("PERIOD_NOT_OVER", "2026-04-01T00:00:00+00:00")
    assert await refusal(mesh.fund_pool("2026-W09")) == "PERIOD_NOT_OVER"  # it is its last day
    mesh.ledger.clock.advance(timedelta(hours=12))  # to the microsecond
    await earn(mesh, datetime(2026, 3, 1, 23, tzinfo=UTC), 1_000)
    assert (await mesh.fund_pool("2026-W09")).funding.funded_micro == 100
    assert await refusal(mesh.fund_pool("2026-02")) == "PERIOD_OVERLAPS"
    await mesh.fund_pool("2026-W08")
    for period in (
        "",
        "2026",
        "2026-13",
        "2026-00",
        "2026-W54",
        "2026-W00",
        "2026-2",
        "2026-02-01",
        "٢٠٢٦-02",
        "0000-01",
    ):
        assert await refusal(mesh.fund_pool(period)) == "PERIOD_INVALID"
    assert await refusal(mesh.fund_pool("2026-01", operator_id="")) == "NAME_INVALID"
    assert await refusal(mesh.fund_pool("2026-01", reason=" ")) == "REASON_INVALID"


async def test_fundings_are_listed_newest_first_in_pages(mesh: Campaigns) -> None:
    periods = [f"2025-{month:02}" for month in range(1, 6)]
    for period in periods:
        await mesh.fund_pool(period)
    first = await mesh.stub.ListScorePoolFundings(pb.ListScorePoolFundingsRequest(page_size=3))
    assert [each.period for each in first.fundings] == periods[:1:-1]
    rest = await mesh.stub.ListScorePoolFundings(
        pb.ListScorePoolFundingsRequest(page_size=3, page_token=first.next_page_token)
    )
    assert ([each.period for each in rest.fundings], rest.next_page_token) == (periods[1::-1], "")
    for wrong in (pb.ListScorePoolFundingsRequest(page_size=201), pb.ListScorePoolFundingsRequest(page_token="x")):
        assert await refusal(mesh.stub.ListScorePoolFundings(wrong)) == "FUNDING_PAGE_INVALID"


async def test_the_days_sum_to_what_the_journal_holds(mesh: Campaigns) -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    charges = [charge(finalized_at=start + timedelta(hours=number), revenue_micro=number + 1) for number in range(300)]
    await asyncio.gather(*(mesh.ledger.finalize(one) for one in charges))
    wrong = await mesh.ledger.rows(
        """
        SELECT * FROM foundation_days FULL JOIN (
            SELECT (finalized_at AT TIME ZONE 'UTC')::date AS day, sum(foundation_micro) AS micro
            FROM distributions GROUP BY 1
        ) AS journal USING (day) WHERE foundation_micro IS DISTINCT FROM micro
        """
    )
    assert wrong == []
