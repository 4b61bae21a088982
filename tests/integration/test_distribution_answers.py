"""Answers that are dropped after a while: their repeats move nothing; the others are kept for ever."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1 import treasury_pb2
from services.distribution.commands import answers, freezes, treasury
from services.distribution.model.campaigns import Order
from tests.conftest import Database
from tests.support.campaigns import Campaigns, campaigns_running, grant, ref
from tests.support.distribution import ledger_running, referral_running
from tests.support.treasury import Treasury, outcome

KEEP = timedelta(days=90)


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns
        await campaigns.check_books()


async def grow_old(mesh: Campaigns) -> int:
    """All answers become older than any is kept; how many the purge drops."""
    await mesh.ledger.execute("UPDATE idempotency SET created_at = created_at - interval '91 days'")
    dropped = await answers.purge(mesh.ledger.postgres, KEEP)
    assert await answers.purge(mesh.ledger.postgres, KEEP) == 0
    return dropped


async def test_a_batch_whose_answer_was_dropped_grants_nothing_again(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(10**6)
    lots = [grant(ref(), 7) for _ in range(3)]
    first = await mesh.grant(campaign_id, *lots, request_id="batch")
    assert await grow_old(mesh) == 1
    before = await mesh.ledger.balances()
    again = await mesh.grant(campaign_id, *lots, request_id="batch")
    assert again.granted_micro == 0
    assert all(lot.replayed for lot in again.lots)
    assert [lot.lot_id for lot in again.lots] == [lot.lot_id for lot in first.lots]
    assert await mesh.ledger.balances() == before


async def test_a_reserve_change_whose_approval_was_dropped_moves_nothing_again(mesh: Campaigns) -> None:
    books = Treasury(mesh.ledger.postgres, mesh.ledger.clock)
    asked = treasury_pb2.RequestReserveChangeRequest(
        request_id="r", direction=treasury_pb2.RESERVE_DIRECTION_TOP_UP, amount_micro=10
    )
    requested = await treasury.request_reserve_change(books.postgres, books.clock, asked, Order("ann", "cash"))
    change_id = requested.reserve_change.reserve_change_id
    approval = treasury_pb2.ApproveReserveChangeRequest(request_id="a", reserve_change_id=change_id)
    await treasury.approve_reserve_change(books.postgres, books.clock, approval, Order("bob", "cash"))
    assert await grow_old(mesh) == 1
    again = treasury.approve_reserve_change(books.postgres, books.clock, approval, Order("bob", "cash"))
    assert await outcome(again) == "RESERVE_CHANGE_DECIDED"
    assert await treasury.request_reserve_change(books.postgres, books.clock, asked, Order("ann", "cash")) == requested
    assert await books.balance("treasury:payout_reserve") == 10


async def test_what_has_no_other_key_is_kept_for_ever(mesh: Campaigns) -> None:
    books = Treasury(mesh.ledger.postgres, mesh.ledger.clock)
    campaign_id = await mesh.create()
    ann = await books.creator(5)
    funding = pb.FundCampaignRequest(
        request_id="f", campaign_id=campaign_id, amount_micro=11, operator_id="olga", reason="growth"
    )
    forfeiture = treasury_pb2.ForfeitEarningsRequest(
        request_id=str(uuid.uuid4()), account_ref=ann, reason="FRAUD", operator_id="olga"
    )
    order = Order("olga", "FRAUD")
    await mesh.stub.FundCampaign(funding)
    await freezes.forfeit(books.postgres, books.clock, forfeiture, order)
    assert await grow_old(mesh) == 0
    await books.earn(ann, 3)
    before = await mesh.ledger.balances()
    await mesh.stub.FundCampaign(funding)
    await freezes.forfeit(books.postgres, books.clock, forfeiture, order)
    assert await mesh.ledger.balances() == before


async def test_what_is_young_is_kept_and_large_numbers_go_in_batches(mesh: Campaigns) -> None:
    await mesh.ledger.execute(
        """
        INSERT INTO idempotency (request_id, method, fingerprint, response, created_at)
        SELECT n::text, 'RunAudit', '', '', now() - n * interval '1 day' / 100 FROM generate_series(1, 20000) AS n
        """
    )
    assert await answers.purge(mesh.ledger.postgres, KEEP) == 20_000 - 8_999
    assert await mesh.ledger.value("SELECT count(*) FROM idempotency") == 8_999
    plan = await mesh.ledger.rows(
        """
        EXPLAIN SELECT request_id FROM idempotency
        WHERE method = ANY ('{RunAudit}'::text[]) AND created_at < now() - interval '150 days'
        """
    )
    assert "idempotency_by_age" in str(plan)
