"""What operators decide: approvals by other eyes, proposals by two, payments by hand as the runbook has them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos.payout.v1 import admin_pb2, events_pb2
from tests.conftest import Database
from tests.support.payout import DOLLAR, MINUTE, OLGA, OTTO, Payouts, key, payouts_running, said

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbooks" / "manual-payout.md"


@pytest.fixture
async def payouts(database: Database) -> AsyncIterator[Payouts]:
    async with payouts_running(database) as running:
        yield running


async def waiting(payouts: Payouts, creator: str, amount_micro: int) -> str:
    """A payout that its owner confirmed and that waits for operators."""
    asked = await payouts.request(creator, amount_micro)
    if asked.stage == events_pb2.PAYOUT_STAGE_AWAITING_CONFIRMATION:
        await payouts.sign(creator, asked)
    assert await payouts.stage(asked.payout_id) == "AWAITING_APPROVAL"
    return str(asked.payout_id)


@pytest.mark.parametrize(("dollars", "approvals"), [(50, 0), (51, 1), (999, 1), (1000, 2)])
async def test_more_than_fifty_dollars_wait_for_one_operator_and_a_thousand_for_two(
    payouts: Payouts, dollars: int, approvals: int
) -> None:
    creator = await payouts.creator(2_000 * DOLLAR)
    asked = await payouts.request(creator, dollars * DOLLAR)
    stage = (await payouts.sign(creator, asked)).stage
    for number in range(approvals):
        assert stage == events_pb2.PAYOUT_STAGE_AWAITING_APPROVAL
        stage = (await payouts.approve(asked.payout_id, (OLGA, OTTO)[number])).payout.stage
    assert stage == events_pb2.PAYOUT_STAGE_QUEUED


async def test_small_payouts_wait_once_they_add_up_and_the_sum_begins_again_after_a_verified_one(
    payouts: Payouts,
) -> None:
    creator = await payouts.creator(2_000 * DOLLAR)

    async def wants(amount_micro: int) -> tuple[str, tuple[str, ...]]:
        allowed = admin_pb2.AllowEarlyRequestRequest(request_id=key(), account_id=creator, **OLGA)
        await payouts.admin.AllowEarlyRequest(allowed)
        queued = await payouts.queued(creator, amount_micro)
        got = await payouts.admin.GetPayoutRecord(admin_pb2.GetPayoutRecordRequest(payout_id=queued.payout_id))
        assert await payouts.to_end(queued.payout_id) == "COMPLETED"
        return queued.payout_id, tuple(got.payout.approval_reasons)

    assert (await wants(50 * DOLLAR))[1] == ()
    assert (await wants(50 * DOLLAR))[1] == ()
    assert (await wants(10 * DOLLAR))[1] == ("CUMULATIVE_OVER_LIMIT",)
    assert (await wants(50 * DOLLAR))[1] == ()
    assert (await wants(60 * DOLLAR))[1] == ("SINGLE_OVER_LIMIT", "CUMULATIVE_OVER_LIMIT")
    assert (await wants(50 * DOLLAR))[1] == ()


async def test_above_the_limits_a_known_destination_is_confirmed_anew(payouts: Payouts) -> None:
    creator = await payouts.creator(2_000 * DOLLAR)
    first = await payouts.queued(creator)
    assert await payouts.to_end(first.payout_id) == "COMPLETED"
    allowed = admin_pb2.AllowEarlyRequestRequest(request_id=key(), account_id=creator, **OLGA)
    await payouts.admin.AllowEarlyRequest(allowed)
    second = await payouts.request(creator, 200 * DOLLAR)
    assert second.stage == events_pb2.PAYOUT_STAGE_AWAITING_CONFIRMATION


async def test_nobody_approves_twice_or_for_themselves(payouts: Payouts) -> None:
    creator = await payouts.creator(2_000 * DOLLAR, "olga")
    payout_id = await waiting(payouts, creator, 1_000 * DOLLAR)
    own, otto = {"operator_id": "olga", "reason": "mine"}, OTTO
    assert await said(payouts.approve(payout_id, own)) == "APPROVER_IS_OWNER"
    await payouts.approve(payout_id, otto)
    assert await said(payouts.approve(payout_id, otto)) == "ALREADY_APPROVED"
    assert await payouts.stage(payout_id) == "AWAITING_APPROVAL"
    both = await asyncio.gather(
        *(said(payouts.approve(payout_id, {"operator_id": name, "reason": "yes"})) for name in ("ann", "ann", "bob"))
    )
    assert both.count("OK") == 1
    assert await payouts.stage(payout_id) == "QUEUED"


async def test_an_approval_counts_once_however_often_it_is_sent(payouts: Payouts) -> None:
    creator = await payouts.creator(2_000 * DOLLAR)
    payout_id = await waiting(payouts, creator, 1_000 * DOLLAR)
    request = admin_pb2.ApprovePayoutRequest(request_id=key(), payout_id=payout_id, **OLGA)
    answers = await asyncio.gather(*(payouts.admin.ApprovePayout(request) for _ in range(6)))
    assert {len(each.payout.approvals) for each in answers} == {1}
    assert await payouts.stage(payout_id) == "AWAITING_APPROVAL"


async def test_what_is_declined_or_stopped_is_the_creators_again_once(payouts: Payouts) -> None:
    for call, kind, stage in (
        ("DeclinePayout", admin_pb2.DeclinePayoutRequest, "DECLINED"),
        ("StopPayout", admin_pb2.StopPayoutRequest, "CANCELLED"),
    ):
        creator = await payouts.creator()
        payout_id = await waiting(payouts, creator, 100 * DOLLAR)
        request = kind(request_id=key(), payout_id=payout_id, **OLGA)
        await asyncio.gather(*(getattr(payouts.admin, call)(request) for _ in range(3)))
        assert await payouts.stage(payout_id) == stage
        await payouts.advancing.run()
        assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    assert await said(payouts.approve(payout_id)) == "NOT_AWAITING_APPROVAL"
    await payouts.books.check()


async def test_everything_waits_where_everything_is_to_be_approved(database: Database) -> None:
    async with payouts_running(database, PAYOUTS_APPROVE_ALL="1") as payouts:
        creator = await payouts.creator()
        payout_id = await waiting(payouts, creator, 10 * DOLLAR)
        record = await payouts.admin.GetPayoutRecord(admin_pb2.GetPayoutRecordRequest(payout_id=payout_id))
        assert list(record.payout.approval_reasons) == ["APPROVE_ALL"]


async def test_closed_payouts_take_no_requests_and_burn_nothing(database: Database) -> None:
    async with payouts_running(database, PAYOUTS_ENABLED="0") as payouts:
        creator = await payouts.creator()
        assert await said(payouts.request(creator)) == "PAYOUTS_CLOSED"


async def test_records_are_paged_by_their_change_and_the_late_ones_found(payouts: Payouts) -> None:
    made = []
    for _ in range(3):
        creator = await payouts.creator()
        made.append(await waiting(payouts, creator, 100 * DOLLAR))
    seen, token = [], ""
    while True:
        page = await payouts.admin.ListPayoutRecords(
            admin_pb2.ListPayoutRecordsRequest(
                stages=[events_pb2.PAYOUT_STAGE_AWAITING_APPROVAL], page_size=2, page_token=token
            )
        )
        seen += [each.payout.payout_id for each in page.payouts]
        token = page.next_page_token
        if not token:
            break
    assert seen == made
    late = await payouts.admin.ListPayoutRecords(admin_pb2.ListPayoutRecordsRequest(overdue_only=True))
    assert [each.payout.payout_id for each in late.payouts] == made[:-1]
    assert {each.account_id for each in late.payouts}.isdisjoint({""})
    mine = admin_pb2.ListPayoutRecordsRequest(account_id=creator)
    assert [each.payout.payout_id for each in (await payouts.admin.ListPayoutRecords(mine)).payouts] == made[-1:]


async def stalled(payouts: Payouts) -> tuple[str, str]:
    """A payout at the provider of which it said FAILED: nobody knows."""
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await payouts.advancing.run()
    await payouts.engine.run()
    (row,) = [
        each for each in payouts.running.rows if each.unique_external_id.startswith(queued.payout_id.replace("-", ""))
    ]
    row.status = "FAILED"
    for _ in range(5):
        payouts.clock.advance(MINUTE)
        await payouts.engine.run()
    assert await payouts.stage(queued.payout_id) == "STALLED"
    return creator, queued.payout_id


def resolving(
    payout_id: str, kind: admin_pb2.ProposalKind.ValueType, sent: int = 0, fee: int = 0
) -> admin_pb2.ProposeResolutionRequest:
    return admin_pb2.ProposeResolutionRequest(
        request_id=key(), payout_id=payout_id, kind=kind, proof="ticket 4711", sent_micro=sent, fee_micro=fee, **OLGA
    )


def deciding(proposal_id: str, operator: dict[str, str], *, approve: bool = True) -> admin_pb2.DecideProposalRequest:
    return admin_pb2.DecideProposalRequest(request_id=key(), proposal_id=proposal_id, approve=approve, **operator)


async def test_two_operators_resolve_what_stalled_and_the_money_goes_back_once(payouts: Payouts) -> None:
    creator, payout_id = await stalled(payouts)
    proposed = await payouts.admin.ProposeResolution(resolving(payout_id, admin_pb2.PROPOSAL_KIND_RESOLVE_FAILED))
    proposal_id = proposed.proposal.proposal_id
    assert (
        await said(payouts.admin.ProposeResolution(resolving(payout_id, admin_pb2.PROPOSAL_KIND_RESOLVE_FAILED)))
        == "PROPOSAL_OPEN"
    )
    assert await said(payouts.admin.DecideProposal(deciding(proposal_id, OLGA))) == "DECIDER_IS_PROPOSER"
    request = deciding(proposal_id, OTTO)
    await asyncio.gather(*(payouts.admin.DecideProposal(request) for _ in range(4)))
    assert await said(payouts.admin.DecideProposal(deciding(proposal_id, OTTO))) == "PROPOSAL_DECIDED"
    await payouts.advancing.run()
    assert await payouts.stage(payout_id) == "FAILED"
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    assert await payouts.value("SELECT state FROM payout_submissions") == 8
    again = await payouts.retry(creator, payout_id)
    assert again.round == 2
    assert await payouts.to_end(payout_id) == "COMPLETED"
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    await payouts.books.check()


async def test_two_operators_say_that_it_was_sent_and_nothing_else_adds_up(payouts: Payouts) -> None:
    creator, payout_id = await stalled(payouts)
    done = admin_pb2.PROPOSAL_KIND_RESOLVE_COMPLETED
    assert await said(payouts.admin.ProposeResolution(resolving(payout_id, done, 40 * DOLLAR, 1))) == "SENT_MISMATCH"
    assert await said(payouts.admin.ProposeResolution(resolving(payout_id, done, 0, 40 * DOLLAR))) == "SENT_MISMATCH"
    assert (
        await said(payouts.admin.ProposeResolution(resolving(payout_id, done, 41 * DOLLAR, -DOLLAR))) == "SENT_MISMATCH"
    )
    proposed = await payouts.admin.ProposeResolution(resolving(payout_id, done, 38 * DOLLAR, 2 * DOLLAR))
    await payouts.admin.DecideProposal(deciding(proposed.proposal.proposal_id, OTTO))
    payout = await payouts.payout(creator, payout_id)
    assert (payout.stage, payout.net_micro, payout.fee_final, payout.transaction_hash) == (
        events_pb2.PAYOUT_STAGE_COMPLETED, 38 * DOLLAR, True, "ticket 4711",
    )  # fmt: skip
    await payouts.advancing.run()
    assert await payouts.books.balance("provider:sent") == 38 * DOLLAR
    await payouts.engine.run()
    await payouts.books.check()


async def test_what_is_not_stalled_is_not_resolved_by_people(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    failed = admin_pb2.PROPOSAL_KIND_RESOLVE_FAILED
    assert await said(payouts.admin.ProposeResolution(resolving(queued.payout_id, failed))) == "NOT_RESOLVABLE"
    wrong = resolving(queued.payout_id, admin_pb2.PROPOSAL_KIND_MANUAL_PAYOUT)
    assert await said(payouts.admin.ProposeResolution(wrong)) == "PAYOUT_FILTER_INVALID"


async def test_what_was_never_verified_was_not_sent_whoever_says_so(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    payouts.running.fault("create", "drop_before")
    await payouts.advancing.run()
    await payouts.engine.run()
    assert await payouts.stage(queued.payout_id) == "UNKNOWN"
    done = resolving(queued.payout_id, admin_pb2.PROPOSAL_KIND_RESOLVE_COMPLETED, 39 * DOLLAR, DOLLAR)
    assert await said(payouts.admin.ProposeResolution(done)) == "NOTHING_WAS_VERIFIED"


def proposing(payout_id: str, operator: dict[str, str]) -> admin_pb2.ProposeManualPayoutRequest:
    return admin_pb2.ProposeManualPayoutRequest(request_id=key(), payout_id=payout_id, **operator)


def recording(proposal_id: str, sent: int, fee: int) -> admin_pb2.RecordManualPayoutRequest:
    return admin_pb2.RecordManualPayoutRequest(
        request_id=key(), proposal_id=proposal_id, proof="0x" + "ab" * 32, sent_micro=sent, fee_micro=fee, **OLGA
    )


async def test_the_runbook_of_manual_payouts_leads_to_one_payment(payouts: Payouts) -> None:
    """Each numbered step of the runbook, in its order; a step that is added there is to be added here."""
    steps = [line for line in RUNBOOK.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()]
    assert [step.split(".")[1].split()[0].rstrip(":") for step in steps] == [
        "Look", "Propose", "Decide", "Wait", "Send", "Record", "Check",
    ]  # fmt: skip
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    payout_id = queued.payout_id

    look = await payouts.admin.GetPayoutRecord(admin_pb2.GetPayoutRecordRequest(payout_id=payout_id))
    assert (look.payout.payout.stage, list(look.submissions)) == (events_pb2.PAYOUT_STAGE_QUEUED, [])

    proposed = (await payouts.admin.ProposeManualPayout(proposing(payout_id, OLGA))).proposal
    await payouts.advancing.run()
    await payouts.engine.run()
    assert await payouts.stage(payout_id) == "QUEUED"
    assert payouts.running.rows == []

    early = recording(proposed.proposal_id, 39 * DOLLAR, DOLLAR)
    assert await said(payouts.admin.RecordManualPayout(early)) == "PROPOSAL_DECIDED"
    assert await said(payouts.admin.DecideProposal(deciding(proposed.proposal_id, OLGA))) == "DECIDER_IS_PROPOSER"
    await payouts.admin.DecideProposal(deciding(proposed.proposal_id, OTTO))
    assert await said(payouts.admin.RecordManualPayout(early)) == "NOT_SENT_BY_HAND"

    await payouts.advancing.run()
    waited = await payouts.admin.GetPayoutRecord(admin_pb2.GetPayoutRecordRequest(payout_id=payout_id))
    assert (waited.payout.payout.stage, waited.payout.payout.reason) == (
        events_pb2.PAYOUT_STAGE_PROCESSING, "SENT_BY_HAND",
    )  # fmt: skip

    await payouts.engine.run()
    assert payouts.running.rows == [], "the operators' own wallet sends it, and nobody else"

    record = recording(proposed.proposal_id, 39 * DOLLAR, DOLLAR)
    answers = await asyncio.gather(*(payouts.admin.RecordManualPayout(record) for _ in range(4)))
    assert {each.payout.payout.stage for each in answers} == {events_pb2.PAYOUT_STAGE_COMPLETED}
    assert await said(payouts.admin.RecordManualPayout(early)) == "PROPOSAL_DECIDED"

    await payouts.advancing.run()
    payout = await payouts.payout(creator, payout_id)
    assert (payout.transaction_hash, payout.net_micro, payout.fee_micro) == ("0x" + "ab" * 32, 39 * DOLLAR, DOLLAR)
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    assert await payouts.books.balance("provider:sent") == 39 * DOLLAR
    await payouts.books.check()


async def test_a_manual_payout_that_is_dropped_goes_to_the_provider_again(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    proposed = (await payouts.admin.ProposeManualPayout(proposing(queued.payout_id, OLGA))).proposal
    await payouts.admin.DecideProposal(deciding(proposed.proposal_id, OTTO, approve=False))
    assert await payouts.to_end(queued.payout_id) == "COMPLETED"
    assert len(payouts.running.rows) == 1


async def test_what_the_provider_may_have_is_not_sent_by_hand(payouts: Payouts) -> None:
    _, payout_id = await stalled(payouts)
    assert await said(payouts.admin.ProposeManualPayout(proposing(payout_id, OLGA))) == "MAY_BE_AT_PROVIDER"


async def test_a_manual_payout_that_could_not_be_sent_goes_back_by_two(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    proposed = (await payouts.admin.ProposeManualPayout(proposing(queued.payout_id, OLGA))).proposal
    await payouts.admin.DecideProposal(deciding(proposed.proposal_id, OTTO))
    await payouts.advancing.run()
    failed = resolving(queued.payout_id, admin_pb2.PROPOSAL_KIND_RESOLVE_FAILED)
    resolution = (await payouts.admin.ProposeResolution(failed)).proposal
    await payouts.admin.DecideProposal(deciding(resolution.proposal_id, OTTO))
    await payouts.advancing.run()
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    late = recording(proposed.proposal_id, 39 * DOLLAR, DOLLAR)
    assert await said(payouts.admin.RecordManualPayout(late)) == "NOT_SENT_BY_HAND"
    await payouts.books.check()
